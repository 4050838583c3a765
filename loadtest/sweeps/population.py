"""Many offices and live calls, made by pipelined scripts a slice at a time, and ended and audited the same way.

The calls are answered, ticked by their switch, and granted four hours: nobody has to look at them while a point is
measured.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from gateway.domain.vocabulary import OfficeState
from gateway.store.codes import Code
from gateway.store.keys import SHARDS, office_keys, outbox_key
from gateway.store.offices import CachedOffice
from gateway.store.records import OfficeSettingsRecord
from gateway.store.scripts import load_library
from gateway.v1.records_pb2 import OfficeProfile
from loadtest.books import Books
from loadtest.figures import rounded
from loadtest.pipeline import Command, Pipeline
from loadtest.processes import BenchError, BenchStore
from loadtest.scene import FUNDS_MICROS
from loadtest.session_load import office_name
from loadtest.store_cases import (
    Step,
    SteppedClock,
    call_id_of,
    call_request,
    read_offices,
    recorded,
    recording_store,
    run_step,
)

SLICE: Final = 10_000
"""Commands made and sent at a time: all of a million would be a gigabyte in this process."""

GRANTED_SECONDS: Final = 14_400
REWRITE_PATIENCE_SECONDS: Final = 300.0


class Population:
    """What is in a store while a point is measured.

    Args:
        store: A fresh one.
        offices: How many, named as the generator names them.
        live_calls: How many, an office in turn.

    Attributes:
        bytes_per_office: used_memory that an office has brought.
        bytes_per_live_call: That a live call has brought; None where there are none.
    """

    def __init__(self, store: BenchStore, offices: int, live_calls: int) -> None:
        self._store = store
        self._pipeline = Pipeline(store.socket_path, store.pid)
        self._pipeline.ask("FUNCTION", "LOAD", "REPLACE", load_library().source)
        self._offices = offices
        self._live_calls = live_calls
        self._sending = recording_store(SteppedClock(self._pipeline.now_ms()))
        self.bytes_per_office = 0.0
        self.bytes_per_live_call: float | None = None

    def make(self) -> None:
        """Make offices and calls, and wait until the store has rewritten its file, if it does.

        Raises:
            BenchError: An operation did not answer what it should.
        """
        empty = self._used_bytes()
        for names in _sliced(self._offices):
            self._run("put_office", [self._put(office_name(index)) for index in names], Code.OK)
            opened = [
                recorded(self._sending.apply_credit(office_name(index), 1, FUNDS_MICROS, refill_number=1))
                for index in names
            ]
            self._run("apply_credit", opened, Code.OK)
        self._drop_outboxes()
        with_offices = self._used_bytes()
        self.bytes_per_office = rounded((with_offices - empty) / self._offices)
        for numbers in _sliced(self._live_calls):
            calls = [self._call(number) for number in numbers]
            begun = [
                recorded(self._sending.authorize_call(office, call_request(name, requested_seconds=GRANTED_SECONDS)))
                for office, name in calls
            ]
            self._run("authorize_call", begun, Code.FUNDED)
            self._run("answer_call", [recorded(self._sending.answer_call(*call)) for call in calls], Code.OK)
        if self._live_calls:
            self.bytes_per_live_call = rounded((self._used_bytes() - with_offices) / self._live_calls)
        self._wait_rewritten()

    def end_and_audit(self, measure: str, debited: dict[str, int], books: Books) -> None:
        """End the calls as not answered, and hold every office against what the generator's answers say.

        Args:
            measure: For the books.
            debited: Office -> micros, where it is not none.
            books: Of the run.

        Raises:
            BenchError: The books are wrong.
        """
        self._sending = recording_store(SteppedClock(self._pipeline.now_ms()))
        for numbers in _sliced(self._live_calls):
            ends = [recorded(self._sending.end_call(*self._call(number), 0)) for number in numbers]
            self._run("end_call", ends, Code.OK)
            self._drop_outboxes()
        for names in _sliced(self._offices):
            offices = [_office(office_name(index)) for index in names]
            expected = {office.office_id: FUNDS_MICROS - debited.get(office.office_id, 0) for office in offices}
            books.audit(measure, expected, read_offices(self._pipeline, offices))

    def close(self) -> None:
        """Close the connection."""
        self._pipeline.close()

    def _call(self, number: int) -> tuple[CachedOffice, str]:
        return _office(office_name(number % self._offices)), call_id_of("live", 0, number)

    def _put(self, office_id: str) -> Command:
        settings = OfficeSettingsRecord(1, OfficeState.ACTIVE, 0, 0, 0, 0, 5_000_000, 50_000_000, 1)
        profile = OfficeProfile(country="US", time_zone="America/New_York", company_id="bench")
        return recorded(self._sending.put_office(office_id, settings.pack(profile), refill_enabled=True, create=True))

    def _run(self, operation: str, commands: list[Command], code: Code) -> None:
        run_step(self._pipeline, Step(operation, "", commands, (code,)))

    def _drop_outboxes(self) -> None:
        for shard in range(SHARDS):
            self._pipeline.ask("DEL", outbox_key(shard))

    def _used_bytes(self) -> int:
        return int(self._store.info("memory")["used_memory"])

    def _wait_rewritten(self) -> None:
        until = time.monotonic() + REWRITE_PATIENCE_SECONDS
        while is_rewriting(self._store.info("persistence")):
            if time.monotonic() > until:
                raise BenchError("the store does not come to an end with rewriting its file")
            time.sleep(0.2)


def is_rewriting(persistence: dict[str, Any]) -> bool:
    """Whether the store rewrites its file, or is about to: what is measured meanwhile is that, too."""
    return bool(persistence["aof_rewrite_in_progress"] or persistence["aof_rewrite_scheduled"])


def _office(office_id: str) -> CachedOffice:
    return CachedOffice(office_id, office_keys(office_id), 1, "US", "", "America/New_York", "bench", is_suspended=False)


def _sliced(count: int) -> Iterator[Sequence[int]]:
    for start in range(0, count, SLICE):
        yield range(start, min(count, start + SLICE))

"""What the benchmark does not measure and a plan needs: `python -m loadtest.scaling.measure`, less than a minute.

Bytes of each operation between gateway and store, and in the append-only file, which is about what replicas are sent;
bytes of a message's stub; what a call in a switch's list costs the front; what the journal's reading costs the store.
Goes to loadtest/results/scaling.json. Exit code 1: an operation did not answer what it must.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import uvloop

from gateway.api.calls import Calls
from gateway.api.live_calls import LiveCallsListener
from gateway.domain.identity import ALL_OFFICES, Identity
from gateway.domain.vocabulary import Role
from gateway.store.balances import BalanceStore
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.keys import SHARDS, outbox_key
from gateway.store.location import StoreLocation
from gateway.store.offices import OfficeCache
from gateway.store.packing import pack
from gateway.store.scripts import load_library
from gateway.store.switch_lists import SwitchLists
from gateway.v1 import authorization_pb2 as pb
from loadtest.figures import Figure, rounded
from loadtest.machine import main_thread_cpu_seconds
from loadtest.pipeline import Pipeline
from loadtest.processes import BenchError, BenchStore, running_store
from loadtest.report import RESULTS
from loadtest.store_cases import (
    Step,
    SteppedClock,
    Workload,
    call_id_of,
    call_request,
    check_replies,
    recorded,
    recording_store,
    run_step,
)
from loadtest.taken import Taken

FILE: Final = "scaling.json"
OFFICES: Final = 4_000
LISTED: Final = 1_000
"""Calls in a part of a switch's list."""

_LISTS: Final = 25
_ROUNDS: Final = 5
_JOURNAL_READS: Final = 500
"""Entries that the journaler reads of a shard at a time."""

_SETTLE_SECONDS: Final = 0.2
_MESSAGE: Final = "authorize_message, fresh id, funded"
_SENT_TO_REPLICAS: Final = ("authorize_call", "answer_call", "tick_call", "end_call", "hear_call", "authorize_message")


def resp_bytes(reply: Any) -> int:
    """How long a reply was on the wire (RESP 2)."""
    if isinstance(reply, list | tuple):
        return len(b"*%d\r\n" % len(reply)) + sum(map(resp_bytes, reply))
    if isinstance(reply, int):
        return len(b":%d\r\n" % reply)
    if reply is None:
        return len(b"$-1\r\n")
    data = reply if isinstance(reply, bytes) else str(reply).encode()
    return len(b"$%d\r\n" % len(data)) + len(data) + 2


def _file_bytes(store: BenchStore) -> int:
    """The append-only file as it is once everything so far is in it."""
    time.sleep(_SETTLE_SECONDS)
    return int(store.info("persistence")["aof_current_size"])


def _used_bytes(store: BenchStore) -> int:
    return int(store.info("memory")["used_memory"])


def _drop_outboxes(pipeline: Pipeline) -> None:
    for shard in range(SHARDS):
        pipeline.ask("DEL", outbox_key(shard))


def measure_operations(store: BenchStore, pipeline: Pipeline, workload: Workload) -> dict[str, Any]:
    """Run one round, and weigh each step of the hot operations."""
    found: dict[str, Any] = {}
    for step in workload.round(0):
        name = f"{step.operation}, {step.case}".removesuffix(", ")
        if name == _MESSAGE:
            _drop_outboxes(pipeline)
        before, used = _file_bytes(store), _used_bytes(store)
        run = pipeline.run(step.commands)
        check_replies(step, run)
        count = len(step.commands)
        if not step.timed or step.operation not in _SENT_TO_REPLICAS:
            continue
        found[name] = {
            "request_bytes": rounded(sum(len(pack(command)) for command in step.commands) / count),
            "reply_bytes": rounded(sum(map(resp_bytes, run.replies)) / count),
            "file_bytes": rounded((_file_bytes(store) - before) / count),
        }
        if name == _MESSAGE:
            # Without the outboxes, what is left of a message is its stub.
            _drop_outboxes(pipeline)
            found[name]["stub_bytes"] = rounded((_used_bytes(store) - used) / count)
    return found


def measure_reading(pipeline: Pipeline) -> dict[str, Any]:
    """CPU of the store for an entry that the journal reads: what it has to answer to XREAD."""
    keys = [key for key in map(outbox_key, range(SHARDS)) if pipeline.ask("XLEN", key) >= _JOURNAL_READS]
    reads = [("XREAD", "COUNT", _JOURNAL_READS, "STREAMS", key, "0-0") for key in keys]
    figures, sent = [], 0.0
    for _ in range(_ROUNDS):
        run = pipeline.run(reads)
        figures.append(run.cpu_micros / _JOURNAL_READS)
        sent = sum(map(resp_bytes, run.replies)) / len(reads) / _JOURNAL_READS
    return {"cpu_micros_an_entry": Figure.of(figures).to_json(), "bytes_an_entry": rounded(sent)}


async def measure_lists(store: BenchStore, pipeline: Pipeline, workload: Workload) -> dict[str, Any]:
    """CPU of front and store for each call in the lists of a switch: part after part, in this process."""
    clock = SteppedClock(pipeline.now_ms())
    sending = recording_store(clock)
    named = [(workload.funded[index % OFFICES], call_id_of("f", 0, index)) for index in range(_LISTS * LISTED)]
    authorize = [
        recorded(sending.authorize_call(office, call_request(name, ticked_by_gateway=True))) for office, name in named
    ]
    run_step(pipeline, Step("authorize_call", "", authorize, (Code.FUNDED,)))
    answer = [recorded(sending.answer_call(office, name, switch_id="sbc-1")) for office, name in named]
    run_step(pipeline, Step("answer_call", "", answer, (Code.OK,)))
    parts = [
        pb.LiveCalls(
            calls=[
                pb.LiveCall(office_id=office.office_id, call_id=name, used_seconds=30)
                for office, name in named[at : at + LISTED]
            ]
        ).SerializeToString()
        for at in range(0, len(named), LISTED)
    ]
    connection = StoreConnection(StoreLocation.parse(store.url), load_library(), timeout_seconds=5.0)
    await connection.start()
    await connection.wait_connected()
    try:
        return await _hear(store, connection, clock, parts)
    finally:
        await connection.close()


class _Listing:
    """Stands for a Session; counts what it is told."""

    def __init__(self) -> None:
        self.list_began_ms: int | None = None
        self.list_is_whole = True
        self.identity = Identity(Role.SWITCH, "scaling", office_ids=frozenset({ALL_OFFICES}), switch_id="sbc-1")
        self.commands = 0

    def command(self, command: pb.Command) -> None:  # noqa: ARG002  # as a Session has it
        """Nothing should have to be said."""
        self.commands += 1


async def _hear(
    store: BenchStore, connection: StoreConnection, clock: SteppedClock, parts: Sequence[bytes]
) -> dict[str, Any]:
    balances, offices = BalanceStore(connection, clock), OfficeCache(connection)
    # No call is authorized here, so none is ever rated.
    calls = Calls(balances, offices, cast("Any", None), max_duration_seconds=14_400)
    listener = LiveCallsListener(balances, offices, SwitchLists(connection), clock, calls)
    listing = _Listing()
    front, behind = [], []
    for number in range(_ROUNDS + 1):
        clock.ms += 100
        own, its = time.process_time(), main_thread_cpu_seconds(store.pid)
        for part in parts:
            await listener.hear(pb.LiveCalls.FromString(part), listing)
        if number:  # the first fills the cache of offices
            front.append(1e6 * (time.process_time() - own) / (len(parts) * LISTED))
            behind.append(1e6 * (main_thread_cpu_seconds(store.pid) - its) / (len(parts) * LISTED))
    if listing.commands or not listing.list_is_whole:
        raise BenchError(f"{listing.commands} commands were made of calls that are all well")
    return {
        "front_cpu_micros": Figure.of(front).to_json(),
        "store_cpu_micros": Figure.of(behind).to_json(),
        "calls_a_part": LISTED,
    }


async def measure() -> dict[str, Any]:
    """All of it, on a store of its own.

    Raises:
        BenchError: An operation did not answer what it must.
    """
    async with running_store() as store:
        taken, result = Taken.now(store.directory), dict[str, Any]()
        pipeline = Pipeline(store.socket_path, store.pid)
        try:
            pipeline.ask("FUNCTION", "LOAD", "REPLACE", load_library().source)
            workload = Workload(OFFICES, pipeline.now_ms())
            for step in workload.opening():
                run_step(pipeline, step)
            _drop_outboxes(pipeline)
            result["operations"] = await asyncio.to_thread(measure_operations, store, pipeline, workload)
            for step in workload.round(1):
                run_step(pipeline, step)
            result["journal_read"] = await asyncio.to_thread(measure_reading, pipeline)
            _drop_outboxes(pipeline)
            result["live_calls"] = await measure_lists(store, pipeline, workload)
        finally:
            pipeline.close()
    return {**taken.head(), **result}


def main(arguments: Sequence[str]) -> int:
    """Measure and keep it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.scaling.measure", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the JSON goes")
    given = parser.parse_args(arguments)
    try:
        result = uvloop.run(measure())
    except BenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    path = given.results / FILE
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(f"Written to {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

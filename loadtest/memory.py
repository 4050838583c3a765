"""Measure 3: what a live call costs the store in memory, its due entry included, and what is left when it has ended."""

from typing import Any, Final

from gateway.store.codes import Code
from gateway.store.keys import SHARDS, due_key, outbox_key
from gateway.store.scripts import load_library
from loadtest.books import Books
from loadtest.effort import Effort
from loadtest.figures import rounded
from loadtest.pipeline import Pipeline
from loadtest.processes import BenchStore
from loadtest.store_cases import (
    OPENING_MICROS,
    RATE,
    Step,
    SteppedClock,
    Workload,
    call_id_of,
    call_request,
    read_offices,
    recorded,
    recording_store,
    run_step,
)

CALLS_AN_OFFICE: Final = 20
_TALK_SECONDS: Final = 55


def measure_memory(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    """Authorize many calls, end them, and look at used_memory between.

    Raises:
        BenchError: An operation did not answer what it should, or the books are wrong.
    """
    pipeline = Pipeline(store.socket_path, store.pid)
    try:
        pipeline.ask("FUNCTION", "LOAD", "REPLACE", load_library().source)
        workload = Workload(effort.live_calls // CALLS_AN_OFFICE, pipeline.now_ms())
        empty = _used_bytes(store)
        for step in workload.opening():
            run_step(pipeline, step)
        _drop_outboxes(pipeline)
        calls = [
            (office, call_id_of("m", number, index))
            for number in range(CALLS_AN_OFFICE)
            for index, office in enumerate(workload.funded)
        ]
        sending = recording_store(SteppedClock(pipeline.now_ms()))
        authorize = [recorded(sending.authorize_call(office, call_request(name))) for office, name in calls]
        end = [recorded(sending.end_call(office, name, _TALK_SECONDS, cause="16")) for office, name in calls]
        with_offices = _used_bytes(store)
        run_step(pipeline, Step("authorize_call", "", authorize, (Code.FUNDED,)))
        with_calls = _used_bytes(store)
        due_bytes = sum(pipeline.ask("MEMORY", "USAGE", due_key(shard), "SAMPLES", 0) or 0 for shard in range(SHARDS))
        run_step(pipeline, Step("end_call", "", end, (Code.OK,)))
        with_entries = _used_bytes(store)
        _drop_outboxes(pipeline)
        with_stubs = _used_bytes(store)
        balance = OPENING_MICROS - CALLS_AN_OFFICE * RATE.price_micros(_TALK_SECONDS)
        expected = {office.office_id: balance for office in workload.funded}
        books.audit("memory", expected, read_offices(pipeline, workload.funded))
    finally:
        pipeline.close()
    offices = len(workload.funded) + len(workload.dipping)
    return {
        "live_calls": len(calls),
        "call_id_characters": len(calls[0][1]),
        "bytes_per_office": rounded((with_offices - empty) / offices),
        "bytes_per_live_call": rounded((with_calls - with_offices) / len(calls)),
        "of_that_due_entry": rounded(due_bytes / len(calls)),
        "bytes_per_outbox_entry": rounded((with_entries - with_stubs) / len(calls)),
        "bytes_per_ended_call": rounded((with_stubs - with_offices) / len(calls)),
    }


def _used_bytes(store: BenchStore) -> int:
    return int(store.info("memory")["used_memory"])


def _drop_outboxes(pipeline: Pipeline) -> None:
    for shard in range(SHARDS):
        pipeline.ask("DEL", outbox_key(shard))

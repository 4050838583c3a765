"""What things cost, as measured: from loadtest/results/latest.json and scaling.json. No figure is typed in here."""

import inspect
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.background.due import ENTRIES_A_TURN, TURN_EVERY_SECONDS
from gateway.store.connection import StoreConnection
from loadtest.scaling.wire import session_bytes


class CostsError(Exception):
    """The figures are not all there, or are of a smoke run; says which and what to run."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What one operation costs.

    Attributes:
        store_micros: CPU of the store's main thread.
        front_micros: CPU of the front.
        from_switch: Bytes from the switch to the front.
        to_switch: Bytes back.
        to_store: Bytes from the front to the store.
        from_store: Bytes back.
        replicated: Bytes that the store writes to its file, and about what it sends to a replica.
    """

    store_micros: float
    front_micros: float
    from_switch: float
    to_switch: float
    to_store: float
    from_store: float
    replicated: float


@dataclass(frozen=True, slots=True)
class Costs:
    """What a plan is made of; micros are microseconds of CPU time.

    Attributes:
        in_flight: The level of the benchmark that the operations' costs are of.
        operations: authorize_call, answer_call, end_call, tick_by_switch, tick_by_gateway, live_call and
            authorize_message.
        repeated_micros: Of the store, for an authorization that is asked again.
        journal_read_micros: Of the store, for an entry that the journal reads and drops.
        journal_read_bytes: From the store to the journal, an entry.
        journal_per_second: Entries that one journaler takes into the slower of the databases measured.
        journal_database: Which that is.
        journal_micros: CPU of the journaler for an entry.
        sql_micros: CPU of the database for an entry.
        record_bytes: Of the database's file, for a usage record.
        call_bytes: Of the store's memory: a live call with its due entry.
        office_bytes: An office.
        call_stub_bytes: A call that has ended.
        message_stub_bytes: A message that was sent.
        entry_bytes: An outbox entry.
        session_bytes: Of a front's memory: a Session.
        front_bytes: A front before any Session.
        due_turn_seconds: How often a due loop looks.
        due_entries: Calls of one shard that it looks at in a turn.
        timeout_seconds: How long a front waits for the store.
    """

    in_flight: int
    operations: Mapping[str, Operation]
    repeated_micros: float
    journal_read_micros: float
    journal_read_bytes: float
    journal_per_second: float
    journal_database: str
    journal_micros: float
    sql_micros: float
    record_bytes: float
    call_bytes: float
    office_bytes: float
    call_stub_bytes: float
    message_stub_bytes: float
    entry_bytes: float
    session_bytes: float
    front_bytes: float
    due_turn_seconds: float
    due_entries: int
    timeout_seconds: float


def read_costs(latest: Path, scaling: Path, in_flight: int) -> Costs:
    """Put the costs together.

    Args:
        latest: What `make bench` wrote; the journal's figures are in what `make bench-full` wrote beside it.
        scaling: What `python -m loadtest.scaling.measure` wrote.
        in_flight: How many operations are under way between a switch and a front; the highest level measured that is
            not above it counts.

    Raises:
        CostsError: A file or a figure is missing, or the figures are of a smoke run.
    """
    bench, own = _read(latest, "make bench"), _read(scaling, "python -m loadtest.scaling.measure")
    if "journal" not in bench:
        # It is taken by the long run, whose results lie beside.
        bench["journal"] = _read(latest.with_name(f"sweeps-{latest.name}"), "make bench-full").get("journal")
    try:
        return _costs(bench, own, in_flight)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise CostsError(f"{latest} or {scaling.name} lacks a figure ({error}): take all of them anew") from error


def _read(path: Path, command: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CostsError(f"{path} cannot be read ({error}): run `{command}`") from error
    if found.get("quick"):
        raise CostsError(f"{path} is of a smoke run: run `{command}`")
    return found


def _costs(bench: Mapping[str, Any], own: Mapping[str, Any], in_flight: int) -> Costs:
    levels = bench["session"]["levels"]
    level = max((each for each in levels if each["in_flight"] <= in_flight), key=lambda each: int(each["in_flight"]))
    spent = level["gateway"]["cpu_micros_per_operation"]
    # Raw, commands come in large pieces. From a front they come in small ones, which costs the store more an operation:
    # by as much as in the Session's measure, where both were measured in turns.
    dearer = max(1.0, _median(spent["store"]) / _median(bench["session"]["raw_store_cpu_micros"]))
    raw = {(row["operation"], row["case"]): _median(row["measured"]["cpu_micros"]) for row in _rows(bench)}
    due, heard, memory = bench["due"], own["live_calls"], bench["memory"]
    front = _median(spent["front"])
    wire, store = session_bytes(), own["operations"]

    def operation(
        name: str, case: str, *, micros: float = 0, front_micros: float = front, wired: str = ""
    ) -> Operation:
        weighed = store[f"{name}, {case}".removesuffix(", ")]
        from_switch, to_switch = wire.get(wired or name, (0, 0)) if wired != "none" else (0, 0)
        return Operation(
            micros or raw[name, case] * dearer,
            front_micros,
            from_switch,
            to_switch,
            weighed["request_bytes"],
            weighed["reply_bytes"],
            weighed["file_bytes"],
        )

    journal = min(bench["journal"]["drain"]["databases"], key=lambda each: _median(each["entries_per_second"]))
    records = [
        _median(each["bytes_a_record"]) for each in bench["journal"]["drain"]["databases"] if each["bytes_a_record"]
    ]
    return Costs(
        in_flight=int(level["in_flight"]),
        operations={
            "authorize_call": operation("authorize_call", "fresh id, funded"),
            "answer_call": operation("answer_call", ""),
            "end_call": operation("end_call", ""),
            "tick_by_switch": operation("tick_call", "by the switch"),
            "tick_by_gateway": operation(
                "tick_call",
                "by the gateway",
                micros=_median(due["store_cpu_micros"]),
                front_micros=_median(due["loop_cpu_micros"]),
                wired="none",
            ),
            "live_call": operation(
                "hear_call",
                "",
                micros=_median(heard["store_cpu_micros"]),
                front_micros=_median(heard["front_cpu_micros"]),
                wired="live_call",
            ),
            "authorize_message": operation("authorize_message", "fresh id, funded"),
        },
        repeated_micros=raw["authorize_call", "repeated"] * dearer,
        journal_read_micros=_median(own["journal_read"]["cpu_micros_an_entry"])
        + raw["trim_outbox", "100 entries"] / 100,
        journal_read_bytes=own["journal_read"]["bytes_an_entry"],
        journal_per_second=_median(journal["entries_per_second"]),
        journal_database=journal["database"],
        journal_micros=_median(journal["journal_cpu_micros"]),
        sql_micros=_median(journal["sql_cpu_micros"]),
        record_bytes=max(records),
        call_bytes=memory["bytes_per_live_call"],
        office_bytes=memory["bytes_per_office"],
        call_stub_bytes=memory["bytes_per_ended_call"],
        message_stub_bytes=store["authorize_message, fresh id, funded"]["stub_bytes"],
        entry_bytes=memory["bytes_per_outbox_entry"],
        session_bytes=bench["idle_sessions"]["bytes_per_session"],
        front_bytes=bench["idle_sessions"]["front_bytes_before"],
        due_turn_seconds=TURN_EVERY_SECONDS,
        due_entries=ENTRIES_A_TURN,
        timeout_seconds=inspect.signature(StoreConnection).parameters["timeout_seconds"].default,
    )


def _rows(bench: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = bench["store_rates"]["operations"]
    return rows


def _median(figure: Mapping[str, float]) -> float:
    return figure["median"]

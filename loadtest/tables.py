"""The result of a run as tables: one layout for the terminal and for the README."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from loadtest.client_tables import independent, mixes, open_loop, redis_benchmark, unary_open_loop
from loadtest.sweeps.tables import sweep_makers
from loadtest.table import Table, headings, latency_cells, markdown, number, percentiles_of, spread

__all__ = ["Result", "Table", "describe", "left_out", "markdown", "tables_of"]

Result = Mapping[str, Any]


def tables_of(result: Result) -> list[Table]:
    """All tables that a result has the figures for."""
    makers: tuple[tuple[str, Callable[[Any], Table | None]], ...] = (
        ("store_rates", _store_rates),
        ("unary", _unary),
        ("unary", unary_open_loop),
        ("session", _session),
        ("session", lambda measure: _open_loop(measure, "open_loop")),
        ("session", lambda measure: _open_loop(measure, "open_loop_gathered")),
        ("session", lambda measure: _open_loop(measure, "open_loop_fast")),
        ("mixes", mixes),
        ("independent", independent),
        ("redis_benchmark", redis_benchmark),
        ("due", _due),
        ("cut_lateness", _cut_lateness),
        ("trigger_delay", _trigger_delay),
        ("memory", _memory),
        ("idle_sessions", _idle_sessions),
        ("journal", _journal),
        ("journal", _beside_journal),
        *sweep_makers(),
        ("aims", _aims),
    )
    taken = ((make, result[name]) for name, make in makers if result.get(name) and "skipped" not in result[name])
    return [table for make, measure in taken if (table := make(measure)) is not None]


def left_out(result: Result) -> list[str]:
    """What was not measured, and why, a sentence each."""
    measures = [(name, measure) for name, measure in result.items() if isinstance(measure, Mapping)]
    skipped = [f"{name}: {measure['skipped']}." for name, measure in measures if "skipped" in measure]
    points = [
        f"{name}, {number(point['size'])}: {point['why']}."
        for name, measure in measures
        for point in measure.get("left_out", ())
    ]
    return skipped + points


def describe(result: Result) -> list[str]:
    """Where and when the figures were taken, in sentences."""
    machine = result["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    allocator = "jemalloc preloaded" if machine["store_jemalloc"] else "libc's allocator"
    lines = [
        f"{result['taken_at']}, commit {result['commit']}.",
        f"{machine['cores']} cores of {machine['cpu']}, {machine['memory_bytes'] / 2**30:.0f} GiB, "
        f"{machine['system']}; load average {machine['load_average_before']} before the run and "
        f"{machine['load_average_after']} at its end; client, gateway and store share the cores.",
        f"Python {machine['python']}, {packages}; {machine['store']} with {allocator}, its append-only file on "
        f"{machine['store_file_system']}.",
    ]
    if result["quick"]:
        lines.append("A smoke run: these figures mean nothing.")
    return lines


def _store_rates(measure: Mapping[str, Any]) -> Table:
    return Table(
        "Operations of the store, raw, one pipelined connection",
        (
            "operation", "per second", "spread", "CPU us", "empty script/s", "empty function/s", "ratio", "spread",
            "CPU ratio",
        ),
        tuple(
            (
                f"{row['operation']}, {row['case']}".removesuffix(", "),
                number(row["measured"]["rate_per_second"]["median"]),
                spread(row["measured"]["rate_per_second"]),
                f"{row['measured']['cpu_micros']['median']:.1f}",
                number(row["empty_script"]["rate_per_second"]["median"]),
                number(row["empty_function"]["rate_per_second"]["median"]),
                f"{row['ratio_to_empty_script']['median']:.2f}",
                spread(row["ratio_to_empty_script"]),
                f"{row['cpu_ratio_to_empty_script']:.2f}",
            )
            for row in measure["operations"]
        ),
        f"Medians of {measure['rounds']} interleaved rounds of {measure['commands_a_round']} commands with fresh ids; "
        "the ratio is to an empty `#!lua` script with the same keys and arguments; CPU is that of the store's main "
        "thread.",
    )  # fmt: skip


def _unary(measure: Mapping[str, Any]) -> Table:
    names = percentiles_of(measure["levels"][0]["gateway"]["both"])
    return Table(
        "Unary AuthorizeCall and EndCall, closed loop",
        (
            "in flight", "rpc/s", "spread", *headings(names), "front us", "store us", "client us", "ratio",
        ),
        tuple(_unary_rows(measure["levels"])),
        f"Medians of {measure['rounds']} interleaved rounds of {measure['seconds_a_round']:g} s, {measure['offices']} "
        "offices, the default deck; max is the slowest answer of all rounds, us are CPU time an rpc. The load "
        "generator is a grpc.aio client: where it needs a core of its own, it is the limit.",
    )  # fmt: skip


def _unary_rows(levels: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for level in levels:
        for name, key in (("gateway", "gateway"), ("empty handler", "empty_handler")):
            side = level[key]
            cpu = side["cpu_micros_per_rpc"]
            serving = cpu["front"] if key == "gateway" else cpu["handler"]
            yield (
                f"{level['in_flight']}, {name}",
                number(side["rate_per_second"]["median"]),
                spread(side["rate_per_second"]),
                *latency_cells(side["both"], percentiles_of(side["both"])),
                f"{serving['median']:.0f}",
                f"{cpu['store']['median']:.0f}" if "store" in cpu else "",
                f"{cpu['generator']['median']:.0f}",
                f"{level['ratio_to_empty_handler']['median']:.2f}" if key == "gateway" else "1",
            )


def _session(measure: Mapping[str, Any]) -> Table:
    names = percentiles_of(measure["levels"][0]["gateway"]["latency"])
    return Table(
        "Session: calls authorized and ended on one stream, closed loop",
        (
            "in flight", "operations/s", "spread", *headings(names), "front us", "store us", "client us", "raw/s",
            "of raw", "of raw CPU", "of empty",
        ),
        tuple(_session_rows(measure["levels"])),
        f"Medians of {measure['rounds']} interleaved rounds of {measure['seconds_a_round']:g} s, {measure['offices']} "
        "offices, the default deck; max is the slowest answer of all rounds, us are CPU time an operation. Raw are the "
        "same two functions with fresh ids by a pipelined connection; the empty stream answers a constant. By CPU: the "
        "store's for an operation raw, against the front's or the store's for one of the Session, whichever is more.",
    )  # fmt: skip


def _session_rows(levels: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for level in levels:
        for name, key in (("gateway", "gateway"), ("empty stream", "empty_stream")):
            side, ours = level[key], key == "gateway"
            cpu, latency = side["cpu_micros_per_operation"], side["latency"]
            yield (
                f"{level['in_flight']}, {name}",
                number(side["rate_per_second"]["median"]),
                spread(side["rate_per_second"]),
                *latency_cells(latency, percentiles_of(latency)),
                f"{(cpu['front'] if ours else cpu['handler'])['median']:.1f}",
                f"{cpu['store']['median']:.1f}" if ours else "",
                f"{cpu['generator']['median']:.1f}",
                number(level["raw_per_second"]["median"]) if ours else "",
                f"{level['ratio_to_raw']['median']:.2f}" if ours else "",
                f"{level['cpu_ratio_to_raw']:.2f}" if ours and level["cpu_ratio_to_raw"] else "",
                f"{level['ratio_to_empty_stream']['median']:.2f}" if ours else "1",
            )


def _open_loop(measure: Mapping[str, Any], key: str) -> Table | None:
    load = measure.get(key)
    if not load:
        return None
    note = " The generator's part is by how much it sent later than the schedule says."
    growth = load["gateway"].get("backlog_growth_per_second")
    if growth:
        note += f" What waited for its answer grew by {growth['median']:,.0f} operations a second."
    retries = load["gateway"].get("retries")
    if retries:
        note += f" The store did not answer {number(retries)} operations in time; they were asked again."
    operations = "operations"
    if load.get("coalescing_seconds"):
        operations = f"operations, gathered for {load['coalescing_seconds'] * 1000:g} ms,"
    return open_loop(load, "Session", operations, "empty stream", note)


def _due(measure: Mapping[str, Any]) -> Table:
    rows = (
        ("due loop", "ticks_per_second", "loop_cpu_micros", "store_cpu_micros"),
        ("tick_call, raw", "raw_per_second", "", "raw_store_cpu_micros"),
    )
    return Table(
        f"Ticks by the gateway, {number(measure['calls'])} live calls",
        ("by", "ticks/s", "spread", "loop us", "store us", "ratio"),
        tuple(
            (
                title,
                number(measure[rate]["median"]),
                spread(measure[rate]),
                f"{measure[own]['median']:.1f}" if own else "",
                f"{measure[store]['median']:.1f}",
                f"{measure['ratio_to_raw']['median']:.2f}" if own else "1",
            )
            for title, rate, own, store in rows
        ),
        f"Medians of {measure['rounds']} rounds in which every call is due; one loop for all shards, up to "
        f"{number(measure['entries_a_turn'])} calls a turn. us are CPU time a tick.",
    )


def _cut_lateness(measure: Mapping[str, Any]) -> Table:
    late = measure["lateness_ms"]
    return Table(
        "From the end of the granted time to the cut command at the Session, ms",
        ("calls", *late),
        ((number(measure["calls"]), *(f"{value:.0f}" for value in late.values())),),
    )


def _idle_sessions(measure: Mapping[str, Any]) -> Table:
    rows = (
        ("bytes of a Session", number(measure["bytes_per_session"])),
        ("front before, MiB", f"{measure['front_bytes_before'] / 2**20:.0f}"),
        ("front with them, MiB", f"{measure['front_bytes_with_them'] / 2**20:.0f}"),
        ("front after them, MiB", f"{measure['front_bytes_after'] / 2**20:.0f}"),
        ("CPU of the front while nothing happens, %", f"{measure['idle_cpu_percent']:.0f}"),
    )
    return Table(
        f"{number(measure['sessions'])} idle Sessions",
        ("what", "figure"),
        rows,
        f"Resident memory of the front; {measure['channels']} connections, and one quote was asked on each Session.",
    )


def _journal(measure: Mapping[str, Any]) -> Table:
    drain = measure["drain"]
    return Table(
        f"The journal: {number(drain['entries'])} entries of the outboxes into the ledger",
        ("into", "entries/s", "spread", "journal us", "SQL us", "bytes a record", "summary ms"),
        tuple(
            (
                each["database"],
                number(each["entries_per_second"]["median"]),
                spread(each["entries_per_second"]),
                f"{each['journal_cpu_micros']['median']:.0f}",
                f"{each['sql_cpu_micros']['median']:.0f}",
                f"{each['bytes_a_record']['median']:.0f}" if each["bytes_a_record"] else "",
                f"{each['summary_ms']['median']:.1f}",
            )
            for each in drain["databases"]
        ),
        f"Medians of {drain['rounds']} interleaved rounds from the first read to the last trim, commits on the disk, "
        f"{drain['entries_a_record']:g} entries a call or message of {number(drain['offices'])} offices. us are CPU "
        f"time an entry; the summary is that of an office with {drain['records_a_summary']} records.",
    )


def _beside_journal(measure: Mapping[str, Any]) -> Table:
    effects = measure["effect"]
    names = ("p50", "p99")
    first = effects[0]
    return Table(
        f"AuthorizeCall beside the journal, {number(first['calls_per_second'])} calls a second by a schedule, ms",
        (
            "ledger", "p50", "p99", "p50 without", "p99 without", "p50 ratio", "p99 ratio", "lag p50 s", "lag max s",
        ),
        tuple(
            (
                each["database"],
                *(f"{each['with_journal'][f'{name}_ms']['median']:.2f}" for name in names),
                *(f"{each['without_journal'][f'{name}_ms']['median']:.2f}" for name in names),
                *(f"{each[f'{name}_ratio']['median']:.2f}" for name in names),
                *(f"{each['lag_ms'][name] / 1000:.1f}" for name in ("p50", "max")),
            )
            for each in effects
        ),
        f"Medians of {first['rounds']} interleaved rounds of {first['seconds_a_round']:g} s; ratios "
        "are by the round. The lag is the age of the oldest entry that the ledger does not have: the store syncs its "
        "file once a second, and what is not synced is not taken.",
    )  # fmt: skip


def _trigger_delay(measure: Mapping[str, Any]) -> Table:
    names = ("min", "p50", "p90", "p99", "max")
    cases: tuple[tuple[str, str], ...] = (
        ("WatchRefills, quiet gateway", "quiet_ms"),
        ("as published by the script", "quiet_published_ms"),
        (f"WatchRefills, beside {measure['load_calls_per_second']} calls a second", "under_load_ms"),
        ("as published by the script", "under_load_published_ms"),
    )
    if "busy_ms" in measure:
        beside = f"beside {number(measure['busy_per_second'])} operations a second"
        cases += (
            (f"WatchRefills, {beside}", "busy_ms"),
            ("WatchRefills of another gateway, the same dips", "busy_elsewhere_ms"),
            ("as published by the script", "busy_published_ms"),
        )
    return Table(
        "From the reply to a debit to the refill trigger, ms",
        ("at the client", *names),
        tuple((title, *(f"{measure[key][name]:.2f}" for name in names)) for title, key in cases),
        f"{measure['dips']} dips each, one client for all. Below zero: the trigger came before the reply. What the "
        "script published comes straight from the store: what WatchRefills adds to it is the gateway's.",
    )


def _memory(measure: Mapping[str, Any]) -> Table:
    rows = (
        ("live call, due entry included", "bytes_per_live_call"),
        ("of that its due entry", "of_that_due_entry"),
        ("ended call, kept for an hour", "bytes_per_ended_call"),
        ("outbox entry of an ended call", "bytes_per_outbox_entry"),
        ("office", "bytes_per_office"),
    )
    return Table(
        "Memory of the store",
        ("what", "bytes"),
        tuple((title, f"{measure[key]:.0f}") for title, key in rows),
        f"used_memory over {number(measure['live_calls'])} calls with ids of {measure['call_id_characters']} "
        "characters.",
    )


def _aims(judged: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        "Aims",
        ("figure", "stage", "aim", "measured", ""),
        tuple(
            (
                aim["name"],
                aim["stage"],
                aim["aim"],
                f"{aim['measured']:g}",
                "met" if aim["met"] else f"missed by {aim['missed_by_percent']:.0f} %",
            )
            for aim in judged
        ),
    )

"""The sweeps as tables: the figures that the plots show, and those that no plot shows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from loadtest.table import Table, headings, latency_cells, number, percentiles_of, spread

FEW: Final = 1_000

Maker = Callable[[Any], Table | None]


def sweep_makers() -> tuple[tuple[str, Maker], ...]:
    """By the name in the result, what makes its table."""
    return (
        ("in_flight", _in_flight),
        ("offices", lambda sweep: _crowds("A Session by the number of offices", "offices", sweep)),
        ("offices", lambda sweep: _crowd_memory("Memory by the number of offices", "office", sweep)),
        ("live_calls", lambda sweep: _crowds("A Session by the number of live calls", "live calls", sweep)),
        ("live_calls", lambda sweep: _crowd_memory("Memory by the number of live calls", "live call", sweep)),
        ("compare_sizes", _compare_sizes),
        ("deck", _deck),
        ("deck", _deck_loading),
        ("beside_ticks", _beside_ticks),
    )


def _in_flight(sweep: Mapping[str, Any]) -> Table:
    sides = (
        ("unary", "both", "cpu_micros_per_rpc", "empty_handler"),
        ("session", "latency", "cpu_micros_per_operation", "empty_stream"),
    )
    rows = []
    names = percentiles_of(sweep["unary"]["levels"][0]["gateway"]["both"])
    for transport, latency, cpu, yardstick in sides:
        for level in sweep[transport]["levels"]:
            gateway = level["gateway"]
            rows.append(
                (
                    f"{transport}, {level['in_flight']}",
                    number(gateway["rate_per_second"]["median"]),
                    *latency_cells(gateway[latency], names),
                    f"{gateway[cpu]['front']['median']:.1f}",
                    f"{gateway[cpu]['store']['median']:.1f}",
                    number(level[yardstick]["rate_per_second"]["median"]),
                    f"{level[f'ratio_to_{yardstick}']['median']:.2f}",
                    number(level["raw_per_second"]["median"]) if "raw_per_second" in level else "",
                    f"{level['ratio_to_raw']['median']:.2f}" if "ratio_to_raw" in level else "",
                )
            )
    return Table(
        "By operations in flight, closed loop",
        (
            "in flight",
            "operations/s",
            *headings(names),
            "front us",
            "store us",
            "empty/s",
            "of empty",
            "raw/s",
            "of raw",
        ),
        tuple(rows),
        f"Medians of {sweep['session']['rounds']} interleaved rounds. Empty is the empty handler, or an empty stream.",
    )


def _crowds(title: str, what: str, sweep: Mapping[str, Any]) -> Table | None:
    points = sweep["points"]
    if not points:
        return None
    names = percentiles_of(points[0]["gateway"]["latency"])
    return Table(
        title,
        (
            what, "operations/s", "spread", *headings(names), "p50 of empty", "front us", "store us", "raw/s",
            "of raw", "of empty",
        ),
        tuple((number(point["size"]), *_crowd(point, names)) for point in points),
        f"Medians of {sweep['rounds']} rounds of {sweep['seconds_a_round']:g} s: a closed loop for rates and CPU, then "
        f"{number(sweep['per_second'])} operations a second by a schedule for latencies. Each call is of any office, "
        "so a front which does not know it yet asks the store twice. Empty stream and raw scripts take turns with it.",
    )  # fmt: skip


def _crowd(point: Mapping[str, Any], names: Sequence[str]) -> tuple[str, ...]:
    gateway, cpu = point["gateway"], point["gateway"]["cpu_micros_per_operation"]
    return (
        number(gateway["rate_per_second"]["median"]),
        spread(gateway["rate_per_second"]),
        *latency_cells(gateway["latency"], names),
        f"{point['p50_ratio']['median']:.2f}",
        f"{cpu['front']['median']:.1f}",
        f"{cpu['store']['median']:.1f}",
        number(point["raw_per_second"]["median"]),
        f"{point['ratio_to_raw']['median']:.2f}",
        f"{point['ratio_to_empty_stream']['median']:.2f}",
    )


def _crowd_memory(title: str, what: str, sweep: Mapping[str, Any]) -> Table | None:
    if not sweep["points"]:
        return None
    # Of what the sweep is by: beside a million offices, what a thousand calls take is lost in what the store rounds up.
    each = f"bytes_per_{what.replace(' ', '_')}"
    return Table(
        title,
        (f"{what}s", f"bytes {'an' if what == 'office' else 'a'} {what}", "store MiB", "front MiB"),
        tuple(
            (
                number(point["size"]),
                number(point[each]) if point[each] is not None and point["size"] >= FEW else "",
                f"{point['store_bytes'] / 2**20:,.1f}",
                f"{point['front_bytes'] / 2**20:,.0f}",
            )
            for point in sweep["points"]
        ),
        f"Of fewer than {number(FEW)} the bytes of each say nothing: what a store has anyway is more.",
    )


def _compare_sizes(sweep: Mapping[str, Any]) -> Table | None:
    if not sweep.get("points"):
        return None
    points = sweep["points"]
    names = percentiles_of(points[0]["gateway"]["authorize"])
    rows = [
        (
            f"{number(point['offices'])} of each, {words}",
            number(point["gateway"]["rate_per_second"]["median"]) if key == "authorize" else "",
            *latency_cells(point["gateway"][key], names),
            *(
                (
                    number(point["raw_per_second"]["median"]),
                    number(point["store_bytes"] / 2**20),
                    number(point["front_bytes"] / 2**20),
                )
                if key == "authorize"
                else ("", "", "")
            ),
        )
        for key, words in (("authorize", "calls of all offices"), ("known", "calls of offices that it knows"))
        for point in points
    ]
    for words, prefix, rate in (
        ("ratio, calls of all offices", "", f"{sweep['rate_ratio']['median']:.2f}"),
        ("ratio, calls of offices that it knows", "known_", ""),
    ):
        ratios = {name: f"{sweep[f'{prefix}{name}_ratio']['median']:.2f}" for name in ("p50", "p99")}
        rows.append((words, rate, *(ratios.get(name, "") for name in names), "", "", ""))
    return Table(
        "AuthorizeCall with many offices and live calls, against few",
        ("offices and live calls", "operations/s", *headings(names), "raw/s", "store MiB", "front MiB"),
        tuple(rows),
        f"Both gateways run at once, each on its own store, and take turns. Latencies are those of the schedule, "
        f"{number(sweep['per_second'])} operations a second. An office that the front does not know costs it another "
        "question to the store.",
    )


def _deck(sweep: Mapping[str, Any]) -> Table | None:
    if not sweep["points"]:
        return None
    names = percentiles_of(sweep["points"][0]["latency"])
    return Table(
        "By prefixes in the deck: in the front's code, and a Session",
        (
            "prefixes", "lookup us", "in a dict us", "classify us", "phonenumbers us", "operations/s", "spread",
            *headings(names), "front us", "of raw",
        ),
        tuple(
            (
                number(point["size"]),
                f"{point['lookup_micros']['median']:.2f}",
                f"{point['dict_lookup_micros']['median']:.2f}",
                f"{point['classify_micros']['median']:.1f}",
                f"{point['library_classify_micros']['median']:.0f}",
                number(point["gateway_per_second"]["median"]),
                spread(point["gateway_per_second"]),
                *latency_cells(point["latency"], names),
                f"{point['front_cpu_micros']['median']:.1f}",
                f"{point['ratio_to_raw']['median']:.2f}",
            )
            for point in sweep["points"]
        ),
        f"Rounds of {number(sweep['numbers'])} numbers that were never seen before; a number that was is answered from "
        "a cache. The yardstick of a lookup is the longest prefix in a plain dict, that of a classification is parse, "
        "region, type and validity by `phonenumbers`. The Session has 64 in flight in a closed loop.",
    )  # fmt: skip


def _deck_loading(sweep: Mapping[str, Any]) -> Table | None:
    if not sweep["points"]:
        return None
    return Table(
        "By prefixes in the deck: what it takes to have it",
        ("prefixes", "read CSV s", "load compiled s", "compiled KiB", "front MiB"),
        tuple(
            (
                number(point["size"]),
                f"{point['parse_seconds']:.2f}",
                f"{point['load_seconds']:.2f}",
                number(point["packed_bytes"] / 1024),
                number(point["front_bytes"] / 2**20),
            )
            for point in sweep["points"]
        ),
        "CPU seconds, once a deck: the back reads the CSV, each front loads what that made.",
    )


def _beside_ticks(measure: Mapping[str, Any]) -> Table:
    names = percentiles_of(measure["beside"])
    ratios = {name: f"{measure[f'{name}_ratio']['median']:.2f}" for name in ("p50", "p99")}
    ticks = number(measure["ticks_per_second"]["median"])
    return Table(
        f"AuthorizeCall beside {ticks} ticks a second of {number(measure['live_calls'])} live calls, ms",
        ("", *headings(names, "")),
        (
            ("beside the ticks", *latency_cells(measure["beside"], names)),
            ("the same calls, none due", *latency_cells(measure["without"], names)),
            ("ratio", *(ratios.get(name, "") for name in names)),
        ),
        f"{measure['rounds']} windows of {measure['seconds_a_round']:g} s each way, in turns; a Session of "
        f"{number(measure['per_second'])} operations a second by a schedule, half of them AuthorizeCall. At most "
        f"{number(measure['overdue_at_most'])} calls were not ticked a second after they were due. "
        f"{number(measure['rounds_left_out'])} windows are left out, since answers came after their end.",
    )

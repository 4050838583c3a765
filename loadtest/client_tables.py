"""The tables of what clients see beside the closed loops: schedules, mixes, and programs that are not ours."""

from collections.abc import Mapping
from typing import Any

from loadtest.table import Table, headings, latency_cells, number, percentiles_of, spread


def unary_open_loop(measure: Mapping[str, Any]) -> Table | None:
    """Unary rpcs by a schedule; None: the run has none."""
    load = measure.get("open_loop")
    return open_loop(load, "Unary", "rpcs", "empty handler") if load else None


def open_loop(load: Mapping[str, Any], client: str, operations: str, yardstick: str, note: str = "") -> Table:
    """Latencies by a schedule, beside those of a yardstick.

    Args:
        load: The measure.
        client: How it asked.
        operations: What it asked for.
        yardstick: In whose turns.
        note: More to be said below the table.
    """
    names = percentiles_of(load["gateway"]["latency"])
    rows = [
        (title, *(f"{load[side][what][f'{name}_ms']['median']:.2f}" for name in names))
        for title, side, what in (
            ("gateway", "gateway", "latency"),
            (yardstick, yardstick.replace(" ", "_"), "latency"),
            ("of that the generator, gateway", "gateway", "lag"),
            (f"of that the generator, {yardstick}", yardstick.replace(" ", "_"), "lag"),
        )
    ]
    ratios = [f"{load[f'{name}_ratio']['median']:.2f}" if f"{name}_ratio" in load else "" for name in names]
    return Table(
        f"{client}: {number(load['per_second'])} {operations} a second by a schedule, ms from the intended time",
        ("", *headings(names, "")),
        (*rows, (f"ratio to the {yardstick}", *ratios)),
        f"Medians of {load['rounds']} interleaved rounds of {load['seconds_a_round']:g} s.{note}",
    )


def mixes(measure: Mapping[str, Any]) -> Table:
    """Mixes of operations: a row for each operation of the gateway's, and one for all that its yardstick answers."""
    kinds = measure["mixes"][0]["gateway"]["latency"]
    names = percentiles_of(next(iter(kinds.values())))
    rows = []
    for mix in measure["mixes"]:
        title = f"{mix['transport']}, {mix['mix']}"
        for side, who in (("gateway", ""), ("empty_handler", ", empty handler")):
            figures = mix[side]
            cpu = figures["cpu_micros_per_operation"]
            rows.append(
                (
                    f"{title}{who}",
                    number(figures["rate_per_second"]["median"]),
                    spread(figures["rate_per_second"]),
                    *latency_cells(figures["all"], names),
                    f"{cpu['front' if side == 'gateway' else 'handler']['median']:.0f}",
                    f"{cpu['store']['median']:.0f}" if "store" in cpu else "",
                    f"{cpu['generator']['median']:.0f}",
                    f"{mix['ratio_to_empty_handler']['median']:.2f}" if side == "gateway" else "1",
                )
            )
        rows += [
            (f"- {kind}", "", "", *latency_cells(latency, names), "", "", "", "")
            for kind, latency in mix["gateway"]["latency"].items()
        ]
    return Table(
        f"Mixes of operations, {measure['in_flight']} in flight, closed loop",
        ("mix", "operations/s", "spread", *headings(names), "front us", "store us", "client us", "ratio"),
        tuple(rows),
        f"Medians of {measure['rounds']} interleaved rounds of {measure['seconds_a_round']:g} s, "
        f"{number(measure['offices'])} offices, the default deck; us are CPU time an operation. At the end the front "
        f"had {measure['front_resident_bytes'] / 2**20:.0f} MiB in memory, and the store "
        f"{measure['store_used_bytes'] / 2**20:.0f} MiB of data, nothing of it journaled yet.",
    )


def independent(measure: Mapping[str, Any]) -> Table:
    """h2load beside our own client."""
    names = percentiles_of(measure["cases"][0]["latency"])
    requests = {"quote": "QuoteCall", "replay": "AuthorizeCall, replayed"}
    targets = {"gateway": "gateway", "empty": "empty handler"}
    return Table(
        f"A client that is not ours: {measure['program']}, raw gRPC frames, {measure['in_flight']} in flight",
        ("request, target, client", "rpc/s", "spread", *headings(names), "server us"),
        tuple(
            (
                f"{requests[case['request']]}, {targets[case['target']]}, {case['client']}",
                number(case["rate_per_second"]["median"]),
                spread(case["rate_per_second"]),
                *latency_cells(case["latency"], names),
                f"{case['server_cpu_micros']['median']:.0f}",
            )
            for case in measure["cases"]
        ),
        f"Medians of {measure['rounds']} rounds of {number(measure['requests'])} requests. It can repeat one request "
        "only: a quote and a replay change nothing. Beside it our grpc.aio client with the same request. Caches are "
        "always warm for what is repeated.",
    )


def redis_benchmark(measure: Mapping[str, Any]) -> Table:
    """redis-benchmark beside our own pipelined client."""
    return Table(
        f"authorize_call raw by {measure['program']}, fresh ids of one office",
        ("client", "authorize/s", "spread", "store us", "empty script/s", "store us", "ratio", "spread"),
        tuple(
            (
                title,
                number(measure[key]["authorize_per_second"]["median"]),
                spread(measure[key]["authorize_per_second"]),
                f"{measure[key]['authorize_cpu_micros']['median']:.1f}",
                number(measure[key]["empty_script_per_second"]["median"]),
                f"{measure[key]['empty_script_cpu_micros']['median']:.1f}",
                f"{measure[key]['ratio_to_empty_script']['median']:.2f}",
                spread(measure[key]["ratio_to_empty_script"]),
            )
            for title, key in (("redis-benchmark", "redis_benchmark"), ("our pipelined client", "own_client"))
        ),
        f"Medians of {measure['rounds']} rounds of {number(measure['requests'])} commands, {measure['in_flight']} in "
        "flight. Neither passes the arguments, which are constants in a function of the benchmark's own: compare the "
        "clients with each other, and the ratio with the one above only with that in mind. The empty script gets the "
        "same keys.",
    )

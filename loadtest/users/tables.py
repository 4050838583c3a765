"""A run of users as tables."""

from collections.abc import Mapping
from typing import Any

from loadtest.tables import Table

_COLUMNS = ("operation", "answered", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms")


def tables_of(result: Mapping[str, Any]) -> list[Table]:
    """Latencies, and what came of what was asked."""
    figures = result["figures"]
    rows = [_row(name, latencies) for name, latencies in figures["operations"].items()]
    return [
        Table(
            f"{result['profile']}: {figures['rate_per_second']:,.0f} operations/s by {result['users']} users at most",
            _COLUMNS,
            (*rows, _row("all", figures["all"])),
            _note(result),
        ),
        Table(
            "What came of it",
            ("what", "count"),
            tuple((what, f"{count:,}") for what, count in sorted(result["counts"].items())),
        ),
    ]


def _row(name: str, latencies: Mapping[str, float]) -> tuple[str, ...]:
    percentiles = ("p50_ms", "p90_ms", "p99_ms", "p99_9_ms", "max_ms")
    return (name, f"{latencies['count']:,.0f}", *(f"{latencies[each]:.2f}" for each in percentiles))


def _note(result: Mapping[str, Any]) -> str:
    """What the figures are worth: the aim, locust's ceiling, and how busy it was."""
    figures, ceiling = result["figures"], result["ceiling"]
    kept = "below" if figures["all"]["p99_ms"] < result["aim_ms"] else "above"
    sentences = [f"p99 {figures['all']['p99_ms']:g} ms, {kept} the aim of {result['aim_ms']:g} ms."]
    if ceiling:
        sentences.append(
            f"locust itself: {ceiling['rate_per_second']:,.0f}/s with {ceiling['users']} users that never pause, "
            f"against a server that answers a constant (p50 {ceiling['p50_ms']:g} ms)."
        )
    sentences.append(
        f"It used {figures['generator_cpu_percent']:.0f} % of a core here. A closed loop: whoever waits asks nothing "
        "meanwhile, so a stall counts once; python -m loadtest.arrivals does not hide it."
    )
    return " ".join(sentences)

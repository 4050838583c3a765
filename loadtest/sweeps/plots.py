"""The sweeps as plots: one PNG an axis, the gateway in a strong line and its yardsticks in thin ones.

Without a display (Agg), and without date or version in the files, so that the same figures give the same picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from loadtest.machine import ROOT

PLOTS: Final = ROOT / "docs/benchmarks"
DPI: Final = 110

mpl.use("Agg")
_PLAIN: Final = FuncFormatter(lambda value, _: f"{value:,.10g}")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a plot.

    Attributes:
        label: What it shows.
        x: Sizes.
        figures: A figure a size, with its spread.
        is_yardstick: Drawn thin and dashed.
    """

    label: str
    x: Sequence[float]
    figures: Sequence[Mapping[str, float]]
    is_yardstick: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """One of the plots of an axis.

    Attributes:
        title: Of the values, with their unit.
        lines: What is in it.
        log: Whether the values are on a logarithmic scale.
    """

    title: str
    lines: Sequence[Line] = field(default_factory=tuple)
    log: bool = True


@dataclass(frozen=True, slots=True)
class Plot:
    """A picture.

    Attributes:
        name: Of its file, without extension.
        title: Above it.
        axis: What the sizes are.
        panels: Side by side.
    """

    name: str
    title: str
    axis: str
    panels: Sequence[Panel]


def plots_of(result: Mapping[str, Any]) -> list[Plot]:
    """The plots that a result has figures for."""
    plots = []
    if "unary" in result.get("in_flight", {}):
        plots.append(_in_flight(result["in_flight"]))
    for name, title, axis in (
        ("offices", "A Session by the number of offices", "offices"),
        ("live_calls", "A Session by the number of live calls", "live calls"),
    ):
        if result.get(name, {}).get("points"):
            plots.append(_crowds(name, title, axis, result[name]["points"]))
    if result.get("deck", {}).get("points"):
        plots.append(_deck(result["deck"]["points"]))
    return plots


def plot_all(result: Mapping[str, Any], directory: Path) -> list[Path]:
    """Draw all plots that a result has figures for; returns their files."""
    directory.mkdir(parents=True, exist_ok=True)
    mark = " (a smoke run: means nothing)" if result["quick"] else ""
    return [_draw(plot, directory / f"{plot.name}.png", mark) for plot in plots_of(result)]


def _draw(plot: Plot, path: Path, mark: str) -> Path:
    figure = Figure(figsize=(5.2 * len(plot.panels), 3.9), layout="constrained")
    axes = figure.subplots(1, len(plot.panels), squeeze=False)[0]
    figure.suptitle(plot.title + mark)
    for panel, axis in zip(plot.panels, axes, strict=True):
        for line in panel.lines:
            middle = [each["median"] for each in line.figures]
            style = {"linestyle": "--", "linewidth": 1.0} if line.is_yardstick else {"linewidth": 2.0}
            [drawn] = axis.plot(line.x, middle, marker="o", markersize=3, label=line.label, **style)
            low, high = ([each[name] for each in line.figures] for name in ("low", "high"))
            axis.fill_between(line.x, low, high, alpha=0.15, color=drawn.get_color(), linewidth=0)
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(_PLAIN)
        if panel.log:
            axis.set_yscale("log")
            axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        else:
            axis.set_ylim(bottom=0)
        axis.yaxis.set_major_formatter(_PLAIN)
        axis.yaxis.set_minor_formatter(NullFormatter())
        axis.set_xlabel(plot.axis)
        axis.set_title(panel.title, fontsize=10)
        axis.grid(visible=True, which="major", alpha=0.3)
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=DPI, metadata={"Software": None})
    return path


def _in_flight(sweep: Mapping[str, Any]) -> Plot:
    unary, session = sweep["unary"]["levels"], sweep["session"]["levels"]
    x, y = [level["in_flight"] for level in unary], [level["in_flight"] for level in session]
    rates = (
        Line("Session", y, [level["gateway"]["rate_per_second"] for level in session]),
        Line("unary", x, [level["gateway"]["rate_per_second"] for level in unary]),
        Line("empty stream", y, [level["empty_stream"]["rate_per_second"] for level in session], is_yardstick=True),
        Line("empty handler", x, [level["empty_handler"]["rate_per_second"] for level in unary], is_yardstick=True),
        Line("scripts raw", y, [level["raw_per_second"] for level in session], is_yardstick=True),
    )
    latencies = [
        Line(f"Session {name}", y, [level["gateway"]["latency"][f"{name}_ms"] for level in session])
        for name in ("p50", "p99")
    ]
    latencies += [
        Line(f"unary {name}", x, [level["gateway"]["both"][f"{name}_ms"] for level in unary]) for name in ("p50", "p99")
    ]
    cpu = (
        Line("front, Session", y, [each["gateway"]["cpu_micros_per_operation"]["front"] for each in session]),
        Line("store, Session", y, [each["gateway"]["cpu_micros_per_operation"]["store"] for each in session]),
        Line("front, unary", x, [each["gateway"]["cpu_micros_per_rpc"]["front"] for each in unary]),
        Line("store, unary", x, [each["gateway"]["cpu_micros_per_rpc"]["store"] for each in unary]),
    )
    return Plot(
        "in-flight",
        "Operations in flight, closed loop",
        "in flight",
        (Panel("operations a second", rates), Panel("latency, ms", latencies), Panel("CPU an operation, us", cpu)),
    )


def _crowds(name: str, title: str, axis: str, points: Sequence[Mapping[str, Any]]) -> Plot:
    x = [point["size"] for point in points]
    rates = (
        Line("Session, 64 in flight", x, [point["gateway"]["rate_per_second"] for point in points]),
        Line("empty stream", x, [point["empty_stream"]["rate_per_second"] for point in points], is_yardstick=True),
        Line("scripts raw", x, [point["raw_per_second"] for point in points], is_yardstick=True),
    )
    latencies = [
        Line(label, x, [point[side]["latency"][f"{percent}_ms"] for point in points], side != "gateway")
        for side, who in (("gateway", "Session"), ("empty_stream", "empty stream"))
        for percent in ("p50", "p99")
        for label in (f"{who} {percent}",)
    ]
    memory = [
        Line(label, x, [_exact(point[key] / 2**20) for point in points])
        for label, key in (("store", "store_bytes"), ("front", "front_bytes"))
    ]
    return Plot(
        name.replace("_", "-"),
        title,
        axis,
        (
            Panel("operations a second", rates),
            Panel("latency by a schedule, ms", latencies),
            Panel("memory, MiB", memory),
        ),
    )


def _deck(points: Sequence[Mapping[str, Any]]) -> Plot:
    x = [point["size"] for point in points]
    micros = (
        Line("lookup", x, [point["lookup_micros"] for point in points]),
        Line("classify an unseen number", x, [point["classify_micros"] for point in points]),
        Line("lookup in a dict", x, [point["dict_lookup_micros"] for point in points], is_yardstick=True),
        Line("classify by phonenumbers", x, [point["library_classify_micros"] for point in points], is_yardstick=True),
    )
    rates = (
        Line("Session, 64 in flight", x, [point["gateway_per_second"] for point in points]),
        Line("empty stream", x, [point["empty_stream_per_second"] for point in points], is_yardstick=True),
        Line("scripts raw", x, [point["raw_per_second"] for point in points], is_yardstick=True),
    )
    memory = (Line("front", x, [_exact(point["front_bytes"] / 2**20) for point in points]),)
    return Plot(
        "deck",
        "Prefixes in the deck",
        "prefixes",
        (
            Panel("us", micros),
            Panel("operations a second", rates),
            Panel("memory of the front, MiB", memory, log=False),
        ),
    )


def _exact(value: float) -> dict[str, float]:
    """A figure that was taken once."""
    return {"median": value, "low": value, "high": value}

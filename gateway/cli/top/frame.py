"""A frame of top: 80 columns, 24 lines, and readable without a colour."""

import math
from collections.abc import Iterator
from typing import Final

from rich.text import Text

from gateway.cli.output import NOTHING, money, short_name
from gateway.cli.top.figures import Figures, Times
from gateway.cli.top.offices import OfficeSight
from gateway.v1 import credits_pb2 as pb

WIDTH: Final = 79
"""One less than a terminal has, since some wrap a line that fills it."""

HEIGHT: Final = 23

_LABEL: Final = 11
_REASONS: Final = 6
_REASON_WIDTH: Final = 20
_MICROS: Final = 1_000_000

LATE_LEDGER_SECONDS: Final = 120
SLOW_STORE_MS: Final = 5.0
FAR_CLOCK_MS: Final = 2_000


def frame_of(figures: Figures, offices: OfficeSight | None, title: str, height: int = HEIGHT) -> list[Text]:
    """Lay a frame out.

    Args:
        figures: Of the last interval.
        offices: Newest sight of them; None: there is none yet.
        title: Its first line.
        height: How many lines there are; as many offices are shown as have room.
    """
    lines = [Text(title, style="bold"), *_decisions(figures), *_machinery(figures), *_refills(figures, offices)]
    lines += _low_offices(offices, height - len(lines))
    for line in lines:
        line.truncate(WIDTH, overflow="ellipsis")
    return lines[:height]


def _decisions(figures: Figures) -> Iterator[Text]:
    every = sum(figures.decisions.values())
    yield _line(
        "decisions",
        f"{every:,.1f}/s, {figures.denied_per_second:,.1f} denied",
        f"{figures.live_calls:,} live calls, {money(figures.reserved_micros)} held",
    )
    shown = sorted(figures.decisions.items(), key=lambda item: -item[1])[:_REASONS]
    for reason, rate in shown:
        room = WIDTH - _LABEL - _REASON_WIDTH - 12
        # At least one, so that a little is told from nothing.
        bar = "#" * max(1, round(room * rate / every))
        yield Text(" " * _LABEL).append(f"{reason:<{_REASON_WIDTH}}{rate:>10,.1f}  ").append(bar, style="blue")
    for _ in range(_REASONS - len(shown)):
        yield Text()
    yield _line("rpcs", _times(figures.rpcs), f"hooks {_times(figures.hooks)}")


def _machinery(figures: Figures) -> Iterator[Text]:
    unanswered = figures.unanswered_per_second
    yield _line(
        "sessions",
        f"{figures.sessions:,} open, {figures.operations_per_second:,.1f} operations/s",
        f"{unanswered:,.1f}/s without an answer",
        alarms=(False, unanswered > 0),
    )
    yield _line("workers", f"{figures.fronts} fronts", f"calls looked at late: {_times(figures.due_late)}")
    if figures.stores_lost:
        yield _line("store", f"{figures.stores_lost} processes have no connection", "", alarms=(True, False))
    else:
        yield _line(
            "store",
            f"answers in {figures.store_ms:.2f} ms",
            f"its clock {figures.clock_offset_ms / 1000:+.3f} s",
            alarms=(figures.store_ms > SLOW_STORE_MS, abs(figures.clock_offset_ms) > FAR_CLOCK_MS),
        )
    yield _line(
        "outboxes",
        f"{figures.outbox_entries:,} entries, the oldest {figures.outbox_seconds:,.1f} s",
        f"{figures.journaled_per_second:,.1f}/s into the ledger",
        alarms=(figures.outbox_seconds > LATE_LEDGER_SECONDS, False),
    )
    yield _line(
        "money",
        f"{figures.debited_micros_per_second / _MICROS:,.4f}/s debited",
        f"{figures.cuts_per_second:,.1f} cut/s, {figures.lapses_per_second:,.1f} lapsed/s",
    )


def _refills(figures: Figures, offices: OfficeSight | None) -> Iterator[Text]:
    queue = NOTHING
    if offices is not None and not offices.why_not:
        queue = f"{offices.pending} asked for, {offices.waiting} wait"
    yield _line(
        "refills",
        queue,
        f"{figures.triggers_per_second:,.1f} triggers/s, {figures.charges_undecided} charges undecided",
        alarms=(False, figures.charges_undecided > 0),
    )


def _low_offices(offices: OfficeSight | None, room: int) -> Iterator[Text]:
    if offices is None:
        yield _line("offices", "are being looked at", "")
        return
    if offices.why_not:
        yield _line("offices", f"cannot be looked at ({offices.why_not})", "")
        return
    among = f"{offices.offices:,}{'' if offices.all_seen else ' of more'}"
    low = offices.low
    yield _line("offices", f"{len(low):,} of {among} are low on funds", "", alarms=(bool(low), False))
    fitting = low if len(low) <= room - 1 else low[: max(0, room - 2)]
    for office in fitting:
        state = short_name(pb.RefillState.Name(office.refill.state), "REFILL_STATE_")
        yield Text(" " * _LABEL).append(
            f"{_cut(office.office_id, 30):<30}  {money(office.available_micros):>14} {office.currency}  refill {state}"
        )
    if len(fitting) < len(low):
        yield Text(f"{'':<{_LABEL}}and {len(low) - len(fitting):,} more", style="dim")


def _line(label: str, left: str, right: str, *, alarms: tuple[bool, bool] = (False, False)) -> Text:
    text = Text(f"{label:<{_LABEL}}", style="")
    text.append(f"{left:<35} ", style="bold red" if alarms[0] else "")
    return text.append(right, style="bold red" if alarms[1] else "")


def _times(times: Times) -> str:
    if times.p50_ms is None or times.p99_ms is None:
        return NOTHING
    return f"p50 {_ms(times.p50_ms)}, p99 {_ms(times.p99_ms)}"


def _ms(value: float) -> str:
    if math.isinf(value):
        return "beyond"
    return f"{value:.2f} ms" if value < 100 else f"{value / 1000:.1f} s"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"

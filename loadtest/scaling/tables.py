"""Plans and simulations as tables, for the terminal and the page alike."""

from collections.abc import Mapping, Sequence
from typing import Final

from gateway.store.keys import SHARDS
from loadtest.scaling.costs import Costs
from loadtest.scaling.failover import LONGEST_SECONDS
from loadtest.scaling.plan import GIB, Plan
from loadtest.scaling.simulation import Played, Settings
from loadtest.scaling.slots import cut_by_shards, even_cut, ranges, shards_of
from loadtest.scaling.traffic import rates
from loadtest.tables import Table

_PRIMARIES: Final = (2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16, 22, 32, 64)
"""More of them help only where the fullest has a shard less: 9 are no better than 8."""


def costs_table(costs: Costs) -> Table:
    """What each operation costs."""
    return Table(
        "What an operation costs",
        ("operation", "store us", "front us", "switch to front", "back", "front to store", "back", "to a replica"),
        tuple(
            (
                name.replace("_", " "),
                *(f"{value:.1f}" for value in (each.store_micros, each.front_micros)),
                *(f"{value:.0f}" for value in (each.from_switch, each.to_switch)),
                *(f"{value:,.0f}" for value in (each.to_store, each.from_store, each.replicated)),
            )
            for name, each in costs.operations.items()
        ),
        f"us are CPU time with {costs.in_flight} operations in flight, the rest are bytes. A live call is one in a "
        f"switch's list. Memory of the store: {costs.call_bytes:.0f} bytes a live call, {costs.office_bytes:.0f} an "
        f"office, {costs.call_stub_bytes:.0f} a call's stub, {costs.message_stub_bytes:.0f} a message's, "
        f"{costs.entry_bytes:.0f} an outbox entry. One journaler takes {costs.journal_per_second:,.0f} entries/s into "
        f"{costs.journal_database}.",
    )


def demand_table(plans: Mapping[str, Plan]) -> Table:
    """What is asked for."""
    return Table(
        "What is asked for, a second",
        ("", *plans),
        (
            ("calls at a time", *(f"{plan.demand.calls:,}" for plan in plans.values())),
            *(
                (name, *(_rate(rates(plan.demand)[operation]) for plan in plans.values()))
                for name, operation in (
                    ("authorizations, and as many ends", "authorize_call"),
                    ("answers", "answer_call"),
                    ("ticks by the gateway", "tick_by_gateway"),
                    ("ticks by switches", "tick_by_switch"),
                    ("calls in lists", "live_call"),
                    ("messages", "authorize_message"),
                )
            ),
            ("outbox entries", *(_rate(plan.sql_entries) for plan in plans.values())),
        ),
    )


def needs_table(plans: Mapping[str, Plan]) -> Table:
    """What it needs."""
    rows: list[tuple[str, list[str]]] = []

    def row(name: str, cells: Sequence[str]) -> None:
        rows.append((name, list(cells)))

    every = list(plans.values())
    row("front cores busy", [f"{plan.front_cores:.2f}" for plan in every])
    row("front processes", [f"{plan.fronts}" for plan in every])
    row("memory of the fronts, GiB", [_gib(plan.front_bytes) for plan in every])
    row("store cores busy", [f"{plan.store_cores:.2f}" for plan in every])
    row("primaries", [f"{plan.primaries}{'' if plan.fits else ', too few'}" for plan in every])
    row("shards of the fullest primary", [f"{plan.shards}" for plan in every])
    row("utilisation of the busiest, %", [f"{100 * plan.busiest:.0f}" for plan in every])
    row("wait of a decision there, p99, ms", [f"{plan.p99_wait_ms:.1f}" for plan in every])
    for name, part in (
        ("live calls", "live_calls"),
        ("offices", "offices"),
        ("stubs of calls", "call_stubs"),
        ("stubs of messages", "message_stubs"),
        ("outboxes while SQL is away", "outbox"),
    ):
        row(f"memory, {name}, GiB", [_gib(getattr(plan.memory, part)) for plan in every])
    row("memory of the heaviest primary, GiB", [_gib(plan.primary_bytes) for plan in every])
    row("memory of all, replicas included, GiB", [_gib(plan.store_bytes) for plan in every])
    for name, part in (
        ("switches to fronts", "from_switches"),
        ("fronts to switches", "to_switches"),
        ("to the store", "to_store"),
        ("from the store", "from_store"),
        ("to replicas", "to_replicas"),
    ):
        row(f"network, {name}, Mbit/s", [f"{getattr(plan.network, part) / 1e6:,.1f}" for plan in every])
    row("network of the heaviest primary, Mbit/s", [f"{plan.primary_bits / 1e6:,.1f}" for plan in every])
    row("new SQL rows (usage records) a second", [_rate(plan.sql_records) for plan in every])
    row("SQL cores busy with them", [f"{plan.sql_cores:.2f}" for plan in every])
    row("SQL grows by, GiB in 24 busy hours", [f"{plan.sql_bytes_a_day / GIB:,.1f}" for plan in every])
    row("one journaler's load, %", [f"{100 * plan.journal_share:,.0f}" for plan in every])
    return Table("What it needs", ("", *plans), tuple((name, *cells) for name, cells in rows))


def limits_table(name: str, plan: Plan) -> Table:
    """Which limit comes first."""
    return Table(
        f"Limits of {name}, the nearest first",
        ("limit", "needed", "there", "unit", "reached at calls", "moved by"),
        tuple(
            (
                limit.name,
                _amount(limit.needed),
                _amount(limit.there),
                limit.unit,
                f"{_three(limit.calls):,.0f}",
                limit.moved_by or "nothing yet",
            )
            for limit in plan.limits
        ),
        f"`There` is at {100 * plan.demand.utilisation:.0f} % of a core. One office can have "
        f"{_three(plan.office_calls):,.0f} calls at a time on a primary of its own, or "
        f"{_three(plan.office_authorizations):,.0f} authorizations a second and nothing else; "
        f"the largest here has {plan.largest_office_calls:,.0f} calls.",
    )


def played_table(played: Mapping[str, Played], plans: Mapping[str, Plan], settings: Settings) -> Table:
    """What the simulation says of the plans."""
    return Table(
        "Simulated: the busiest primary",
        ("case", "primaries", "busy %", "skew", "p50 ms", "p99 ms", "planned p99"),
        tuple(
            (
                case,
                f"{each.primaries}",
                f"{100 * each.busiest:.0f}",
                f"{each.skew:.2f}",
                *((f"{each.waits.p50_ms:.1f}", f"{each.waits.p99_ms:.1f}") if each.waits else ("no end", "no end")),
                f"{plans[case].p99_wait_ms:.1f}" if case in plans else "",
            )
            for case, each in played.items()
        ),
        f"Waits of decisions before their turn; skew is the busiest primary over the mean. Seed {settings.seed}.",
    )


def failover_table(played: Mapping[str, Played], settings: Settings) -> Table:
    """What becomes of a primary's calls when it fails."""
    rows = []
    for case, each in played.items():
        found = each.failover
        if found is not None:
            rows.append(
                (
                    case,
                    f"{found.decisions:,}",
                    f"{found.delayed:,}",
                    f"{found.failed:,}",
                    f"{found.timeouts_after:,}",
                    f"{found.p99_after_ms:.0f}",
                    f"{found.due_after:,}",
                    f"more than {LONGEST_SECONDS:g}"
                    if found.recovered_seconds is None
                    else f"{found.recovered_seconds:.1f}",
                )
            )
    return Table(
        f"Simulated: the busiest primary is away for {settings.away_seconds:g} s",
        (
            "case",
            "decisions",
            "delayed",
            "failed",
            "time-outs after",
            "p99 after, ms",
            "due after",
            "recovered after s",
        ),
        tuple(rows),
        f"From the failure until all is as before. A switch goes on asking for {settings.patience_seconds:g} s. "
        "Time-outs after: waited in vain although the primary was back. Due after: ticks left "
        "when it came back.",
    )


def skew_table() -> Table:
    """How evenly 64 shards go onto N primaries."""
    rows = []
    for primaries in _PRIMARIES:
        even, cut = (shards_of(how(primaries), primaries) for how in (even_cut, cut_by_shards))
        rows.append(
            (
                f"{primaries}",
                f"{max(even)}",
                f"{even.count(0)}",
                f"{max(even) * primaries / SHARDS:.2f}",
                f"{max(cut)}",
                f"{max(cut) * primaries / SHARDS:.2f}",
            )
        )
    return Table(
        "64 shards on N primaries",
        ("primaries", "fullest, equal slots", "empty", "skew", "fullest, slots by shards", "skew"),
        tuple(rows),
        "Equal slots: as `redis-cli --cluster create` shares them out. Skew: shards of the fullest over the mean.",
    )


def ranges_table(primaries: int) -> Table:
    """Which slots each primary gets so that the shards are shared out evenly."""
    counts = shards_of(cut_by_shards(primaries), primaries)
    return Table(
        f"Slots of {primaries} primaries by shards",
        ("primary", "first slot", "last slot", "shards"),
        tuple(
            (f"{index + 1}", f"{first}", f"{last}", f"{count}")
            for index, ((first, last), count) in enumerate(zip(ranges(primaries), counts, strict=True))
        ),
    )


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == 0 else f"{value:.1f}"


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _three(value: float) -> float:
    """To three digits: no figure here is worth more."""
    return float(f"{value:.3g}")


def _gib(value: float) -> str:
    return f"{value / GIB:,.2f}"

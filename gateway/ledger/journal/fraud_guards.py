"""The fraud guards: debits of guarded calls added up by office, country and hour, and what that makes of the office.

Done in the transaction that writes the entries down, so that nothing is counted twice or forgotten, whichever gateway
does it. A guard that trips is a new version of the office, which is projected into the store like any other.
"""

import dataclasses
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Insert, Table, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain import notice
from gateway.domain.fraud_guard import (
    EVERYWHERE,
    HOUR_MS,
    NOTHING,
    Guard,
    GuardKind,
    GuardPolicy,
    Tally,
    guarded_destination,
    tripped_by_country,
    tripped_by_office,
)
from gateway.domain.numbers import classify
from gateway.ledger import notices
from gateway.ledger.journal.called_numbers import NOT_OUTBOUND, CalledNumbers, life_of
from gateway.ledger.journal.facts import CallMoved, Entry
from gateway.ledger.models import GuardDestinationRow, GuardHourRow, OfficeRow
from gateway.ledger.offices import Office, change, office_of
from gateway.slices import slices

ACTOR: Final = "fraud_guard"

_Place = tuple[str, int, str]
"""Office, hour and country."""

_HOURS: Final[Table] = GuardHourRow.__table__  # type: ignore[assignment]  # a table, not any FromClause


@dataclasses.dataclass(slots=True)
class _Counted:
    """What a batch adds to an office, an hour and a country, and the latest that it tells of."""

    calls: int = 0
    spend_micros: int = 0
    last_at: int = 0


async def post(
    session: AsyncSession, entries: Sequence[Entry], called: CalledNumbers, policy: GuardPolicy, *, now_ms: int
) -> Sequence[GuardKind]:
    """Count the entries, whose usage records are written already, and trip the guards whose limits they reach.

    Returns:
        The guards that tripped.
    """
    moved = [(entry, entry.fact) for entry in entries if entry.amount_micros and isinstance(entry.fact, CallMoved)]
    numbers = [await called.of(session, life_of(entry, fact)) for entry, fact in moved]
    outbound = [(*one, number) for one, number in zip(moved, numbers, strict=True) if number != NOT_OUTBOUND]
    offices = await _offices(session, {entry.office_id for entry, _, _ in outbound})
    counted: dict[_Place, _Counted] = defaultdict(_Counted)
    for entry, fact, number in outbound:
        office = offices.get(entry.office_id)
        country = None if office is None else guarded_destination(classify(number, office.settings.country))
        if country is not None:
            one = counted[entry.office_id, entry.at // HOUR_MS, country]
            one.calls += _is_first_debit(entry, fact)
            one.spend_micros -= entry.amount_micros
            one.last_at = max(one.last_at, entry.at)
    if not counted:
        return ()
    await session.execute(_add(session), [_row(place, one) for place, one in counted.items()])
    await _tell_of_new_destinations(session, counted, now_ms=now_ms)
    return await _trip(session, counted, offices, policy, now_ms=now_ms)


def _is_first_debit(entry: Entry, fact: CallMoved) -> bool:
    """Whether the call had cost nothing before."""
    return fact.debited_micros > 0 and fact.debited_micros + entry.amount_micros == 0


async def _offices(session: AsyncSession, office_ids: Collection[str]) -> dict[str, Office]:
    found = {}
    for some in slices(sorted(office_ids)):
        for row in await session.scalars(select(OfficeRow).where(OfficeRow.office_id.in_(some))):
            found[row.office_id] = office_of(row)
    return found


def _row(place: _Place, counted: _Counted) -> dict[str, Any]:
    office_id, hour, country = place
    return {
        "office_id": office_id,
        "hour": hour,
        "country": country,
        "calls": counted.calls,
        "spend_micros": counted.spend_micros,
        "forgiven_calls": 0,
        "forgiven_micros": 0,
    }


def _add(session: AsyncSession) -> Insert:
    if session.get_bind().dialect.name == "postgresql":
        statement: Any = postgresql.insert(_HOURS)
    else:
        statement = sqlite.insert(_HOURS)
    both: Insert = statement.on_conflict_do_update(
        index_elements=[_HOURS.c.office_id, _HOURS.c.hour, _HOURS.c.country],
        set_={
            "calls": _HOURS.c.calls + statement.excluded.calls,
            "spend_micros": _HOURS.c.spend_micros + statement.excluded.spend_micros,
        },
    )
    return both


async def _tell_of_new_destinations(session: AsyncSession, counted: Mapping[_Place, _Counted], *, now_ms: int) -> None:
    first: dict[tuple[str, str], int] = {}
    for (office_id, _, country), one in counted.items():
        if one.calls:
            first[office_id, country] = min(one.last_at, first.get((office_id, country), one.last_at))
    known: set[tuple[str, str]] = set()
    for some in slices(sorted({office_id for office_id, _ in first})):
        query = select(GuardDestinationRow.office_id, GuardDestinationRow.country).where(
            GuardDestinationRow.office_id.in_(some)
        )
        known |= {(office_id, country) for office_id, country in await session.execute(query)}
    for office_id, country in sorted(first.keys() - known):
        at = first[office_id, country]
        session.add(GuardDestinationRow(office_id=office_id, country=country, first_at=at))
        await notices.record(session, notice.new_destination(office_id, country, first_at=at), now_ms=now_ms)


async def _trip(
    session: AsyncSession,
    counted: Mapping[_Place, _Counted],
    offices: Mapping[str, Office],
    policy: GuardPolicy,
    *,
    now_ms: int,
) -> Sequence[GuardKind]:
    touched: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
    for (office_id, hour, country), one in counted.items():
        touched[office_id, hour][country] = one.last_at
    hours = await _read(session, touched.keys())
    tripped: dict[str, list[Guard]] = defaultdict(list)
    for (office_id, hour), countries in sorted(touched.items()):
        office = offices[office_id]
        holding = [*office.guards, *tripped[office_id]]
        tripped[office_id] += _judge(office, holding, hours[office_id, hour], countries, policy, now_ms=now_ms)
    for office_id, guards in tripped.items():
        if guards:
            await _record(session, office_id, guards, now_ms=now_ms)
    return [guard.kind for guards in tripped.values() for guard in guards]


def _judge(
    office: Office,
    holding: Sequence[Guard],
    tallies: Mapping[str, Tally],
    touched: Mapping[str, int],
    policy: GuardPolicy,
    *,
    now_ms: int,
) -> list[Guard]:
    """The guards that an hour trips, where none holds already; a late entry trips none that is over by now."""
    held = {guard.country for guard in holding if now_ms < guard.ends_at}
    limits = policy.limits(
        office.settings.fraud_limits,
        refill_micros=office.refill.amount_micros if office.refill.enabled else 0,
        credit_limit_micros=office.settings.credit_limit_micros,
    )
    if EVERYWHERE in held:
        return []
    whole = NOTHING
    for tally in tallies.values():
        whole = whole.plus(tally)
    at = max(touched.values())
    by_office = tripped_by_office(limits, whole)
    if by_office is not None and now_ms < policy.ends_at(at):
        return [Guard(by_office[0], EVERYWHERE, *by_office[1:], at, policy.ends_at(at))]
    guards = []
    for country, at in sorted(touched.items()):
        by_country = tripped_by_country(limits, tallies[country])
        if by_country is not None and country not in held and now_ms < policy.ends_at(at):
            guards.append(Guard(by_country[0], country, *by_country[1:], at, policy.ends_at(at)))
    return guards


async def _read(session: AsyncSession, wanted: Collection[tuple[str, int]]) -> dict[tuple[str, int], dict[str, Tally]]:
    """What counts against the limits, by office and hour, and by country in that."""
    found: dict[tuple[str, int], dict[str, Tally]] = defaultdict(dict)
    row = GuardHourRow
    columns = (
        row.office_id, row.hour, row.country, row.calls - row.forgiven_calls, row.spend_micros - row.forgiven_micros,
    )  # fmt: skip
    hours = {hour for _, hour in wanted}
    for some in slices(sorted({office_id for office_id, _ in wanted})):
        query = select(*columns).where(row.office_id.in_(some), row.hour.in_(hours))
        for office_id, hour, country, calls, spend in await session.execute(query):
            found[office_id, hour][country] = Tally(calls, spend)
    return found


async def _record(session: AsyncSession, office_id: str, guards: Sequence[Guard], *, now_ms: int) -> None:
    """Make the guards the office's, beside those that hold still, and tell of them."""

    def changed(office: Office) -> Office:
        holding = tuple(guard for guard in office.guards if now_ms < guard.ends_at)
        return dataclasses.replace(office, guards=(*holding, *guards))

    await change(session, office_id, "office.guard", changed, actor=ACTOR, now_ms=now_ms)
    for guard in guards:
        await notices.record(session, notice.fraud_guard(office_id, guard), now_ms=now_ms)

"""The refills that are not closed, of triggers, attempts and charges together, and why the last attempt failed.

This is what SQL knows. Whether the store still asks for a refill that waits or has failed, it does not: the funds may
have come otherwise. gateway/api/credits/refill_queue.py asks both.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sqlalchemy import Select, func, literal, or_, select, union
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.notice import NoticeKind, key_of
from gateway.domain.payment import ChargePurpose, ChargeStatus, RefillStatus
from gateway.ledger import charges
from gateway.ledger.auto_refills import UNFINISHED
from gateway.ledger.credits import is_refill_credited
from gateway.ledger.database import Database
from gateway.ledger.models import ChargeRow, CreditRow, NoticeRow, OfficeRow, RefillRow, RefillTriggerRow

MAX_OPEN: Final = 200
"""Refills that are listed at a time."""

LOOK_BACK: Final = 10_000
"""Of so many of the newest triggers those are listed that wait or have failed; what is under way is, however old."""

_FAILED_CHARGES: Final = (ChargeStatus.DECLINED, ChargeStatus.NOT_CHARGED)
_OPEN: Final = (*UNFINISHED, RefillStatus.FAILED, RefillStatus.CAPPED, RefillStatus.BRAKED)
_NOT_TRIED: Final = (RefillStatus.CAPPED, RefillStatus.BRAKED)


class RefillStage(StrEnum):
    """Where a refill that is not closed stands."""

    ASKED = "ASKED"
    """Its trigger is in the ledger, and the refiller has yet to look at it."""
    OUTSIDE = "OUTSIDE"
    """Somebody outside is to pay: the office has no card for it."""
    INTENDED = "INTENDED"
    """Begun: it is about to be claimed in the store."""
    CHARGING = "CHARGING"
    """Claimed, and the card is being charged, or it is being found out what became of that."""
    FAILED = "FAILED"
    """The last attempt failed; whether there is another, the store says."""
    CAPPED = "CAPPED"
    """The office had its refills of the day."""
    BRAKED = "BRAKED"
    """A fraud guard of the office has tripped."""


@dataclass(frozen=True, slots=True)
class RefillFailure:
    """Why a refill did not come.

    Attributes:
        refill_id: `<office_id>/<number>`.
        outcome: FAILED, or that no card was asked: CAPPED, the office had its refills of the day, or BRAKED, one of its
            fraud guards has tripped.
        attempt: Which, from 1.
        amount_micros: What was to be charged.
        failed_at: When that was known, in Unix milliseconds.
        decline_code: The provider's; empty: none, or the card was not charged at all.
        cause: In words for people; empty: none is known.
    """

    refill_id: str
    outcome: RefillStatus
    attempt: int
    amount_micros: int
    failed_at: int
    decline_code: str = ""
    cause: str = ""


@dataclass(frozen=True, slots=True)
class OpenRefill:
    """A refill that is not closed.

    Attributes:
        refill_id: `<office_id>/<number>`.
        office_id: Whose.
        number: Of the refill, as the store counts them.
        amount_micros: Asked for; once claimed, what is charged.
        raised_at: When the store first asked for it, in Unix milliseconds.
        stage: Where it stands.
        attempt: The one under way, or the last; 0: none was begun.
        changed_at: When it came to its stage; of ASKED and OUTSIDE, when it was recorded.
        last_failure: Of the last attempt that failed, or None.
    """

    refill_id: str
    office_id: str
    number: int
    amount_micros: int
    raised_at: int
    stage: RefillStage
    attempt: int
    changed_at: int
    last_failure: RefillFailure | None


class OpenRefills:
    """The reading side of refills, for people."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def newest(
        self, limit: int = MAX_OPEN, *, company_id: str | None = None, office_ids: Collection[str] | None = None
    ) -> Sequence[OpenRefill]:
        """The refills that are not closed, the newest first.

        Args:
            limit: How many, at most MAX_OPEN.
            company_id: Only those of this company's offices.
            office_ids: Only those of these offices.

        Raises:
            DatabaseError: The database did not answer.
        """
        async with self._database.read() as session:
            # By itself, so that PostgreSQL sees how few rows lie behind it.
            last_seq = await session.scalar(select(func.max(RefillTriggerRow.seq))) or 0
            query = _not_closed(last_seq).order_by(RefillTriggerRow.seq.desc()).limit(min(limit, MAX_OPEN))
            if company_id is not None:
                of_company = select(OfficeRow.office_id).where(OfficeRow.company_id == company_id)
                query = query.where(RefillTriggerRow.office_id.in_(of_company))
            if office_ids is not None:
                query = query.where(RefillTriggerRow.office_id.in_(office_ids))
            found: list[tuple[RefillTriggerRow, RefillRow | None]] = [
                (row[0], row[1]) for row in await session.execute(query)
            ]
            failures = await _failures(session, [refill for _, refill in found if refill is not None])
        return [_open_refill(trigger, refill, failures.get(trigger.refill_id)) for trigger, refill in found]

    async def last_failure(self, office_id: str) -> RefillFailure | None:
        """Why the newest refill of an office that the gateway pays for has not come.

        Returns:
            The last attempt that failed, also while another is under way; None: none has, or the refill has come since,
            or the funds have come otherwise before it was tried again.

        Raises:
            DatabaseError: The database did not answer.
        """
        async with self._database.read() as session:
            row = await _newest(session, office_id)
            if row is None or row.status not in _OPEN or await is_refill_credited(session, office_id, row.refill_id):
                return None
            if row.status in _NOT_TRIED:
                return RefillFailure(row.refill_id, row.status, row.attempt, row.amount_micros, row.changed_at)
            return (await _failures(session, [row])).get(row.refill_id)

    async def confirmation_url(self, office_id: str) -> str:
        """Where the owner of the card confirms the newest refill of an office; empty: its bank waits for nobody.

        Raises:
            DatabaseError: The database did not answer.
        """
        async with self._database.read() as session:
            row = await _newest(session, office_id)
            charge = None if row is None else await charges.latest(session, ChargePurpose.REFILL, row.refill_id)
        if charge is None or charge.status is not ChargeStatus.ACTION_REQUIRED:
            return ""
        return charge.confirmation_url


async def _newest(session: AsyncSession, office_id: str) -> RefillRow | None:
    query = select(RefillRow).where(RefillRow.office_id == office_id).order_by(RefillRow.number.desc()).limit(1)
    return (await session.scalars(query)).one_or_none()


def _not_closed(last_seq: int) -> Select[RefillTriggerRow, RefillRow]:
    # Not EXISTS: PostgreSQL would make a join of that, and go through all credits that there ever were.
    credit = (
        select(CreditRow.number)
        .where(CreditRow.office_id == RefillTriggerRow.office_id, CreditRow.refill_id == RefillTriggerRow.refill_id)
        .scalar_subquery()
    )
    return (
        select(RefillTriggerRow, RefillRow)
        .outerjoin(RefillRow, RefillRow.refill_id == RefillTriggerRow.refill_id)
        .where(
            RefillTriggerRow.seq.in_(_candidates(last_seq)),
            or_(RefillTriggerRow.is_open.is_(True), RefillRow.status.is_(None), RefillRow.status.in_(_OPEN)),
            credit.is_(None),
        )
    )


def _candidates(last_seq: int) -> Select[int]:
    """Places of triggers, each found by an index: to go through all that there ever were would take seconds."""
    seq = RefillTriggerRow.seq
    # Written into the statement, since SQLite uses a partial index only where it sees the condition of that index.
    unfinished = [literal(status, RefillRow.status.type, literal_execute=True) for status in UNFINISHED]
    found = union(
        select(seq).where(seq > last_seq - LOOK_BACK),
        select(seq).where(RefillTriggerRow.is_open.is_(True)),
        select(seq)
        .join(RefillRow, RefillRow.refill_id == RefillTriggerRow.refill_id)
        .where(RefillRow.status.in_(unfinished)),
    ).subquery()
    return select(found.c.seq)


async def _failures(session: AsyncSession, rows: Sequence[RefillRow]) -> dict[str, RefillFailure]:
    """The failure of each refill's last attempt, or of the one before while that is under way.

    A card that was charged in vain says why in its charge. One that could not be charged at all has none, and then the
    notice that told of it says why.
    """
    attempts = {row.refill_id: row.attempt - (row.status is not RefillStatus.FAILED) for row in rows}
    query = select(ChargeRow).where(
        ChargeRow.purpose == ChargePurpose.REFILL,
        ChargeRow.subject_id.in_(attempts),
        ChargeRow.status.in_(_FAILED_CHARGES),
    )
    found: dict[str, RefillFailure] = {}
    for charge in await session.scalars(query):
        if charge.attempt == attempts[charge.subject_id]:
            found[charge.subject_id] = RefillFailure(
                charge.subject_id,
                RefillStatus.FAILED,
                charge.attempt,
                charge.amount_micros,
                charge.decided_at or charge.created_at,
                charge.decline_code,
                charge.message,
            )
    uncharged = [row for row in rows if row.refill_id not in found and attempts[row.refill_id]]
    notices = await _notices(session, [key for row in uncharged for key in _keys(row.refill_id, attempts)])
    for row in uncharged:
        told = next((notices[key] for key in _keys(row.refill_id, attempts) if key in notices), None)
        if told is not None:
            found[row.refill_id] = RefillFailure(
                row.refill_id,
                RefillStatus.FAILED,
                attempts[row.refill_id],
                row.amount_micros,
                told.created_at,
                cause=str(told.facts.get("cause", "")),
            )
    return found


def _keys(refill_id: str, attempts: dict[str, int]) -> tuple[str, str]:
    """What people were told of a failed attempt under; the last one that was made is told of otherwise."""
    return (
        key_of(NoticeKind.REFILL_FAILED, f"{refill_id}/{attempts[refill_id]}"),
        key_of(NoticeKind.REFILL_OFF, refill_id),
    )


async def _notices(session: AsyncSession, keys: Sequence[str]) -> dict[str, NoticeRow]:
    if not keys:
        return {}
    query = select(NoticeRow).where(NoticeRow.notice_key.in_(keys))
    return {row.notice_key: row for row in await session.scalars(query)}


def _open_refill(trigger: RefillTriggerRow, refill: RefillRow | None, last_failure: RefillFailure | None) -> OpenRefill:
    if trigger.is_open:
        stage = RefillStage.ASKED
    else:
        stage = RefillStage.OUTSIDE if refill is None else RefillStage(refill.status)
    is_begun = refill is not None and stage is not RefillStage.ASKED
    return OpenRefill(
        refill_id=trigger.refill_id,
        office_id=trigger.office_id,
        number=int(trigger.refill_id.rpartition("/")[2]),
        amount_micros=refill.amount_micros if refill is not None and is_begun else trigger.amount_micros,
        raised_at=trigger.raised_at,
        stage=stage,
        attempt=0 if refill is None else refill.attempt,
        changed_at=refill.changed_at if refill is not None and is_begun else trigger.recorded_at,
        last_failure=last_failure,
    )

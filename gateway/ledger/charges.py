"""Charges of cards: written down before the card is charged, decided once, and never decided without what follows.

Two promises, and everything else follows from them:

- `intend` commits before the provider hears of a charge. Whatever happens then, there is a row that somebody looks up.
- `decide` records an outcome, and in the same transaction whatever follows from it: the numbered credit, the purchase
  that is paid, the notice. There is no moment at which a charge is known to have succeeded and its credit is not there.

What follows is given by purpose when the repository is made (`consequences`): this module knows no purchases.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from sqlalchemy import ColumnElement, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.payment import ChargePurpose, ChargeStatus
from gateway.ledger import audit
from gateway.ledger.database import Database
from gateway.ledger.errors import ChargeContradicted, LedgerBroken
from gateway.ledger.installation import provider_key
from gateway.ledger.models import CardLockRow, ChargeRow, PaymentMethodRow

ACTOR: Final = "billing"
"""Who the audit log says decided a charge: nobody asked for the outcome."""

SENDING_MS: Final = 20_000
"""How long a process may take to send what it has written down, and to record what came of it.

Until then nobody else looks the charge up, since that puts an end to one that was not made yet. Whether one that is
just being made is ended does no harm to anybody's money, but to the patience of whoever buys.
"""

MAX_ATTEMPTS: Final = 3
"""To charge a card for one thing before whoever wants it has to say so again."""

GO_ON_MS: Final = 3_600_000
"""How long after an attempt was written down another may follow by itself: later a charge would be a surprise."""

_OPEN: Final = frozenset({ChargeStatus.INTENDED, ChargeStatus.ACTION_REQUIRED})


@dataclass(frozen=True, slots=True)
class NewCharge:
    """A charge that is to be made.

    Attributes:
        office_id: Whose card it is.
        purpose: What for.
        subject_id: The purchase, the refill or the payment method.
        attempt: Of this subject, from 1; each has a provider key of its own.
        amount_micros: Above zero, a whole number of minor units.
        payment_method_id: The card.
    """

    office_id: str
    purpose: ChargePurpose
    subject_id: str
    attempt: int
    amount_micros: int
    payment_method_id: str


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge; `charge_key` is the provider's idempotency key of it.

    `look_ups` and `next_look_at` are for whoever asks the provider: how often it was asked in vain since the last
    change, and when it is to be asked again.
    """

    charge_key: str
    office_id: str
    purpose: ChargePurpose
    subject_id: str
    attempt: int
    amount_micros: int
    payment_method_id: str
    status: ChargeStatus
    provider_charge_id: str
    decline_code: str
    can_retry: bool
    message: str
    confirmation_url: str
    created_at: int
    decided_at: int | None
    given_back_at: int | None
    look_ups: int
    next_look_at: int

    @property
    def is_decided(self) -> bool:
        """Whether the outcome is known, for good."""
        return self.status not in _OPEN

    def may_go_on(self, now_ms: int) -> bool:
        """Whether another attempt may follow by itself.

        So it is where this one was never made (the process died before it was sent, say), while whoever asked for it
        can be thought to wait for it. What a card's bank has declined, or its owner did not confirm, only its owner may
        ask for again.
        """
        return (
            self.status is ChargeStatus.NOT_CHARGED
            and self.can_retry
            and not self.provider_charge_id
            and self.attempt < MAX_ATTEMPTS
            and now_ms < self.created_at + GO_ON_MS
        )


@dataclass(frozen=True, slots=True)
class Intended:
    """A charge that is written down, and whether it was just now: only then it is to be sent."""

    charge: Charge
    is_new: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the provider said became of a charge: ACTION_REQUIRED, or one of the final states."""

    status: ChargeStatus
    provider_charge_id: str = ""
    decline_code: str = ""
    message: str = ""
    can_retry: bool = False
    confirmation_url: str = ""


Consequence: TypeAlias = Callable[[AsyncSession, Charge, int], Awaitable[Charge | None]]
"""What follows from a new state of a charge, in the transaction that records it: the charge as it is, and the time.

Called once for each change: when its owner is asked to confirm it, and when it is decided. It returns the charge of the
next attempt if it has intended one, which is then sent right after the commit.
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """A charge as it is recorded now, and the next attempt that follows from it and is to be sent; mostly None."""

    charge: Charge
    successor: Charge | None = None


async def intend(session: AsyncSession, new: NewCharge, *, actor: str, now_ms: int) -> Intended:
    """Write a charge down, in the transaction of whatever asks for it; it is charged after the commit.

    Once for a subject and attempt: a repeat gets the charge that there is.
    """
    existing = await find(session, new.purpose, new.subject_id, new.attempt)
    if existing is not None:
        return Intended(existing, is_new=False)
    row = ChargeRow(
        charge_key=await provider_key(session, new.subject_id, new.attempt),
        office_id=new.office_id,
        purpose=new.purpose,
        subject_id=new.subject_id,
        attempt=new.attempt,
        amount_micros=new.amount_micros,
        payment_method_id=new.payment_method_id,
        status=ChargeStatus.INTENDED,
        provider_charge_id="",
        decline_code="",
        can_retry=False,
        message="",
        confirmation_url="",
        created_at=now_ms,
        decided_at=None,
        given_back_at=None,
        look_ups=0,
        next_look_at=now_ms + SENDING_MS,
    )
    session.add(row)
    charge = _charge(row)
    _record(session, now_ms, actor, "charge.intend", None, charge)
    return Intended(charge, is_new=True)


async def find(session: AsyncSession, purpose: ChargePurpose, subject_id: str, attempt: int) -> Charge | None:
    """The charge of an attempt, or None."""
    query = select(ChargeRow).where(*_of_subject(purpose, subject_id), ChargeRow.attempt == attempt)
    row = (await session.scalars(query)).one_or_none()
    return None if row is None else _charge(row)


async def latest(session: AsyncSession, purpose: ChargePurpose, subject_id: str) -> Charge | None:
    """The charge of the last attempt, or None: there was no attempt yet."""
    query = select(ChargeRow).where(*_of_subject(purpose, subject_id)).order_by(ChargeRow.attempt.desc()).limit(1)
    row = (await session.scalars(query)).one_or_none()
    return None if row is None else _charge(row)


class Charges:
    """The repository of charges.

    Args:
        database: Where they are.
        consequences: What follows from a charge of each purpose that is used.
    """

    def __init__(self, database: Database, consequences: Mapping[ChargePurpose, Consequence]) -> None:
        self._database = database
        self._consequences = dict(consequences)

    async def intend(self, new: NewCharge, *, actor: str, now_ms: int) -> Intended:
        """Write a charge down in a transaction of its own; as the function `intend`.

        Raises:
            DatabaseError: It is written down or not: repeat it with the same attempt.
        """

        async def insert(session: AsyncSession) -> Intended:
            return await intend(session, new, actor=actor, now_ms=now_ms)

        return await self._database.transact(insert)

    async def get(self, charge_key: str) -> Charge:
        """One charge.

        Raises:
            LedgerBroken: There is none of this key: keys come from here only.
        """
        async with self._database.read() as session:
            row = await session.get(ChargeRow, charge_key)
        if row is None:
            raise LedgerBroken(f"There is no charge {charge_key!r}.")
        return _charge(row)

    async def find(self, purpose: ChargePurpose, subject_id: str, attempt: int) -> Charge | None:
        """The charge of an attempt, or None."""
        async with self._database.read() as session:
            return await find(session, purpose, subject_id, attempt)

    async def latest(self, purpose: ChargePurpose, subject_id: str) -> Charge | None:
        """The charge of the last attempt, or None: there was no attempt yet."""
        async with self._database.read() as session:
            return await latest(session, purpose, subject_id)

    async def find_by_provider(self, charge_key: str | None, provider_charge_id: str | None) -> Charge | None:
        """The charge that a provider speaks of, by our key or else by its own name of it; None: it is not ours."""
        async with self._database.read() as session:
            row = await session.get(ChargeRow, charge_key) if charge_key else None
            if row is None and provider_charge_id:
                query = select(ChargeRow).where(ChargeRow.provider_charge_id == provider_charge_id)
                row = (await session.scalars(query.limit(1))).one_or_none()
        return None if row is None else _charge(row)

    async def decide(self, charge_key: str, verdict: Verdict, *, now_ms: int) -> Decision:
        """Record what became of a charge, with everything that follows from it, in one transaction.

        A charge that is decided stays as it is: whoever comes second, with the same outcome, gets it as it is.

        Raises:
            ChargeContradicted: The provider has taken the money of a charge that was recorded as failed. Nothing is
                changed; a person has to look.
            DatabaseError: It is recorded or not: repeat it.
        """

        async def update(session: AsyncSession) -> Decision:
            row = await _locked(session, charge_key)
            before = _charge(row)
            if before.is_decided:
                if verdict.status is ChargeStatus.SUCCEEDED and before.status is not ChargeStatus.SUCCEEDED:
                    raise ChargeContradicted(charge_key, before.status)
                return Decision(before)
            row.status = verdict.status
            row.provider_charge_id = verdict.provider_charge_id or row.provider_charge_id
            row.decline_code, row.can_retry = verdict.decline_code[:64], verdict.can_retry
            row.message, row.confirmation_url = verdict.message[:500], verdict.confirmation_url
            if verdict.status not in _OPEN:
                row.decided_at = now_ms
            if verdict.status is not before.status:
                # Looked up anew from the first pause on; a link that only was renewed keeps its pace.
                row.look_ups, row.next_look_at = 0, now_ms
            after = _charge(row)
            if after.status is before.status:
                return Decision(after)
            _record(session, now_ms, ACTOR, "charge.decide", before, after)
            return Decision(after, await self._consequences[after.purpose](session, after, now_ms))

        return await self._database.transact(update)

    async def postpone(self, charge_key: str, *, next_look_at: int) -> Charge:
        """Note that the provider was asked in vain, and when it is to be asked again."""
        async with self._database.write() as session:
            row = await _locked(session, charge_key)
            row.look_ups += 1
            row.next_look_at = next_look_at
            return _charge(row)

    async def mark_given_back(self, charge_key: str, *, now_ms: int) -> Charge:
        """Note that a charge was given back to its card; a repeat changes nothing."""
        async with self._database.write() as session:
            row = await _locked(session, charge_key)
            before = _charge(row)
            if before.given_back_at is not None:
                return before
            row.given_back_at = now_ms
            after = _charge(row)
            _record(session, now_ms, ACTOR, "charge.give_back", before, after)
            return after

    async def undecided(self, limit: int, *, now_ms: int) -> Sequence[Charge]:
        """Charges whose outcome is not known and is to be asked for now, those that wait longest first."""
        query = (
            select(ChargeRow)
            .where(ChargeRow.decided_at.is_(None), ChargeRow.next_look_at <= now_ms)
            .order_by(ChargeRow.next_look_at)
            .limit(limit)
        )
        async with self._database.read() as session:
            return [_charge(row) for row in await session.scalars(query)]

    async def to_give_back(self, limit: int, *, now_ms: int, decided_before: int) -> Sequence[Charge]:
        """Small charges that have done their work: the card is confirmed, removed or locked, or too long was waited.

        Args:
            limit: How many.
            now_ms: Those that are to be tried again later are left out.
            decided_before: What was charged before this instant is given back whether it has done its work or not.
        """
        is_locked = exists().where(
            CardLockRow.fingerprint == PaymentMethodRow.fingerprint, CardLockRow.locked_at.is_not(None)
        )
        is_over = or_(
            PaymentMethodRow.confirmed_at.is_not(None),
            PaymentMethodRow.removed_at.is_not(None),
            ChargeRow.decided_at <= decided_before,
            is_locked,
        )
        query = (
            select(ChargeRow)
            .join(PaymentMethodRow, PaymentMethodRow.payment_method_id == ChargeRow.payment_method_id)
            .where(
                and_(ChargeRow.purpose == ChargePurpose.CONFIRMATION, ChargeRow.given_back_at.is_(None)),
                ChargeRow.status == ChargeStatus.SUCCEEDED,
                ChargeRow.next_look_at <= now_ms,
                is_over,
            )
            .order_by(ChargeRow.next_look_at)
            .limit(limit)
        )
        async with self._database.read() as session:
            return [_charge(row) for row in await session.scalars(query)]

    async def count_undecided(self) -> int:
        """How many charges there are of which nobody knows yet what became of them."""
        async with self._database.read() as session:
            query = select(func.count()).select_from(ChargeRow).where(ChargeRow.decided_at.is_(None))
            return await session.scalar(query) or 0


async def _locked(session: AsyncSession, charge_key: str) -> ChargeRow:
    row = await session.get(ChargeRow, charge_key, with_for_update=True)
    if row is None:
        raise LedgerBroken(f"There is no charge {charge_key!r}.")
    return row


def _of_subject(purpose: ChargePurpose, subject_id: str) -> tuple[ColumnElement[bool], ...]:
    return ChargeRow.purpose == purpose, ChargeRow.subject_id == subject_id


@dataclass(frozen=True, slots=True)
class _Logged:
    """What the audit log keeps of a charge. Not the amount of a confirmation: that is the question to be answered."""

    office_id: str
    purpose: ChargePurpose
    subject_id: str
    amount_micros: int | None
    payment_method_id: str
    status: ChargeStatus
    provider_charge_id: str
    decline_code: str
    given_back_at: int | None


def _record(session: AsyncSession, now_ms: int, actor: str, action: str, before: Charge | None, after: Charge) -> None:
    target = f"charge:{after.charge_key}"
    old, new = None if before is None else _logged(before), _logged(after)
    audit.record(session, now_ms=now_ms, actor=actor, action=action, target=target, before=old, after=new)


def _logged(charge: Charge) -> _Logged:
    return _Logged(
        charge.office_id,
        charge.purpose,
        charge.subject_id,
        None if charge.purpose is ChargePurpose.CONFIRMATION else charge.amount_micros,
        charge.payment_method_id,
        charge.status,
        charge.provider_charge_id,
        charge.decline_code,
        charge.given_back_at,
    )


def _charge(row: ChargeRow) -> Charge:
    return Charge(
        charge_key=row.charge_key,
        office_id=row.office_id,
        purpose=row.purpose,
        subject_id=row.subject_id,
        attempt=row.attempt,
        amount_micros=row.amount_micros,
        payment_method_id=row.payment_method_id,
        status=row.status,
        provider_charge_id=row.provider_charge_id,
        decline_code=row.decline_code,
        can_retry=row.can_retry,
        message=row.message,
        confirmation_url=row.confirmation_url,
        created_at=row.created_at,
        decided_at=row.decided_at,
        given_back_at=row.given_back_at,
        look_ups=row.look_ups,
        next_look_at=row.next_look_at,
    )

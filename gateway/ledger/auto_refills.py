"""Automatic refills that the gateway pays for itself: from the trigger to the credit, each step durable.

A refill is begun when the journal has its trigger (INTENDED), claimed in the store, charged (CHARGING), and then failed
or credited by the transaction that records the charge (`refill_decided`). Its attempts are counted here: the key of
each at the provider is made of the refill and the attempt, and no number is ever used again.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain import notice
from gateway.domain.credit import OWN_KEY_PREFIX, CreditKind, CreditRequest
from gateway.domain.notice import Notice
from gateway.domain.payment import ChargePurpose, ChargeStatus, RefillStatus
from gateway.domain.vocabulary import PaymentTerms
from gateway.ledger import audit, charges, notices, payment_methods
from gateway.ledger.card_notices import ask_to_confirm, card_of
from gateway.ledger.charges import Charge, Intended, NewCharge
from gateway.ledger.credits import Credit, is_refill_credited, number_credit
from gateway.ledger.database import Database
from gateway.ledger.errors import LedgerBroken, RefillAlreadyCredited
from gateway.ledger.invoices import add_item
from gateway.ledger.models import OfficeRow, PaymentMethodRow, RefillRow, RefillTriggerRow

ACTOR: Final = "refiller"
UNFINISHED: Final = (RefillStatus.INTENDED, RefillStatus.CHARGING)
_OVER: Final = (RefillStatus.NOT_NEEDED, RefillStatus.FAILED, RefillStatus.CAPPED, RefillStatus.BRAKED)


@dataclass(frozen=True, slots=True)
class AutoRefill:
    """A refill. INTENDED and CHARGING ones are under way in their attempt; the others are over for now.

    Attributes:
        refill_id: `<office_id>/<number>`.
        office_id: Whose.
        number: Of the refill, as the store counts them.
        amount_micros: Asked for; once claimed, what is charged.
        status: Where it stands.
        attempt: The one under way, or the last, from 1.
        credit_number: Once CREDITED.
        changed_at: When it came to its status.
    """

    refill_id: str
    office_id: str
    number: int
    amount_micros: int
    status: RefillStatus
    attempt: int
    credit_number: int | None
    changed_at: int


@dataclass(frozen=True, slots=True)
class Payer:
    """How an office pays for its refills now.

    Attributes:
        terms: By card or on an invoice.
        payment_method_id: The card; empty: somebody outside charges, unless it is invoiced.
        time_zone: Decides where its day begins.
        guarded_until: When the last of the office's fraud guards ends, in Unix milliseconds; 0: none has tripped.
    """

    terms: PaymentTerms
    payment_method_id: str
    time_zone: str
    guarded_until: int

    @property
    def is_ours(self) -> bool:
        """Whether the gateway pays for the refill itself."""
        return self.terms is PaymentTerms.INVOICE or bool(self.payment_method_id)


class AutoRefills:
    """The repository of automatic refills.

    Args:
        database: Where they are.
        provider: The name of the payment provider in use.
    """

    def __init__(self, database: Database, provider: str) -> None:
        self._database = database
        self._provider = provider

    async def asked_for(self, limit: int) -> Sequence[str]:
        """Ids of the refills whose trigger nobody has looked at yet, the oldest first."""
        query = (
            select(RefillTriggerRow.refill_id)
            .where(RefillTriggerRow.is_open.is_(True))
            .order_by(RefillTriggerRow.seq)
            .limit(limit)
        )
        async with self._database.read() as session:
            return (await session.scalars(query)).all()

    async def begin(self, refill_ids: Collection[str], *, now_ms: int) -> list[AutoRefill]:
        """Take triggers, in one transaction: the refills are INTENDED, each with a new attempt.

        Returns:
            Those that are. Others are credited or under way already, somebody outside is to pay, the office is gone, or
            another gateway has taken the trigger or is doing so.
        """
        open_ones = (
            select(RefillTriggerRow)
            .where(RefillTriggerRow.refill_id.in_(refill_ids), RefillTriggerRow.is_open.is_(True))
            # The offices in one order, as they are locked: two gateways do not wait for each other.
            .order_by(RefillTriggerRow.office_id, RefillTriggerRow.seq)
            .with_for_update(skip_locked=True)
        )

        async def take(session: AsyncSession) -> list[AutoRefill]:
            begun = [await _begin(session, each, now_ms) for each in (await session.scalars(open_ones)).all()]
            return [each for each in begun if each is not None]

        return await self._database.transact(take)

    async def unfinished(self, limit: int, after: str = "") -> Sequence[AutoRefill]:
        """Refills that are under way, by id behind a cursor."""
        query = (
            select(RefillRow)
            .where(RefillRow.status.in_(UNFINISHED), RefillRow.refill_id > after)
            .order_by(RefillRow.refill_id)
            .limit(limit)
        )
        async with self._database.read() as session:
            return [_refill(row) for row in await session.scalars(query)]

    async def find(self, refill_id: str) -> AutoRefill | None:
        """A refill as it stands; None: the gateway never began it."""
        async with self._database.read() as session:
            row = await session.get(RefillRow, refill_id)
        return None if row is None else _refill(row)

    async def payer(self, office_id: str) -> Payer:
        """How an office pays for its refills now."""
        async with self._database.read() as session:
            return _payer(await session.get_one(OfficeRow, office_id))

    async def credited_since(self, office_id: str, since_ms: int) -> int:
        """How many refills an office has had since an instant."""
        query = (
            select(func.count())
            .select_from(RefillRow)
            .where(
                RefillRow.office_id == office_id,
                RefillRow.status == RefillStatus.CREDITED,
                RefillRow.changed_at >= since_ms,
            )
        )
        async with self._database.read() as session:
            return await session.scalar(query) or 0

    async def charge(
        self, refill: AutoRefill, amount_micros: int, payment_method_id: str, *, now_ms: int
    ) -> Intended | None:
        """Write down the charge of a claimed refill: it is CHARGING, and to be sent after the commit.

        Returns:
            The charge; None: another gateway has gone on with the refill meanwhile.

        Raises:
            PaymentMethodNotFound, CardUnusable: The card cannot pay; nothing is changed.
        """

        async def intend(session: AsyncSession) -> Intended | None:
            row = await _locked(session, refill)
            if row is None or row.status is not RefillStatus.INTENDED:
                return None
            await payment_methods.usable(
                session, refill.office_id, payment_method_id, provider=self._provider, now_ms=now_ms
            )
            before = _refill(row)
            row.status, row.amount_micros, row.changed_at = RefillStatus.CHARGING, amount_micros, now_ms
            new = NewCharge(
                office_id=refill.office_id,
                purpose=ChargePurpose.REFILL,
                subject_id=refill.refill_id,
                attempt=refill.attempt,
                amount_micros=amount_micros,
                payment_method_id=payment_method_id,
            )
            _record(session, now_ms, "refill.charge", before, _refill(row))
            return await charges.intend(session, new, actor=ACTOR, now_ms=now_ms)

        return await self._database.transact(intend)

    async def invoice(self, refill: AutoRefill, amount_micros: int, *, now_ms: int) -> AutoRefill | None:
        """Credit a claimed refill of an invoiced office, with an item on its next invoice; None as `charge`."""

        async def credit(session: AsyncSession) -> AutoRefill | None:
            row = await _locked(session, refill)
            if row is None or row.status is not RefillStatus.INTENDED:
                return None
            row.amount_micros = amount_micros
            numbered = await _number(session, row, now_ms)
            month = await add_item(session, row.refill_id, numbered, now_ms=now_ms)
            await _credited(session, row, numbered, notice.OnInvoice(month), now_ms)
            return _refill(row)

        return await self._database.transact(credit)

    async def close(
        self, refill: AutoRefill, status: RefillStatus, told: Notice | None = None, *, now_ms: int
    ) -> AutoRefill | None:
        """End a refill's attempt: not needed, failed, capped or braked; its next trigger begins another.

        Args:
            refill: As it was read; one that has moved on since is left alone.
            status: What it comes to.
            told: What people are told of it.
            now_ms: When.

        Returns:
            The refill; None: another gateway has gone on with it meanwhile.
        """

        async def end(session: AsyncSession) -> AutoRefill | None:
            row = await _locked(session, refill)
            if row is None or row.status is not refill.status:
                return None
            before = _refill(row)
            row.status, row.changed_at = status, now_ms
            after = _refill(row)
            _record(session, now_ms, "refill.close", before, after)
            if told is not None:
                await notices.record(session, told, now_ms=now_ms)
            return after

        return await self._database.transact(end)

    async def over(self, refill_ids: Collection[str]) -> Sequence[str]:
        """Those of some refills that are over here; one under way, credited or somebody else's to pay for is not."""
        query = select(RefillRow.refill_id).where(RefillRow.refill_id.in_(refill_ids), RefillRow.status.in_(_OVER))
        async with self._database.read() as session:
            return (await session.scalars(query)).all()

    async def ask_again(self, refill_id: str) -> bool:
        """Open the trigger of a refill that is over here and is still asked for by the store.

        Returns:
            Whether it is over.
        """

        async def reopen(session: AsyncSession) -> bool:
            row = await session.get(RefillRow, refill_id, with_for_update=True)
            if row is None or row.status not in _OVER:
                return False
            await session.execute(
                update(RefillTriggerRow).where(RefillTriggerRow.refill_id == refill_id).values(is_open=True)
            )
            return True

        return await self._database.transact(reopen)

    async def card(self, payment_method_id: str) -> notice.ByCard:
        """What may be told of a card; of one that is not there, nothing."""
        async with self._database.read() as session:
            row = await session.get(PaymentMethodRow, payment_method_id)
        return notice.ByCard("", "") if row is None else notice.ByCard(row.brand, row.last_four)


async def refill_decided(session: AsyncSession, charge: Charge, now_ms: int) -> Charge | None:
    """What follows from the charge of a refill, in the transaction that records what became of it.

    One that failed is the refiller's to report to the store, which decides whether and when there is another attempt.
    """
    row = await session.get(RefillRow, charge.subject_id, with_for_update=True)
    if row is None:
        raise LedgerBroken(f"The refill {charge.subject_id!r} is gone.")
    if charge.status is ChargeStatus.ACTION_REQUIRED:
        await ask_to_confirm(session, charge, now_ms=now_ms)
    elif charge.status is ChargeStatus.SUCCEEDED:
        numbered = await _number(session, row, now_ms)
        await _credited(session, row, numbered, await card_of(session, charge), now_ms)
    return None


async def _begin(session: AsyncSession, trigger: RefillTriggerRow, now_ms: int) -> AutoRefill | None:
    trigger.is_open = False
    office = await session.get(OfficeRow, trigger.office_id, with_for_update=True)
    if (
        office is None
        or not _payer(office).is_ours
        or await is_refill_credited(session, office.office_id, trigger.refill_id)
    ):
        return None
    row = await session.get(RefillRow, trigger.refill_id, with_for_update=True)
    if row is not None and row.status in (*UNFINISHED, RefillStatus.CREDITED):
        return None
    before = None if row is None else _refill(row)
    if row is None:
        row = RefillRow(
            refill_id=trigger.refill_id,
            office_id=office.office_id,
            number=int(trigger.refill_id.rpartition("/")[2]),
            attempt=0,
            credit_number=None,
            created_at=now_ms,
        )
        session.add(row)
    row.amount_micros, row.attempt = trigger.amount_micros, row.attempt + 1
    row.status, row.changed_at = RefillStatus.INTENDED, now_ms
    after = _refill(row)
    _record(session, now_ms, "refill.begin", before, after)
    return after


async def _number(session: AsyncSession, row: RefillRow, now_ms: int) -> Credit:
    """Number the credit of a refill whose money is sure, also if somebody outside was faster to close the refill."""

    async def number(refill_id: str | None, reason: str) -> Credit:
        request = CreditRequest(
            office_id=row.office_id,
            amount_micros=row.amount_micros,
            kind=CreditKind.REFILL,
            reason=reason,
            idempotency_key=f"{OWN_KEY_PREFIX}refill:{row.refill_id}",
            refill_id=refill_id,
        )
        return (await number_credit(session, request, actor=ACTOR, now_ms=now_ms)).credit

    try:
        return await number(row.refill_id, f"automatic refill {row.refill_id}")
    except RefillAlreadyCredited:
        return await number(None, f"automatic refill {row.refill_id}, which was closed from outside meanwhile")


async def _credited(session: AsyncSession, row: RefillRow, credit: Credit, paid: notice.Payment, now_ms: int) -> None:
    before = _refill(row)
    row.status, row.credit_number, row.changed_at = RefillStatus.CREDITED, credit.number, now_ms
    _record(session, now_ms, "refill.credit", before, _refill(row))
    done = notice.refill_done(row.office_id, row.refill_id, amount_micros=row.amount_micros, paid=paid, paid_at=now_ms)
    await notices.record(session, done, now_ms=now_ms)


async def _locked(session: AsyncSession, refill: AutoRefill) -> RefillRow | None:
    """The row, while it is in the attempt that was read."""
    row = await session.get(RefillRow, refill.refill_id, with_for_update=True)
    return None if row is None or row.attempt != refill.attempt else row


def _payer(office: OfficeRow) -> Payer:
    return Payer(office.payment_terms, office.refill_payment_method_id, office.time_zone, office.guarded_until)


def _record(session: AsyncSession, now_ms: int, action: str, before: AutoRefill | None, after: AutoRefill) -> None:
    target = f"refill:{after.refill_id}"
    audit.record(session, now_ms=now_ms, actor=ACTOR, action=action, target=target, before=before, after=after)


def _refill(row: RefillRow) -> AutoRefill:
    return AutoRefill(
        refill_id=row.refill_id,
        office_id=row.office_id,
        number=row.number,
        amount_micros=row.amount_micros,
        status=row.status,
        attempt=row.attempt,
        credit_number=row.credit_number,
        changed_at=row.changed_at,
    )

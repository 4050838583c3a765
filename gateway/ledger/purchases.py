"""Purchases of credits: asked for once per idempotency key, paid by a card or on the next invoice."""

import hashlib
import json
import secrets
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain import notice
from gateway.domain.credit import OWN_KEY_PREFIX, CreditKind, CreditRequest, transaction_id
from gateway.domain.ids import validate_amount, validate_id, validate_office_id
from gateway.domain.payment import ChargePurpose, ChargeStatus, PurchaseStatus
from gateway.domain.vocabulary import OfficeState, PaymentTerms
from gateway.errors import InvalidArgument
from gateway.ledger import audit, charges, notices, payment_methods
from gateway.ledger.card_notices import ask_to_confirm, card_of
from gateway.ledger.charges import Charge, NewCharge
from gateway.ledger.credits import Credit, number_credit
from gateway.ledger.database import Database
from gateway.ledger.errors import (
    IdempotencyKeyReused,
    LedgerBroken,
    OfficeNotFound,
    OfficeSuspended,
    PaymentMethodNotAllowed,
    PaymentMethodRequired,
)
from gateway.ledger.invoices import add_item
from gateway.ledger.models import CreditRow, OfficeRow, PurchaseRow


@dataclass(frozen=True, slots=True)
class PurchaseRequest:
    """Credits that somebody wants to buy; payment_method_id is empty for an office that gets invoices."""

    office_id: str
    amount_micros: int
    payment_method_id: str
    idempotency_key: str

    def validate(self) -> None:
        """Hold every value against its range.

        Raises:
            InvalidArgument: Names the first field that is wrong, and what it may be.
        """
        validate_office_id(self.office_id)
        validate_amount(self.amount_micros, "amount_micros", lowest=1)
        if self.payment_method_id:
            validate_id(self.payment_method_id, "payment_method_id")
        validate_id(self.idempotency_key, "idempotency_key")
        if self.idempotency_key.startswith(OWN_KEY_PREFIX):
            raise InvalidArgument("idempotency_key", f"must not begin with {OWN_KEY_PREFIX!r}, which is the gateway's")

    @property
    def content_hash(self) -> str:
        """What a repeat under the same key must agree in, as SHA-256 in hex."""
        return hashlib.sha256(json.dumps([self.amount_micros, self.payment_method_id]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Purchase:
    """A purchase. PAID and INVOICED ones have the number of their credit."""

    purchase_id: str
    office_id: str
    amount_micros: int
    payment_method_id: str | None
    idempotency_key: str
    status: PurchaseStatus
    credit_number: int | None
    actor: str
    created_at: int


@dataclass(frozen=True, slots=True)
class NewPurchase:
    """The answer to a request: the purchase, and whether it was there before."""

    purchase: Purchase
    replayed: bool


class Purchases:
    """The repository of purchases.

    Args:
        database: Where they are.
        provider: The name of the payment provider in use.
    """

    def __init__(self, database: Database, provider: str) -> None:
        self._database = database
        self._provider = provider

    async def begin(self, request: PurchaseRequest, *, actor: str, now_ms: int) -> NewPurchase:
        """Write a purchase down, once per idempotency key, for ever: with the intent of its charge, or invoiced.

        Everything that decides whether the office may buy so is looked at in this transaction. A refused purchase
        leaves nothing behind, and its key free.

        Args:
            request: What is asked for.
            actor: Who.
            now_ms: When.

        Raises:
            InvalidArgument: A value is out of its range.
            OfficeNotFound: There is no office of this id.
            IdempotencyKeyReused: The office has used this key for another purchase.
            FailedPrecondition: The office is suspended, or does not pay so.
            PaymentMethodNotFound, CardUnusable: The card cannot pay.
            DatabaseError: It is written down or not: repeat with the same key.
        """
        request.validate()

        async def insert(session: AsyncSession) -> NewPurchase:
            office = await session.get(OfficeRow, request.office_id, with_for_update=True)
            if office is None:
                raise OfficeNotFound(request.office_id)
            existing = await _by_key(session, request.office_id, request.idempotency_key)
            if existing is not None:
                if existing.content_hash != request.content_hash:
                    raise IdempotencyKeyReused(request.idempotency_key)
                return NewPurchase(_purchase(existing), replayed=True)
            if office.state is OfficeState.SUSPENDED:
                raise OfficeSuspended(request.office_id)
            row = PurchaseRow(
                purchase_id=f"pur_{secrets.token_hex(12)}",
                office_id=request.office_id,
                amount_micros=request.amount_micros,
                payment_method_id=request.payment_method_id or None,
                idempotency_key=request.idempotency_key,
                content_hash=request.content_hash,
                status=PurchaseStatus.CHARGING,
                credit_number=None,
                actor=actor,
                created_at=now_ms,
            )
            if office.payment_terms is PaymentTerms.INVOICE:
                await self._invoice(session, row, now_ms)
            else:
                await self._intend(session, row, now_ms)
            return NewPurchase(_purchase(row), replayed=False)

        return await self._database.transact(insert)

    async def find(self, office_id: str, idempotency_key: str) -> Purchase | None:
        """The purchase of an idempotency key, or None."""
        async with self._database.read() as session:
            row = await _by_key(session, office_id, idempotency_key)
        return None if row is None else _purchase(row)

    async def latest(self, office_id: str) -> Purchase | None:
        """The newest purchase of an office that was not refused, or None: one that is under way may yet be paid."""
        query = (
            select(PurchaseRow)
            .where(PurchaseRow.office_id == office_id, PurchaseRow.status != PurchaseStatus.DECLINED)
            .order_by(PurchaseRow.created_at.desc(), PurchaseRow.credit_number.desc().nulls_first())
            .limit(1)
        )
        async with self._database.read() as session:
            row = (await session.scalars(query)).one_or_none()
        return None if row is None else _purchase(row)

    async def is_credited(self, purchase: Purchase) -> bool:
        """Whether the credit of a purchase has moved its money: shortly after it was paid."""
        if purchase.credit_number is None:
            return False
        query = select(CreditRow.applied_at).where(
            CreditRow.office_id == purchase.office_id, CreditRow.number == purchase.credit_number
        )
        async with self._database.read() as session:
            return await session.scalar(query) is not None

    async def get(self, purchase_id: str) -> Purchase:
        """One purchase.

        Raises:
            LedgerBroken: There is none of this id: ids come from here only.
        """
        async with self._database.read() as session:
            row = await session.get(PurchaseRow, purchase_id)
        if row is None:
            raise LedgerBroken(f"There is no purchase {purchase_id!r}.")
        return _purchase(row)

    async def _intend(self, session: AsyncSession, row: PurchaseRow, now_ms: int) -> None:
        if not row.payment_method_id:
            raise PaymentMethodRequired
        await payment_methods.usable(
            session, row.office_id, row.payment_method_id, provider=self._provider, now_ms=now_ms
        )
        session.add(row)
        _record(session, now_ms, row.actor, "purchase.create", None, _purchase(row))
        await _intend(session, row, 1, now_ms)

    async def _invoice(self, session: AsyncSession, row: PurchaseRow, now_ms: int) -> None:
        if row.payment_method_id:
            raise PaymentMethodNotAllowed
        credit = await _number(session, row, now_ms)
        row.status, row.credit_number = PurchaseStatus.INVOICED, credit.number
        session.add(row)
        _record(session, now_ms, row.actor, "purchase.create", None, _purchase(row))
        month = await add_item(session, row.purchase_id, credit, now_ms=now_ms)
        await _tell(session, row, notice.OnInvoice(month), now_ms)


async def purchase_decided(session: AsyncSession, charge: Charge, now_ms: int) -> Charge | None:
    """What follows from the charge of a purchase, in the transaction that records what became of it."""
    row = await session.get(PurchaseRow, charge.subject_id, with_for_update=True)
    if row is None:
        raise LedgerBroken(f"The purchase {charge.subject_id!r} is gone.")
    if charge.status is ChargeStatus.ACTION_REQUIRED:
        await ask_to_confirm(session, charge, now_ms=now_ms)
        return None
    if charge.may_go_on(now_ms):
        return await _intend(session, row, charge.attempt + 1, now_ms)
    before = _purchase(row)
    if charge.status is ChargeStatus.SUCCEEDED:
        credit = await _number(session, row, now_ms)
        row.status, row.credit_number = PurchaseStatus.PAID, credit.number
        await _tell(session, row, await card_of(session, charge), now_ms)
    else:
        row.status = PurchaseStatus.DECLINED
    _record(session, now_ms, charges.ACTOR, "purchase.settle", before, _purchase(row))
    return None


async def _intend(session: AsyncSession, row: PurchaseRow, attempt: int, now_ms: int) -> Charge:
    if row.payment_method_id is None:
        raise LedgerBroken(f"The purchase {row.purchase_id!r} has no card.")
    new = NewCharge(
        office_id=row.office_id,
        purpose=ChargePurpose.PURCHASE,
        subject_id=row.purchase_id,
        attempt=attempt,
        amount_micros=row.amount_micros,
        payment_method_id=row.payment_method_id,
    )
    return (await charges.intend(session, new, actor=row.actor, now_ms=now_ms)).charge


async def _number(session: AsyncSession, row: PurchaseRow, now_ms: int) -> Credit:
    """Number the credit under a key of the gateway's own: its money is sure, so the store may not refuse it."""
    request = CreditRequest(
        office_id=row.office_id,
        amount_micros=row.amount_micros,
        kind=CreditKind.PURCHASE,
        reason=f"purchase {row.purchase_id}",
        idempotency_key=f"{OWN_KEY_PREFIX}purchase:{row.purchase_id}",
    )
    return (await number_credit(session, request, actor=row.actor, now_ms=now_ms)).credit


async def _tell(session: AsyncSession, row: PurchaseRow, paid: notice.Payment, now_ms: int) -> None:
    if row.credit_number is None:
        raise LedgerBroken(f"The purchase {row.purchase_id!r} is paid and has no credit.")
    receipt = notice.receipt(
        row.office_id,
        transaction_id(row.office_id, row.credit_number),
        amount_micros=row.amount_micros,
        paid=paid,
        paid_at=now_ms,
    )
    await notices.record(session, receipt, now_ms=now_ms)


async def _by_key(session: AsyncSession, office_id: str, idempotency_key: str) -> PurchaseRow | None:
    query = select(PurchaseRow).where(
        PurchaseRow.office_id == office_id, PurchaseRow.idempotency_key == idempotency_key
    )
    return (await session.scalars(query)).one_or_none()


def _record(
    session: AsyncSession, now_ms: int, actor: str, action: str, before: Purchase | None, after: Purchase
) -> None:
    target = f"purchase:{after.purchase_id}"
    audit.record(session, now_ms=now_ms, actor=actor, action=action, target=target, before=before, after=after)


def _purchase(row: PurchaseRow) -> Purchase:
    return Purchase(
        purchase_id=row.purchase_id,
        office_id=row.office_id,
        amount_micros=row.amount_micros,
        payment_method_id=row.payment_method_id,
        idempotency_key=row.idempotency_key,
        status=row.status,
        credit_number=row.credit_number,
        actor=row.actor,
        created_at=row.created_at,
    )

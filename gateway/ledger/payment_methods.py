"""The cards of an office: added, confirmed by the amount of a small charge, locked after three wrong answers, removed.

What names a card here are the provider's references, its brand, last four digits, expiry and the provider's fingerprint
of it. A card number never comes this way.
"""

import dataclasses
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.calendar import local_date
from gateway.domain.payment import ChargePurpose, ChargeStatus
from gateway.errors import FailedPrecondition, InvalidArgument
from gateway.ledger import audit, charges
from gateway.ledger.charges import Charge, Intended, NewCharge
from gateway.ledger.database import Database
from gateway.ledger.errors import (
    CardExpired,
    CardLocked,
    CardOfOtherProvider,
    CardUnconfirmed,
    OfficeNotFound,
    PaymentMethodNotFound,
)
from gateway.ledger.installation import provider_key
from gateway.ledger.models import CardLockRow, OfficeRow, PaymentMethodRow

WRONG_ANSWERS: Final = 3
"""The last of them locks the card."""

MAX_CARDS: Final = 20
"""Of an office, those being added included."""

MAX_CONFIRMATION_ATTEMPTS: Final = 5
"""Small charges of one card, so that nobody tries out a card by adding it again and again."""


@dataclass(frozen=True, slots=True)
class PaymentMethod:
    """A card. It can pay while it is confirmed, in date, neither locked nor removed: `usable` says so, or why not.

    Attributes:
        setup_token: What the provider is to be asked to add the card with, while it is not added.
        confirmation_url: Where the card's owner agrees to its being added; empty: the bank waits for nobody.
        wrong_answers: Given about the card since it was last confirmed, in whichever office.
        is_locked: By its fingerprint, in every office.
        added_at: None: the provider does not keep the card yet.
    """

    payment_method_id: str
    office_id: str
    provider: str
    setup_token: str
    setup_attempt: int
    confirmation_url: str
    customer_ref: str
    method_ref: str
    brand: str
    last_four: str
    expiry_month: int
    expiry_year: int
    fingerprint: str
    wrong_answers: int
    is_locked: bool
    added_at: int | None
    confirmed_at: int | None
    removed_at: int | None
    created_at: int


@dataclass(frozen=True, slots=True)
class AddedCard:
    """What the provider says of a card that it now keeps."""

    customer_ref: str
    method_ref: str
    brand: str
    last_four: str
    expiry_month: int
    expiry_year: int
    fingerprint: str


@dataclass(frozen=True, slots=True)
class CardEntryBasis:
    """What the provider has to know of an office before a card is entered.

    Attributes:
        customer_ref: Under which it keeps the office's cards; empty: it has none yet.
        key: Of this entry.
    """

    customer_ref: str
    key: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an answer to the question for the amount of the small charge."""

    method: PaymentMethod
    is_right: bool


class PaymentMethods:
    """The repository of cards.

    Args:
        database: Where they are.
        provider: The name of the payment provider in use: another one's cards cannot pay.
    """

    def __init__(self, database: Database, provider: str) -> None:
        self._database = database
        self._provider = provider

    async def begin(self, office_id: str, token: str, token_hash: str, *, actor: str, now_ms: int) -> PaymentMethod:
        """Write down that a card is to be added, before the provider hears of it; once per token.

        Returns:
            The card, new or as it is: added already, or still to be.

        Raises:
            OfficeNotFound: There is no office of this id.
            InvalidArgument: The card of this token was removed.
            FailedPrecondition: The office has as many cards as it may have.
        """

        async def insert(session: AsyncSession) -> PaymentMethod:
            if await session.get(OfficeRow, office_id, with_for_update=True) is None:
                raise OfficeNotFound(office_id)
            of_token = self._kept_for(office_id).where(PaymentMethodRow.provider_token_hash == token_hash)
            known = (await session.scalars(of_token)).first()
            if known is not None:
                if known.removed_at is not None:
                    raise InvalidArgument(
                        "provider_token", "is of a card that was removed: let the provider's form make a new one"
                    )
                return await _method(session, known)
            await _check_room(session, office_id)
            row = PaymentMethodRow(
                payment_method_id=f"pm_{secrets.token_hex(12)}",
                office_id=office_id,
                provider=self._provider,
                provider_token_hash=token_hash,
                setup_token=token,
                setup_attempt=1,
                confirmation_url="",
                # Chosen once: the provider is asked with the very same words again.
                customer_ref=await self._customer_ref(session, office_id),
                method_ref="",
                brand="",
                last_four="",
                expiry_month=0,
                expiry_year=0,
                fingerprint="",
                added_at=None,
                confirmed_at=None,
                removed_at=None,
                created_by=actor,
                created_at=now_ms,
            )
            session.add(row)
            method = await _method(session, row)
            _record(session, now_ms, actor, "payment_method.begin", None, method)
            return method

        return await self._database.transact(insert)

    async def begin_entry(self, office_id: str) -> CardEntryBasis:
        """What the provider is to be told of an office that wants to enter a card; each time it is another entry.

        Raises:
            OfficeNotFound: There is no office of this id.
            FailedPrecondition: The office has as many cards as it may have.
        """
        async with self._database.read() as session:
            if await session.get(OfficeRow, office_id) is None:
                raise OfficeNotFound(office_id)
            await _check_room(session, office_id)
            key = await provider_key(session, office_id, "enter", secrets.token_hex(12))
            return CardEntryBasis(await self._customer_ref(session, office_id), key)

    async def setup_key(self, method: PaymentMethod) -> str:
        """The key that the provider is to add the card with."""
        async with self._database.read() as session:
            return await provider_key(session, method.payment_method_id, "add", method.setup_attempt)

    async def await_owner(
        self, method: PaymentMethod, *, token: str, customer_ref: str, confirmation_url: str
    ) -> PaymentMethod:
        """Note that the bank wants to hear from the card's owner first, and how the card is to be added then."""
        async with self._database.write() as session:
            row = await _locked(session, method.office_id, method.payment_method_id)
            if row.added_at is None and row.setup_attempt == method.setup_attempt:
                row.setup_token, row.customer_ref, row.confirmation_url = token, customer_ref, confirmation_url
                row.setup_attempt += 1
            return await _method(session, row)

    async def forget(self, method: PaymentMethod, *, actor: str, now_ms: int) -> None:
        """Drop a card that the provider did not take: it may be tried again from the beginning."""
        async with self._database.write() as session:
            row = await session.get(PaymentMethodRow, method.payment_method_id, with_for_update=True)
            if row is not None and row.added_at is None:
                await session.delete(row)
                dropped = dataclasses.replace(method, removed_at=now_ms)
                _record(session, now_ms, actor, "payment_method.forget", method, dropped)

    async def complete(
        self,
        method: PaymentMethod,
        card: AddedCard,
        *,
        small_amount_micros: int,
        actor: str,
        now_ms: int,
    ) -> Intended:
        """Note that the provider keeps the card, and intend the small charge by which it will be confirmed.

        Raises:
            CardLocked, CardExpired: The card could never be confirmed; it is kept here as removed.
        """

        async def update(session: AsyncSession) -> Intended | CardLocked | CardExpired:
            row = await _locked(session, method.office_id, method.payment_method_id)
            if row.added_at is None:
                before = await _method(session, row)
                row.customer_ref, row.method_ref = card.customer_ref, card.method_ref
                row.brand, row.last_four = card.brand[:32], card.last_four
                row.expiry_month, row.expiry_year = card.expiry_month, card.expiry_year
                row.fingerprint, row.added_at = card.fingerprint, now_ms
                row.setup_token = row.confirmation_url = ""
                after = await _method(session, row)
                fault = await _fault(session, after, now_ms)
                if fault is not None:
                    row.removed_at = now_ms
                _record(session, now_ms, actor, "payment_method.add", before, await _method(session, row))
                if fault is not None:
                    return fault
            return await _next_small_charge(session, row, small_amount_micros, actor, now_ms)

        outcome = await self._database.transact(update)
        if not isinstance(outcome, Intended):
            raise outcome
        return outcome

    async def small_charge(
        self, method: PaymentMethod, *, small_amount_micros: int, actor: str, now_ms: int
    ) -> Intended:
        """The small charge of a card that is not confirmed: the last one, or another where that failed or is over.

        Raises:
            PaymentMethodNotFound: It was removed meanwhile.
            FailedPrecondition: It was charged too often.
        """

        async def update(session: AsyncSession) -> Intended:
            row = await _locked(session, method.office_id, method.payment_method_id)
            return await _next_small_charge(session, row, small_amount_micros, actor, now_ms)

        return await self._database.transact(update)

    async def answer(
        self, office_id: str, payment_method_id: str, amount_micros: int, *, actor: str, now_ms: int
    ) -> Answer:
        """Take an answer to the question for the amount; the third wrong one about a card locks it everywhere.

        A card that is confirmed stays so, whatever is answered.

        Raises:
            PaymentMethodNotFound: The office has no such card.
            CardLocked: No answer counts any more.
            FailedPrecondition: There is no small charge to tell the amount of, now.
        """

        async def update(session: AsyncSession) -> Answer:
            row = await _locked(session, office_id, payment_method_id)
            before = await _method(session, row)
            if before.confirmed_at is not None:
                return Answer(before, is_right=True)
            charge = await charges.latest(session, ChargePurpose.CONFIRMATION, payment_method_id)
            lock = await session.get(CardLockRow, row.fingerprint, with_for_update=True)
            if lock is not None and lock.locked_at is not None:
                raise CardLocked
            if charge is None or charge.status is not ChargeStatus.SUCCEEDED or charge.given_back_at is not None:
                raise _no_question()
            is_right = amount_micros == charge.amount_micros
            if is_right:
                row.confirmed_at = now_ms
                if lock is not None:
                    await session.delete(lock)
            else:
                if lock is None:
                    lock = CardLockRow(fingerprint=row.fingerprint, wrong_answers=0, locked_at=None)
                    session.add(lock)
                lock.wrong_answers += 1
                if lock.wrong_answers >= WRONG_ANSWERS:
                    lock.locked_at = now_ms
            await session.flush()
            after = await _method(session, row)
            _record(session, now_ms, actor, "payment_method.answer", before, after)
            return Answer(after, is_right)

        return await self._database.transact(update)

    async def remove(self, office_id: str, payment_method_id: str, *, actor: str, now_ms: int) -> PaymentMethod:
        """Let a card pay no more. What is being charged to it is finished; a repeat changes nothing.

        Raises:
            PaymentMethodNotFound: The office has no such card.
            FailedPrecondition: The office's automatic refill is on and charges this card.
        """

        async def update(session: AsyncSession) -> PaymentMethod:
            row = await _locked(session, office_id, payment_method_id, even_removed=True)
            office = await session.get(OfficeRow, office_id)
            before = await _method(session, row)
            if before.removed_at is not None:
                return before
            if office is not None and office.refill_enabled and office.refill_payment_method_id == payment_method_id:
                raise FailedPrecondition(
                    "payment_method_id: the automatic refill charges this card: turn it off or choose another card "
                    "with SetAutoRefill first.",
                    reason="PAYMENT_METHOD_IN_USE",
                    field="payment_method_id",
                )
            row.removed_at = now_ms
            after = await _method(session, row)
            _record(session, now_ms, actor, "payment_method.remove", before, after)
            return after

        return await self._database.transact(update)

    async def list(self, office_id: str) -> Sequence[PaymentMethod]:
        """The cards of an office, the oldest first; at most MAX_CARDS.

        Those that wait for the bank are among them, with the link by which it asks about the small charge, too.
        """
        query = (
            select(PaymentMethodRow)
            .where(PaymentMethodRow.office_id == office_id, PaymentMethodRow.removed_at.is_(None))
            .order_by(PaymentMethodRow.created_at, PaymentMethodRow.payment_method_id)
        )
        async with self._database.read() as session:
            return [await _asked(session, await _method(session, row)) for row in await session.scalars(query)]

    async def get(self, payment_method_id: str) -> PaymentMethod:
        """A card by its id alone, removed or not: for whoever finishes a charge of it.

        Raises:
            PaymentMethodNotFound: There is none of this id.
        """
        async with self._database.read() as session:
            row = await session.get(PaymentMethodRow, payment_method_id)
            if row is None:
                raise PaymentMethodNotFound(payment_method_id)
            return await _method(session, row)

    async def of_office(self, office_id: str, payment_method_id: str) -> PaymentMethod:
        """A card of an office.

        Raises:
            PaymentMethodNotFound: The office has none of this id.
        """
        async with self._database.read() as session:
            return await _method(session, await _found(session, office_id, payment_method_id))

    async def usable(self, office_id: str, payment_method_id: str, *, now_ms: int) -> PaymentMethod:
        """A card that can pay now; raises as the function `usable`."""
        async with self._database.read() as session:
            return await usable(session, office_id, payment_method_id, provider=self._provider, now_ms=now_ms)

    def _kept_for(self, office_id: str) -> Select[PaymentMethodRow]:
        """The cards that the provider in use has of an office, or had."""
        return select(PaymentMethodRow).where(
            PaymentMethodRow.office_id == office_id, PaymentMethodRow.provider == self._provider
        )

    async def _customer_ref(self, session: AsyncSession, office_id: str) -> str:
        """Under which the provider keeps the office's cards; empty: it has none yet."""
        with_customer = self._kept_for(office_id).where(PaymentMethodRow.customer_ref != "")
        newest = (await session.scalars(with_customer.order_by(PaymentMethodRow.created_at.desc()))).first()
        return "" if newest is None else newest.customer_ref


async def usable(
    session: AsyncSession, office_id: str, payment_method_id: str, *, provider: str, now_ms: int
) -> PaymentMethod:
    """A card of the office that can pay now: to be asked in the transaction that intends a charge of it.

    Raises:
        PaymentMethodNotFound: The office has no such card.
        CardUnusable: Unconfirmed, locked, expired or of another provider; each says its cure.
    """
    method = await _method(session, await _found(session, office_id, payment_method_id))
    if method.provider != provider:
        raise CardOfOtherProvider(method.provider)
    if method.added_at is None:
        raise CardUnconfirmed  # Nothing else is known of it yet.
    fault = await _fault(session, method, now_ms)
    if fault is not None:
        raise fault
    if method.confirmed_at is None:
        raise CardUnconfirmed
    return method


async def confirmation_decided(session: AsyncSession, charge: Charge, now_ms: int) -> Charge | None:
    """What follows from a small charge: nothing, since it waits for the answer; or another that was never made."""
    if not charge.may_go_on(now_ms):
        return None
    row = await session.get(PaymentMethodRow, charge.payment_method_id)
    if row is None or row.removed_at is not None:
        return None
    return (await _next_small_charge(session, row, charge.amount_micros, charges.ACTOR, now_ms)).charge


async def _next_small_charge(
    session: AsyncSession, row: PaymentMethodRow, amount_micros: int, actor: str, now_ms: int
) -> Intended:
    """The last small charge while it can be answered, or may be yet; else another."""
    last = await charges.latest(session, ChargePurpose.CONFIRMATION, row.payment_method_id)
    if last is not None and (
        not last.is_decided or (last.status is ChargeStatus.SUCCEEDED and last.given_back_at is None)
    ):
        return Intended(last, is_new=False)
    attempt = 1 if last is None else last.attempt + 1
    if attempt > MAX_CONFIRMATION_ATTEMPTS:
        raise FailedPrecondition(
            "This card was charged for its confirmation too often: remove it, and add another card.",
            reason="CARD_CONFIRMATION_FAILED",
            field="provider_token",
        )
    return await charges.intend(
        session,
        NewCharge(
            office_id=row.office_id,
            purpose=ChargePurpose.CONFIRMATION,
            subject_id=row.payment_method_id,
            attempt=attempt,
            amount_micros=amount_micros,
            payment_method_id=row.payment_method_id,
        ),
        actor=actor,
        now_ms=now_ms,
    )


async def _check_room(session: AsyncSession, office_id: str) -> None:
    count = select(func.count()).where(PaymentMethodRow.office_id == office_id, PaymentMethodRow.removed_at.is_(None))
    if (await session.scalar(count) or 0) >= MAX_CARDS:
        raise FailedPrecondition(
            f"The office has {MAX_CARDS} cards, and may have no more: remove one with RemovePaymentMethod.",
            reason="TOO_MANY_PAYMENT_METHODS",
            field="office_id",
        )


async def _fault(session: AsyncSession, method: PaymentMethod, now_ms: int) -> CardLocked | CardExpired | None:
    """Why a card cannot pay whatever its owner answers."""
    if method.is_locked:
        return CardLocked()
    office = await session.get(OfficeRow, method.office_id)
    today = local_date(now_ms, "UTC" if office is None else office.time_zone)
    if (method.expiry_year, method.expiry_month) < (today.year, today.month):
        return CardExpired(method.expiry_month, method.expiry_year)
    return None


async def _found(session: AsyncSession, office_id: str, payment_method_id: str) -> PaymentMethodRow:
    row = await session.get(PaymentMethodRow, payment_method_id)
    if row is None or row.office_id != office_id or row.removed_at is not None:
        raise PaymentMethodNotFound(payment_method_id)
    return row


async def _locked(
    session: AsyncSession, office_id: str, payment_method_id: str, *, even_removed: bool = False
) -> PaymentMethodRow:
    # The office first, as whoever charges the card does, so that nobody waits for the other.
    await session.get(OfficeRow, office_id, with_for_update=True)
    row = await session.get(PaymentMethodRow, payment_method_id, with_for_update=True)
    if row is None or row.office_id != office_id or (row.removed_at is not None and not even_removed):
        raise PaymentMethodNotFound(payment_method_id)
    return row


@dataclass(frozen=True, slots=True)
class _Logged:
    """What the audit log keeps of a card."""

    office_id: str
    provider: str
    brand: str
    last_four: str
    wrong_answers: int
    is_locked: bool
    confirmed_at: int | None
    removed_at: int | None


def _record(
    session: AsyncSession, now_ms: int, actor: str, action: str, before: PaymentMethod | None, after: PaymentMethod
) -> None:
    target = f"payment_method:{after.payment_method_id}"
    old, new = None if before is None else _logged(before), _logged(after)
    audit.record(session, now_ms=now_ms, actor=actor, action=action, target=target, before=old, after=new)


def _logged(method: PaymentMethod) -> _Logged:
    return _Logged(
        method.office_id,
        method.provider,
        method.brand,
        method.last_four,
        method.wrong_answers,
        method.is_locked,
        method.confirmed_at,
        method.removed_at,
    )


def _no_question() -> FailedPrecondition:
    return FailedPrecondition(
        "There is no small charge of this card to tell the amount of, now: it has not gone through yet, or was given "
        "back. Add the card again with the same token to see where it stands, and to have it charged anew.",
        reason="CARD_CONFIRMATION_PENDING",
        field="payment_method_id",
    )


async def _method(session: AsyncSession, row: PaymentMethodRow) -> PaymentMethod:
    lock = await session.get(CardLockRow, row.fingerprint) if row.fingerprint else None
    return PaymentMethod(
        payment_method_id=row.payment_method_id,
        office_id=row.office_id,
        provider=row.provider,
        setup_token=row.setup_token,
        setup_attempt=row.setup_attempt,
        confirmation_url=row.confirmation_url,
        customer_ref=row.customer_ref,
        method_ref=row.method_ref,
        brand=row.brand,
        last_four=row.last_four,
        expiry_month=row.expiry_month,
        expiry_year=row.expiry_year,
        fingerprint=row.fingerprint,
        wrong_answers=0 if lock is None else lock.wrong_answers,
        is_locked=lock is not None and lock.locked_at is not None,
        added_at=row.added_at,
        confirmed_at=row.confirmed_at,
        removed_at=row.removed_at,
        created_at=row.created_at,
    )


async def _asked(session: AsyncSession, method: PaymentMethod) -> PaymentMethod:
    """A card with the link by which its bank asks about the small charge, if it does."""
    if method.added_at is None or method.confirmed_at is not None:
        return method
    charge = await charges.latest(session, ChargePurpose.CONFIRMATION, method.payment_method_id)
    if charge is None or charge.status is not ChargeStatus.ACTION_REQUIRED:
        return method
    return dataclasses.replace(method, confirmation_url=charge.confirmation_url)

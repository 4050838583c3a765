"""Automatic refills, as tests see them: an office that dips, the loops that pay, and what became of it."""

import contextlib
from collections.abc import Sequence

from sqlalchemy import select

from gateway.domain.payment import ChargePurpose, RefillStatus
from gateway.domain.vocabulary import RefillState
from gateway.ledger.auto_refills import AutoRefill
from gateway.ledger.models import NoticeRow, PaymentMethodRow
from gateway.payments.provider import NewPaymentMethod, PaymentMethodAdded
from gateway.store.faults import StoreUnavailable
from tests.support.back import OFFICE, BackUnderTest
from tests.support.billing import DOLLARS, CardCharge, card_charges, confirmed_card


async def with_refill(
    back: BackUnderTest, token: str = "tok_visa", *, balance: int = 10 * DOLLARS, office_id: str = OFFICE
) -> str:
    """Make an office that is refilled by this card; returns the card."""
    await back.open_office(office_id, balance=balance)
    card = await confirmed_card(back, office_id=office_id)
    await turn_into(back, card, token)
    await back.refill(office_id, payment_method_id=card)
    return card


async def turn_into(back: BackUnderTest, payment_method_id: str, token: str) -> None:
    """Let a confirmed card behave like another of the sandbox's from now on."""
    new = NewPaymentMethod(token, OFFICE, f"turned-{payment_method_id}")
    added = await back.back.provider.add_payment_method(new)
    assert isinstance(added, PaymentMethodAdded)
    async with back.ledger.database.write() as session:
        row = await session.get_one(PaymentMethodRow, payment_method_id)
        row.customer_ref, row.method_ref = added.reference.customer_id, added.reference.method_id


async def dip(back: BackUnderTest, office_id: str = OFFICE, *, to: int = 4 * DOLLARS, message_id: str = "dip") -> None:
    """Spend down to an amount."""
    available = (await back.till.office(office_id)).available_micros
    await back.spend(available - to, message_id, office_id=office_id)


async def pay(back: BackUnderTest) -> None:
    """Take what the outbox tells into the ledger, then pay for the refills asked for, until there is nothing to do."""
    await back.journaler.turn()
    while await back.back.background.refiller.turn():
        pass
    # Of a charge that the billing loop has looked up, the credit is the applier's.
    await back.back.background.applier.turn()


async def pay_in_spite_of_the_store(back: BackUnderTest) -> None:
    """The same, where the store may not answer; the loops come again."""
    for turn in (back.journaler.turn, back.back.background.refiller.turn):
        with contextlib.suppress(StoreUnavailable):
            await turn()


async def wait_out(back: BackUnderTest, office_id: str = OFFICE) -> None:
    """Let the waiting time of a refill pass, and have it asked for again."""
    office = await back.till.office(office_id)
    assert office.refill_state is RefillState.WAITING
    back.clock.set(max(back.clock.now_ms(), office.refill_until_ms))
    await back.back.background.waker.turn()
    assert await back.till.refill_state(office_id) is RefillState.PENDING


def refill_charges(back: BackUnderTest) -> list[CardCharge]:
    """What the provider was asked to charge for refills."""
    return card_charges(back, ChargePurpose.REFILL)


def attempts(back: BackUnderTest) -> list[tuple[str, str]]:
    """Provider key without the installation, and what became of it."""
    return [(each.idempotency_key.partition("/")[2], each.status) for each in refill_charges(back)]


async def refill_of(back: BackUnderTest, refill_id: str = f"{OFFICE}/1") -> AutoRefill:
    """A refill as SQL has it."""
    found = await back.back.billing.refills.find(refill_id)
    assert found is not None
    return found


async def status_of(back: BackUnderTest, refill_id: str = f"{OFFICE}/1") -> RefillStatus:
    """Where a refill stands in SQL."""
    return (await refill_of(back, refill_id)).status


async def told(back: BackUnderTest) -> Sequence[str]:
    """The kinds of notices about refills, oldest first."""
    async with back.ledger.database.read() as session:
        kinds = [row.kind.name for row in await session.scalars(select(NoticeRow).order_by(NoticeRow.seq))]
    return [kind for kind in kinds if "REFILL" in kind or kind == "CONFIRMATION_NEEDED"]

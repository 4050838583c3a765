"""What people are told of the card that pays, whatever it pays for."""

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain import notice
from gateway.ledger import notices
from gateway.ledger.charges import Charge
from gateway.ledger.errors import LedgerBroken
from gateway.ledger.models import PaymentMethodRow


async def card_of(session: AsyncSession, charge: Charge) -> notice.ByCard:
    """The card of a charge, as far as it may be told.

    Raises:
        LedgerBroken: It is gone; cards are never deleted.
    """
    method = await session.get(PaymentMethodRow, charge.payment_method_id)
    if method is None:
        raise LedgerBroken(f"The card of the charge {charge.charge_key!r} is gone.")
    return notice.ByCard(method.brand, method.last_four)


async def ask_to_confirm(session: AsyncSession, charge: Charge, *, now_ms: int) -> None:
    """Record that the card's owner has to confirm a charge, in the transaction that records that the bank wants it."""
    needed = notice.confirmation_needed(
        charge.office_id,
        charge.charge_key,
        amount_micros=charge.amount_micros,
        card=await card_of(session, charge),
        confirmation_url=charge.confirmation_url,
    )
    await notices.record(session, needed, now_ms=now_ms)

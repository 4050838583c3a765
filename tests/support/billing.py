"""Money in, as tests see it: cards of the sandbox, what it has charged, and whether the books agree with it."""

import sqlite3
from dataclasses import dataclass
from typing import Any

from gateway.domain.payment import ChargePurpose, ChargeStatus
from gateway.ledger.charges import Charge
from gateway.ledger.models import ChargeRow
from gateway.payments.sandbox import FILE_NAME
from gateway.v1 import credits_pb2 as pb
from tests.support.back import OFFICE, BackUnderTest, bearer
from tests.support.balances import NOON

DOLLARS = 1_000_000


@dataclass(frozen=True)
class CardCharge:
    """A charge as the sandbox has it: the truth about the card."""

    idempotency_key: str
    amount_micros: int
    status: str
    is_given_back: bool
    purpose: str


def refill_charge(
    card: str, attempt: int = 1, subject: str = f"{OFFICE}/1", status: ChargeStatus = ChargeStatus.SUCCEEDED
) -> ChargeRow:
    """A charge of a refill of 50 dollars, as the ledger has it."""
    return ChargeRow(
        charge_key=f"test/{subject}/{attempt}",
        office_id=OFFICE,
        purpose=ChargePurpose.REFILL,
        subject_id=subject,
        attempt=attempt,
        amount_micros=50 * DOLLARS,
        payment_method_id=card,
        status=status,
        provider_charge_id="",
        decline_code="",
        can_retry=False,
        message="",
        confirmation_url="",
        created_at=NOON,
        decided_at=None if status is ChargeStatus.INTENDED else NOON,
        given_back_at=None,
        look_ups=0,
        next_look_at=NOON,
    )


def card_charges(back: BackUnderTest, purpose: ChargePurpose | None = ChargePurpose.PURCHASE) -> list[CardCharge]:
    """What the sandbox has charged, or tried to, for one purpose or for all."""
    connection = sqlite3.connect(back.settings.data_dir / FILE_NAME)
    try:
        rows = connection.execute(
            "SELECT idempotency_key, amount_micros, status, refund_id IS NOT NULL, json_extract(metadata, '$.purpose') "
            "FROM charge ORDER BY rowid"
        ).fetchall()
    finally:
        connection.close()
    found = [CardCharge(key, amount, status, bool(back_), of) for key, amount, status, back_, of in rows]
    return [each for each in found if purpose is None or each.purpose == purpose]


def taken_from_cards(back: BackUnderTest) -> int:
    """What purchases and refills have taken from cards, in micros."""
    return sum(
        each.amount_micros
        for each in card_charges(back, None)
        if each.status == "SUCCEEDED" and each.purpose != "CONFIRMATION"
    )


async def add_card(
    back: BackUnderTest, token: str = "tok_visa", office_id: str = OFFICE, **who: Any
) -> pb.PaymentMethod:
    """Add a card, not yet confirmed."""
    request = pb.AddPaymentMethodRequest(office_id=office_id, provider_token=token)
    added: pb.PaymentMethod = await back.stub.AddPaymentMethod(request, metadata=bearer(**who))
    return added


async def small_charge(back: BackUnderTest, payment_method_id: str) -> Charge:
    """The last small charge of a card: only its owner's statement tells."""
    charge = await back.back.billing.charges.latest(ChargePurpose.CONFIRMATION, payment_method_id)
    assert charge is not None
    return charge


async def answer(
    back: BackUnderTest, payment_method_id: str, amount_micros: int, office_id: str = OFFICE
) -> pb.PaymentMethod:
    """Tell the amount of the small charge."""
    request = pb.ConfirmPaymentMethodRequest(
        office_id=office_id, payment_method_id=payment_method_id, amount_micros=amount_micros
    )
    confirmed: pb.PaymentMethod = await back.stub.ConfirmPaymentMethod(request, metadata=bearer())
    return confirmed


async def confirmed_card(back: BackUnderTest, token: str = "tok_visa", office_id: str = OFFICE) -> str:
    """The id of a card that can pay."""
    added = await add_card(back, token, office_id)
    charge = await small_charge(back, added.payment_method_id)
    assert (await answer(back, added.payment_method_id, charge.amount_micros, office_id)).confirmed
    return added.payment_method_id


async def buy(
    back: BackUnderTest,
    payment_method_id: str,
    amount_micros: int = 50 * DOLLARS,
    key: str = "k1",
    office_id: str = OFFICE,
    **who: Any,
) -> pb.AddCreditsResponse:
    """Buy credits."""
    request = pb.AddCreditsRequest(
        office_id=office_id,
        amount_micros=amount_micros,
        payment_method_id=payment_method_id,
        idempotency_key=key,
    )
    bought: pb.AddCreditsResponse = await back.stub.AddCredits(request, metadata=bearer(**who))
    return bought


async def finish(back: BackUnderTest, *, turns: int = 3) -> None:
    """Let time pass and the loops take turns, until what was begun is finished."""
    for _ in range(turns):
        back.clock.move(3_600)
        while await back.back.background.billing.turn():
            pass
        while await back.back.background.applier.turn():
            pass

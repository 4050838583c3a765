"""What the owners of the offices and the operators do in the month, over gRPC, and what the book is told of it."""

import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio

from gateway.v1 import credits_pb2 as pb
from tests.simulation.month.book import Account
from tests.simulation.month.gateways import SureManualClock
from tests.simulation.month.timeline import Life
from tests.support.back import BackUnderTest, bearer
from tests.support.billing import DOLLARS, confirmed_card
from tests.support.refills import turn_into

COMPANIES: Final = 20
HOUR_MS: Final = 3_600_000
OFFERED: Final = (10 * DOLLARS, 20 * DOLLARS, 50 * DOLLARS)
TROUBLED_CARDS: Final = (
    "tok_declined_after_2", "tok_reply_lost", "tok_unknown_2", "tok_insufficient_funds", "tok_request_lost",
    "tok_processing_error",
)  # fmt: skip


@dataclass(frozen=True)
class Terms:
    """How an office pays, and within what limits.

    Attributes:
        card: The sandbox's token of its card; empty: it is invoiced, or pays nobody.
        opening: Its first balance, in micros.
        settings: As CreateOffice takes them.
        refill_micros: What a refill adds; 0: off.
    """

    card: str
    opening: int
    settings: dict[str, Any]
    refill_micros: int

    @property
    def is_poor(self) -> bool:
        """An office that is there to be refused."""
        return not (self.card or self.opening or self.settings)


@dataclass
class Office:
    """An office with its page of the book."""

    account: Account
    terms: Terms
    payment_method_id: str = ""

    @property
    def office_id(self) -> str:
        return self.account.office_id

    @property
    def is_troubled(self) -> bool:
        return self.terms.card in TROUBLED_CARDS

    @property
    def can_buy(self) -> bool:
        return bool(self.payment_method_id) or "payment_terms" in self.terms.settings


def terms_of(number: int, dice: random.Random) -> Terms:
    """Every kind of office in turn."""
    amount = dice.choice((20, 20, 50)) * DOLLARS
    match number % 12:
        case 0 | 1 | 2 | 3 | 4:
            return Terms(f"tok_visa_{number + 1}", 10 * DOLLARS, {}, amount)
        case 5 | 6:
            return Terms("", 0, {"payment_terms": pb.PAYMENT_TERMS_INVOICE}, amount)
        case 7:
            return Terms(f"tok_visa_{number + 1}", 30 * DOLLARS, {}, 0)
        case 8 | 9:
            return Terms(TROUBLED_CARDS[number // 12 % len(TROUBLED_CARDS)], 20 * DOLLARS, {}, amount)
        case 10:
            limits = {
                "credit_limit_micros": 40 * DOLLARS,
                "max_concurrent_calls": 2,
                "daily_spend_limit_micros": 3 * DOLLARS,
                "max_price_per_minute_micros": 1_000_000,
            }
            return Terms("", 25 * DOLLARS, limits, 0)
        case _:
            return Terms("", 0, {}, 0)


class Owners:
    """The lives of those who look after money.

    Args:
        backs: Which are asked, any of them.
        clock: The time.
    """

    def __init__(self, backs: Sequence[BackUnderTest], clock: SureManualClock) -> None:
        self._backs = backs
        self._clock = clock

    async def open(self, number: int, time_zone: str, dice: random.Random) -> Office:
        """Make an office with all that belongs to it."""
        back, terms, office_id = self._backs[0], terms_of(number, dice), f"office-{number}"
        await back.open_office(
            office_id,
            company_id=f"company-{number % COMPANIES}",
            balance=terms.opening,
            time_zone=time_zone,
            **terms.settings,
        )
        office = Office(Account(office_id, time_zone, adjusted=terms.opening), terms)
        if terms.card:
            office.payment_method_id = await confirmed_card(back, office_id=office_id)
            await turn_into(back, office.payment_method_id, terms.card)
        if terms.refill_micros:
            await back.refill(office_id, amount_micros=terms.refill_micros, payment_method_id=office.payment_method_id)
        return office

    async def buy(self, office: Office, name: str, dice: random.Random) -> Life:
        """Buy credits, and ask again with the same key until it is known how it ended."""
        request = pb.AddCreditsRequest(
            office_id=office.office_id,
            amount_micros=dice.choice(OFFERED),
            payment_method_id=office.payment_method_id,
            idempotency_key=name,
        )
        answer = await self._ask(lambda back: back.stub.AddCredits(request, metadata=bearer()), dice)
        while answer is grpc.StatusCode.UNAVAILABLE:
            yield self._clock.now_ms() + dice.randrange(HOUR_MS)
            answer = await self._ask(lambda back: back.stub.AddCredits(request, metadata=bearer()), dice)
        if isinstance(answer, pb.AddCreditsResponse):
            office.account.bought += request.amount_micros
        else:
            assert answer is grpc.StatusCode.FAILED_PRECONDITION, answer

    async def adjust(self, office: Office, name: str, dice: random.Random) -> Life:
        """A gift, or something taken back, if the funds are there."""
        request = pb.AdjustBalanceRequest(
            office_id=office.office_id,
            amount_micros=dice.choice((-1, 1)) * dice.randrange(1, 3 * DOLLARS),
            reason="a correction",
            idempotency_key=name,
        )
        answer = await self._ask(lambda back: back.stub.AdjustBalance(request, metadata=bearer()), dice)
        while answer is grpc.StatusCode.UNAVAILABLE:
            yield self._clock.now_ms() + dice.randrange(HOUR_MS)
            answer = await self._ask(lambda back: back.stub.AdjustBalance(request, metadata=bearer()), dice)
        if isinstance(answer, pb.AdjustBalanceResponse):
            office.account.adjusted += request.amount_micros
        else:
            assert answer is grpc.StatusCode.FAILED_PRECONDITION, answer

    async def suspend(self, office: Office, name: str, dice: random.Random) -> Life:
        """Suspend an office for some hours; it is renamed meanwhile, which is another version of its settings."""
        steps: list[Callable[[BackUnderTest], Awaitable[object]]] = [
            lambda back: back.stub.SuspendOffice(
                pb.SuspendOfficeRequest(office_id=office.office_id, reason=name), metadata=bearer()
            ),
            lambda back: back.stub.UpdateOffice(
                pb.UpdateOfficeRequest(office_id=office.office_id, name=name), metadata=bearer()
            ),
            lambda back: back.stub.ResumeOffice(pb.ResumeOfficeRequest(office_id=office.office_id), metadata=bearer()),
        ]
        for step in steps:
            while await self._ask(step, dice) is grpc.StatusCode.UNAVAILABLE:
                yield self._clock.now_ms() + dice.randrange(HOUR_MS)
            yield self._clock.now_ms() + dice.randrange(3 * HOUR_MS)

    async def turn_refill_off(self, office: Office) -> None:
        """As an owner does whose card never works."""
        request = pb.SetAutoRefillRequest(office_id=office.office_id, enabled=False)
        await self._backs[0].stub.SetAutoRefill(request, metadata=bearer())

    async def _ask(self, asking: Callable[[BackUnderTest], Awaitable[object]], dice: random.Random) -> object:
        """The answer, or the code of the status that came instead."""
        try:
            return await asking(dice.choice(self._backs))
        except grpc.aio.AioRpcError as error:
            return error.code()

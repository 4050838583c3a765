"""A refill that the gateway pays for by itself: waited for, and held against what it asked for."""

import asyncio
from dataclasses import dataclass
from time import perf_counter
from typing import Final

from gateway.cli.demo.books import BooksError
from gateway.cli.demo.stage import Stage
from gateway.cli.demo.triggers import Dip
from gateway.cli.output import short_name
from gateway.v1 import credits_pb2

PAID_SECONDS: Final = 20.0
"""The journal waits for the store's disk, a second or so; the charge is one of the sandbox."""

_LOOK_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class PaidRefill:
    """A refill that is over.

    Attributes:
        refill_id: Its id.
        amount_micros: What was charged and credited.
        after_seconds: How long after the dip the credit was in the balance.
        card: With what it was paid, for people.
    """

    refill_id: str
    amount_micros: int
    after_seconds: float
    card: str


async def until_paid(stage: Stage, dip: Dip) -> PaidRefill:
    """Wait until the gateway has charged the card and credited the office; enters it in the books.

    Raises:
        BooksError: It failed, or took too long.
    """
    trigger = dip.trigger
    deadline = dip.heard + PAID_SECONDS
    while (refill := (await stage.office(trigger.office_id)).refill).state == credits_pb2.REFILL_STATE_PENDING:
        if perf_counter() > deadline:
            raise BooksError(f"{trigger.refill_id} was not paid within {PAID_SECONDS:.0f} s")
        await asyncio.sleep(_LOOK_SECONDS)
    after_seconds = perf_counter() - dip.heard
    if refill.state != credits_pb2.REFILL_STATE_ARMED:
        state = short_name(credits_pb2.RefillState.Name(refill.state), "REFILL_STATE_")
        raise BooksError(f"{trigger.refill_id} was not paid: refill is {state}")
    stage.books.enter(trigger.office_id, trigger.refill_id, trigger.amount_micros)
    card = stage.cards[trigger.office_id]
    return PaidRefill(trigger.refill_id, trigger.amount_micros, after_seconds, f"{card.brand} {card.last_four}")

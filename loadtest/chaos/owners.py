"""Who puts money in while everything goes wrong."""

import asyncio
from collections.abc import Sequence
from random import Random
from time import monotonic
from typing import Final

from gateway.v1 import credits_pb2 as pb
from loadtest.chaos.books import Books, Kind
from loadtest.chaos.unary import Asker, Refused, Unanswered

_CREDITS: Final = (20_000, 50_000, 100_000)
"""In micros; little enough that its office soon runs short again."""


class Owner:
    """Adds credit to offices that run short, each time with a key of its own.

    Args:
        asker: Of Credits.
        office_ids: Whose owner it is.
        books: Where every answer goes.
        chance: When, and how much.
        stop: Set: begin nothing new.

    Attributes:
        transactions: Of the ledger -> the credit that was acknowledged by it.
    """

    def __init__(
        self, asker: Asker, office_ids: Sequence[str], books: Books, chance: Random, stop: asyncio.Event
    ) -> None:
        self._asker = asker
        self._office_ids = office_ids
        self._books = books
        self._chance = chance
        self._stop = stop
        self.transactions: dict[str, str] = {}

    async def live(self) -> None:
        """Add credit now and then."""
        count = 0
        while not self._stop.is_set():
            count += 1
            office_id, key = self._chance.choice(self._office_ids), f"credit-{count}"
            amount = self._chance.choice(_CREDITS)
            operation = self._books.ask(Kind.CREDIT, office_id, key, at=monotonic())
            request = pb.AdjustBalanceRequest(
                office_id=office_id, amount_micros=amount, reason="chaos", idempotency_key=key
            )
            try:
                for _ in range(self._chance.randint(1, 2)):
                    added = await self._asker.ask("AdjustBalance", request)
                    self._books.acknowledge(operation, amount, monotonic(), replayed=added.replayed)
                    self.transactions[f"{office_id}/{added.number}"] = key
            except (Refused, Unanswered) as error:
                self._books.fault(f"{key} was answered {error}")
            await asyncio.sleep(self._chance.uniform(0.1, 0.5))

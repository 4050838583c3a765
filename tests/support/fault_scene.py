"""Offices under load while something breaks, and what must be true of their money afterwards."""

import asyncio
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc.aio

from gateway.payments.sandbox import FILE_NAME
from gateway.v1 import credits_pb2 as pb
from tests.support.billing import DOLLARS
from tests.support.gateway_process import GatewayProcess
from tests.support.operator import Operator
from tests.support.page_scene import PageScene
from tests.support.switch_books import Paid, SwitchBooks

OPENING_MICROS = 1_000 * DOLLARS
REFILL_MICROS = 20 * DOLLARS
"""Threshold and amount: enough to go on for some ten seconds in which no refill is possible."""

REFILLED_FROM_MICROS = REFILL_MICROS + DOLLARS
SETTLED_WITHIN_SECONDS = 20.0
FAULT_SETTINGS = {"TOLLGATE_REFILLS_A_DAY": "1000", "TOLLGATE_STORE_TIMEOUT_MS": "10000"}
"""A load comes to the default cap on refills in a minute. And where each thing is asked once, to see what is lost, a
busy machine must not pass for a store that may have done it or not; one that dies closes its connections at once."""


@dataclass
class FaultScene:
    """Some offices with money of their own, one that a card refills again and again, and a switch that uses them all.

    Attributes:
        office_ids: All of them.
        refilled: The one that is refilled; its card pays for purchases, too.
        card_id: The card.
        opening: What each began with, in micros.
        books: The switch.
    """

    office_ids: Sequence[str]
    refilled: str
    card_id: str
    opening: dict[str, int]
    books: SwitchBooks = field(init=False)

    def __post_init__(self) -> None:
        self.books = SwitchBooks(self.office_ids)

    @classmethod
    async def create(cls, gateway: GatewayProcess, offices: int) -> Self:
        """Create the offices, the refilled one beside so many others."""
        async with PageScene.of(gateway) as scene:
            others = [await scene.operator.create_office(OPENING_MICROS) for _ in range(offices)]
            refilled = await scene.operator.create_office(REFILLED_FROM_MICROS)
            card_id = await scene.add_confirmed_card(refilled)
            request = pb.SetAutoRefillRequest(
                office_id=refilled, enabled=True, payment_method_id=card_id, amount_micros=REFILL_MICROS,
                threshold_micros=REFILL_MICROS,
            )  # fmt: skip
            await scene.operator.stub.SetAutoRefill(request)
        opening = dict.fromkeys(others, OPENING_MICROS) | {refilled: REFILLED_FROM_MICROS}
        return cls([*others, refilled], refilled, card_id, opening)

    async def lost_by(self, gateway: GatewayProcess) -> list[Paid]:
        """Find out what was lost, by balances and by asking again, and have it settled anew.

        Raises:
            AssertionError: A balance is not what the card paid less what the answers say, but for what was lost.
        """
        async with Operator.of(gateway.admin_server) as operator:
            spent = self.books.spent()
            before = await self._balances_at_rest(operator, gateway.data_dir)
            # Now: what is settled anew may take the funds below the threshold, and the card pays once more.
            credited = {office_id: self._credits(office_id, gateway.data_dir) for office_id in self.office_ids}
            lost = await self.books.ask_again(gateway.server)
            for office_id in self.office_ids:
                had, came = before[office_id], credited[office_id]
                gone = sum(paid.micros for paid in lost if paid.office_id == office_id)
                assert had == came - spent[office_id] + gone, (
                    f"{office_id} had {had}: {came} in, {spent[office_id]} paid, {gone} of it lost"
                )
        return lost

    async def is_exact(self, gateway: GatewayProcess) -> None:
        """Every office has what came in less what its switch was told it paid, and holds nothing.

        Raises:
            AssertionError: One has not.
        """
        async with Operator.of(gateway.admin_server) as operator:
            for office_id in self.office_ids:
                await operator.wait_settled(office_id)
            balances = await self._balances_at_rest(operator, gateway.data_dir)
        spent = self.books.spent()
        assert balances == {name: self._credits(name, gateway.data_dir) - spent[name] for name in self.office_ids}

    async def _balances_at_rest(self, operator: Operator, data_dir: Path) -> dict[str, int]:
        """The balances, once each charge of the card has become a credit and no other is asked for."""
        deadline = time.monotonic() + SETTLED_WITHIN_SECONDS
        while True:
            charged = charged_micros(data_dir)
            office = await self._patiently(operator, deadline)
            listed = await operator.stub.ListTransactions(
                pb.ListTransactionsRequest(office_id=self.refilled, page_size=1000)
            )
            credited = sum(each.amount_micros for each in listed.transactions) - self.opening[self.refilled]
            is_armed = office.refill.state == pb.REFILL_STATE_ARMED
            if is_armed and credited == charged == charged_micros(data_dir):
                return {name: await operator.balance(name) for name in self.office_ids}
            assert time.monotonic() < deadline, f"charged {charged}, credited {credited}: {office.refill}"
            await asyncio.sleep(0.1)

    async def _patiently(self, operator: Operator, deadline: float) -> pb.Office:
        """The refilled office, once the back has found the store again: the front that took the calls may be sooner."""
        while True:
            try:
                return await operator.office(self.refilled)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.1)

    def _credits(self, office_id: str, data_dir: Path) -> int:
        return self.opening[office_id] + (charged_micros(data_dir) if office_id == self.refilled else 0)


def charged_micros(data_dir: Path) -> int:
    """What purchases and refills have taken from cards, by the sandbox's own file: the truth about the card."""
    with sqlite3.connect(f"file:{data_dir / FILE_NAME}?mode=ro", uri=True) as file:
        (charged,) = file.execute(
            "SELECT coalesce(sum(amount_micros), 0) FROM charge "
            "WHERE status = 'SUCCEEDED' AND json_extract(metadata, '$.purpose') <> 'CONFIRMATION'"
        ).fetchone()
    return int(charged)

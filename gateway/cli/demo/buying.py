"""Credits that are bought: by card, after its owner has confirmed it, and by an office that pays by invoice."""

import asyncio
from pathlib import Path
from time import perf_counter
from typing import Final

import grpc

from gateway.cli.demo.books import BooksError
from gateway.cli.demo.cast import CORNER, HARBOR, STUDIO, SUNRISE
from gateway.cli.demo.stage import Stage
from gateway.cli.output import money
from gateway.client_channel import fault_of
from gateway.payments.sandbox import FILE_NAME
from gateway.payments.sandbox_file import SandboxFile
from gateway.v1 import credits_pb2

_TOKENS: Final = {SUNRISE: "tok_visa", HARBOR: "tok_mastercard", STUDIO: "tok_visa_1"}
"""What each office pays with: cards of the sandbox that work (docs/reference/sandbox.md)."""


class Buying:
    """Plays it, before and after the calls; all by the token of the offices' admin.

    Args:
        stage: What it is played on.
        data_dir: Of the gateway: the sandbox's file is in it.
    """

    def __init__(self, stage: Stage, data_dir: Path) -> None:
        self._stage = stage
        self._sandbox = data_dir / FILE_NAME
        self._began = 0.0

    async def by_card(self) -> None:
        """Confirm each office's card, and buy what the first one begins the day with.

        Raises:
            BooksError: A purchase that must be refused was not, or one was made twice.
            grpc.RpcError: The gateway did not answer as it must.
        """
        screen = self._stage.screen
        screen.title("Their admin buys credits by card; her token opens these offices only, and sets no balance")
        screen.say("Cards of the sandbox: what only an owner sees, on her statement, is read in its file.", "dim")
        screen.headings()
        self._began = perf_counter()
        offered = (await self._stage.admin.ListOfferedAmounts(credits_pb2.ListOfferedAmountsRequest())).amounts_micros
        # The second: nobody begins with the least.
        amount_micros = offered[1]
        await self._confirm_shown(SUNRISE, amount_micros)
        await self._refused(SUNRISE, amount_micros + 1_000_000, ", which is not offered", "AMOUNT_NOT_OFFERED")
        await self._buy(SUNRISE, amount_micros)
        others = [await self._confirm(office_id) for office_id in (HARBOR, STUDIO)]
        listed = " and ".join(f"{card.office_id} ({_name_of(card)})" for card in others)
        screen.say(f"In the same way the cards of {listed} are confirmed.", "dim")

    async def by_invoice(self) -> None:
        """Buy for an office that names no card: the credit is there at once, and the amount on its invoice."""
        stage = self._stage
        stage.screen.title(f"{CORNER} pays by invoice: no card, the credit at once")
        stage.screen.headings()
        self._began = perf_counter()
        offered = (await stage.admin.ListOfferedAmounts(credits_pb2.ListOfferedAmountsRequest())).amounts_micros
        bought = await self._add(CORNER, offered[0], stage.new_id("order"))
        await self._show(CORNER, f"buys {money(offered[0])}", "CREDITED, on the invoice", money(-offered[0]))
        listed = await stage.admin.ListInvoices(credits_pb2.ListInvoicesRequest(office_id=CORNER, page_size=1))
        invoice = await stage.admin.GetInvoice(credits_pb2.GetInvoiceRequest(invoice_id=listed.invoices[0].invoice_id))
        items = [item for item in invoice.items if item.transaction_id == bought.transaction_id]
        if [item.amount_micros for item in items] != [offered[0]]:
            raise BooksError(f"{bought.transaction_id} is not once on the invoice {invoice.invoice_id}")
        [item] = items
        await self._show(
            CORNER,
            f"invoice of {invoice.month}: {item.transaction_id}, {item.kind}",
            f"{money(item.amount_micros)} of {money(invoice.total_micros)} in all",
            "",
        )

    async def _confirm_shown(self, office_id: str, amount_micros: int) -> None:
        """Add a card and confirm it, by way of what is refused until then."""
        card = await self._add_card(office_id)
        if card.confirmed:
            # In a data directory that is used again the card is there from the last time.
            self._stage.cards[office_id] = card
            await self._show(office_id, f"the same card again: {_name_of(card)}", "CONFIRMED, as it was", "")
            return
        await self._show(office_id, f"adds a card: {_name_of(card)}", "UNCONFIRMED, a small charge", "")
        self._stage.cards[office_id] = card
        await self._refused(office_id, amount_micros, " with it at once", "CARD_UNCONFIRMED")
        charged_micros = await self._answer(card)
        await self._show(
            office_id, f"types the charge's amount, {money(charged_micros)}", "CONFIRMED, charge given back", ""
        )

    async def _confirm(self, office_id: str) -> credits_pb2.PaymentMethod:
        card = self._stage.cards[office_id] = await self._add_card(office_id)
        if not card.confirmed:
            await self._answer(card)
        return card

    async def _add_card(self, office_id: str) -> credits_pb2.PaymentMethod:
        return await self._stage.admin.AddPaymentMethod(
            credits_pb2.AddPaymentMethodRequest(office_id=office_id, provider_token=_TOKENS[office_id])
        )

    async def _answer(self, card: credits_pb2.PaymentMethod) -> int:
        """Tell the amount of the small charge; returns it."""
        charged_micros = await asyncio.to_thread(small_charge_micros, self._sandbox, card.payment_method_id)
        await self._stage.admin.ConfirmPaymentMethod(
            credits_pb2.ConfirmPaymentMethodRequest(
                office_id=card.office_id,
                payment_method_id=card.payment_method_id,
                amount_micros=charged_micros,
            )
        )
        return charged_micros

    async def _buy(self, office_id: str, amount_micros: int) -> None:
        """Buy, and ask for the same again as somebody would whose answer was lost."""
        key = self._stage.new_id("order")
        bought = await self._add(office_id, amount_micros, key)
        card = _name_of(self._stage.cards[office_id])
        await self._show(office_id, f"buys {money(amount_micros)}", f"CREDITED by {card}", money(-amount_micros))
        again = await self._ask(office_id, amount_micros, key)
        if not again.replayed or again.transaction_id != bought.transaction_id:
            raise BooksError(f"{key} of {office_id} was bought twice")
        await self._show(office_id, "the same again: its answer was lost", "CREDITED once, replayed", "")

    async def _refused(self, office_id: str, amount_micros: int, how: str, reason: str) -> None:
        """Have a purchase refused for this reason."""
        try:
            await self._ask(office_id, amount_micros, self._stage.new_id("order"))
        except grpc.RpcError as error:
            fault = fault_of(error)
            if fault.reason != reason:
                raise
            await self._show(office_id, f"buys {money(amount_micros)}{how}", f"REFUSED {fault.reason}", "")
        else:
            raise BooksError(f"{office_id} bought {money(amount_micros)}, which must be refused: {reason}")

    async def _add(self, office_id: str, amount_micros: int, key: str) -> credits_pb2.AddCreditsResponse:
        bought = await self._ask(office_id, amount_micros, key)
        self._stage.books.enter(office_id, key, amount_micros)
        return bought

    async def _ask(self, office_id: str, amount_micros: int, key: str) -> credits_pb2.AddCreditsResponse:
        card = self._stage.cards.get(office_id)
        return await self._stage.admin.AddCredits(
            credits_pb2.AddCreditsRequest(
                office_id=office_id,
                amount_micros=amount_micros,
                payment_method_id=card.payment_method_id if card else "",
                idempotency_key=key,
            )
        )

    async def _show(self, office_id: str, what: str, answer: str, price: str) -> None:
        moment = f"{perf_counter() - self._began:4.1f}s"
        await self._stage.show(moment, office_id, what, answer, price)


def small_charge_micros(sandbox: Path, payment_method_id: str) -> int:
    """The amount of a card's small charge, where only the owner of the card could read it.

    Raises:
        BooksError: None was made.
    """
    file = SandboxFile.open(sandbox)
    try:
        with file.transaction():
            found = [each for each in file.statement() if each.metadata["subject_id"] == payment_method_id]
    finally:
        file.close()
    if not found:
        raise BooksError(f"no small charge was made to {payment_method_id}")
    return found[-1].amount_micros


def _name_of(card: credits_pb2.PaymentMethod) -> str:
    return f"{card.brand} {card.last_four}"

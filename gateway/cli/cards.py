"""`tollgate cards`: what offices pay with."""

from collections.abc import Iterator
from typing import Annotated

import typer

from gateway.cli.amounts import Amount
from gateway.cli.client import Client, asks_gateway
from gateway.cli.offices import OfficeId
from gateway.cli.output import NOTHING, columns, pairs
from gateway.payments.card_numbers import has_card_number
from gateway.v1 import credits_pb2 as pb


def _read_token(text: str) -> str:
    """Keep a card number from being sent anywhere; it is not repeated either."""
    if has_card_number(text):
        raise typer.BadParameter(
            "this looks like a card number, and was not sent: give the provider's token of the card (and clear your "
            "shell's history)"
        )
    return text


Token = Annotated[
    str, typer.Argument(parser=_read_token, metavar="TOKEN", help="The provider's token of the card; never its number.")
]
CardId = Annotated[str, typer.Argument(metavar="CARD", help="The payment_method_id, as `tollgate cards list` has it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Cards: what offices pay with.", no_args_is_help=True, rich_markup_mode=None)
    group.command("add")(add)
    group.command("confirm")(confirm)
    group.command("list")(show_all)
    group.command("remove")(remove)
    app.add_typer(group, name="cards")


@asks_gateway
async def add(client: Client, office: OfficeId, card_token: Token) -> None:
    """Add a card: a small charge is made, and given back once its amount was told with `confirm`."""
    request = pb.AddPaymentMethodRequest(office_id=office, provider_token=card_token)
    answer = await client.credits.AddPaymentMethod(request)
    client.show(answer, _describe(answer))


@asks_gateway
async def confirm(client: Client, office: OfficeId, card: CardId, amount: Amount) -> None:
    """Tell the amount of the small charge, as it stands on the card's statement; three wrong answers lock the card."""
    request = pb.ConfirmPaymentMethodRequest(office_id=office, payment_method_id=card, amount_micros=amount)
    answer = await client.credits.ConfirmPaymentMethod(request)
    client.show(answer, _describe(answer))


@asks_gateway
async def show_all(client: Client, office: OfficeId) -> None:
    """List the cards of an office."""
    answer = await client.credits.ListPaymentMethods(pb.ListPaymentMethodsRequest(office_id=office))
    rows = [
        (each.payment_method_id, each.brand or NOTHING, each.last_four or NOTHING, _expiry(each), _state(each))
        for each in answer.payment_methods
    ]
    client.show(answer, columns(("CARD", "BRAND", "ENDS IN", "EXPIRES", "STATE"), rows))


@asks_gateway
async def remove(client: Client, office: OfficeId, card: CardId) -> None:
    """Let a card pay no more."""
    request = pb.RemovePaymentMethodRequest(office_id=office, payment_method_id=card)
    answer = await client.credits.RemovePaymentMethod(request)
    client.show(answer, [f"{answer.payment_method_id} is removed"])


def _describe(card: pb.PaymentMethod) -> Iterator[str]:
    rows = [
        ("card", card.payment_method_id),
        ("brand", f"{card.brand}, ends in {card.last_four}" if card.brand else NOTHING),
        ("expires", _expiry(card)),
        ("state", _state(card)),
    ]
    if card.confirmation_url:
        rows.append(("open", card.confirmation_url))
    yield from pairs(rows)


def _expiry(card: pb.PaymentMethod) -> str:
    return f"{card.expiry_year:04}-{card.expiry_month:02}" if card.expiry_year else NOTHING


def _state(card: pb.PaymentMethod) -> str:
    if card.locked:
        return "locked"
    if card.confirmed:
        return "confirmed"
    return "waits for its owner" if card.confirmation_url else "unconfirmed"

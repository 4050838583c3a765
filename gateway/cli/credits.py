"""`tollgate credits`: what an office has, and what is added or taken by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import uuid4

import grpc
import typer

from gateway.cli.amounts import NEGATIVE_ARGUMENTS, Amount
from gateway.cli.client import Client, asks_gateway
from gateway.cli.offices import OfficeId, describe_refill
from gateway.cli.output import columns, instant, money, pairs, short_name
from gateway.client_channel import fault_of
from gateway.v1 import credits_pb2 as pb

Key = Annotated[
    str,
    typer.Option(
        help="Names this operation for ever, so that a repeat changes nothing. Not given: a new one, which is printed."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Balances: read, adjust, buy.", no_args_is_help=True, rich_markup_mode=None)
    group.command("balance")(balance)
    group.command("adjust", context_settings=NEGATIVE_ARGUMENTS)(adjust)
    group.command("transactions")(transactions)
    group.command("add", context_settings=NEGATIVE_ARGUMENTS)(add)
    app.add_typer(group, name="credits")


@asks_gateway
async def balance(client: Client, office: OfficeId) -> None:
    """Show what an office has, what live calls hold of it, and what is left."""
    answer = await client.credits.GetOffice(pb.GetOfficeRequest(office_id=office))
    currency = answer.currency
    rows = [
        ("office", f"{answer.office_id} ({answer.name})"),
        ("balance", f"{money(answer.balance_micros)} {currency}"),
        ("reserved", f"{money(answer.reserved_micros)} {currency}"),
        ("available", f"{money(answer.available_micros)} {currency}"),
        ("refill", describe_refill(answer.refill, currency)),
    ]
    if answer.state != pb.OFFICE_STATE_ACTIVE:
        rows.append(("state", short_name(pb.OfficeState.Name(answer.state), "OFFICE_STATE_")))
    client.show(answer, pairs(rows))


@asks_gateway
async def adjust(
    client: Client,
    office: OfficeId,
    amount: Amount,
    *,
    reason: Annotated[str, typer.Option(help="Why, for the audit log and the books.")],
    idempotency_key: Key = "",
    refill_id: Annotated[str, typer.Option(help="Closes this refill, whose money came from outside.")] = "",
) -> None:
    """Add money to an office's balance, or take it with a negative amount."""
    key = idempotency_key or _new_key()
    request = pb.AdjustBalanceRequest(
        office_id=office, amount_micros=amount, reason=reason, idempotency_key=key, refill_id=refill_id
    )
    with _told_how_to_repeat(key):
        answer = await client.credits.AdjustBalance(request)
    rows = [
        ("credit", f"number {answer.number} of {office}{', applied before' if answer.replayed else ''}"),
        ("amount", money(amount)),
        ("key", key),
        ("balance", money(answer.balance_micros)),
        ("available", money(answer.available_micros)),
    ]
    client.show(answer, pairs(rows))


@asks_gateway
async def add(
    client: Client,
    office: OfficeId,
    amount: Amount,
    *,
    method: Annotated[
        str,
        typer.Option(
            "--method", help="Which of `tollgate cards list` is charged; none for an office that gets invoices."
        ),
    ] = "",
    idempotency_key: Key = "",
) -> None:
    """Buy credits: one of the offered amounts, charged at once or put on the next invoice."""
    key = idempotency_key or _new_key()
    request = pb.AddCreditsRequest(
        office_id=office, amount_micros=amount, payment_method_id=method, idempotency_key=key
    )
    with _told_how_to_repeat(key):
        answer = await client.credits.AddCredits(request)
    rows = [
        ("purchase", f"{answer.transaction_id}{', made before' if answer.replayed else ''}"),
        ("amount", money(amount)),
        ("key", key),
        ("balance", money(answer.balance_micros)),
        ("available", money(answer.available_micros)),
    ]
    client.show(answer, pairs(rows))


@asks_gateway
async def transactions(
    client: Client,
    office: OfficeId,
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 100,
) -> None:
    """List purchases, refills, adjustments, refunds and chargebacks, newest first; times are in UTC."""
    whole = pb.ListTransactionsResponse()
    request = pb.ListTransactionsRequest(office_id=office)
    while True:
        request.page_size = min(limit - len(whole.transactions), 1_000)
        page = await client.credits.ListTransactions(request)
        whole.transactions.extend(page.transactions)
        request.page_token = whole.next_page_token = page.next_page_token
        if not page.next_page_token or len(whole.transactions) >= limit:
            break
    rows = [
        (instant(each.at), each.transaction_id, each.kind, money(each.amount_micros), each.description)
        for each in whole.transactions
    ]
    client.show(whole, columns(("AT", "TRANSACTION", "KIND", "AMOUNT", "DESCRIPTION"), rows))


def _new_key() -> str:
    return f"cli-{uuid4().hex}"


@contextmanager
def _told_how_to_repeat(key: str) -> Iterator[None]:
    """Print the key when no answer came: whether it was applied is not known then."""
    try:
        yield
    except grpc.RpcError as error:
        if fault_of(error).code in {"UNAVAILABLE", "DEADLINE_EXCEEDED"}:
            typer.echo(f"repeat it with --idempotency-key {key}: then it is applied once, whatever happened", err=True)
        raise

"""`tollgate office`: the holders of balances."""

from collections.abc import AsyncIterator, Iterator
from enum import StrEnum
from typing import Annotated, Final, TypeAlias

import typer

from gateway.cli.amounts import read_amount
from gateway.cli.client import Client, asks_gateway
from gateway.cli.output import NOTHING, columns, instant, money, pairs, short_name
from gateway.cli.pages import pages_of
from gateway.v1 import credits_pb2 as pb

OfficeId: TypeAlias = Annotated[str, typer.Argument(metavar="OFFICE", help="Its id: 1 to 64 of A-Z a-z 0-9 . _ -")]


_DEFAULT: Final = "default"
_BY_DEFAULT: Final = -1
"""As the contract has it: the installation's limit."""


class Terms(StrEnum):
    """How an office pays for its credits."""

    CARD = "card"
    INVOICE = "invoice"


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Offices, which hold balances.", no_args_is_help=True, rich_markup_mode=None)
    group.command("create")(create)
    group.command("list")(show_all)
    group.command("show")(show)
    group.command("suspend")(suspend)
    group.command("resume")(resume)
    group.command("auto-refill")(auto_refill)
    group.command("fraud-limits")(fraud_limits)
    group.command("lift-guard")(lift_guard)
    app.add_typer(group, name="office")


@asks_gateway
async def create(
    client: Client,
    office: OfficeId,
    *,
    company: Annotated[str, typer.Option(help="The company that it belongs to; it must exist.")],
    name: Annotated[str, typer.Option(help="For people.")],
    country: Annotated[str, typer.Option(help="ISO 3166 code, e.g. US.")],
    time_zone: Annotated[str, typer.Option(help="IANA name, e.g. America/New_York; UTC if not given.")] = "",
    tariff: Annotated[str, typer.Option(help="Which rows of the deck price its calls, beside those of any.")] = "",
    credit_limit: Annotated[
        int, typer.Option(parser=read_amount, metavar="AMOUNT", help="How far below zero it may go.")
    ] = 0,
    max_calls: Annotated[int, typer.Option(help="Debited calls at a time; 0: no limit.")] = 0,
    max_price: Annotated[
        int, typer.Option(parser=read_amount, metavar="AMOUNT", help="The dearest minute allowed; 0: no limit.")
    ] = 0,
    daily_limit: Annotated[
        int, typer.Option(parser=read_amount, metavar="AMOUNT", help="Spend of a calendar day; 0: no limit.")
    ] = 0,
    terms: Annotated[Terms, typer.Option(help="How it pays for credits.")] = Terms.CARD,
) -> None:
    """Create an office; the same again changes nothing."""
    answer = await client.credits.CreateOffice(
        pb.CreateOfficeRequest(
            office_id=office,
            company_id=company,
            name=name,
            country=country.upper(),
            time_zone=time_zone,
            tariff=tariff,
            credit_limit_micros=credit_limit,
            max_concurrent_calls=max_calls,
            max_price_per_minute_micros=max_price,
            daily_spend_limit_micros=daily_limit,
            payment_terms=pb.PaymentTerms.Value(f"PAYMENT_TERMS_{terms.name}"),
        )
    )
    client.show(answer, describe(answer))


@asks_gateway
async def show_all(
    client: Client, *, company: Annotated[str, typer.Option(help="Only those of this company.")] = ""
) -> None:
    """List the offices with their balances."""
    whole = pb.ListOfficesResponse(offices=[office async for office in each_office(client, company)])
    rows = [
        (
            office.office_id,
            office.company_id,
            office.country,
            short_name(pb.OfficeState.Name(office.state), "OFFICE_STATE_"),
            money(office.balance_micros),
            money(office.reserved_micros),
            money(office.available_micros),
            office.currency,
            office.name,
        )
        for office in whole.offices
    ]
    headings = ("OFFICE", "COMPANY", "IN", "STATE", "BALANCE", "RESERVED", "AVAILABLE", "", "NAME")
    client.show(whole, columns(headings, rows))


@asks_gateway
async def show(client: Client, office: OfficeId) -> None:
    """Show an office with its settings, limits and balance."""
    answer = await client.credits.GetOffice(pb.GetOfficeRequest(office_id=office))
    client.show(answer, describe(answer))


@asks_gateway
async def suspend(
    client: Client, office: OfficeId, *, reason: Annotated[str, typer.Option(help="For the audit log.")] = ""
) -> None:
    """Refuse new calls and messages of an office; live calls go on."""
    answer = await client.credits.SuspendOffice(pb.SuspendOfficeRequest(office_id=office, reason=reason))
    client.show(answer, describe(answer))


@asks_gateway
async def resume(
    client: Client, office: OfficeId, *, reason: Annotated[str, typer.Option(help="For the audit log.")] = ""
) -> None:
    """Let a suspended office call again."""
    answer = await client.credits.ResumeOffice(pb.ResumeOfficeRequest(office_id=office, reason=reason))
    client.show(answer, describe(answer))


@asks_gateway
async def auto_refill(
    client: Client,
    office: OfficeId,
    *,
    on: Annotated[bool, typer.Option("--on/--off", help="Whether to refill.")],
    threshold: Annotated[
        int, typer.Option(parser=read_amount, metavar="AMOUNT", help="Trigger below this; 0: the default.")
    ] = 0,
    amount: Annotated[
        int, typer.Option(parser=read_amount, metavar="AMOUNT", help="What one refill adds; 0: the default.")
    ] = 0,
    payment_method: Annotated[
        str, typer.Option(help="What is charged; if not given somebody outside charges, see `tollgate refills watch`.")
    ] = "",
) -> None:
    """Turn the automatic refill of an office on or off."""
    answer = await client.credits.SetAutoRefill(
        pb.SetAutoRefillRequest(
            office_id=office,
            enabled=on,
            threshold_micros=threshold,
            amount_micros=amount,
            payment_method_id=payment_method,
        )
    )
    client.show(answer, describe(answer))


@asks_gateway
async def fraud_limits(
    client: Client,
    office: OfficeId,
    *,
    country_spend: Annotated[str, typer.Option(metavar="LIMIT", help="Debits of an hour to one country.")] = "",
    office_spend: Annotated[str, typer.Option(metavar="LIMIT", help="Debits of an hour to all of them.")] = "",
    country_calls: Annotated[str, typer.Option(metavar="LIMIT", help="Debited calls of an hour to one country.")] = "",
    office_calls: Annotated[str, typer.Option(metavar="LIMIT", help="Debited calls of an hour to all of them.")] = "",
) -> None:
    """Set what the fraud guards of an office allow; what is not given stays as it is.

    A LIMIT is an amount or a number of calls, 0 for no limit, or `default` for that of the installation.
    """
    request = pb.UpdateOfficeRequest(office_id=office)
    for name, amount in (("fraud_country_spend_micros", country_spend), ("fraud_office_spend_micros", office_spend)):
        if amount:
            setattr(request, name, _BY_DEFAULT if amount == _DEFAULT else read_amount(amount))
    for name, calls in (("fraud_country_calls", country_calls), ("fraud_office_calls", office_calls)):
        if calls:
            setattr(request, name, _BY_DEFAULT if calls == _DEFAULT else _read_calls(calls))
    answer = await client.credits.UpdateOffice(request)
    client.show(answer, describe(answer))


@asks_gateway
async def lift_guard(
    client: Client, office: OfficeId, *, reason: Annotated[str, typer.Option(help="For the audit log.")] = ""
) -> None:
    """End the fraud guards of an office that have tripped: its calls go again, and so does automatic refill."""
    answer = await client.credits.LiftFraudGuard(pb.LiftFraudGuardRequest(office_id=office, reason=reason))
    client.show(answer, describe(answer))


async def each_office(client: Client, company_id: str = "") -> AsyncIterator[pb.Office]:
    """Every office that the token may see, page by page."""
    async for page in pages_of(client.credits.ListOffices, pb.ListOfficesRequest(company_id=company_id)):
        for office in page.offices:
            yield office


def describe(office: pb.Office) -> Iterator[str]:
    """An office, a line each for what is set."""
    currency = office.currency
    rows = [
        ("office", f"{office.office_id} ({office.name}) of {office.company_id}"),
        ("country", f"{office.country}, {office.time_zone}"),
        ("state", short_name(pb.OfficeState.Name(office.state), "OFFICE_STATE_")),
        ("balance", f"{money(office.balance_micros)} {currency}"),
        ("reserved", f"{money(office.reserved_micros)} {currency} by {office.concurrent_calls} debited calls"),
        ("available", f"{money(office.available_micros)} {currency}"),
        ("spent today", f"{money(office.day_spend_micros)} {currency}"),
        ("refill", describe_refill(office.refill, currency)),
        ("tariff", office.tariff or NOTHING),
        ("credit limit", _limit(office.credit_limit_micros, currency)),
        ("calls at once", str(office.max_concurrent_calls or NOTHING)),
        ("price a minute", _limit(office.max_price_per_minute_micros, currency)),
        ("spend a day", _limit(office.daily_spend_limit_micros, currency)),
        ("fraud limits", _fraud_limits(office, currency)),
        *(("fraud guard", _guard(guard, currency)) for guard in office.fraud_guards),
        ("pays by", short_name(pb.PaymentTerms.Name(office.payment_terms), "PAYMENT_TERMS_")),
        ("created", instant(office.created_at)),
    ]
    yield from pairs(rows)


def describe_refill(refill: pb.Refill, currency: str) -> str:
    """The state of an office's refill, in a phrase."""
    state = short_name(pb.RefillState.Name(refill.state), "REFILL_STATE_")
    if refill.state == pb.REFILL_STATE_OFF:
        return state
    terms = f"{money(refill.amount_micros)} {currency} below {money(refill.threshold_micros)} {currency}"
    asked = f", {refill.refill_id} asked for" if refill.refill_id else ""
    until = f", until {instant(refill.waiting_until)}" if refill.state == pb.REFILL_STATE_WAITING else ""
    return f"{state}, {terms}{asked}{until}"


def _limit(micros: int, currency: str) -> str:
    return f"{money(micros)} {currency}" if micros else NOTHING


def _fraud_limits(office: pb.Office, currency: str) -> str:
    def spend(micros: int) -> str:
        return _DEFAULT if micros == _BY_DEFAULT else _limit(micros, currency)

    def calls(number: int) -> str:
        return _DEFAULT if number == _BY_DEFAULT else str(number or NOTHING)

    return (
        f"an hour to a country: {spend(office.fraud_country_spend_micros)}, {calls(office.fraud_country_calls)} calls; "
        f"in all: {spend(office.fraud_office_spend_micros)}, {calls(office.fraud_office_calls)} calls"
    )


def _guard(guard: pb.FraudGuard, currency: str) -> str:
    is_spend = guard.kind in (pb.FRAUD_GUARD_KIND_COUNTRY_SPEND, pb.FRAUD_GUARD_KIND_OFFICE_SPEND)
    reached = f"{money(guard.reached)} {currency}" if is_spend else f"{guard.reached} calls"
    limit = f"{money(guard.limit)} {currency}" if is_spend else str(guard.limit)
    where = guard.country or "every country"
    return f"no new charged calls to {where} until {instant(guard.ends_at)}: {reached} in an hour, limit {limit}"


def _read_calls(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise typer.BadParameter(f"{text!r} is no number of calls: write digits, 0 for no limit, or {_DEFAULT}")
    return int(text)

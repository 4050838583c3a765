"""`tollgate rates lookup`: what a call or message costs, which row of the deck says so, and why that one."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.client import Client, asks_gateway
from gateway.cli.deck_files import packaged_deck, read_deck
from gateway.cli.errors import EXIT_FAILED, EXIT_USAGE, CommandError
from gateway.cli.output import money, pairs, short_name
from gateway.cli.place_call import CallDirection, UserLicense
from gateway.cli.rate_rows import describe_row
from gateway.domain.deck import CallQuery, Deck, MessageQuery
from gateway.domain.numbers import COUNTRIES, NumberInfo, call_category, classify, is_emergency, normalise
from gateway.domain.vocabulary import Direction, License, MessageKind, Service
from gateway.v1 import authorization_pb2 as pb


class Priced(StrEnum):
    """What is priced: the values of a deck's service column."""

    VOICE = "voice"
    FAX = "fax"
    SMS = "sms"
    MMS = "mms"

    @property
    def is_message(self) -> bool:
        """Whether it is priced by segments instead of time."""
        return self in {Priced.SMS, Priced.MMS}


@dataclass(frozen=True, slots=True)
class _Question:
    number: str
    country: str
    tariff: str
    service: Priced
    license: UserLicense
    direction: CallDirection
    calling: str
    duration: int
    segments: int


@asks_gateway
async def lookup(
    client: Client,
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Who is called, as dialled.")],
    *,
    country: Annotated[str, typer.Option(help="The office's, ISO 3166, e.g. US; a deck here is read.")] = "",
    office: Annotated[str, typer.Option(help="Instead of --country: ask the gateway, for this office of it.")] = "",
    deck: Annotated[Path | None, typer.Option(help="A deck's CSV; not given: the one that the package brings.")] = None,
    service: Annotated[Priced, typer.Option(help="What is priced.")] = Priced.VOICE,
    license_: Annotated[
        UserLicense, typer.Option("--license", help="Of who makes or takes it.")
    ] = UserLicense.STANDARD,
    direction: Annotated[CallDirection, typer.Option(help="Seen from the office.")] = CallDirection.OUTBOUND,
    tariff: Annotated[str, typer.Option(help="The office's.")] = "",
    calling: Annotated[str, typer.Option("--from", help="Who calls, for the category of an inbound call.")] = "",
    duration: Annotated[int, typer.Option(min=0, max=86_400, help="Seconds of talk to price.")] = 60,
    segments: Annotated[int, typer.Option(min=1, max=255, help="Length of the message to price.")] = 1,
) -> None:
    """Say what a call or message costs, which row of the deck says so, and why that one.

    With --country it reads a deck here and asks nobody; with --office it asks the gateway by QuoteCall or QuoteMessage.
    """
    if bool(country) == bool(office):
        raise CommandError("give either --country (a deck here is read) or --office (the gateway is asked)", EXIT_USAGE)
    question = _Question(number, country.upper(), tariff, service, license_, direction, calling, duration, segments)
    if office:
        if deck is not None or tariff:
            raise CommandError("--deck and --tariff go with --country; an office has its own", EXIT_USAGE)
        await _ask_gateway(client, office, question)
        return
    if client.names_server:
        raise CommandError("--server answers for an office: say which with --office instead of --country", EXIT_USAGE)
    if question.country not in COUNTRIES:
        raise CommandError(f"--country: {country} is no ISO 3166 country code such as US", EXIT_USAGE)
    for line in _look_up(read_deck(deck)[1] if deck is not None else packaged_deck(), question):
        typer.echo(line)


def _look_up(deck: Deck, question: _Question) -> Iterator[str]:
    if not question.service.is_message and is_emergency(question.number, question.country):
        yield f"{question.number} is an emergency number: always granted, never debited, looked up in no deck"
        return
    e164 = normalise(question.number, question.country)
    if e164 is None:
        raise CommandError(f"{question.number} is no valid number in {question.country}", EXIT_FAILED)
    called = classify(e164, question.country)
    rows = [("number", f"{called.e164}, {called.kind.lower().replace('_', ' ')} of {called.region}")]
    rows += (
        _look_up_message(deck, question, called)
        if question.service.is_message
        else _look_up_call(deck, question, called)
    )
    yield from pairs(rows)


def _look_up_call(deck: Deck, question: _Question, called: NumberInfo) -> Iterator[tuple[str, str]]:
    direction, license_ = Direction[question.direction.name], License[question.license.name]
    service = Service[question.service.name]
    caller = normalise(question.calling, question.country) if direction is Direction.INBOUND else None
    calling = classify(caller, question.country) if caller is not None else None
    yield "category", call_category(direction, service, called, calling).name.lower().replace("_", " ")
    row = deck.lookup_call(CallQuery(question.tariff, service, direction, license_, question.country, called))
    if row is None:
        yield "priced by", "no row: the call would be denied, NO_RATE"
        return
    yield "priced by", row.explain()
    yield "price", f"{money(row.rate.price_micros(question.duration))} for {question.duration} s"
    yield "a minute", money(row.rate.price_per_minute_micros)


def _look_up_message(deck: Deck, question: _Question, called: NumberInfo) -> Iterator[tuple[str, str]]:
    kind = MessageKind[question.service.name]
    row = deck.lookup_message(MessageQuery(question.tariff, kind, question.country, called))
    if row is None:
        yield "priced by", "no row: the message would be denied, NO_RATE"
        return
    yield "priced by", row.explain()
    yield "price", f"{money(row.rate.price_of_segments_micros(question.segments))} for {question.segments} segments"


async def _ask_gateway(client: Client, office: str, question: _Question) -> None:
    if question.service.is_message:
        message = await client.switch.QuoteMessage(
            pb.QuoteMessageRequest(
                office_id=office,
                calling_number=question.calling,
                called_number=question.number,
                kind=pb.MessageKind.Value(question.service.name),
                segments=question.segments,
            )
        )
        rows = [("price", f"{money(message.price_micros)} for {question.segments} segments")]
        client.show(message, _describe(message, rows))
        return
    quote = await client.switch.QuoteCall(
        pb.QuoteCallRequest(
            office_id=office,
            direction=pb.Direction.Value(question.direction.name),
            calling_number=question.calling,
            called_number=question.number,
            license=pb.License.Value(question.license.name),
            service=pb.Service.Value(question.service.name),
            duration_seconds=question.duration,
        )
    )
    rows = [
        ("category", short_name(pb.Category.Name(quote.category), "CATEGORY_").replace("_", " ")),
        ("price", f"{money(quote.price_micros)} for {question.duration} s"),
        ("a minute", money(quote.price_per_minute_micros)),
    ]
    client.show(quote, _describe(quote, rows))


def _describe(quote: pb.QuoteCallResponse | pb.QuoteMessageResponse, rows: list[tuple[str, str]]) -> Iterator[str]:
    decision = f"{pb.Decision.Name(quote.decision)} {pb.Reason.Name(quote.reason)}"
    yield from pairs([("now", decision), *rows, ("available", money(quote.available_micros))])
    if quote.HasField("rate_row"):
        yield from describe_row(quote.rate_row)

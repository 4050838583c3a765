"""`tollgate call`: places a test call, as a switch would, in no time."""

from contextlib import suppress
from enum import StrEnum
from typing import Annotated, Final
from uuid import uuid4

import grpc
import typer
from google.protobuf.message import Message

from gateway.cli.client import Client, asks_gateway
from gateway.cli.errors import EXIT_DENIED, CommandError
from gateway.cli.offices import OfficeId
from gateway.cli.output import money, short_name, show_step
from gateway.cli.rate_rows import describe_row
from gateway.client_channel import fault_of
from gateway.v1 import authorization_pb2 as pb
from gateway.v1 import credits_pb2

LEAD_SECONDS: Final = 10
"""A tick goes out so long before the end of the granted time, or half a tick if that is less."""

DEFAULT_TICK_SECONDS: Final = 60


class CallDirection(StrEnum):
    """Which way a call goes."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"


class UserLicense(StrEnum):
    """The licence of who makes or takes a call."""

    STANDARD = "standard"
    CONTACT_CENTER = "contact-center"
    SALES = "sales"


class CallService(StrEnum):
    """What a call carries."""

    VOICE = "voice"
    FAX = "fax"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("call")(call)


@asks_gateway
async def call(
    client: Client,
    office: OfficeId,
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Who is called, as dialled.")],
    *,
    duration: Annotated[int, typer.Option(min=0, max=86_400, help="Seconds of talk; 0: nobody answers.")] = 75,
    direction: Annotated[CallDirection, typer.Option(help="Seen from the office.")] = CallDirection.OUTBOUND,
    license_: Annotated[
        UserLicense, typer.Option("--license", help="Of who makes or takes it.")
    ] = UserLicense.STANDARD,
    service: Annotated[CallService, typer.Option(help="What it carries.")] = CallService.VOICE,
    calling: Annotated[str, typer.Option("--from", help="Who calls; not given: withheld.")] = "",
    call_id: Annotated[str, typer.Option(help="Its id; not given: a new one.")] = "",
) -> None:
    """Place a test call: quote, authorize, answer, ticks, end, each with its price and what is left.

    No time passes: the talk time is only said. It is debited like any call. Exit code 3: the call was denied.
    """
    request = pb.AuthorizeCallRequest(
        office_id=office,
        call_id=call_id or f"test-{uuid4().hex[:12]}",
        direction=pb.Direction.Value(direction.name),
        calling_number=calling,
        called_number=number,
        license=pb.License.Value(license_.name),
        service=pb.Service.Value(service.name),
    )
    await _TestCall(client, request).run(duration)


class _TestCall:
    """One call, from its quote to its end."""

    def __init__(self, client: Client, request: pb.AuthorizeCallRequest) -> None:
        self._client = client
        self._request = request
        self._office_id = request.office_id
        self._call_id = request.call_id

    async def run(self, duration: int) -> None:
        """Talk for so long, or as long as it is granted."""
        tick_seconds = await self._quote(duration)
        grant = await self._client.switch.AuthorizeCall(self._request)
        self._say(
            "authorize",
            grant,
            f"{_decision(grant)}, {grant.granted_seconds} s granted{_last(grant)}{_replayed(grant)}",
            grant.available_micros,
        )
        if grant.decision != pb.GRANTED:
            raise CommandError(f"the call was denied: {pb.Reason.Name(grant.reason)}", EXIT_DENIED)
        used = 0
        try:
            if duration:
                used = await self._talk(duration, tick_seconds if grant.reason == pb.FUNDED else None)
        except BaseException:
            # Whatever went wrong, no money is to stay reserved for a call that nobody will end.
            with suppress(grpc.RpcError):
                await self._client.switch.EndCall(self._end_request(used))
            raise
        end = await self._client.switch.EndCall(self._end_request(used))
        missing = f", {money(end.written_off_micros)} written off" if end.written_off_micros else ""
        self._say(
            "end",
            end,
            f"{end.billed_seconds} s billed, {money(end.debited_micros)} debited{missing}{_replayed(end)}",
            end.available_micros,
        )
        await self._show_balance()

    async def _quote(self, duration: int) -> int:
        request = pb.QuoteCallRequest(
            office_id=self._office_id,
            direction=self._request.direction,
            calling_number=self._request.calling_number,
            called_number=self._request.called_number,
            license=self._request.license,
            service=self._request.service,
            duration_seconds=duration,
        )
        quote = await self._client.switch.QuoteCall(request)
        category = short_name(pb.Category.Name(quote.category), "CATEGORY_") if quote.category else "unknown"
        self._say(
            "quote",
            quote,
            f"{_decision(quote)}, {category}: {duration} s cost {money(quote.price_micros)} "
            f"({money(quote.price_per_minute_micros)} a minute)",
            quote.available_micros,
        )
        if quote.HasField("rate_row") and not self._client.as_json:
            for line in describe_row(quote.rate_row):
                typer.echo(f"           {line}")
        return quote.rate_row.tick_seconds or DEFAULT_TICK_SECONDS

    async def _talk(self, duration: int, tick_seconds: int | None) -> int:
        """Answer and tick as the granted time runs out; returns how long it lasted."""
        answer = await self._client.switch.AnswerCall(
            pb.AnswerCallRequest(office_id=self._office_id, call_id=self._call_id)
        )
        self._say("answer", answer, f"{answer.granted_seconds} s granted{_last(answer)}", answer.available_micros)
        granted, ended = answer.granted_seconds, answer.ended
        while not ended and tick_seconds is not None and granted < duration:
            used = granted - min(LEAD_SECONDS, tick_seconds // 2)
            tick = await self._client.switch.TickCall(
                pb.TickCallRequest(office_id=self._office_id, call_id=self._call_id, used_seconds=used)
            )
            self._say(
                f"tick {used} s",
                tick,
                f"{tick.granted_seconds} s granted{_last(tick)}, {money(tick.debited_micros)} debited so far",
                tick.available_micros,
            )
            if tick.granted_seconds <= granted:
                break
            granted, ended = tick.granted_seconds, tick.ended
        if duration > granted and not self._client.as_json:
            typer.echo(f"cut        after {granted} s: nothing more is granted")
        return min(duration, granted)

    def _end_request(self, duration: int) -> pb.EndCallRequest:
        return pb.EndCallRequest(
            office_id=self._office_id, call_id=self._call_id, duration_seconds=duration, cause="test call"
        )

    async def _show_balance(self) -> None:
        try:
            office = await self._client.credits.GetOffice(credits_pb2.GetOfficeRequest(office_id=self._office_id))
        except grpc.RpcError as error:
            # A switch's token has no right to Credits, and its network need not reach it.
            if fault_of(error).code in {"PERMISSION_DENIED", "UNAVAILABLE", "UNAUTHENTICATED"}:
                return
            raise
        self._say(
            "balance",
            office,
            f"{money(office.balance_micros)} {office.currency}, {money(office.reserved_micros)} reserved",
            office.available_micros,
        )

    def _say(self, step: str, answer: Message, text: str, available_micros: int) -> None:
        show_step(step, answer, text, available_micros, as_json=self._client.as_json)


def _decision(answer: pb.QuoteCallResponse | pb.AuthorizeCallResponse) -> str:
    return f"{pb.Decision.Name(answer.decision)} {pb.Reason.Name(answer.reason)}"


def _last(answer: pb.AuthorizeCallResponse | pb.AnswerCallResponse | pb.TickCallResponse) -> str:
    return " (the last)" if answer.final_unit else ""


def _replayed(answer: pb.AuthorizeCallResponse | pb.EndCallResponse) -> str:
    return ", replayed" if answer.replayed else ""

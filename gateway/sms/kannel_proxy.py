"""Stands before Kannel's sendsms: a request is paid, then passed on; a report of failure gives the money back."""

import logging
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from yarl import URL

from gateway.client import Client, GatewayUnavailable, InvalidArgument, OperationFailed
from gateway.sms.kannel_request import FAILURES, BadRequest, SendSms, add_plus
from gateway.sms.refunder import Refunder
from gateway.sms.sent_messages import SentMessages, Wish
from gateway.v1 import authorization_pb2 as pb

log = logging.getLogger(__name__)

ACCEPTED: Final = 202
"""What smsbox answers when bearerbox has the message; any other status means that it has not."""

NO_MONEY: Final = frozenset({pb.INSUFFICIENT_FUNDS, pb.SPEND_LIMIT})

TRY_AGAIN: Final = {"Retry-After": "1"}

MAX_NAME_CHARACTERS: Final = 64


@dataclass(frozen=True, slots=True)
class Settings:
    """What the proxy is told.

    Attributes:
        kannel: The URL of sendsms.
        public_url: Where Kannel reaches this proxy, without a slash at its end.
        max_segments: A message with more is refused; Kannel's `max-messages` has to allow as many.
        offices: Who pays for a sendsms-user; for others: the office of the same name.
        international: Numbers have no plus: digits are a country code and so on.
    """

    kannel: str
    public_url: str
    max_segments: int = 10
    offices: Mapping[str, str] = field(default_factory=dict)
    international: bool = False


class KannelProxy:
    """The two things that it does: `sendsms` for senders, `report` for Kannel."""

    def __init__(
        self,
        settings: Settings,
        client: Client,
        http: aiohttp.ClientSession,
        messages: SentMessages,
        refunder: Refunder,
    ) -> None:
        self._settings = settings
        self._client = client
        self._http = http
        self._messages = messages
        self._refunder = refunder

    def app(self) -> Starlette:
        """The application, under the paths that Kannel has. A POST is refused unread: it would mean something else."""
        return Starlette(
            routes=[
                Route("/cgi-bin/sendsms", self.sendsms, methods=["GET"]),
                Route("/sendsms", self.sendsms, methods=["GET"]),
                Route("/dlr/{message_id}/{kind:int}", self.report, methods=["GET"]),
            ]
        )

    async def sendsms(self, request: Request) -> Response:
        """Have a message paid and pass it on; the answer is Kannel's, or says why not."""
        try:
            asked = SendSms.parse(request.scope["query_string"])
            if asked.segments > self._settings.max_segments:
                raise BadRequest(f"{asked.segments} segments, and {self._settings.max_segments} are allowed, rejected")
        except BadRequest as error:
            return PlainTextResponse(str(error), 400)
        message_id = f"kannel-{uuid.uuid4().hex}"
        office_id = self._settings.offices.get(asked.username, asked.username)
        await self._messages.asked(message_id, office_id, Wish(asked.report_mask, asked.report_base))
        refusal = await self._pay(message_id, office_id, asked)
        return refusal or await self._pass_on(message_id, asked)

    async def _pay(self, message_id: str, office_id: str, asked: SendSms) -> Response | None:
        """None: it is paid. Otherwise what the sender is told."""
        number = add_plus(asked.called_number) if self._settings.international else asked.called_number
        try:
            answer = await self._client.authorize_message(
                office_id=office_id,
                message_id=message_id,
                called_number=number,
                calling_number=asked.calling_number[:MAX_NAME_CHARACTERS],
                segments=asked.segments,
                user_id=asked.username,
            )
        except GatewayUnavailable as error:
            log.warning("message %s is refused, no answer: %s", message_id, error)
            await (self._owe(message_id) if error.ambiguous else self._messages.forget(message_id))
            return PlainTextResponse("Not sent: Tollgate is away. Try again later.", 503, TRY_AGAIN)
        except OperationFailed as error:
            log.error("message %s is refused: %s", message_id, error)
            await self._messages.forget(message_id)
            if isinstance(error, InvalidArgument):
                return PlainTextResponse(f"Not sent: {error.field} is refused", 400)
            return PlainTextResponse("Not sent: Tollgate refuses this gateway. Try again later.", 503, TRY_AGAIN)
        if answer.decision == pb.GRANTED:
            return None
        await self._messages.forget(message_id)
        status = 402 if answer.reason in NO_MONEY else 403
        return PlainTextResponse(f"Not sent: {pb.Reason.Name(answer.reason)}", status)

    async def _pass_on(self, message_id: str, asked: SendSms) -> Response:
        """Give a paid message to Kannel; what Kannel does not accept is given back."""
        report_url = f"{self._settings.public_url}/dlr/{message_id}/%d"
        if asked.report_base:
            report_url += f"?{asked.report_path}"
        url = URL(f"{self._settings.kannel}?{asked.query(report_url)}", encoded=True)
        await self._messages.sending(message_id)
        try:
            async with self._http.get(url) as response:
                body = await response.read()
        except aiohttp.ClientConnectorError as error:
            log.warning("message %s is not sent, Kannel is away: %s", message_id, error)
            await self._owe(message_id)
            return PlainTextResponse("Not sent: Kannel is away. Try again later.", 503, TRY_AGAIN)
        except (aiohttp.ClientError, TimeoutError) as error:
            # It may have left, so it stays paid; a report of failure would still give it back.
            log.error("message %s may have been sent, Kannel did not answer: %r", message_id, error)
            return PlainTextResponse("Kannel did not answer: the message may have been sent.", 504)
        if response.status != ACCEPTED:
            await self._owe(message_id)
        return Response(body, response.status, media_type=response.content_type)

    async def report(self, request: Request) -> Response:
        """Take a delivery report, and hand it to the sender if that is what the sender wants."""
        message_id, kind = request.path_params["message_id"], request.path_params["kind"]
        wish = await self._messages.wish_of(message_id)
        if wish is None:
            return PlainTextResponse("Unknown message", 404)
        if kind & FAILURES:
            await self._owe(message_id)
        if not (wish.base and kind & wish.mask):
            return PlainTextResponse("Taken")
        # Kannel has filled in its escapes; the host is the one that the sender named, whoever asks here.
        url = URL(wish.base + request.scope["query_string"].decode("latin-1"), encoded=True)
        try:
            async with self._http.get(url, allow_redirects=False) as response:
                return Response(await response.read(), response.status, media_type=response.content_type)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            log.warning("message %s: its sender did not take a report: %r", message_id, error)
            return PlainTextResponse("The sender did not take it", 502)

    async def _owe(self, message_id: str) -> None:
        await self._messages.owe(message_id)
        self._refunder.wake()

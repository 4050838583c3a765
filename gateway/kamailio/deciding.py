"""Asks the gateway whether a call or a message may go on, and tells Kamailio."""

import time
from collections.abc import Callable
from typing import Any, Final

import structlog

from gateway.client import Client, ClientError, GatewayUnavailable
from gateway.kamailio.answers import (
    MERGED,
    NOT_TEXT,
    TOO_LONG,
    Answer,
    answer_to_call,
    answer_to_error,
    answer_to_message,
)
from gateway.kamailio.calls import Calls
from gateway.kamailio.facts import CallFacts, Key, MessageFacts
from gateway.kamailio.notes import CallAsked, MessageAsked, Transaction
from gateway.kamailio.settling import Settler
from gateway.segments import count_segments
from gateway.v1 import authorization_pb2 as pb

_log = structlog.get_logger(__name__)

_TEXT: Final = "text/plain"
_MAX_SEGMENTS: Final = 255


async def authorize(client: Client, facts: CallFacts) -> pb.AuthorizeCallResponse:
    """Authorize a call, perhaps again.

    Raises:
        ClientError: As `Client.authorize_call`.
    """
    return await client.authorize_call(
        office_id=facts.office_id,
        call_id=facts.call_id,
        direction=facts.direction,
        calling_number=facts.calling_number,
        called_number=facts.called_number,
        license=facts.license,
        user_id=facts.user_id,
        department_id=facts.department_id,
    )


class Decider:
    """Decides on suspended requests.

    Args:
        client: The gateway.
        calls: What is granted is put here.
        settler: Takes back what nobody is going to use.
        send: Sends a message to Kamailio.
    """

    def __init__(
        self, client: Client, calls: Calls, settler: Settler, send: Callable[[dict[str, Any]], object]
    ) -> None:
        self._client = client
        self._calls = calls
        self._settler = settler
        self._send = send

    async def decide_call(self, note: CallAsked) -> None:
        """Decide on an INVITE."""
        self._tell(note.transaction, "call", note.call.key, await self._answer_call(note.call))

    async def decide_message(self, note: MessageAsked) -> None:
        """Decide on a MESSAGE."""
        self._tell(note.transaction, "message", note.message.key, await self._answer_message(note))

    async def report_emergency(self, facts: CallFacts) -> None:
        """Tell the gateway of an emergency call, which went on without asking."""
        self._calls.put(facts, time.time())
        try:
            await authorize(self._client, facts)
        except ClientError as error:
            _log.warning("emergency_call_not_reported", call_id=facts.call_id, error=str(error))

    async def _answer_call(self, facts: CallFacts) -> Answer:
        if self._calls.get(facts.key) is not None:
            # The same id from another request: one reservation is not to carry two calls.
            return MERGED
        self._calls.put(facts, time.time())
        try:
            answer = answer_to_call(await authorize(self._client, facts))
        except ClientError as error:
            answer = _failed(facts.key, error)
            if isinstance(error, GatewayUnavailable):
                self._settler.end(facts.key, 0, "not decided")
        if answer.code != 200:
            self._calls.forget(facts.key)
        return answer

    async def _answer_message(self, note: MessageAsked) -> Answer:
        if note.content_type.partition(";")[0].strip().lower() != _TEXT:
            return NOT_TEXT
        segments = count_segments(note.body.decode(errors="replace"))
        if segments > _MAX_SEGMENTS:
            return TOO_LONG
        try:
            return answer_to_message(await self._authorize_message(note.message, segments))
        except ClientError as error:
            if isinstance(error, GatewayUnavailable) and error.ambiguous:
                self._settler.refund(note.message.key)
            return _failed(note.message.key, error)

    async def _authorize_message(self, message: MessageFacts, segments: int) -> pb.AuthorizeMessageResponse:
        return await self._client.authorize_message(
            office_id=message.office_id,
            message_id=message.message_id,
            calling_number=message.calling_number,
            called_number=message.called_number,
            segments=segments,
            user_id=message.user_id,
            department_id=message.department_id,
        )

    def _tell(self, transaction: Transaction, kind: str, key: Key, answer: Answer) -> None:
        office_id, id_ = key
        told = {"do": "decide", "index": transaction.index, "label": transaction.label}
        self._send(told | answer.fields() | {"kind": kind, "office_id": office_id, "id": id_})


def _failed(key: Key, error: ClientError) -> Answer:
    _log.warning("not_decided", office_id=key[0], id=key[1], error=str(error))
    return answer_to_error(error)

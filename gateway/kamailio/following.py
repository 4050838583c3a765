"""Follows calls from their answer to their end, and has them settled."""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final

import structlog

from gateway.client import Client, ClientError, GatewayUnavailable, NotFound
from gateway.kamailio.calls import Calls, LiveCall
from gateway.kamailio.deciding import authorize
from gateway.kamailio.facts import Key
from gateway.kamailio.notes import CallAnswered, CallEnded
from gateway.kamailio.settling import Settler
from gateway.v1 import authorization_pb2 as pb

_log = structlog.get_logger(__name__)

_ANSWER_LIMIT_SECONDS: Final = 60.0
"""So long it is tried to tell the gateway when a call was answered; after that the list of live calls says it."""

_MAX_SECONDS: Final = 86_400


class Follower:
    """What becomes of the calls that were let through.

    Args:
        client: The gateway.
        calls: The calls that are up.
        settler: Settles them.
        hang_up: Hangs one up, for a reason.
    """

    def __init__(self, client: Client, calls: Calls, settler: Settler, hang_up: Callable[[Key, str], None]) -> None:
        self._client = client
        self._calls = calls
        self._settler = settler
        self._hang_up = hang_up
        self._tasks: set[asyncio.Task[None]] = set()
        self._making_known: set[Key] = set()

    def answered(self, note: CallAnswered) -> None:
        """Kamailio says that a call was answered."""
        if self._calls.has_ended(note.call.key):
            return
        call = self._calls.put(note.call, time.time())
        call.answered_at = call.answered_at or note.at
        call.has_dialog(note.dialog, note.caller, note.callee)
        self.tell_answer(call)

    def tell_answer(self, call: LiveCall) -> None:
        """Have the gateway know when a call was answered."""
        call.is_answer_told = True
        self._spawn(self._tell_answer(call))

    def ended(self, note: CallEnded, *, then: Callable[[], Awaitable[None]] | None = None) -> None:
        """Kamailio says that a call is over; `then` is awaited when the gateway knows."""
        key = note.call.key
        known = self._calls.get(key)
        if known is not None and known.answered_at and not note.answered_at:
            # Another request with the id of this call was given up; see Decider on the same id twice.
            _log.warning("end_of_another_request", office_id=key[0], call_id=key[1], cause=note.cause)
            return
        self._calls.remove(key)
        self._settler.end(key, talk_seconds(note.answered_at, note.at), note.cause, then=then)

    def taken_back(self, key: Key) -> None:
        """A grant came too late: there is no call."""
        known = self._calls.get(key)
        if known is None or not known.answered_at:
            self._calls.remove(key)
            self._settler.end(key, 0, "caller gave up")

    def end_unheard(self, key: Key, cause: str) -> None:
        """A call's dialog is gone, and nobody said when; it counts to where it was last known to be there."""
        call = self._calls.remove(key)
        if call is not None:
            self._settler.end(key, talk_seconds(call.answered_at, call.alive_at), cause)

    async def close(self) -> None:
        """Leave the rest to the list of live calls."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _tell_answer(self, call: LiveCall) -> None:
        key = call.facts.key
        try:
            if (await self._answer(call)).ended:
                self._hang_up(key, "ended")
        except NotFound:
            self.make_known(call)
        except GatewayUnavailable as error:
            call.is_answer_told = False
            _log.warning("answer_not_told_yet", call_id=key[1], error=str(error))
        except ClientError as error:
            _log.error("answer_refused", call_id=key[1], error=str(error))

    def make_known(self, call: LiveCall) -> None:
        """Authorize a call again and answer it with the time of its answer; hang up what is denied.

        Nothing if that is being done: the gateway says again and again that it does not know a call.
        """
        if call.facts.key not in self._making_known:
            self._making_known.add(call.facts.key)
            self._spawn(self._make_known(call))

    async def _make_known(self, call: LiveCall) -> None:
        key = call.facts.key
        try:
            granted = await authorize(self._client, call.facts)
            if granted.decision != pb.GRANTED:
                self._hang_up(key, pb.Reason.Name(granted.reason))
            elif call.answered_at and (await self._answer(call)).ended:
                self._hang_up(key, "ended")
        except ClientError as error:
            call.is_answer_told = False
            _log.warning("call_not_made_known_yet", call_id=key[1], error=str(error))
        finally:
            self._making_known.discard(key)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, call: LiveCall) -> pb.AnswerCallResponse:
        return await self._client.answer_call(
            office_id=call.facts.office_id,
            call_id=call.facts.call_id,
            answered_at=datetime.fromtimestamp(call.answered_at, UTC),
            deadline_seconds=_ANSWER_LIMIT_SECONDS,
        )


def talk_seconds(answered_at: float, ended_at: float) -> int:
    """Talk time between two Unix times, rounded up to seconds; 0 if there was no answer, at least 1 if there was."""
    if not answered_at:
        return 0
    return min(max(1, math.ceil(ended_at - answered_at)), _MAX_SECONDS)

"""Switches with Sessions: calls from the dialling to the hanging up, messages, refunds, and what is asked again."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from time import monotonic
from typing import Any, Final, TypeVar

from gateway.client import AlreadyExists, Client, CutCall, GatewayUnavailable, NotFound, OperationFailed, UnknownCall
from gateway.v1 import authorization_pb2 as pb
from loadtest.chaos.books import Books, Kind, Operation
from loadtest.chaos.meter import Decided, Meter
from loadtest.chaos.unary import PATIENCE_SECONDS

BRITAIN: Final = "+442079460958"
"""By the second: its live calls are ticked by the gateway."""

GERMANY: Final = "+493023125042"
LOCAL: Final = "+12125550142"

_ASKED_AGAIN: Final = 0.1
"""Share of answers that are taken for lost."""

_GIVEN_UP: Final = 0.3
"""Share of authorizations without an answer whose caller hangs up, instead of waiting for another attempt."""

_ATTEMPT_SECONDS: Final = 1.0
_LONGEST_TALK_SECONDS: Final = 12.0

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Payers:
    """The offices of a load.

    Attributes:
        funded: With more than is spent.
        short: With little: what costs something is granted to them now and denied then.
        refilled: Automatically; they only send messages.
    """

    funded: Sequence[str]
    short: Sequence[str]
    refilled: Sequence[str]


class Switch:
    """A switch: some lines that live calls and send messages until they are told to stop.

    Args:
        client: Its Session.
        name: Begins its ids.
        payers: Whose calls they are.
        books: Where every answer goes.
        meter: Counts.
        chance: What it does, and when.
        stop: Set: begin nothing new.
    """

    def __init__(
        self, client: Client, name: str, payers: Payers, books: Books, meter: Meter, chance: Random, stop: asyncio.Event
    ) -> None:
        self._client = client
        self._name = name
        self._payers = payers
        self._books = books
        self._meter = meter
        self._chance = chance
        self._stop = stop
        self._count = 0
        self._cut: dict[str, asyncio.Event] = {}

    async def obey(self) -> None:
        """Take the gateway's commands until the client is closed."""
        async for command in self._client.commands():
            if isinstance(command, CutCall | UnknownCall) and command.call_id in self._cut:
                self._cut[command.call_id].set()
            if isinstance(command, CutCall) and command.office_id in self._payers.funded:
                self._books.fault(f"{command.call_id} was cut, though its office has funds")

    async def live(self) -> None:
        """One line."""
        while not self._stop.is_set():
            drawn = self._chance.random()
            try:
                if drawn < 0.4:
                    await self._call(self._payer(), GERMANY, self._chance.randint(0, 200))
                elif drawn < 0.5:
                    await self._talk(self._payer())
                elif drawn < 0.6:
                    await self._call(self._payer(), LOCAL, self._chance.randint(0, 200))
                elif drawn < 0.7:
                    await self._message(self._chance.choice(self._payers.refilled), refunds=False)
                else:
                    await self._message(self._payer(), refunds=True)
            except OperationFailed as error:
                self._books.fault(f"a switch was answered {error}")
            except GatewayUnavailable as error:
                self._books.fault(f"a switch was not answered for {PATIENCE_SECONDS:g} s: {error}")
            await asyncio.sleep(self._chance.uniform(0.0, 0.1))

    def _payer(self) -> str:
        return self._chance.choice(self._payers.short if self._chance.random() < 0.2 else self._payers.funded)

    def _next_id(self) -> str:
        self._count += 1
        return f"{self._name}-{self._count}"

    async def _call(self, office_id: str, called_number: str, duration_seconds: int) -> None:
        """A call whose time passes faster than the clock's: what a switch reports is not held against that."""
        call: dict[str, Any] = {"office_id": office_id, "call_id": self._next_id()}
        operation = self._books.ask(Kind.CALL, **_key(call), at=monotonic())
        if not await self._authorize(operation, call, called_number):
            return
        await asyncio.sleep(self._chance.uniform(0.0, 0.3))
        if duration_seconds:
            try:
                await self._patiently(lambda: self._client.answer_call(**call))
                if self._chance.random() < 0.3:
                    used = self._chance.randint(0, duration_seconds)
                    await self._patiently(lambda: self._client.tick_call(**call, used_seconds=used))
            except NotFound:
                # A free one may have been granted while the store was away, which then never heard of it.
                operation.vanished = called_number != LOCAL
            await asyncio.sleep(self._chance.uniform(0.0, 0.5))
        await self._end(operation, call, duration_seconds, called_number)

    async def _talk(self, office_id: str) -> None:
        """A call that lasts as long as it says, is ticked by the gateway, and is cut where the funds end."""
        call: dict[str, Any] = {"office_id": office_id, "call_id": self._next_id()}
        cut = self._cut[call["call_id"]] = asyncio.Event()
        try:
            operation = self._books.ask(Kind.CALL, **_key(call), at=monotonic())
            if not await self._authorize(operation, call, BRITAIN):
                return
            answered_at = monotonic()
            try:
                answer = await self._patiently(lambda: self._client.answer_call(**call))
            except NotFound:
                operation.vanished = True
                await self._end(operation, call, 0, BRITAIN)
                return
            if not answer.ended:
                seconds = self._chance.uniform(1.0, _LONGEST_TALK_SECONDS)
                waits = [asyncio.create_task(each.wait()) for each in (cut, self._stop)]
                await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
            await self._end(operation, call, math.ceil(monotonic() - answered_at), BRITAIN)
        finally:
            del self._cut[call["call_id"]]

    async def _authorize(self, operation: Operation, call: dict[str, Any], called_number: str) -> bool:
        """Whether the call may be connected; if not, it is settled."""
        asked: dict[str, Any] = {**call, "direction": pb.OUTBOUND, "called_number": called_number}
        began = monotonic()
        while True:
            try:
                answer = await self._client.authorize_call(**asked, deadline_seconds=_ATTEMPT_SECONDS)
                break
            except GatewayUnavailable:
                self._meter.not_answered()
                if monotonic() - began > PATIENCE_SECONDS:
                    raise
                if self._chance.random() < _GIVEN_UP:
                    # Nobody knows whether it is reserved; EndCall(0) sees to it.
                    await self._end(operation, call, 0, called_number)
                    return False
        self._meter.decided(Decided(answer.reason, call["office_id"], by_session=True))
        free = called_number == LOCAL
        allowed = {pb.FREE} if free else {pb.FUNDED}
        if call["office_id"] in self._payers.short and not free:
            allowed.add(pb.INSUFFICIENT_FUNDS)
        if answer.reason not in allowed:
            self._books.fault(f"{call['call_id']} to {called_number} was answered {pb.Reason.Name(answer.reason)}")
        if answer.decision != pb.GRANTED:
            self._books.acknowledge(operation, 0, monotonic())
            return False
        operation.granted_at = monotonic()
        if self._chance.random() < _ASKED_AGAIN:
            again = await self._patiently(lambda: self._client.authorize_call(**asked))
            if again.decision != pb.GRANTED:
                self._books.fault(f"{call['call_id']} was granted, and then {pb.Reason.Name(again.reason)}")
        return True

    async def _end(self, operation: Operation, call: dict[str, Any], duration_seconds: int, called_number: str) -> None:
        request = operation.record = pb.EndCallRequest(**call, duration_seconds=duration_seconds)
        for _ in range(2 if self._chance.random() < _ASKED_AGAIN else 1):
            try:
                ended = await self._patiently(
                    lambda: self._client.end_call(**call, duration_seconds=duration_seconds, deadline_seconds=5.0)
                )
            except NotFound:
                self._books.not_found(operation, monotonic())
                continue
            except AlreadyExists as error:
                self._books.fault(f"{call['call_id']} was ended once, and answered {error}")
                return
            if ended.debited_micros > _price_micros(called_number, duration_seconds):
                self._books.fault(f"{call['call_id']} of {duration_seconds} s was billed {ended.debited_micros} micros")
            self._books.acknowledge(operation, ended.debited_micros, monotonic(), replayed=ended.replayed)
            operation.request = request

    async def _message(self, office_id: str, *, refunds: bool) -> None:
        message: dict[str, Any] = {"office_id": office_id, "message_id": self._next_id()}
        operation = self._books.ask(Kind.MESSAGE, **_key(message), at=monotonic())
        request = pb.AuthorizeMessageRequest(**message, called_number=LOCAL, segments=self._chance.randint(1, 4))
        asked: dict[str, Any] = {**message, "called_number": LOCAL, "segments": request.segments}
        for repeat in range(2 if self._chance.random() < _ASKED_AGAIN else 1):
            answer = await self._patiently(lambda: self._client.authorize_message(**asked))
            if not repeat:
                self._meter.decided(Decided(answer.reason, office_id, by_session=True))
            if answer.reason == pb.INSUFFICIENT_FUNDS and office_id not in self._payers.funded:
                # A denial is not kept: asked again, it may be granted. So it is not.
                self._books.acknowledge(operation, 0, monotonic())
                return
            if answer.reason != pb.FUNDED:
                self._books.fault(f"{message['message_id']} was answered {pb.Reason.Name(answer.reason)}")
                return
            self._books.acknowledge(operation, answer.debited_micros, monotonic(), replayed=answer.replayed)
        operation.request = operation.record = request
        if refunds and self._chance.random() < 0.2:
            await self._refund(message, operation)

    async def _refund(self, message: dict[str, Any], paid: Operation) -> None:
        operation = self._books.ask(Kind.REFUND, **_key(message), at=monotonic())
        for _ in range(2 if self._chance.random() < _ASKED_AGAIN else 1):
            try:
                refunded = await self._patiently(lambda: self._client.refund_message(**message, deadline_seconds=5.0))
            except NotFound:
                # Then the message is lost, and there is nothing to give back.
                self._books.not_found(paid, monotonic())
                self._books.not_found(operation, monotonic())
                return
            self._books.acknowledge(operation, refunded.refunded_micros, monotonic(), replayed=refunded.replayed)
        operation.request = operation.record = pb.RefundMessageRequest(**message)

    async def _patiently(self, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask until there is an answer, always with the same id.

        Raises:
            OperationFailed: Refused.
            GatewayUnavailable: There is none for `PATIENCE_SECONDS`.
        """
        began = monotonic()
        while True:
            try:
                return await ask()
            except GatewayUnavailable:
                self._meter.not_answered()
                if monotonic() - began > PATIENCE_SECONDS:
                    raise


def _price_micros(called_number: str, duration_seconds: int) -> int:
    """What a call costs by deck.csv: no fault makes it dearer, though an office may run out of funds before."""
    if called_number == BRITAIN:
        return 10_000 + 2_000 * duration_seconds if duration_seconds else 0
    return 60_000 * math.ceil(duration_seconds / 60) if called_number == GERMANY else 0


def _key(thing: dict[str, Any]) -> dict[str, str]:
    office_id, thing_id = thing.values()
    return {"office_id": office_id, "thing_id": thing_id}

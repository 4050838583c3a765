"""Callers whose requests arrive doubled, late and out of order, by way of both workers."""

import asyncio
from collections.abc import Iterable, Sequence
from random import Random
from time import monotonic
from typing import Any, Final

from gateway.v1 import authorization_pb2 as pb
from loadtest.chaos.books import Books, Kind, Occurrence, Operation
from loadtest.chaos.meter import Decided, Meter
from loadtest.chaos.switches import GERMANY, LOCAL
from loadtest.chaos.unary import Asker, Refused, Unanswered

_LATE_SECONDS: Final = 0.2
_MOST_TIMES: Final = 3

_REPEATED: Final = 150
_TIMES: Final = 10
_AT_ONCE: Final = 64

_RPCS: Final[dict[type[Any], str]] = {
    pb.AuthorizeCallRequest: "AuthorizeCall",
    pb.AnswerCallRequest: "AnswerCall",
    pb.TickCallRequest: "TickCall",
    pb.EndCallRequest: "EndCall",
    pb.AuthorizeMessageRequest: "AuthorizeMessage",
    pb.RefundMessageRequest: "RefundMessage",
}


class Strays:
    """Unary requests that nobody keeps in order.

    Args:
        asker: Asks them.
        office_ids: Who pays; all of them have funds.
        books: Where every answer goes.
        meter: Counts.
        chance: What comes when.
        stop: Set: begin nothing new.
    """

    def __init__(
        self, asker: Asker, office_ids: Sequence[str], books: Books, meter: Meter, chance: Random, stop: asyncio.Event
    ) -> None:
        self._asker = asker
        self._office_ids = office_ids
        self._books = books
        self._meter = meter
        self._chance = chance
        self._stop = stop
        self._count = 0

    async def live(self) -> None:
        """One caller."""
        while not self._stop.is_set():
            self._count += 1
            office_id, thing_id = self._chance.choice(self._office_ids), f"stray-{self._count}"
            try:
                if self._chance.random() < 0.6:
                    await self._call(office_id, thing_id)
                else:
                    await self._message(office_id, thing_id)
            except (Refused, Unanswered) as error:
                self._books.fault(f"{thing_id} was answered {error}")
            await asyncio.sleep(self._chance.uniform(0.0, 0.1))

    async def ask_again(self, chance: Random) -> None:
        """Ask again what was settled last, many times each and out of order; the answers must be the first ones.

        Args:
            chance: Of the fault that this is.
        """
        settled = [each for each in self._books.operations.values() if type(each.request) in _RPCS]
        repeats = settled[-_REPEATED:] * _TIMES
        chance.shuffle(repeats)
        await self._repeat_all((each, each.request) for each in repeats)

    async def go_through_records(self, occurrences: Sequence[Occurrence]) -> None:
        """Ask once more for what a fault may have lost, as a switch does that goes through its records afterwards.

        What was lost is settled anew, and a call whose end was lost ends: else the gateway would have it for live.

        Args:
            occurrences: The faults that happened.
        """
        near = [
            each
            for each in self._books.operations.values()
            if each.record is not None
            and any(fault.is_near(each.key.office_id, each.answered_at) for fault in occurrences)
        ]
        # A refund gives back what its message has paid.
        for is_refund in (False, True):
            chosen = [each for each in near if (each.key.kind is Kind.REFUND) == is_refund]
            await self._repeat_all((each, each.record) for each in chosen)

    async def _call(self, office_id: str, call_id: str) -> None:
        operation = self._books.ask(Kind.CALL, office_id, call_id, at=monotonic())
        seconds = self._chance.randint(1, 200)
        call: dict[str, Any] = {"office_id": office_id, "call_id": call_id}
        end = pb.EndCallRequest(**call, duration_seconds=seconds)
        requests = [
            pb.AuthorizeCallRequest(**call, direction=pb.OUTBOUND, called_number=GERMANY),
            pb.AnswerCallRequest(**call),
            pb.TickCallRequest(**call, used_seconds=self._chance.randint(0, seconds)),
            end,
        ]
        ended = asyncio.Event()
        sent = [each for each in requests for _ in range(self._chance.randint(1, _MOST_TIMES))]
        ends = [self._end_some_time(end, ended) for each in sent if each is end]
        others = [self._try_some_time(each, ended) for each in sent if each is not end]
        answers = await asyncio.gather(*ends, *others)
        # Whichever end was the first is the one that counts: before the authorization it finds nothing, for good.
        self._take_all(operation, answers[: len(ends)])
        operation.request, operation.record = end if operation.micros else None, end

    async def _message(self, office_id: str, message_id: str) -> None:
        operation = self._books.ask(Kind.MESSAGE, office_id, message_id, at=monotonic())
        request = pb.AuthorizeMessageRequest(
            office_id=office_id, message_id=message_id, called_number=LOCAL, segments=self._chance.randint(1, 4)
        )
        times = self._chance.randint(1, _MOST_TIMES)
        self._take_all(operation, await asyncio.gather(*[self._send_some_time(request) for _ in range(times)]))
        operation.request = operation.record = request

    async def _end_some_time(self, end: pb.EndCallRequest, ended: asyncio.Event) -> tuple[Any, float]:
        answer = await self._send_some_time(end)
        ended.set()
        return answer

    async def _try_some_time(self, request: Any, ended: asyncio.Event) -> None:
        """Send what is pointless once the call has ended.

        Who went on asking for longer than the set-up time-out, for which an end that found nothing spends the id, would
        begin another call.
        """
        try:
            await self._send_some_time(request, ended)
        except Unanswered:
            if not ended.is_set():
                raise

    async def _send_some_time(self, request: Any, pointless: asyncio.Event | None = None) -> tuple[Any, float]:
        """The answer to a request that is sent some time, and when it came; a `Refused` where the call is not known."""
        await asyncio.sleep(self._chance.uniform(0.0, _LATE_SECONDS))
        try:
            answer = await self._asker.ask(_RPCS[type(request)], request, pointless=pointless)
        except Refused as refused:
            if refused.code != "NOT_FOUND":
                raise
            return refused, monotonic()
        if isinstance(answer, pb.AuthorizeCallResponse | pb.AuthorizeMessageResponse) and not answer.replayed:
            self._meter.decided(Decided(answer.reason, request.office_id, by_session=False))
        return answer, monotonic()

    async def _repeat_all(self, repeats: Iterable[tuple[Operation, Any]]) -> None:
        limit = asyncio.Semaphore(_AT_ONCE)

        async def repeat(operation: Operation, request: Any) -> None:
            async with limit:
                await self._repeat(operation, request)

        async with asyncio.TaskGroup() as tasks:
            for operation, request in repeats:
                tasks.create_task(repeat(operation, request))

    async def _repeat(self, operation: Operation, request: Any) -> None:
        try:
            answer = await self._asker.ask(_RPCS[type(request)], request)
        except Refused as refused:
            if refused.code != "NOT_FOUND":
                self._books.fault(f"{operation.key.thing_id}, asked again, was answered {refused}")
                return
            answer = refused
        except Unanswered as error:
            self._books.fault(f"{operation.key.thing_id}, asked again, was not answered: {error}")
            return
        if isinstance(answer, pb.AuthorizeMessageResponse) and answer.reason == pb.MESSAGE_REFUNDED:
            return
        self._take(operation, answer, monotonic())

    def _take_all(self, operation: Operation, answers: Sequence[tuple[Any, float]]) -> None:
        """Take the answers to one request that was sent several times: that which is no replay was the first."""
        for answer, at in sorted(answers, key=lambda each: (bool(getattr(each[0], "replayed", False)), each[1])):
            self._take(operation, answer, at)

    def _take(self, operation: Operation, answer: Any, at: float) -> None:
        if isinstance(answer, Refused):
            self._books.not_found(operation, at)
        elif isinstance(answer, pb.RefundMessageResponse):
            self._books.acknowledge(operation, answer.refunded_micros, at, replayed=answer.replayed)
        else:
            self._books.acknowledge(operation, answer.debited_micros, at, replayed=answer.replayed)

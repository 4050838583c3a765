"""Callers: each authorizes a call, ends it, and keeps the books of what its answers said."""

import asyncio
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import grpc
import grpc.aio

from gateway.v1 import authorization_pb2 as pb
from loadtest.processes import BenchError
from loadtest.schedule import OpenLoop, constant_arrivals

if TYPE_CHECKING:  # it is in the stubs only
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub

PREFIXES: Final = ("+4420794", "+331426")
"""London and Paris: with five more digits each number of them exists."""

TRIES: Final = 5
DEADLINE_SECONDS: Final = 10.0
DURATIONS: Final = (0, 7, 37, 61, 119)
"""Talk times in seconds; 0: nobody answered."""

_Begun: TypeAlias = tuple[str, str]
"""Office and id of a call that was authorized."""


def usual_call(office_id: str, call_id: str, dice: random.Random) -> pb.AuthorizeCallRequest:
    """A call abroad, with what a switch usually says of it, to a number that is likely to be a new one."""
    return pb.AuthorizeCallRequest(
        office_id=office_id,
        call_id=call_id,
        direction=pb.OUTBOUND,
        calling_number="+12125550100",
        called_number=f"{dice.choice(PREFIXES)}{dice.randrange(100_000):05}",
        user_id="u-1042",
        department_id="sales",
        switch_id="sbc-1",
    )


@dataclass
class Window:
    """What callers measured in a stretch of time.

    Attributes:
        seconds: How long it was.
        authorize: Latencies of AuthorizeCall, in seconds.
        end: Latencies of EndCall, in seconds.
        lags: How much later than the schedule says a request was sent, in seconds; empty in a closed loop.
    """

    seconds: float = 0.0
    authorize: list[float] = field(default_factory=list)
    end: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)

    @property
    def rpcs(self) -> int:
        """How many requests were answered."""
        return len(self.authorize) + len(self.end)


class Callers:
    """Places calls of many offices through one channel.

    Args:
        stub: Of the gateway, or of the empty handler.
        offices: Who calls, in turn.
        name: Goes into the call ids, so that those of two generators differ; 8 characters.
        seed: Of the numbers called.
    """

    def __init__(self, stub: "CallAuthorizationAsyncStub", offices: Sequence[str], name: str, seed: int = 1) -> None:
        self._stub = stub
        self._offices = itertools.cycle(offices)
        self._name = name
        self._numbers = itertools.count()
        # Seeded, so that each run calls the same numbers.
        self._random = random.Random(seed)
        self.debited: Counter[str] = Counter()
        self.retries = 0

    async def run_closed(self, in_flight: int, seconds: float) -> Window:
        """Keep so many requests in flight for so long; calls that have begun are ended, and count.

        Raises:
            BenchError: A funded office was denied a call.
        """
        window = Window()
        started = perf_counter()

        async def caller() -> None:
            while perf_counter() - started < seconds:
                await self.call(window)

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(in_flight):
                    tasks.create_task(caller())
        except* BenchError as group:
            # One wrong answer is enough to fail, and what the others said meanwhile only hides it.
            raise BenchError(str(group.exceptions[0])) from group
        window.seconds = perf_counter() - started
        return window

    async def run_open(self, per_second: float, seconds: float) -> Window:
        """Send requests by a schedule, whether the ones before were answered or not; latencies count from its times.

        Raises:
            BenchError: A funded office was denied a call.
        """
        window, sent, ready = Window(), 0, deque[_Begun]()

        async def authorize(intended: float) -> None:
            ready.append(await self._authorize(window, intended))

        def send(intended: float) -> bool:
            nonlocal sent
            window.lags.append(perf_counter() - intended)
            # Calls and their ends in turn; where no call waits for its end, one more begins.
            ends = sent % 2 and ready
            tasks.create_task(self._end(window, ready.popleft(), intended) if ends else authorize(intended))
            sent += 1
            return True

        loop = OpenLoop(constant_arrivals(per_second, seconds), send)
        try:
            async with asyncio.TaskGroup() as tasks:
                await loop.run()
        except* BenchError as group:
            raise BenchError(str(group.exceptions[0])) from group
        window.seconds = perf_counter() - loop.begin
        # What is ended now is no part of the schedule.
        await asyncio.gather(*[self._end(Window(), begun, perf_counter()) for begun in ready])
        return window

    async def call(self, window: Window) -> None:
        """Place one call and end it.

        Raises:
            BenchError: It was denied, or somebody else's answer came.
        """
        await self._end(window, await self._authorize(window))

    async def _authorize(self, window: Window, since: float | None = None) -> _Begun:
        """Place one call; its latency counts from `since`, which is when it is sent if None."""
        office_id, number = next(self._offices), next(self._numbers)
        call_id = f"{self._name:0>8.8}-0000-4000-8000-{number:012x}"
        request = usual_call(office_id, call_id, self._random)
        started = perf_counter() if since is None else since
        granted = await self._ask(self._stub.AuthorizeCall, request)
        window.authorize.append(perf_counter() - started)
        if granted.reason != pb.FUNDED:
            raise BenchError(f"a call of {office_id} was answered {pb.Reason.Name(granted.reason)}")
        return office_id, call_id

    async def _end(self, window: Window, begun: _Begun, since: float | None = None) -> None:
        office_id, call_id = begun
        end = pb.EndCallRequest(
            office_id=office_id, call_id=call_id, duration_seconds=self._random.choice(DURATIONS), cause="16"
        )
        started = perf_counter() if since is None else since
        ended = await self._ask(self._stub.EndCall, end)
        window.end.append(perf_counter() - started)
        self.debited[office_id] += ended.debited_micros

    async def _ask(self, rpc: Callable[..., Any], request: Any) -> Any:
        """Ask until there is an answer, as a switch does: with the same id, which changes nothing twice."""
        for tries in range(1, TRIES + 1):
            try:
                return await rpc(request, timeout=DEADLINE_SECONDS)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or tries == TRIES:
                    raise BenchError(f"an answer was {error.code().name}: {error.details()}") from error
                self.retries += 1
        raise AssertionError("the loop returns or raises")

"""Calls and their ends by a schedule: what was sent when, how late, and when it was answered."""

import asyncio
from collections import deque
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from time import perf_counter, process_time
from typing import Any

from gateway.v1 import authorization_pb2 as pb
from loadtest.arrivals.switch import Switch
from loadtest.callers import DURATIONS, PREFIXES
from loadtest.figures import rounded
from loadtest.load.answers import Answers
from loadtest.load.histogram import Histogram
from loadtest.processes import BenchError
from loadtest.schedule import OpenLoop


@dataclass
class Measured:
    """What was measured.

    Attributes:
        authorize: Latencies of AuthorizeCall, from the time at which the schedule had it sent to its answer.
        end: Those of EndCall.
        lag: How much later than that time the operation was handed over: the generator's own share of the latency.
        seconds: From the first arrival that counts to the last answer.
        cpu_seconds: The generator's own.
        most_in_flight: The most operations that had no answer yet.
    """

    authorize: Histogram = field(default_factory=Histogram)
    end: Histogram = field(default_factory=Histogram)
    lag: Histogram = field(default_factory=Histogram)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    most_in_flight: int = 0

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        both = Histogram()
        both.add(self.authorize)
        both.add(self.end)
        return {
            "seconds": round(self.seconds, 2),
            "rate_per_second": rounded(both.count / max(1e-9, self.seconds)),
            "generator_cpu_percent": rounded(100 * self.cpu_seconds / max(1e-9, self.seconds)),
            "most_in_flight": self.most_in_flight,
            "authorize": self.authorize.to_json(),
            "end": self.end.to_json(),
            "both": both.to_json(),
            "lag": self.lag.to_json(),
        }


class Generator:
    """Begins and ends calls in turn, an operation an arrival; each call is ended after its answer has come.

    Args:
        switch: Asks the gateway.
        offices: Who pays, in turn.
        run_id: Goes into the ids of the calls.
        answers: The books.
        seed: Of numbers and durations.
        stop: Set when no more is to be sent; what has begun is ended all the same.
    """

    def __init__(
        self, switch: Switch, offices: Sequence[str], run_id: str, answers: Answers, *, seed: int, stop: asyncio.Event
    ) -> None:
        self._switch = switch
        self._offices = offices
        self._run_id = run_id
        self._answers = answers
        self._chance = Random(seed)
        self._stop = stop
        self._number = 0
        self._ready: deque[tuple[str, str, str]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._failure: BenchError | None = None

    async def run(self, arrivals: Iterator[float], warm_up_seconds: float) -> Measured:
        """Send all that arrives, and wait for the answers.

        Args:
            arrivals: In seconds from the beginning.
            warm_up_seconds: What arrives so soon is sent, and is in the books, but does not count.

        Raises:
            BenchError: An operation was not answered, or not as it should have been.
        """
        measured, sent, cpu = Measured(), 0, process_time()

        def send(intended: float) -> bool:
            nonlocal sent
            if self._failure is not None:
                raise self._failure
            counts = intended - loop.begin >= warm_up_seconds
            if sent % 2 and self._ready:
                self._start(self._end(*self._ready.popleft(), intended, measured if counts else None))
            else:
                self._start(self._authorize(intended, measured if counts else None))
            sent += 1
            measured.most_in_flight = max(measured.most_in_flight, len(self._running))
            return True

        loop = OpenLoop(arrivals, send)
        stopping = asyncio.create_task(self._end_when_told(loop))
        try:
            await loop.run()
        finally:
            stopping.cancel()
        await self._wait()
        measured.seconds = perf_counter() - loop.begin - warm_up_seconds
        measured.cpu_seconds = (process_time() - cpu) * measured.seconds / max(1e-9, measured.seconds + warm_up_seconds)
        while self._ready:
            self._start(self._end(*self._ready.popleft(), perf_counter(), None))
        await self._wait()
        return measured

    async def _end_when_told(self, loop: OpenLoop) -> None:
        await self._stop.wait()
        loop.end()

    async def _authorize(self, intended: float, measured: Measured | None) -> None:
        number, self._number = self._number, self._number + 1
        office_id = self._offices[number % len(self._offices)]
        call_id = f"{self._run_id:0>12}-4000-8000-{number:012x}"
        called_number = f"{self._chance.choice(PREFIXES)}{self._chance.randrange(100_000):05}"
        begun = perf_counter()
        answer = await self._switch.authorize_call(office_id, call_id, called_number)
        if measured is not None:
            measured.authorize.record(perf_counter() - intended)
            measured.lag.record(begun - intended)
        if answer.reason != pb.FUNDED:
            raise BenchError(f"a call of {office_id} was answered {pb.Reason.Name(answer.reason)}")
        self._answers.count("calls")
        self._ready.append((office_id, call_id, called_number))

    async def _end(
        self, office_id: str, call_id: str, called_number: str, intended: float, measured: Measured | None
    ) -> None:
        duration = self._chance.choice(DURATIONS)
        begun = perf_counter()
        answer = await self._switch.end_call(office_id, call_id, duration)
        if measured is not None:
            measured.end.record(perf_counter() - intended)
            measured.lag.record(begun - intended)
        self._answers.call_ended(
            office_id, called_number, answer.billed_seconds, answer.debited_micros, answer.written_off_micros
        )

    def _start(self, operation: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(operation)
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        if not task.cancelled() and isinstance(error := task.exception(), Exception) and self._failure is None:
            self._failure = error if isinstance(error, BenchError) else BenchError(repr(error))

    async def _wait(self) -> None:
        """Until everything that was sent has been answered.

        Raises:
            BenchError: Something was not.
        """
        while self._running:
            await asyncio.wait(list(self._running))
        if self._failure is not None:
            raise self._failure

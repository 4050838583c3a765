"""One gateway of the simulation: what the front is made of, on a wire and a clock that the simulation holds."""

import asyncio
from collections.abc import Coroutine
from contextlib import nullcontext
from contextvars import ContextVar, copy_context
from functools import partial
from random import Random
from typing import Any, Final, cast

from gateway.api.calls import Calls
from gateway.api.live_calls import LiveCallsListener, published_command
from gateway.api.messages import Messages
from gateway.api.rating import CurrentRater
from gateway.api.session import Context, Operation, Session
from gateway.api.session_operations import session_operations
from gateway.api.sessions import Sessions
from gateway.background.due import DueLoop
from gateway.background.shards import DUE_CALLS, ShardLeases
from gateway.domain.deck import Deck
from gateway.domain.identity import Identity
from gateway.errors import TollgateError
from gateway.store.balances import BalanceStore
from gateway.store.clock import JUMP_MS, StoreClock
from gateway.store.commands import PublishedCommand, follow_commands
from gateway.store.connection import StoreConnection
from gateway.store.faults import StoreUnavailable
from gateway.store.offices import OfficeCache
from gateway.store.scripts import load_library
from gateway.store.switch_lists import SwitchLists
from gateway.v1 import authorization_pb2 as pb
from tests.simulation.answers import check_answer
from tests.simulation.stream import WHOLE, State, Stream
from tests.simulation.wire import OPERATION, Sent, Wire
from tests.support.balances import ManualClock

OWNER: Final[ContextVar["Gateway | None"]] = ContextVar("OWNER", default=None)
STREAM: Final[ContextVar[Stream | None]] = ContextVar("STREAM", default=None)
BARRIER: Final = "a switch that nobody has"
MAX_DURATION_SECONDS: Final = 3_600
LATEST_SECONDS: Final = 20.0


def owning_tasks(loop: asyncio.AbstractEventLoop, coro: Any, context: Any = None) -> "asyncio.Task[Any]":
    """A task factory that knows whose each task is, so that all of a gateway's can die at once."""
    task: asyncio.Task[Any] = asyncio.Task(coro, loop=loop, context=context)
    owner = OWNER.get() if context is None else context.get(OWNER)
    if owner is not None:
        owner.tasks.add(task)
        task.add_done_callback(owner.tasks.discard)
    return task


class Machine:
    """A machine's monotonic clock, which goes with the store's until somebody makes it jump."""

    def __init__(self, store_clock: ManualClock) -> None:
        self._store_clock = store_clock
        self._booted_ms = store_clock.now_ms() - 1_000_000
        self.jumped_ms = 0

    def seconds(self) -> float:
        return (self._store_clock.now_ms() - self._booted_ms + self.jumped_ms) / 1000


class Gateway:
    """What gateway/front.py puts together, but for gRPC and the deck's and tokens' way here.

    Attributes:
        tasks: Everything that is at work here.
        published: The commands that were heard, since somebody asked last.
        hears_commands: False: what is published is lost on the way here.
        due_looks: The calls that this gateway's due loop looked at, since somebody asked last.
    """

    def __init__(self, name: str, connection: StoreConnection, store_clock: ManualClock, deck: Deck, seed: int) -> None:
        self.name = name
        self.is_alive = True
        self.is_stalled = False
        self.hears_commands = True
        self.tasks: set[asyncio.Task[Any]] = set()
        self.streams: list[Stream] = []
        self._serving: dict[Stream, asyncio.Task[Any]] = {}
        self.published: list[PublishedCommand] = []
        self.failures: list[BaseException] = []
        self.machine = Machine(store_clock)
        self.offsets_ms: list[int] = []
        self.wire = Wire(load_library())
        self.clock = StoreClock(monotonic=self.machine.seconds)
        self.rater = CurrentRater()
        self.rater.use(deck)
        self.kept_ms = 0
        self.measured_ms = 0
        self.refreshed_ms = 0
        self._listened_to = connection
        self._loop = asyncio.get_running_loop()
        self._heard: dict[str, int] = {}
        self._heard_more = asyncio.Event()
        store = BalanceStore(self.wire, self.clock)
        offices = OfficeCache(self.wire)
        calls = Calls(store, offices, self.rater, max_duration_seconds=MAX_DURATION_SECONDS)
        messages = Messages(store, offices, self.rater)
        self.lists = SwitchLists(self.wire)
        self._listener = LiveCallsListener(store, offices, self.lists, self.clock, calls)
        operations = session_operations(calls, messages)
        watched = {kind: partial(self._run, kind, operation) for kind, operation in operations.items()}
        self.sessions = Sessions(watched, self._hear, nullcontext, max_operations=WHOLE)
        self.leases = ShardLeases(DUE_CALLS, self.wire, store, self.clock, shuffle=Random(seed))
        self.due = DueLoop(self.wire, store, offices, self.clock, self.lists, shards=self.leases.held)

    # Its life.

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Begin something that belongs to this gateway."""
        context = copy_context()
        context.run(OWNER.set, self)
        return self._loop.create_task(self._guarded(work), context=context)

    async def start(self) -> None:
        """Hear the commands that are published."""
        self.spawn(follow_commands(self._listened_to, self._deliver))

    def die(self, still_arriving: int) -> list[Sent]:
        """Like kill -9: every task ends where it stands; returns what the store will get all the same."""
        self.is_alive = False
        for task in list(self.tasks):
            task.cancel()
        arriving = self.wire.abandon(still_arriving)
        for stream in self.streams:
            if stream.state in (State.OPEN, State.CLOSING):
                stream.break_off()
        return arriving

    async def ended(self) -> None:
        """Wait until nothing is at work here any longer."""
        async with asyncio.timeout(LATEST_SECONDS):
            while self.tasks:
                await asyncio.gather(*self.tasks, return_exceptions=True)

    def open(self, stream: Stream, identity: Identity) -> None:
        self.streams.append(stream)

        async def serve() -> None:
            STREAM.set(stream)
            try:
                await self.sessions.serve(cast("Context", stream), identity)
            except TollgateError as error:
                stream.ends(error)
            else:
                stream.ends(None)

        self._serving[stream] = self.spawn(serve())

    def cancel(self, stream: Stream) -> None:
        """The stream breaks: its handler is cancelled, as grpc does it."""
        stream.break_off()
        self._serving[stream].cancel()

    # Turns of its loops; what each of them survives is what the loop around it survives.

    async def look_at_due_calls(self) -> None:
        may_act = self.may_act
        assert self.clock.is_sure == may_act, f"{self.name} is {self.clock.is_sure} of its clock: {self.offsets_ms}"
        looked = await self.due.turn()
        assert may_act or not looked, f"{self.name} looked at calls and does not know the time: {self.offsets_ms}"

    async def keep_leases(self) -> None:
        await self.leases.turn()

    async def refresh_lists(self) -> None:
        await self.lists.refresh()

    async def measure_clock(self) -> None:
        await self.clock.measure(self.wire)
        self.offsets_ms.append(-self.machine.jumped_ms)

    @property
    def may_act(self) -> bool:
        """By the measurements, whether it may tick and cut: after a jump not until three agree."""
        jumps = [n for n in range(1, len(self.offsets_ms)) if _differ(self.offsets_ms[n - 1 : n + 1])]
        if not jumps:
            return bool(self.offsets_ms)
        recent = self.offsets_ms[jumps[-1] :]
        return any(not _differ(recent[n : n + 3]) for n in range(len(recent) - 2))

    # What it hears of commands.

    def _deliver(self, published: PublishedCommand) -> None:
        if published.switch_id == BARRIER:
            self._heard[published.call_id] = published.value
            self._heard_more.set()
        elif self.hears_commands:
            self.published.append(published)
            self.sessions.deliver(published.switch_id, published_command(published))

    async def has_heard(self, barrier: int, servers: int) -> bool:
        """Whether all that was published before a barrier, which every server published, is here.

        Waits a little, since it may be lost.
        """
        try:
            async with asyncio.timeout(0.5 if self._heard else 0.005):
                while sum(value >= barrier for value in self._heard.values()) < servers:
                    self._heard_more.clear()
                    await self._heard_more.wait()
        except TimeoutError:
            return False
        return True

    # Between a Session and what it is served by.

    async def _run(self, kind: str, operation: Operation, request: Any, identity: Identity) -> Any:
        try:
            return await self._ask(kind, operation, request, identity)
        except TollgateError:
            raise
        except Exception as error:  # a Session answers INTERNAL and goes on; the simulation does not
            self.failures.append(error)
            raise

    async def _ask(self, kind: str, operation: Operation, request: Any, identity: Identity) -> Any:
        stream = STREAM.get()
        assert stream is not None
        asked = stream.begins(kind, request)
        OPERATION.set(asked)
        outcome: Any
        try:
            outcome = await operation(request, identity)
        except TollgateError as error:
            outcome = error
        stream.done(asked, outcome)
        check_answer(asked)
        if isinstance(outcome, TollgateError):
            raise outcome
        return outcome

    async def _hear(self, live_calls: pb.LiveCalls, session: Session) -> None:
        try:
            await self._listen(live_calls, session)
        except TollgateError:
            raise
        except Exception as error:
            self.failures.append(error)
            raise

    async def _listen(self, live_calls: pb.LiveCalls, session: Session) -> None:
        stream = STREAM.get()
        assert stream is not None
        part = stream.listed.popleft()
        assert part.live_calls == live_calls, "lists are heard out of order"
        assert not stream.is_hearing, "a part of a list is heard before the one before it was"
        stream.is_hearing = True
        if stream.list_began_ms is None:
            stream.list_began_ms, stream.list_was_heard = self.clock.now_ms(), True
        OPERATION.set(part)
        try:
            await self._listener.hear(live_calls, session)
        except asyncio.CancelledError:
            # It dies while it waits for the list to be noted, and has told the switch by then.
            stream.may.update(part.told)
            raise
        finally:
            stream.is_hearing = False
        if part.was_answered:
            stream.must.update(part.told)
        else:
            stream.list_was_heard = False
            stream.may.update(part.told)
        if not live_calls.more:
            stream.list_began_ms = None

    async def _guarded(self, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await work
        except StoreUnavailable:
            return None
        except Exception as error:
            self.failures.append(error)
            raise


def _differ(offsets_ms: list[int]) -> bool:
    return max(offsets_ms) - min(offsets_ms) > JUMP_MS

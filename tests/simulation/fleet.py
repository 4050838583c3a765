"""Two gateways on one store, the switches at their Sessions, and everything that is checked after each step.

The model goes along with every script that any gateway runs, in the order in which the store ran them, and from the
script's own arguments: so replies, records, due entries and the outbox have to be the model's to the micro, whatever
the gateways do at the same time. What the model does not know is checked here: who may tick and when, who is told what,
and that what is due is done by whichever gateway lives.
"""

import asyncio
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, replace
from enum import Enum
from random import Random
from typing import Any, Final

from gateway.background.shards import KEEP_EVERY_SECONDS
from gateway.domain.deck import Deck
from gateway.domain.identity import Identity
from gateway.domain.vocabulary import CallState, Role
from gateway.store.balances import BY_CLOCK
from gateway.store.clock import MEASURE_EVERY_SECONDS
from gateway.store.codes import Code
from gateway.store.commands import PublishedCommand
from gateway.store.connection import StoreConnection
from gateway.store.keys import COMMANDS_CHANNEL, SWITCH_LISTS_KEY, shard_of
from gateway.store.scripts import load_library
from gateway.store.switch_lists import FOLLOW_EVERY_SECONDS
from gateway.v1 import authorization_pb2 as pb
from tests.simulation.gateway import BARRIER, LATEST_SECONDS, Gateway
from tests.simulation.model import FRESH_MS, GRANTING, Call
from tests.simulation.replay import UNMODELLED, replay
from tests.simulation.stream import Asked, List, State, Stream, Told
from tests.simulation.wire import Sent
from tests.simulation.world import World, expect
from tests.support.balances import ManualClock
from tests.support.store_keys import all_keys, publish_everywhere

LIVE_CALLS_MS: Final = 30_000
TURN_MS: Final = 200
LONGEST_STRIDE_MS: Final = 10_000
SOON_MS: Final = 60_000
PATIENCE_MS: Final = 400
LATEST_CUT_MS: Final = 1_000
CUT_AGAIN_MS: Final = 5_000 + PATIENCE_MS + 2 * TURN_MS
SHORT: Final = (pb.FINAL_REASON_INSUFFICIENT_FUNDS, pb.FINAL_REASON_SPEND_LIMIT)

OFFICES_OF: Final = {"sw1": frozenset({"*"}), "sw2": frozenset({"o-1", "o-2", "o-none"})}
"""The switches, and the offices that each may use."""

CallId = tuple[str, str]


class Fault(Enum):
    DEATH = "the gateway is killed"
    CUT = "its connection to the store is cut"
    STALL = "the store does not answer it in time, and carries out later what it sent"
    DEAF = "it hears no commands until the next step"


@dataclass(frozen=True)
class Disaster:
    """Strikes a gateway after so many flushes; `arriving` of its commands get to the store all the same."""

    fault: Fault
    which: int
    after: int
    arriving: int


class Fleet:
    """One run of the simulation."""

    def __init__(self, connection: StoreConnection, clock: ManualClock, decks: list[Deck]):
        self.connection = connection
        self.world = World(connection, clock)
        self.model = self.world.model
        self.clock = clock
        self.gateways: list[Gateway] = []
        self.streams: list[Stream] = []
        self.silent: set[str] = set()
        self.forgotten: set[CallId] = set()
        self.asked: list[tuple[str, str, Any]] = []
        self.counts: Counter[str] = Counter()
        self._decks = decks
        self._born = 0
        self._late: list[deque[Sent]] = []
        self._names = {name: operation for operation, name in load_library().functions.items()}
        self._published: list[PublishedCommand] = []
        self._barrier = 0
        self._lists: defaultdict[str, list[int]] = defaultdict(list)
        self._next_list_ms: dict[str, int] = {}
        self._last_word: dict[CallId, int] = {}
        self._looked: set[CallId] = set()
        self._missing: set[CallId] = set()
        self._smooth_since_ms = clock.now_ms()
        self._had_disaster = False
        self._is_living = False
        self._clock_was_set = False

    # Who is there.

    async def start_gateway(self) -> None:
        gateway = Gateway(
            f"g{self._born}", self.connection, self.clock, self._decks[self._born % len(self._decks)], self._born
        )
        self._born += 1
        await gateway.start()
        self.gateways.append(gateway)
        # What is published from now on is heard, as a front says that it is ready when it hears.
        async with asyncio.timeout(LATEST_SECONDS):
            while not await self._send_barrier(gateway):
                pass
        gateway.published.clear()
        for work in (gateway.measure_clock(), gateway.keep_leases(), gateway.refresh_lists()):
            gateway.spawn(work)
        await self.pump(0)

    def open_stream(self, switch_id: str, gateway: Gateway) -> Stream:
        stream = Stream(switch_id, self.clock.now_ms())
        identity = Identity(Role.SWITCH, switch_id, office_ids=OFFICES_OF[switch_id], switch_id=switch_id)
        gateway.open(stream, identity)
        self.streams.append(stream)
        return stream

    def open_streams(self, switch_id: str | None = None) -> list[Stream]:
        return [s for s in self.streams if s.state is State.OPEN and switch_id in (None, s.switch_id)]

    def gateway_of(self, stream: Stream) -> Gateway:
        return next(gateway for gateway in self.gateways if stream in gateway.streams)

    # What happens.

    def ask(self, stream: Stream, operations: list[tuple[str, Any]], *, bad: str = "") -> list[Asked]:
        self.asked += [(stream.switch_id, kind, request) for kind, request in operations]
        return stream.ask(operations, bad=bad)

    def live_calls_of(self, switch_id: str) -> list[pb.LiveCall]:
        """What the switch has, as it knows it."""
        now_ms = self.clock.now_ms()
        return [
            pb.LiveCall(
                office_id=office_id,
                call_id=call_id,
                used_seconds=min(86_400, max(0, now_ms - c.answered_ms) // 1000) if c.answered_ms else 0,
            )
            for (office_id, call_id), c in sorted(self.model.calls.items())
            if isinstance(c, Call) and c.request.switch_id == switch_id and (office_id, call_id) not in self.forgotten
        ]

    def list_calls(self, stream: Stream, calls: list[pb.LiveCall], *, more: bool = False) -> None:
        for call in calls:
            known = call.office_id in self.model.offices
            allowed = OFFICES_OF[stream.switch_id] & {"*", call.office_id}
            if call.used_seconds <= 86_400 and not (known and allowed):
                stream.may[Told("unknown_call", call.office_id, call.call_id, 0)] += 1
        if any(call.used_seconds > 86_400 for call in calls):
            stream.must_end = True
        stream.list_calls(calls, more=more)

    async def kill(self, gateway: Gateway, arriving: int) -> None:
        self._late.append(deque(gateway.die(arriving)))
        await gateway.ended()
        self.gateways.remove(gateway)
        self._check_failures(gateway)

    async def pump(self, order: int, disaster: Disaster | None = None) -> None:
        """Let everything run until nobody waits for the store, in an order that a number chooses; then check all."""
        chance = Random(order)
        self._had_disaster = disaster is not None
        arriving_now = chance.random() < 0.5
        flushes = 0
        for gateway in self.gateways:
            gateway.wire.is_up, gateway.is_stalled = True, False
        while True:
            await self.settle()
            if disaster is not None and flushes >= disaster.after:
                await self._strike(disaster)
                disaster = None
                continue
            ways = [gateway.wire.queue for gateway in self.gateways if gateway.wire.queue and not gateway.is_stalled]
            if arriving_now:
                ways += [way for way in self._late if way]
            if ways:
                way = chance.choice(ways)
                whole = chance.random() < 0.5
                await self._carry_out(way, len(way) if whole else chance.randint(1, len(way)))
                flushes += 1
            elif disaster is not None:
                flushes = disaster.after
            elif not self._time_out():
                break
        await self._check(order)

    async def let_arrive(self) -> None:
        """Whatever is still on its way to the store gets there."""
        for way in self._late:
            if way:
                await self._carry_out(way, len(way))

    async def move(self, milliseconds: int) -> None:
        """Time passes, in the store too: what it keeps for a while only has so much less."""
        self.clock.set(self.clock.now_ms() + milliseconds)
        for stream in self.streams:
            stream.now_ms = self.clock.now_ms()
        if milliseconds <= 0:
            return
        names = await all_keys(self.connection)
        lives = await self.connection.ask_all(("PTTL", name) for name in names)
        left = {n: ms - milliseconds for n, ms in zip(names, lives, strict=True) if ms >= 0}
        # The store's own clock goes on meanwhile, on a busy machine for seconds: what would go soon goes now. Not so
        # leases: nothing here knows of them, and whoever loses one too early only leaves work to another.
        gone = {name for name, ms in left.items() if ms <= (0 if name.endswith(b":lease") else SOON_MS)}
        await self.connection.ask_all(
            ("DEL", name) if name in gone else ("PEXPIRE", name, ms) for name, ms in left.items()
        )
        for name in sorted(gone):
            self._forget(name.decode())

    def next_due_ms(self) -> int | None:
        """When the next live call comes due that is not due yet."""
        now_ms = self.clock.now_ms()
        return min((c.due_ms for c in self._live_calls().values() if c.due_ms > now_ms), default=None)

    async def come_near(self, before_ms: int) -> None:
        """Time passes to a little before the next call comes due; the gateways keep their leases to the last."""
        due_ms = self.next_due_ms()
        assert due_ms is not None
        await self.move(max(0, due_ms - before_ms - self.clock.now_ms()))
        for gateway in self.gateways:
            gateway.kept_ms = self.clock.now_ms()
            gateway.spawn(gateway.keep_leases())
        await self.pump(0)

    def step_store_clock(self, by_ms: int) -> None:
        """Somebody sets the clock of the store's machine; no other machine notices by itself."""
        self._clock_was_set = True
        self.clock.set(self.clock.now_ms() + by_ms)
        for gateway in self.gateways:
            gateway.machine.jumped_ms -= by_ms

    def step_gateway_clock(self, gateway: Gateway, by_ms: int) -> None:
        """A machine's own clock jumps, as it must not."""
        self._clock_was_set = True
        gateway.machine.jumped_ms += by_ms

    async def live(self, seconds: float, order: int, disaster: Disaster | None = None) -> None:
        """Time passes while the gateways' loops and the switches' lists go on, looked at where something is due."""
        end_ms = self.clock.now_ms() + round(seconds * 1000)
        self._smooth_since_ms = max(self.clock.now_ms(), *self.model.clocks.values(), 0)
        stride_ms = TURN_MS
        strikes_ms = (self.clock.now_ms() + end_ms) // 2
        while self.clock.now_ms() < end_ms:
            stride_now_ms = min(end_ms, self._next_event_ms(stride_ms)) - self.clock.now_ms()
            await self.move(stride_now_ms)
            if stride_now_ms > FOLLOW_EVERY_SECONDS * 1000:
                # A leap stands for many turns, in which every gateway has read the lists.
                for gateway in self.gateways:
                    gateway.spawn(gateway.refresh_lists())
                await self.pump(order)
            if stride_ms == TURN_MS:
                # Before anybody is told anew, too: nobody looked at anything in between.
                self._check_cut_calls_are_told()
            strike = disaster if self.clock.now_ms() >= strikes_ms else None
            disaster = disaster if strike is None else None
            self._list_where_due()
            busy = [self._keep_house(gateway) for gateway in self.gateways]
            if any(busy):
                await self.pump(order)
            overdue = self._overdue()
            for gateway in self.gateways:
                gateway.spawn(gateway.look_at_due_calls())
            self._is_living = True
            await self.pump(order, strike)
            self._is_living = False
            if not self._is_smooth() or strike is not None:
                # A shard that was told of a later time does everything by that one until it has come.
                self._smooth_since_ms = max(self.clock.now_ms(), *self.model.clocks.values(), 0)
                # Nothing is judged until somebody knows the time again: not every turn need be taken.
                stride_ms = min(2 * stride_ms, LONGEST_STRIDE_MS)
                continue
            stride_ms = TURN_MS
            left = overdue - self._looked
            assert not left, f"due and not looked at: {left}"
            self._check_cut_calls_are_told()

    async def close_the_books(self) -> None:
        """Whatever happened: every call is ended, and every micro is accounted for."""
        await self.pump(1)
        if not self.gateways:
            await self.start_gateway()
        await self.let_arrive()
        for stream in self.open_streams():
            stream.reading.set()
        await self.pump(1)
        for switch_id in OFFICES_OF:
            stream = self.open_stream(switch_id, self.gateways[0])
            for (office_id, call_id), c in sorted(self.model.calls.items()):
                if isinstance(c, Call) and c.request.switch_id == switch_id:
                    seconds = min(86_400, (self.clock.now_ms() - c.answered_ms) // 1000 + 1) if c.answered_ms else 0
                    end = pb.EndCallRequest(office_id=office_id, call_id=call_id, duration_seconds=max(0, seconds))
                    stream.ask([("end_call", end)])
        await self.pump(1)
        unended = [call for call in self.model.calls.values() if isinstance(call, Call)]
        assert not unended, f"calls could not be ended: {unended}; streams {[s.describe() for s in self.streams]}"
        for office in self.model.offices.values():
            assert self.model.reserved(office) == 0
            assert self.model.concurrent(office) == 0
        for stream in self.open_streams():
            stream.close()
        await self.pump(1)
        open_still = [stream.describe() for stream in self.streams if stream.state in (State.OPEN, State.CLOSING)]
        assert not open_still, f"streams did not end: {open_still}"

    async def stop(self) -> None:
        """Leave nothing running."""
        for gateway in self.gateways:
            gateway.die(0)
        for gateway in self.gateways:
            await gateway.ended()
        self.gateways.clear()

    # What a step is made of.

    async def settle(self) -> None:
        """Run until everybody waits: for the store, or for nothing."""
        ready = asyncio.get_running_loop()._ready  # type: ignore[attr-defined]  # there is no public way to ask
        await asyncio.sleep(0)
        while ready:  # noqa: ASYNC110  # what is waited for is that nothing happens
            await asyncio.sleep(0)

    async def _carry_out(self, way: deque[Sent], count: int) -> None:
        batch = [way.popleft() for _ in range(count)]
        replies = await asyncio.gather(*[self._answer(sent.command) for sent in batch], return_exceptions=True)
        for sent, reply in zip(batch, replies, strict=True):
            self._witness(sent, reply)
            sent.settle(reply)

    def _answer(self, command: tuple[Any, ...]) -> "asyncio.Future[Any]":
        if command != ("TIME",):
            return self.connection.send(*command)
        now_ms = self.clock.now_ms()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer.set_result([b"%d" % (now_ms // 1000), b"%d" % (now_ms % 1000 * 1000)])
        return answer

    def _time_out(self) -> bool:
        """Nobody waits for ever for a store that does not answer; returns whether anybody waited."""
        waited = [gateway.wire.time_out() for gateway in self.gateways]
        return any(waited)

    async def _strike(self, disaster: Disaster) -> None:
        if not self.gateways:
            return
        gateway = self.gateways[disaster.which % len(self.gateways)]
        self.counts[f"{disaster.fault.name.lower()} with {min(len(gateway.wire.queue), 2)} or more in flight"] += 1
        match disaster.fault:
            case Fault.DEATH:
                await self.kill(gateway, disaster.arriving)
            case Fault.CUT:
                self._late.append(deque(gateway.wire.cut(disaster.arriving)))
            case Fault.STALL:
                gateway.is_stalled = True
            case Fault.DEAF:
                gateway.hears_commands = False

    def _keep_house(self, gateway: Gateway) -> bool:
        """The turns of all loops but the due loop's, where their time has come; whether there were any."""
        now_ms = self.clock.now_ms()
        keeps = now_ms - gateway.kept_ms >= KEEP_EVERY_SECONDS * 1000
        refreshes = now_ms - gateway.refreshed_ms >= FOLLOW_EVERY_SECONDS * 1000
        measures = now_ms - gateway.measured_ms >= (MEASURE_EVERY_SECONDS * 1000 if gateway.clock.is_sure else 1_000)
        if keeps:
            gateway.kept_ms = now_ms
            gateway.spawn(gateway.keep_leases())
        if refreshes:
            gateway.refreshed_ms = now_ms
            gateway.spawn(gateway.refresh_lists())
        if measures:
            gateway.measured_ms = now_ms
            gateway.spawn(gateway.measure_clock())
        return keeps or refreshes or measures

    def _next_event_ms(self, stride_ms: int) -> int:
        """The next turn in which there is anything to do."""
        now_ms = self.clock.now_ms()
        times = [call.due_ms + 1 for call in self._live_calls().values()]
        times += [ms for switch, ms in self._next_list_ms.items() if switch not in self.silent]
        times += [gateway.measured_ms + 1_000 for gateway in self.gateways if not gateway.clock.is_sure]
        return max(now_ms + stride_ms, min(times, default=now_ms + 60_000))

    def _list_where_due(self) -> None:
        now_ms = self.clock.now_ms()
        for switch_id in OFFICES_OF:
            streams = self.open_streams(switch_id)
            if streams and switch_id not in self.silent and now_ms >= self._next_list_ms.get(switch_id, 0):
                self._next_list_ms[switch_id] = now_ms + LIVE_CALLS_MS
                self.list_calls(streams[0], self.live_calls_of(switch_id))

    def _forget(self, name: str) -> None:
        """The store has forgotten a key whose time was over."""
        kind, _, rest = name.partition("}:")[2].partition(":")
        office_id, _, thing_id = rest.partition(":")
        if kind == "call":
            gone = self.model.calls.pop((office_id, thing_id))
            if isinstance(gone, Call):
                assert gone.state is CallState.LAPSED, f"a live call expired: {name}"
                office = self.model.offices[office_id]
                self.model.offices[office_id] = replace(office, settled=office.settled + gone.debited)
        elif kind == "message":
            self.model.messages.pop((office_id, thing_id))
        else:
            assert kind == "lease", f"{name} expires"
            return
        self.world.moved.pop((kind, office_id, thing_id), None)

    # What the store did.

    def _witness(self, sent: Sent, reply: Any) -> None:
        name, *rest = sent.command
        if name == "HSET" and rest[0] == SWITCH_LISTS_KEY:
            self._see_list(sent, str(rest[1]), str(rest[2]))
        if name != "FCALL":
            return
        operation = self._names[rest[0]]  # type: ignore[index]  # the name of a function is bytes
        args: tuple[Any, ...] = tuple(rest[2 + int(rest[1]) :])
        assert not isinstance(reply, BaseException), f"{operation}{args} failed: {reply}"
        if operation in UNMODELLED:
            return
        now_ms, office, thing_id, *_ = args
        call = office.decode(), thing_id
        before = self.model.calls.get(call)
        now_ms = max(now_ms, self.model.clocks.get(shard_of(call[0]), 0))
        expected = replay(self.model, operation, args)
        said = _said(operation, reply)
        expect(f"reply of {operation}", said[: len(expected)], expected)
        self.world.steps += 1
        if isinstance(sent.on_behalf, Asked) and not sent.reply.done():
            sent.on_behalf.replies.append((operation, said))
        if "message" not in operation:
            self._see(operation, call, args, said, before, now_ms)
        if isinstance(sent.on_behalf, List):
            self._see_heard(sent.on_behalf, call, said)

    def _see(
        self, operation: str, call: CallId, args: tuple[Any, ...], said: tuple[Any, ...], before: Any, now_ms: int
    ) -> None:
        """What the model does not know of a script about a call."""
        code, after = said[0], self.model.calls.get(call)
        by_clock = operation == "tick_call" and args[4] == BY_CLOCK
        if operation in ("authorize_call", "answer_call", "tick_call", "hear_call") and not by_clock:
            # A cut call is heard of, too, though its switch is told to hang up.
            is_cut = isinstance(before, Call) and before.state is CallState.CUT and operation != "answer_call"
            if code in (Code.OK, *GRANTING) or (code is Code.ENDED and is_cut):
                self._last_word[call] = now_ms
        if by_clock:
            self._looked.add(call)
            self._see_tick(call, code, before, after, now_ms)
        if operation == "cut_call":
            self._looked.add(call)
            if code in (Code.CUT, Code.REPLAYED):
                assert isinstance(after, Call)
                self._expect_published(after, "cut_call", after.final)
            on_time = self._is_living and self._clocks_agree() and now_ms <= self.clock.now_ms()
            if code is Code.CUT and on_time and before.granted_end_ms >= self._smooth_since_ms:
                assert said[4] <= LATEST_CUT_MS, f"{call} was cut {said[4]} ms after its time"
        if operation == "lapse_call" and args[4]:
            self._see_lapse(call, args[4], code, before, now_ms)
        if operation == "end_call" and code is Code.OK:
            self._see_end(before, args[4], said)

    def _see_tick(self, call: CallId, code: Code, before: Any, after: Any, now_ms: int) -> None:
        if not isinstance(before, Call) or not isinstance(after, Call):
            return
        if after.debited > before.debited:
            silence_ms = now_ms - self._last_word[call]
            assert silence_ms < FRESH_MS, f"{call} is debited by the clock after {silence_ms} ms of silence"
        if (before.final in SHORT) != (after.final in SHORT):
            kind = "funds_low" if after.final in SHORT else "funds_restored"
            self._expect_published(after, kind, after.granted)
        # Listed twice without it, by lists that every gateway has read by now: it must lapse at this look.
        now_ms = self.clock.now_ms()
        if not self._is_living or not self._clocks_agree():
            return
        if code is Code.CUT_DUE and before.state is not CallState.CUT:
            return  # Its funds are over as well: it is cut now, and lapses at the next look.
        lists = [ms for ms in self._lists[after.request.switch_id] if ms < now_ms - FOLLOW_EVERY_SECONDS * 1000 - 500]
        if lists[-3:] != sorted(lists[-3:]):
            return  # One that took long began before another and came after it: gateways count the lists anew from it.
        heard_ms = self._last_word.get(call, 0)
        if len(lists) >= 2 and heard_ms < min(lists[-2], now_ms - 2 * LIVE_CALLS_MS) and after.is_live:
            self._missing.add(call)

    def _see_lapse(self, call: CallId, missing_since_ms: int, code: Code, before: Any, now_ms: int) -> None:
        if code is not Code.LAPSED or not isinstance(before, Call):
            return
        lists = [ms for ms in self._lists[before.request.switch_id] if ms >= missing_since_ms]
        # Where a clock was set, what came later may bear an earlier time.
        assert len(lists) >= 2 or self._clock_was_set, (
            f"{call} lapses for want of lists that were never sent: {missing_since_ms}"
        )
        silence_ms = now_ms - self._last_word[call]
        if self._clocks_agree() and now_ms < before.lapses_ms:
            assert silence_ms > 2 * LIVE_CALLS_MS, f"{call} is missing for no more than {silence_ms} ms"
        self.counts["lapsed for it was missing"] += 1

    def _see_end(self, before: Any, duration: int, said: tuple[Any, ...]) -> None:
        """Invariants 6 and 8."""
        _, billed, debited, written_off, _ = said
        price = before.request.rate.price_micros(billed) if before.request.rate else 0
        expect("debited + written off", debited + written_off, price)
        assert billed in range(max(0, duration - 2), duration + 1)
        assert duration or debited == 0

    def _see_list(self, sent: Sent, switch_id: str, times: str) -> None:
        part = sent.on_behalf
        assert isinstance(part, List), "a list is noted that nobody sent"
        assert switch_id == part.stream.switch_id, "a list is noted as another switch's"
        assert not part.live_calls.more, "a list is noted before it is complete"
        heard_whole = part.was_answered and part.stream.list_was_heard
        assert heard_whole or sent.reply.done(), "a list is noted of which not all was heard"
        began_ms = int(times.split()[1])
        assert began_ms == part.stream.list_began_ms or sent.reply.done(), "a list began when its first part came"
        self._lists[switch_id].append(began_ms)

    def _see_heard(self, part: List, call: CallId, said: tuple[Any, ...]) -> None:
        code, granted, final = said[:3]
        if code in (Code.NOT_FOUND, Code.FORBIDDEN):
            part.told.append(Told("unknown_call", *call, 0))
        elif code is Code.ENDED:
            part.told.append(Told("cut_call", *call, final))
        elif final in SHORT:
            part.told.append(Told("funds_low", *call, granted))

    def _expect_published(self, call: Call, kind: str, value: int) -> None:
        request = call.request
        self._published.append(PublishedCommand(request.switch_id, kind, request.office_id, request.call_id, value))

    async def cut_by_operator(self, call: CallId) -> None:
        code = await self.world.cut(*call, forced=True)
        if code in (Code.CUT, Code.REPLAYED):
            known = self.model.calls[call]
            assert isinstance(known, Call)
            self._expect_published(known, "cut_call", known.final)

    # What must hold.

    async def _send_barrier(self, gateway: Gateway) -> bool:
        self._barrier += 1
        # What servers of a cluster publish overtakes what others do: each says for itself that all of its own is out.
        servers = await publish_everywhere(
            self.connection,
            COMMANDS_CHANNEL,
            lambda name: "\n".join((BARRIER, "cut_call", "-", name, str(self._barrier))),
        )
        return await gateway.has_heard(self._barrier, servers)

    async def _check(self, order: int) -> None:
        for gateway in self.gateways:
            async with asyncio.timeout(LATEST_SECONDS):
                while not await self._send_barrier(gateway):
                    pass
            wanted = [each for each in self._published if each.switch_id]
            if gateway.hears_commands:
                # In the order of each office: offices may be on different servers.
                heard = sorted(gateway.published, key=_office_of)
                expect(f"commands that {gateway.name} heard", heard, sorted(wanted, key=_office_of))
            gateway.published.clear()
            for stream in gateway.streams:
                told = _told(self._published, stream.switch_id)
                (stream.must if gateway.hears_commands else stream.may).update(told)
            gateway.hears_commands = True
        for stream in self.streams:
            # A gateway that died in this step may have handed on some of them before.
            if stream.state is State.BROKEN:
                stream.may.update(_told(self._published, stream.switch_id))
        self._published.clear()
        await self.settle()
        for gateway in self.gateways:
            self._check_failures(gateway)
        for stream in self.streams:
            stream.check(is_quiet=stream.reading.is_set())
            if stream.must_end and stream.reading.is_set() and stream.state is not State.BROKEN:
                assert stream.error is not None, f"a stream of {stream.switch_id} broke the rules and goes on"
        await self.world.verify()
        if not self._had_disaster:
            for call in self._missing:
                known = self.model.calls.get(call)
                assert not isinstance(known, Call) or not known.is_live, f"{call} is missing and does not lapse"
        self._missing.clear()

    def _check_failures(self, gateway: Gateway) -> None:
        if gateway.failures:
            raise gateway.failures[0]

    def _live_calls(self) -> dict[CallId, Call]:
        return {call: c for call, c in self.model.calls.items() if isinstance(c, Call) and c.is_live}

    def _overdue(self) -> set[CallId]:
        """What some gateway has to look at now, if only because the one it was left to did not."""
        latest_ms = self.clock.now_ms() - PATIENCE_MS - 5
        self._looked.clear()
        return {call for call, c in self._live_calls().items() if c.due_ms <= latest_ms}

    def _clocks_agree(self) -> bool:
        """Whether every gateway knows the store's time."""
        now_ms = self.clock.now_ms()
        return all(abs(gateway.clock.now_ms() - now_ms) < 5 for gateway in self.gateways)

    def _is_smooth(self) -> bool:
        """Whether a gateway is there that knows the time, and the shards have not been told of a later one."""
        now_ms = self.clock.now_ms()
        sure = [g for g in self.gateways if g.clock.is_sure and abs(g.clock.now_ms() - now_ms) < 5]
        return bool(sure) and all(ms <= now_ms for ms in self.model.clocks.values())

    def _check_cut_calls_are_told(self) -> None:
        """Every Session of its switch is told of a cut call, again and again until it ends."""
        now_ms = self.clock.now_ms()
        for call, c in self._live_calls().items():
            if c.state is not CallState.CUT:
                continue
            for stream in self.open_streams(c.request.switch_id):
                since_ms = max(stream.opened_ms, stream.told_ms.get(call, 0), self._smooth_since_ms)
                silence_ms = now_ms - since_ms
                assert not stream.reading.is_set() or silence_ms <= CUT_AGAIN_MS, (
                    f"a Session of {stream.switch_id} was not told for {silence_ms} ms that {call} is cut"
                )


def _said(operation: str, reply: list[Any]) -> tuple[Any, ...]:
    """A script's reply as the model knows it."""
    code, *rest = reply
    if operation in ("cut_call", "tick_call"):
        rest = [each.decode() if isinstance(each, bytes) else each for each in rest]
    return Code(code), *rest


def _told(published: list[PublishedCommand], switch_id: str) -> Counter[Told]:
    """What the Sessions of a switch hear of what was published."""
    return Counter(Told(*each[1:]) for each in published if each.switch_id == switch_id)


def _office_of(command: PublishedCommand) -> str:
    return command.office_id

"""The simulation of gateways: Hypothesis thinks up what happens to two of them, their switches, and the store between.

Sessions, lists of live calls, ticks, cuts and commands are the gateway's own code on a real store; time, the order in
which anything gets to the store, and every death are the simulation's. Run and run again as `test_simulation.py` says.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, Final

import pytest
import structlog
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gateway.api import session as session_module
from gateway.domain.deck import Deck, parse_deck
from gateway.store.connection import StoreConnection
from gateway.store.location import StoreLocation
from gateway.store.scripts import load_library
from gateway.v1 import authorization_pb2 as pb
from tests.simulation.fleet import OFFICES_OF, Disaster, Fault, Fleet
from tests.simulation.gateway import Gateway, owning_tasks
from tests.simulation.model import Call, Settings
from tests.simulation.running import run_simulation
from tests.simulation.strategies import amounts, balances, seldom, settings_of
from tests.simulation.stream import IN_FLIGHT, WHOLE, State, Stream
from tests.support.balances import NOON, PATIENT_SECONDS, ManualClock
from tests.support.servers import StoreServer
from tests.support.store_keys import flush_all

SIZES: Final = {"quick": (12, 30), "default": (40, 30), "thorough": (3_000, 50)}
"""Examples and steps an example, by HYPOTHESIS_PROFILE."""

DECK: Final = """\
tariff,service,direction,license,origin,prefix,number_type,from_second,price,per_seconds,increment_seconds,connect_fee,tick_seconds,description
,VOICE,OUTBOUND,,,,LOCAL,0,0,60,60,0,60,local calls are free
,VOICE,OUTBOUND,,,44,,0,{minute},60,60,0,60,whole minutes
,VOICE,OUTBOUND,,,33,,0,0.12,60,1,0,30,by the second
,VOICE,OUTBOUND,,,49,,0,0.06,60,6,0,12,six by six
,VOICE,OUTBOUND,,,34,,0,0.10,60,60,0.2,60,a fee and a minute
,VOICE,OUTBOUND,,,34,,60,0.05,60,1,0.2,60,then by the second
,VOICE,OUTBOUND,,,61,,0,0.03,60,1,0,3,short ticks
,SMS,,,,,,,0.03,,,,,SMS
"""
NUMBERS: Final = {
    "minute": "+442079460000", "second": "+33142685300", "six": "+4930901820", "fee": "+34911234567",
    "short": "+61280000000", "free": "+12125550123", "emergency": "911", "no rate": "+81312345678", "bad": "12",
}  # fmt: skip
OFFICES: Final = ("o-1", "o-2", "o-59", "o-none")
IDS: Final = tuple(f"c{n}" for n in range(4))

STRANGE_LISTS: Final = ("twice", "foreign", "foreign", "made up", "backwards", "broken off", "bad")

which = st.integers(0, 11)
orders = st.integers(0, 2**16)
disasters = (
    st.none()
    | st.none()
    | st.none()
    | st.builds(Disaster, st.sampled_from(Fault), st.integers(0, 1), st.integers(0, 3), st.integers(0, 4))
)
numbers = st.sampled_from(["minute"] * 4 + ["second"] * 4 + ["six", "six", "fee", "fee", "short", *NUMBERS])
targets = st.tuples(which, st.sampled_from([False] * 9 + [True]))
beside = st.sampled_from([-60, -6, -2, -1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 30, 1_000, 10**6])
Target = tuple[int, bool]

operations = st.one_of(
    st.tuples(st.just("authorize_call"), targets, numbers, st.sampled_from([0, 0, 0, 0, 30, 90, 3_600])),
    st.tuples(st.just("answer_call"), targets, st.none(), st.sampled_from([0, 0, 0, 3, 100, -50])),
    st.tuples(st.just("tick_call"), targets, st.none(), beside),
    st.tuples(st.just("end_call"), targets, st.none(), beside),
    st.tuples(st.just("authorize_message"), targets, numbers, st.sampled_from([1, 1, 1, 3, 255])),
    st.tuples(st.just("refund_message"), targets, st.none(), st.none()),
    st.tuples(st.just("quote_call"), targets, numbers, st.sampled_from([0, 61])),
)
Operation = tuple[str, Target, str | None, int | None]


class Gateways(RuleBasedStateMachine):
    """What may happen to gateways and switches; `Fleet` does it and checks."""

    loop: ClassVar[asyncio.AbstractEventLoop]
    connection: ClassVar[StoreConnection]
    decks: ClassVar[list[Deck]]
    counts: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.is_broken = False
        self.run(flush_all(self.connection))
        self.fleet = Fleet(self.connection, ManualClock(NOON), self.decks)
        self.model = self.fleet.model

    def run(self, work: Awaitable[Any]) -> Any:
        try:
            return self.loop.run_until_complete(work)
        except BaseException:
            self.is_broken = True  # What the end of the example found then would hide it.
            raise

    def teardown(self) -> None:
        Gateways.counts["steps"] += self.fleet.world.steps
        Gateways.counts.update(self.fleet.counts)
        try:
            if self.model.offices and not self.is_broken:
                self.run(self.fleet.close_the_books())
        finally:
            self.run(self.fleet.stop())

    # Whom and what a rule means.

    def gateway(self, which: int) -> Gateway:
        return self.fleet.gateways[which % len(self.fleet.gateways)]

    def stream(self, which: int) -> Stream:
        streams = self.fleet.open_streams()
        return streams[which % len(streams)]

    def call(self, whom: Target, switch_id: str) -> tuple[str, str]:
        """One of the switch's calls, where there is one; else, or now and then, any id."""
        which, stray = whom
        mine = sorted(
            call for call, c in self.model.calls.items() if isinstance(c, Call) and c.request.switch_id == switch_id
        )
        if stray or not mine:
            return OFFICES[which % len(OFFICES)], IDS[which % len(IDS)]
        return mine[which % len(mine)]

    def elapsed(self, call: tuple[str, str]) -> int:
        known = self.model.calls.get(call)
        if not isinstance(known, Call) or not known.answered_ms:
            return 0
        return max(0, self.fleet.clock.now_ms() - known.answered_ms) // 1000

    def request(self, operation: Operation, switch_id: str) -> tuple[str, Any]:
        kind, whom, number, amount = operation
        office_id, call_id = self.call(whom, switch_id)
        called, wanted = NUMBERS.get(number or "", ""), amount or 0
        now = self.elapsed((office_id, call_id)) + wanted
        request: Any
        match kind:
            case "authorize_call":
                request = self.new_call(whom, called, wanted)
            case "quote_call":
                request = pb.QuoteCallRequest(direction=pb.OUTBOUND, called_number=called, duration_seconds=wanted)
            case "answer_call":
                request = pb.AnswerCallRequest()
                if wanted:
                    request.answered_at.FromMilliseconds(self.fleet.clock.now_ms() - wanted * 1000)
            case "tick_call":
                request = pb.TickCallRequest(used_seconds=max(0, now))
            case "end_call":
                request = pb.EndCallRequest(duration_seconds=max(0, now))
            case "authorize_message":
                request = pb.AuthorizeMessageRequest(called_number=called, segments=wanted)
            case _:
                request = pb.RefundMessageRequest()
        if "message" in kind:
            request.office_id, request.message_id = OFFICES[whom[0] % 4], f"m{whom[0] % 3}"
        elif kind != "authorize_call":
            request.office_id, request.call_id = office_id, call_id
        return kind, request

    def new_call(self, whom: Target, called: str, requested: int) -> pb.AuthorizeCallRequest:
        """An id that is free, where there is one."""
        which, stray = whom
        office_id = OFFICES[which % 3] if not stray else OFFICES[which % 4]
        free = [call_id for call_id in IDS if (office_id, call_id) not in self.model.calls]
        ids = IDS if stray or not free else free
        return pb.AuthorizeCallRequest(
            office_id=office_id,
            call_id=ids[which % len(ids)],
            direction=pb.OUTBOUND,
            called_number=called,
            requested_seconds=requested,
        )

    # The beginning.

    @initialize(its=st.lists(settings_of(), min_size=3, max_size=3), credit=st.lists(balances, min_size=3, max_size=3))
    def begin(self, its: list[Settings], credit: list[int]) -> None:
        for office_id, settings_now, balance in zip(["o-1", "o-2", "o-59"], its, credit, strict=True):
            self.run(self.fleet.world.put_office(office_id, settings_now, refill_enabled=office_id == "o-2"))
            self.run(self.fleet.world.credit(office_id, 1, balance))
        for _ in range(2):
            self.run(self.fleet.start_gateway())
        for switch_id, gateway in (("sw1", 0), ("sw1", 1), ("sw2", 1)):
            self.fleet.open_stream(switch_id, self.gateway(gateway))
        self.run(self.fleet.pump(0))

    # Switches.

    @precondition(lambda self: self.fleet.open_streams())
    @rule(
        on=which,
        batch=st.lists(operations, min_size=1, max_size=WHOLE),
        bad=st.sampled_from([""] * 12 + ["tag", "empty", "large"]),
        order=orders,
        disaster=disasters,
    )
    def ask(self, on: int, batch: list[Operation], bad: str, order: int, disaster: Disaster | None) -> None:
        stream = self.stream(on)
        if disaster is not None and disaster.fault is Fault.DEAF:
            disaster = None
        self.fleet.ask(stream, [self.request(operation, stream.switch_id) for operation in batch], bad=bad)
        self.run(self.fleet.pump(order, disaster))

    @precondition(lambda self: self.fleet.open_streams())
    @rule(on=which, calls=st.lists(st.tuples(which, numbers), min_size=2, max_size=3), order=orders)
    def calls_begin(self, on: int, calls: list[tuple[int, str]], order: int) -> None:
        """Authorized and answered in one batch, since a Session keeps the order of each call."""
        stream, batch = self.stream(on), []
        for which, number in calls:
            request = self.new_call((which, False), NUMBERS[number], 0)
            answer = pb.AnswerCallRequest(office_id=request.office_id, call_id=request.call_id)
            batch += [("authorize_call", request), ("answer_call", answer)]
        self.fleet.ask(stream, batch)
        self.run(self.fleet.pump(order))

    @precondition(lambda self: self.fleet.open_streams())
    @rule(on=which, again=st.lists(which, min_size=1, max_size=WHOLE), order=orders, disaster=disasters)
    def repeat(self, on: int, again: list[int], order: int, disaster: Disaster | None) -> None:
        """What was asked before, on any stream of the switch and in any order, is asked once more with the same ids."""
        stream = self.stream(on)
        asked = [(kind, request) for switch, kind, request in self.fleet.asked if switch == stream.switch_id]
        if asked:
            self.fleet.ask(stream, [asked[-1 - n % len(asked)] for n in again])
            self.run(self.fleet.pump(order, disaster))

    @precondition(lambda self: self.lost())
    @rule(on=which, order=orders)
    def retry(self, on: int, order: int) -> None:
        """A switch asks again what was not answered, on a stream that is open."""
        stream, lost = self.lost()[on % len(self.lost())]
        again, lost.unanswered[:WHOLE] = lost.unanswered[:WHOLE], []
        self.fleet.ask(stream, [(asked.kind, asked.request) for asked in again])
        self.run(self.fleet.pump(order))

    def lost(self) -> list[tuple[Stream, Stream]]:
        return [
            (other, stream)
            for stream in self.fleet.streams
            if stream.unanswered
            for other in self.fleet.open_streams(stream.switch_id)
        ]

    @precondition(lambda self: self.fleet.open_streams())
    @rule(on=which, first=orders, second=orders, both=st.lists(operations, min_size=2, max_size=WHOLE))
    def both_at_once(self, on: int, first: int, second: int, both: list[Operation]) -> None:
        """Every open stream asks at the same time, partly of the same calls."""
        streams = self.fleet.open_streams()
        for n, operation in enumerate(both):
            stream = streams[(on + n) % len(streams)]
            self.fleet.ask(stream, [self.request(operation, stream.switch_id)])
        for gateway in self.fleet.gateways:
            gateway.spawn(gateway.look_at_due_calls())
        self.run(self.fleet.pump(first ^ second))

    @precondition(lambda self: self.fleet.open_streams())
    @rule(on=which, lacks=st.sets(which, max_size=3), order=orders, disaster=disasters)
    def list_calls(self, on: int, lacks: set[int], order: int, disaster: Disaster | None) -> None:
        self.send_list(on, lacks, "whole", order, disaster)

    @precondition(lambda self: self.fleet.open_streams())
    @rule(on=which, lacks=st.sets(which, max_size=3), order=orders)
    def list_calls_in_parts(self, on: int, lacks: set[int], order: int) -> None:
        self.send_list(on, lacks, "parts", order, None)

    @precondition(lambda self: self.fleet.open_streams())
    @rule(on=which, what=st.sampled_from(STRANGE_LISTS), order=orders, disaster=disasters)
    def list_calls_strangely(self, on: int, what: str, order: int, disaster: Disaster | None) -> None:
        self.send_list(on, set(), what, order, disaster)

    def send_list(self, on: int, lacks: set[int], what: str, order: int, disaster: Disaster | None) -> None:
        stream = self.stream(on)
        calls = self.fleet.live_calls_of(stream.switch_id)
        calls = [call for n, call in enumerate(calls) if n not in lacks]
        if what == "foreign":
            calls += [
                call for other in OFFICES_OF if other != stream.switch_id for call in self.fleet.live_calls_of(other)
            ]
        if what == "made up":
            calls += [pb.LiveCall(office_id=office_id, call_id="never", used_seconds=7) for office_id in OFFICES]
        if what == "backwards":
            for call in calls:
                call.used_seconds //= 2
        if what == "bad":
            calls.append(pb.LiveCall(office_id="o-1", call_id="c1", used_seconds=86_401))
        if what == "twice":
            self.fleet.list_calls(stream, calls)
        if what == "parts":
            # The first part is often not heard; a second later the other completes the list all the same.
            at = self.fleet.gateways.index(self.fleet.gateway_of(stream))
            stall = Disaster(Fault.STALL, at, order % 2, 0) if order % 3 else None
            self.fleet.list_calls(stream, calls[::2], more=True)
            self.run(self.fleet.pump(order, stall))
            calls, disaster = calls[1::2], None
            self.run(self.fleet.move(1_000))
            if stream.state is not State.OPEN:
                return
        self.fleet.list_calls(stream, calls, more=what == "broken off")
        self.run(self.fleet.pump(order, disaster))

    @precondition(lambda self: self.fleet.gateways and len(self.fleet.open_streams()) < 6)
    @rule(switch_id=st.sampled_from(sorted(OFFICES_OF)), at=which)
    def open_session(self, switch_id: str, at: int) -> None:
        self.fleet.open_stream(switch_id, self.gateway(at))
        self.run(self.fleet.pump(0))

    @precondition(lambda self: self.fleet.open_streams())
    @rule(on=which, politely=st.booleans(), last=st.lists(operations, max_size=3), order=orders)
    def leave_session(self, on: int, politely: bool, last: list[Operation], order: int) -> None:
        """A switch closes its side and gets what it is owed, or is gone with operations in flight."""
        stream = self.stream(on)
        gateway = self.fleet.gateway_of(stream)
        if last:
            self.fleet.ask(stream, [self.request(operation, stream.switch_id) for operation in last])
        if politely:
            stream.close()
        else:
            self.run(self.fleet.settle())
            gateway.cancel(stream)
        self.run(self.fleet.pump(order))
        assert stream.state is (State.ENDED if politely else State.BROKEN)

    @precondition(lambda self: self.fleet.open_streams())
    @rule(on=which)
    def stop_or_go_on_reading(self, on: int) -> None:
        reading = self.stream(on).reading
        if reading.is_set():
            reading.clear()
        else:
            reading.set()
            self.run(self.fleet.pump(0))

    @rule(switch_id=st.sampled_from(sorted(OFFICES_OF)))
    def fall_silent_or_come_back(self, switch_id: str) -> None:
        self.fleet.silent ^= {switch_id}

    @precondition(lambda self: self.model.calls)
    @rule(whom=which, seconds=st.sampled_from([0, 130, 130]), order=orders)
    def forget_call(self, whom: int, seconds: int, order: int) -> None:
        """A switch loses a call: its lists lack it from now on, and it lapses when two have."""
        calls = sorted(self.model.calls)
        self.fleet.forgotten.add(calls[whom % len(calls)])
        if seconds:
            self.fleet.silent.clear()
        self.run(self.fleet.live(seconds, order))

    # Gateways.

    @rule(seconds=st.sampled_from([0.2, 1, 5, 12, 30, 61, 61, 95, 130, 200]), order=orders, disaster=disasters)
    def live(self, seconds: float, order: int, disaster: Disaster | None) -> None:
        self.run(self.fleet.live(seconds, order, disaster))

    @precondition(lambda self: self.fleet.gateways and self.fleet.next_due_ms() is not None)
    @rule(
        before_ms=st.sampled_from([300, 900, 2_000]),
        at=which,
        what=st.sampled_from(["dies", "dies", "does not know the time", "does not know the time", "lives"]),
        order=orders,
    )
    def it_comes_due(self, before_ms: int, at: int, what: str, order: int) -> None:
        """Just before the next call comes due a gateway dies, and its leases stay behind, or loses the time."""
        self.run(self.fleet.come_near(before_ms))
        if what == "dies":
            self.run(self.fleet.kill(self.gateway(at), 0))
        elif what == "does not know the time":
            self.fleet.step_store_clock(2_500)
            for gateway in self.fleet.gateways:
                gateway.spawn(gateway.measure_clock())
            self.run(self.fleet.pump(order))
            for gateway in self.fleet.gateways:
                gateway.spawn(gateway.look_at_due_calls())
            self.run(self.fleet.pump(order))
        self.run(self.fleet.live(4, order))

    @precondition(lambda self: self.fleet.gateways)
    @rule(
        at=which,
        what=st.lists(st.sampled_from(["due", "due", "leases", "clock", "lists"]), min_size=1, max_size=4),
        order=orders,
        disaster=disasters,
    )
    def turns(self, at: int, what: list[str], order: int, disaster: Disaster | None) -> None:
        gateway = self.gateway(at)
        for name in what:
            work = {
                "due": gateway.look_at_due_calls,
                "leases": gateway.keep_leases,
                "clock": gateway.measure_clock,
                "lists": gateway.refresh_lists,
            }[name]
            gateway.spawn(work())
        self.run(self.fleet.pump(order, disaster))

    @rule(seconds=st.sampled_from([0.001, 1, 4, 10, 44, 46, 61, 200, 4_000, 90_000]))
    def nobody_runs(self, seconds: float) -> None:
        """The machines stand still, as when they are suspended; the store's clock does not."""
        self.run(self.fleet.move(round(seconds * 1000)))
        self.run(self.fleet.pump(0))

    @precondition(lambda self: self.fleet.gateways)
    @rule(
        at=st.sampled_from([0, 1, None]),
        by_ms=st.sampled_from([-3_600_000, -30_000, -2_500, -1_500, 1_500, 2_500, 30_000, 3_600_000]),
    )
    def clock_jumps(self, at: int | None, by_ms: int) -> None:
        """A machine's, or (None) the store's."""
        if at is None:
            self.fleet.step_store_clock(by_ms)
        else:
            self.fleet.step_gateway_clock(self.gateway(at), by_ms)

    @precondition(lambda self: self.fleet.gateways)
    @rule(at=which, arriving=st.integers(0, 3))
    def kill(self, at: int, arriving: int) -> None:
        self.run(self.fleet.kill(self.gateway(at), arriving))
        self.run(self.fleet.pump(0))

    @precondition(lambda self: len(self.fleet.gateways) < 2)
    @rule()
    def start(self) -> None:
        self.run(self.fleet.start_gateway())

    # The back, and people.

    @rule(office_id=st.sampled_from(OFFICES[:3]), amount=amounts, is_refill=seldom)
    def credit(self, office_id: str, amount: int | str, is_refill: bool) -> None:
        o = self.model.offices[office_id]
        value = amount if isinstance(amount, int) else -self.model.available(o) - (amount == "-available-1")
        refill = o.refills_applied + 1 if is_refill else 0
        self.run(self.fleet.world.credit(office_id, o.credit_number + 1, value, refill=refill))

    @rule(office_id=st.sampled_from(OFFICES[:3]), new=settings_of())
    def put_office(self, office_id: str, new: Settings) -> None:
        o = self.model.offices[office_id]
        self.run(self.fleet.world.put_office(office_id, replace(new, version=o.settings.version + 1)))

    @precondition(lambda self: self.model.calls)
    @rule(whom=which)
    def cut_by_operator(self, whom: int) -> None:
        calls = sorted(self.model.calls)
        self.run(self.fleet.cut_by_operator(calls[whom % len(calls)]))
        self.run(self.fleet.pump(0))


@pytest.fixture
def machine(store_server: StoreServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Gateways]]:
    monkeypatch.setattr(session_module, "MAX_IN_FLIGHT", IN_FLIGHT)
    # Thousands of faults are logged here as they should be; a failure is explained by its steps.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    loop = asyncio.new_event_loop()
    loop.set_task_factory(owning_tasks)
    connection = StoreConnection(StoreLocation.parse(store_server.url), load_library(), timeout_seconds=PATIENT_SECONDS)
    try:
        loop.run_until_complete(connection.start())
        loop.run_until_complete(connection.wait_connected())
        Gateways.loop, Gateways.connection = loop, connection
        Gateways.decks = [parse_deck(DECK.format(minute=price), n + 1) for n, price in enumerate(("0.12", "0.15"))]
        Gateways.counts = Counter()
        yield Gateways
    finally:
        loop.run_until_complete(connection.close())
        loop.close()
        structlog.reset_defaults()


def test_two_gateways_and_their_switches(machine: type[Gateways], store_form: str) -> None:
    run_simulation(machine, store_form, SIZES, lambda: machine.counts)

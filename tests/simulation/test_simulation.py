"""The simulation: Hypothesis thinks up what happens to three offices, on the model and on a real store.

The default size is for CI, `quick` is for `make test`; `HYPOTHESIS_PROFILE=thorough` takes twenty times as many steps.
A failure is shrunk and printed as a little program; `--hypothesis-seed` (in the head of the report) runs it again.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, Final

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from gateway.domain.rate import Rate, Slot
from gateway.domain.vocabulary import RefillState
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.location import StoreLocation
from gateway.store.scripts import load_library
from tests.simulation.model import GRANTING, Call, Office, Request, Settings
from tests.simulation.running import run_simulation
from tests.simulation.strategies import amounts, balances, seldom, settings_of
from tests.simulation.world import DETAILS, World
from tests.support.balances import (
    BY_THE_SECOND,
    DAY_MS,
    FAR_AWAY_MS,
    FEE_THEN_MINUTE_THEN_SECONDS,
    NOON,
    PATIENT_SECONDS,
    SIX_SIX,
    SIXTY_SIXTY,
    THIRTY_SIX,
    ManualClock,
)
from tests.support.servers import StoreServer
from tests.support.store_keys import flush_all

SIZES: Final = {"quick": (80, 60), "default": (260, 60), "thorough": (3_000, 100)}
"""Examples and steps an example, by HYPOTHESIS_PROFILE."""

RATES: Final = (
    SIXTY_SIXTY,
    BY_THE_SECOND,
    SIX_SIX,
    THIRTY_SIX,
    FEE_THEN_MINUTE_THEN_SECONDS,
    # The first minute is free; a minute in one step, then 10 s steps; three slots that leave parts of a micro.
    Rate(0, (Slot(0, 0, 60, 60), Slot(60, 100_000, 60, 1)), 30),
    Rate(50_000, (Slot(0, 200_000, 60, 60), Slot(60, 90_001, 60, 10)), 45),
    Rate(1, (Slot(0, 100_001, 7 * 60 // 7, 7), Slot(70, 33_333, 900, 1), Slot(101, 77_777, 3_600, 13)), 60),
    # The cheapest and the dearest; a fee and nothing else; an increment longer than the tick, and than a day's calls.
    Rate(0, (Slot(0, 1, 3_600, 1),), 600),
    Rate(10**9, (Slot(0, 10**9, 1, 1),), 1),
    Rate(150_000, (Slot(0, 0, 60, 1),), 60),
    Rate(0, (Slot(0, 20_000, 60, 300),), 20),
    Rate(0, (Slot(0, 1_000, 60, 86_400),), 3_600),
)

# Which office; which of its calls or messages that are known, or (stray) any id, known or not.
offices = st.sampled_from(["o-1", "o-2", "o-59"])
targets = st.tuples(st.integers(0, 11), st.sampled_from([False] * 9 + [True]))
CALL_IDS: Final = tuple((office_id, f"c{n}") for office_id in ("o-1", "o-2", "o-59", "o-none") for n in range(5))
MESSAGE_IDS: Final = tuple((office_id, f"m{n}") for office_id in ("o-1", "o-2", "o-59", "o-none") for n in range(3))
Target = tuple[int, bool]

switches = st.sampled_from(["", "sw1", "sw1", "sw1", "sw1", "sw2"])

# A moment of a call, as its switch or its gateway would know it, and a little beside it.
moments = st.tuples(
    st.sampled_from(["elapsed", "elapsed", "elapsed", "granted", "granted", "used", "confirmed", "zero", "last"]),
    st.sampled_from([-60, -6, -2, -1, 0, 0, 0, 0, 1, 2, 3, 6, 30, 60, 1_000]),
)
Moment = tuple[str, int]

steps_of_time = st.sampled_from(
    [0.001, 0.5, 1, 2, 5, 10, 29, 44, 45, 50, 60, 61, 119, 180, 600, 3_600, 14_400, 86_400, -0.001, -1, -60, -90_000]
)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    """A request with an office and a call of which the rule decides."""
    verdict = draw(
        st.sampled_from(
            [Code.FUNDED] * 16
            + [Code.FREE, Code.FREE, Code.EMERGENCY, Code.NO_RATE, Code.DESTINATION_BLOCKED, Code.INVALID_NUMBER]
        )
    )
    longest = draw(st.sampled_from([14_400, 14_400, 14_400, 61, 95, 3_600]))
    return Request(
        "",
        "",
        verdict,
        1,
        draw(st.sampled_from([0, 0, 0, 0, 0, 1, 30, 61, 90, 3_600, 86_400])),
        86_400 if verdict == Code.EMERGENCY else longest,
        draw(st.booleans()),
        draw(st.sampled_from(RATES)) if verdict == Code.FUNDED else None,
        draw(st.sampled_from(["", "sw1", "sw1", "sw1", "sw2"])),
        DETAILS,
    )


class SideBySide(RuleBasedStateMachine):
    """What may happen. Rules look at the model to hit the edges; `World` does and compares."""

    loop: ClassVar[asyncio.AbstractEventLoop]
    connection: ClassVar[StoreConnection]
    steps_done: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.connection, ManualClock(NOON))
        self.model = self.world.model
        self.run(flush_all(self.connection))

    def run(self, work: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(work)

    def teardown(self) -> None:
        SideBySide.steps_done += self.world.steps

    def has_calls(self) -> bool:
        return any(isinstance(call, Call) for call in self.model.calls.values())

    def call(self, whom: Target) -> tuple[str, str]:
        """A live or lapsed call, where there is one; else, or now and then, any id."""
        which, stray = whom
        known = sorted(key for key, call in self.model.calls.items() if isinstance(call, Call))
        if stray or not known:
            return CALL_IDS[which % len(CALL_IDS)]
        return known[which % len(known)]

    def seconds(self, call: tuple[str, str], moment: Moment) -> int:
        known, base = self.model.calls.get(call), 0
        if isinstance(known, Call):
            elapsed = (self.world.clock.now_ms() - known.answered_ms) // 1000 if known.answered_ms else 0
            base = {
                "elapsed": elapsed, "granted": known.granted, "used": known.used, "confirmed": known.confirmed,
                "zero": 0, "last": 86_400,
            }[moment[0]]  # fmt: skip
        return min(86_400, max(0, base + moment[1]))

    def new_id(self, office_id: str, which: int) -> str:
        """An id of the office that is free, where there is one."""
        free = [f"c{n}" for n in range(5) if (office_id, f"c{n}") not in self.model.calls]
        return free[which % len(free)] if free else f"c{which % 5}"

    @initialize(its=st.lists(settings_of(), min_size=3, max_size=3), credit=st.lists(balances, min_size=3, max_size=3))
    def open_offices(self, its: list[Settings], credit: list[int]) -> None:
        for office_id, settings_now, balance in zip(["o-1", "o-2", "o-59"], its, credit, strict=True):
            # The one that is made with its refill on asks for it at once, the other when its funds run low.
            enabled = office_id == "o-2"
            self.run(self.world.put_office(office_id, settings_now, refill_enabled=enabled))
            self.run(self.world.credit(office_id, 1, balance))
            if office_id == "o-59":
                armed = replace(settings_now, version=2, generation=1)
                self.run(self.world.put_office(office_id, armed, refill_enabled=True))

    # Calls.

    @rule(
        begun=st.lists(st.tuples(offices, requests()), min_size=1, max_size=4),
        answered=st.sampled_from([True, True, True, False]),
    )
    def calls_begin(self, begun: list[tuple[str, Request]], answered: bool) -> None:
        for which, (office_id, request) in enumerate(begun):
            call_id = self.new_id(office_id, which)
            code = self.run(self.world.authorize(replace(request, office_id=office_id, call_id=call_id)))
            if code in GRANTING and answered:
                self.run(self.world.answer(office_id, call_id))

    @rule(
        whom=targets,
        request=requests(),
        same=st.sampled_from(["same", "same", "another id", "another id", "content"]),
        dry_run=seldom,
        behind=st.sampled_from([0] * 14 + [1]),
    )
    def authorize(self, whom: Target, request: Request, same: str, dry_run: bool, behind: int) -> None:
        """A new call that is not answered yet, a replay, another request with the same id, a dry run."""
        office_id, call_id = self.call(whom)
        if same == "another id":
            call_id = self.new_id(office_id, whom[0])
        asked = replace(request, office_id=office_id, call_id=call_id, content=2 if same == "content" else 1)
        version = self.world.cached(office_id).version - behind
        code = self.run(self.world.authorize(asked, version=version, dry_run=dry_run))
        # Invariant 7: an emergency call is refused by nothing that a switch or an office can do.
        if request.verdict == Code.EMERGENCY and not behind and office_id in self.model.offices:
            assert code in (Code.EMERGENCY, Code.REPLAYED, Code.ID_REUSED)

    @precondition(lambda self: self.has_calls())
    @rule(whom=targets, late_by=st.sampled_from([None, None, 0, 5, 100, -50]), switch_id=switches)
    def answer(self, whom: Target, late_by: int | None, switch_id: str) -> None:
        answered_ms = 0 if late_by is None else self.world.clock.now_ms() - late_by * 1000
        self.run(self.world.answer(*self.call(whom), answered_ms=answered_ms, switch_id=switch_id))

    @precondition(lambda self: self.has_calls())
    @rule(
        whom=targets,
        moment=moments,
        requested=st.sampled_from([0, 0, 0, 0, 1, 30, 600, 86_400]),
        switch_id=switches,
        again=seldom,
    )
    def tick(self, whom: Target, moment: Moment, requested: int, switch_id: str, again: bool) -> None:
        call = self.call(whom)
        used = self.seconds(call, moment)
        first = self.run(self.world.tick(*call, used, requested=requested, switch_id=switch_id))
        if again:
            second = self.run(self.world.tick(*call, used, requested=requested, switch_id=switch_id))
            assert (first.code, first[3:]) == (second.code, second[3:]), "a repeated tick changed something"

    @precondition(lambda self: self.has_calls())
    @rule(whom=targets, ticks=st.integers(1, 4), early=st.sampled_from([0, 1, 10, 10, 30]))
    def talk(self, whom: Target, ticks: int, early: int) -> None:
        """The switch ticks a little before the end of what is granted, a few times."""
        call = self.call(whom)
        for _ in range(ticks):
            known = self.model.calls.get(call)
            if not isinstance(known, Call) or not known.is_live or not known.answered_ms:
                return
            self.world.clock.set(max(self.world.clock.now_ms(), known.granted_end_ms - early * 1000))
            self.run(self.world.tick(*call, self.seconds(call, ("elapsed", 0)), switch_id=known.request.switch_id))

    @precondition(lambda self: self.has_calls())
    @rule(whom=targets, moment=moments, switch_id=switches)
    def hear(self, whom: Target, moment: Moment, switch_id: str) -> None:
        call = self.call(whom)
        self.run(self.world.hear(*call, self.seconds(call, moment), switch_id=switch_id))

    @precondition(lambda self: self.has_calls())
    @rule(whom=targets)
    def tick_by_clock(self, whom: Target) -> None:
        self.run(self.world.tick_by_clock(*self.call(whom)))

    @precondition(lambda self: self.has_calls())
    @rule(whom=targets, forced=seldom)
    def cut(self, whom: Target, forced: bool) -> None:
        self.run(self.world.cut(*self.call(whom), forced=forced))

    @precondition(lambda self: self.has_calls())
    @rule(whom=targets, missing=st.sampled_from(["no", "just not", "just", "long"]))
    def lapse(self, whom: Target, missing: str) -> None:
        """Where nothing was heard for the grace, or where the switch has listed its calls without it."""
        call = self.call(whom)
        known = self.model.calls.get(call)
        heard_ms = known.heard_ms if isinstance(known, Call) else 0
        since_ms = {"no": 0, "just not": heard_ms, "just": heard_ms + 1, "long": FAR_AWAY_MS}[missing]
        self.run(self.world.lapse(*call, missing_since_ms=since_ms))

    @precondition(lambda self: self.has_calls())
    @rule(whom=targets, moment=moments, switch_id=switches, again=seldom, late=seldom)
    def end(self, whom: Target, moment: Moment, switch_id: str, again: bool, late: bool) -> None:
        call = self.call(whom)
        if late:
            self.run(self.world.lapse(*call, missing_since_ms=FAR_AWAY_MS))
        duration = self.seconds(call, moment)
        for _ in range(1 + again):
            self.run(self.world.end(*call, duration, switch_id=switch_id))

    @rule(which=st.integers(0, 14), moment=moments)
    def stray_end_then_forgotten(self, which: int, moment: Moment) -> None:
        """An end again, or of an unknown call; then the store's memory of ended calls fades."""
        ended = sorted(key for key, call in self.model.calls.items() if not isinstance(call, Call))
        call = ended[which % len(ended)] if ended else CALL_IDS[which % len(CALL_IDS)]
        self.run(self.world.end(*call, self.seconds(call, moment)))
        self.run(self.world.answer(*call))
        for gone in ended:
            self.run(self.world.forget_ended(*gone))

    # Time and the loops.

    @rule(seconds=steps_of_time)
    def time_passes(self, seconds: float) -> None:
        self.world.clock.move(seconds)

    @rule(office_id=offices, before=st.sampled_from([0, 0, 1, 1_000]), whom=targets)
    def midnight_comes(self, office_id: str, before: int, whom: Target) -> None:
        today = self.world.day(office_id)
        self.world.clock.move(3_600)
        while self.world.day(office_id) == today:
            self.world.clock.move(3_600)
        now_ms = self.world.clock.now_ms()
        self.world.clock.set(now_ms - now_ms % 1_800_000 - before)

    @rule(office_id=offices, times=st.sampled_from([1, 1, 2]))
    def due_loop(self, office_id: str, times: int) -> None:
        self.run(self.world.due_loop(office_id, times))

    @precondition(lambda self: self.has_calls())
    @rule(whom=targets, looks=st.integers(1, 5), late_ms=st.sampled_from([0, 0, 0, 500, 12_000]), heard=st.booleans())
    def it_comes_due(self, whom: Target, looks: int, late_ms: int, heard: bool) -> None:
        """Time passes to the next look at a call, a few times; its switch may be heard of before."""
        call = self.call(whom)
        for _ in range(looks):
            known = self.model.calls.get(call)
            if not isinstance(known, Call) or not known.is_live:
                return
            self.world.clock.set(max(self.world.clock.now_ms(), known.due_ms + late_ms))
            if heard:
                self.run(self.world.hear(*call, self.seconds(call, ("elapsed", 0))))
            self.run(self.world.due_loop(call[0]))

    @rule()
    def functions_are_flushed(self) -> None:
        self.run(self.world.flush_functions())

    # Messages.

    @rule(
        office_id=offices,
        which=st.integers(0, 2),
        price=st.sampled_from([0, 1, 10_000, 30_000, 30_000, 120_000, 6_000_000, "available", "available+1"]),
        verdict=st.sampled_from([Code.FUNDED] * 9 + [Code.FREE, Code.NO_RATE, Code.INVALID_NUMBER]),
        content=st.sampled_from([1] * 7 + [2]),
        dry_run=seldom,
        behind=st.sampled_from([0] * 14 + [1]),
    )
    def message(
        self,
        office_id: str,
        which: int,
        price: int | str,
        verdict: Code,
        content: int,
        dry_run: bool,
        behind: int,
    ) -> None:
        if isinstance(price, str):
            price = self.model.available(self.model.offices[office_id]) + (price == "available+1")
        version = self.world.cached(office_id).version - behind
        self.run(
            self.world.message(
                office_id,
                f"m{which}",
                price if verdict == Code.FUNDED else 0,
                verdict=verdict,
                content=content,
                version=version,
                dry_run=dry_run,
            )
        )

    @rule(whom=targets, forget=seldom)
    def refund(self, whom: Target, forget: bool) -> None:
        which, stray = whom
        sent = sorted(self.model.messages)
        message = MESSAGE_IDS[which % len(MESSAGE_IDS)] if stray or not sent else sent[which % len(sent)]
        if forget:
            self.run(self.world.forget_message(*message))
        self.run(self.world.refund(*message))

    # Credits, settings, refills.

    @rule(
        office_id=offices,
        amount=amounts,
        ahead=st.sampled_from([1, 1, 1, 1, 1, 1, 0, -1, 2]),
        refill=st.sampled_from([None] * 7 + [0, 1, 2]),
    )
    def credit(self, office_id: str, amount: int | str, ahead: int, refill: int | None) -> None:
        o = self.model.offices[office_id]
        available, balance = self.model.available(o), self.model.balance(o)
        signed = {
            "-available": -available,
            "-available-1": -available - 1,
            "to the top": 10**15 - balance,
            "over the top": 10**15 - balance + 1,
        }
        refill_number = 0 if refill is None else o.refills_applied + refill
        value = signed[amount] if isinstance(amount, str) else amount
        number = max(1, o.credit_number + ahead)
        code = self.run(self.world.credit(office_id, number, value, refill=refill_number))
        if code == Code.OK and refill_number:
            # Somebody outside charged: that was the one charge of this refill.
            self.world.charge(office_id, refill_number)

    @rule(
        office_id=offices,
        new=settings_of(),
        limit=st.sampled_from([None, None, "smallest", "too small"]),
        newer=st.sampled_from([1, 1, 1, 1, 1, 1, 2, 0, -1]),
        generation=st.sampled_from([0, 0, 1]),
        refill_enabled=st.sampled_from([True, True, True, False]),
    )
    def put_office(
        self, office_id: str, new: Settings, limit: str | None, newer: int, generation: int, refill_enabled: bool
    ) -> None:
        o = self.model.offices[office_id]
        credit_limit = new.credit_limit
        if limit:
            smallest = max(0, self.model.reserved(o) - self.model.balance(o))
            credit_limit = max(0, smallest - (limit == "too small"))
        given = replace(
            new,
            version=o.settings.version + newer,
            credit_limit=credit_limit,
            generation=o.settings.generation + generation,
        )
        self.run(self.world.put_office(office_id, given, refill_enabled=refill_enabled))

    def with_refill(self, *states: RefillState) -> list[Office]:
        return [o for _, o in sorted(self.model.offices.items()) if o.refill in states]

    @precondition(lambda self: self.with_refill(RefillState.PENDING))
    @rule(which=st.integers(0, 2), accepted=st.booleans(), wait=st.sampled_from([0, 60, 86_400]), lost=seldom)
    def refiller(self, which: int, accepted: bool, wait: int, lost: bool) -> None:
        ready = self.with_refill(RefillState.PENDING)
        office_id = ready[which % len(ready)].office_id
        self.run(self.world.refiller(office_id, accepted=accepted, wait_ms=wait * 1_000, lost_after_claim=lost))

    @rule(
        office_id=offices,
        beside=st.sampled_from([-1, 0, 1, 1, 1, 1, 2]),
        what=st.sampled_from(["claim", "cap", "fail"]),
        attempt=st.integers(1, 3),
    )
    def stray_refill_report(self, office_id: str, beside: int, what: str, attempt: int) -> None:
        number = self.model.offices[office_id].refills_applied + beside
        if what == "claim":
            self.run(self.world.claim_refill(office_id, number))
        else:
            until_ms = self.world.clock.now_ms() + (DAY_MS if what == "cap" else 60_000)
            self.run(self.world.fail_refill(office_id, number, attempt if what == "fail" else 0, until_ms))

    @precondition(lambda self: self.with_refill(RefillState.WAITING, RefillState.ARMED))
    @rule(which=st.integers(0, 2), patient=st.booleans())
    def judge_refill(self, which: int, patient: bool) -> None:
        ready = self.with_refill(RefillState.WAITING, RefillState.ARMED)
        office = ready[which % len(ready)]
        if patient:
            self.world.clock.set(max(self.world.clock.now_ms(), office.refill_until))
        self.run(self.world.judge_refill(office.office_id))


@pytest.fixture
def machine(store_server: StoreServer) -> Iterator[type[SideBySide]]:
    loop = asyncio.new_event_loop()
    connection = StoreConnection(StoreLocation.parse(store_server.url), load_library(), timeout_seconds=PATIENT_SECONDS)
    try:
        loop.run_until_complete(connection.start())
        loop.run_until_complete(connection.wait_connected())
        SideBySide.loop, SideBySide.connection, SideBySide.steps_done = loop, connection, 0
        yield SideBySide
    finally:
        loop.run_until_complete(connection.close())
        loop.close()


def test_model_and_store_side_by_side(machine: type[SideBySide], store_form: str) -> None:
    run_simulation(machine, store_form, SIZES, lambda: Counter({"operations compared": machine.steps_done}))

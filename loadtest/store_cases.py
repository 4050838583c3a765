"""The commands of every operation, as the gateway sends them, and what the store must answer.

A round takes each office through each operation once, in an order in which each finds what it needs: calls are
authorized before they are answered, and so on. Ids are fresh in each round: a known id takes the short way of a replay.
"""

from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import hiredis

from gateway.domain.rate import Rate, Slot
from gateway.domain.vocabulary import Category, Direction, FinalReason, License, OfficeState, RefillState, Service
from gateway.store.balances import BY_CLOCK, BalanceStore, CallRequest, Lifetimes, MessageRequest
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.keys import SHARDS, lease_key, office_keys
from gateway.store.location import StoreLocation
from gateway.store.offices import CachedOffice
from gateway.store.records import OfficeRecord, OfficeSettingsRecord
from gateway.store.scripts import load_library
from gateway.store.wire import Reply
from gateway.v1.records_pb2 import Details, OfficeProfile
from loadtest.pipeline import Command, Pipeline, Run
from loadtest.processes import BenchError

MINUTE_MICROS: Final = 120_000
RATE: Final = Rate(0, (Slot(0, MINUTE_MICROS, 60, 60),))
CREDIT_MICROS: Final = 10_000_000
OPENING_MICROS: Final = 1_000_000_000
MESSAGE_MICROS: Final = 30_000
REFILL_MICROS: Final = 50_000_000
ROUND_MS: Final = 600_000
"""By so much the benchmark's clock moves on from round to round; within one it moves as the steps say."""

_TALK_SECONDS: Final = 110


@dataclass(frozen=True, slots=True)
class Step:
    """An operation on every office, once.

    Attributes:
        operation: The script's name.
        case: Which of its ways is taken.
        commands: One an office, in the order of the offices.
        expected: What each reply must begin with.
        moved_micros: What each of them does to the balance of its office.
        timed: False: only makes what a later step needs.
    """

    operation: str
    case: str
    commands: list[Command]
    expected: tuple[int, ...]
    moved_micros: int = 0
    timed: bool = True


class SteppedClock:
    """The clock that the commands carry."""

    def __init__(self, now_ms: int) -> None:
        self.ms = now_ms

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return self.ms


class _Recorded(Exception):
    """Carries what would have been sent."""

    def __init__(self, command: Command) -> None:
        super().__init__()
        self.command = command


class _Recorder(StoreConnection):
    """In place of a connection: `BalanceStore` lays its commands out, and they are kept instead of sent."""

    def __init__(self) -> None:
        self._functions = load_library().functions
        super().__init__(StoreLocation.parse("redis://127.0.0.1:1"), load_library())

    def run(self, operation: str, keys: tuple[bytes, ...], args: tuple[bytes | str | int, ...]) -> Reply:
        raise _Recorded(("FCALL", self._functions[operation], len(keys), *keys, *args))


def recorded(sending: Coroutine[Any, Any, object]) -> Command:
    """The command that a method of `BalanceStore` would send, by a store made by `recording_store`."""
    try:
        sending.send(None)
    except _Recorded as caught:
        return caught.command
    raise AssertionError("a store method sends one command, first of all")


def recording_store(clock: SteppedClock) -> BalanceStore:
    """A store whose methods are for `recorded`."""
    # A gateway's tick debits by the clock while the switch was heard of lately: here that is always.
    return BalanceStore(_Recorder(), clock, Lifetimes(fresh_ms=ROUND_MS))


def call_request(call_id: str, **changes: Any) -> CallRequest:
    """A call of a funded office abroad, with what a switch usually says of it."""
    details = Details(
        called_number="+442079460958",
        calling_number="+12125550100",
        direction=Direction.OUTBOUND,
        license=License.STANDARD,
        service=Service.VOICE,
        category=Category.INTERNATIONAL,
        user_id="u-1042",
        department_id="sales",
        deck_version=1,
        rate_line=17,
    )
    request = CallRequest(
        call_id=call_id,
        verdict=Code.FUNDED,
        fingerprint=b"8 bytes.",
        requested_seconds=0,
        max_duration_seconds=14_400,
        ticked_by_gateway=False,
        rate=RATE,
        price_per_minute_micros=MINUTE_MICROS,
        switch_id="sbc-1",
        details=details.SerializeToString(),
    )
    return request._replace(**changes)


def message_request(message_id: str) -> MessageRequest:
    """A message that has its price."""
    details = Details(called_number="+12125550177", message_kind=1, segments=1, deck_version=1, rate_line=9)
    return MessageRequest(message_id, Code.FUNDED, b"8 bytes.", MESSAGE_MICROS, details.SerializeToString())


def call_id_of(kind: str, round_number: int, index: int) -> str:
    """A call id of 36 characters, as a UUID has."""
    return f"{kind:0>8.8}-{round_number:04x}-4000-8000-{index:012x}"


def run_step(pipeline: Pipeline, step: Step) -> Run:
    """Run a step.

    Raises:
        BenchError: A reply is not what it must be.
    """
    run = pipeline.run(step.commands)
    check_replies(step, run)
    return run


def check_replies(step: Step, run: Run) -> None:
    """See that the store did what was to be measured.

    Raises:
        BenchError: A reply is not what it must be.
    """
    for reply in run.replies:
        if isinstance(reply, hiredis.ReplyError) or tuple(reply[: len(step.expected)]) != step.expected:
            raise BenchError(f"{step.operation} ({step.case}) answered {reply}, not {list(step.expected)}")


def read_offices(pipeline: Pipeline, offices: Sequence[CachedOffice]) -> dict[str, OfficeRecord | None]:
    """Offices as the store has them now."""
    packed = pipeline.run([("GET", office.keys.office) for office in offices]).replies
    return {
        office.office_id: OfficeRecord.unpack(value) if value else None
        for office, value in zip(offices, packed, strict=True)
    }


class Workload:
    """Offices with funds and offices without, and all that is done to them.

    Args:
        offices: How many of each.
        now_ms: The store's time.
    """

    def __init__(self, offices: int, now_ms: int) -> None:
        self._clock = SteppedClock(now_ms)
        self._start_ms = now_ms
        self._store = recording_store(self._clock)
        self.funded = [_office(f"funded-{index:06d}") for index in range(offices)]
        self.dipping = [_office(f"dipping-{index:06d}") for index in range(offices)]

    def opening(self) -> Iterator[Step]:
        """Make the offices: some with money, and some below their refill threshold, whose refill is asked for."""
        for offices in (self.funded, self.dipping):
            yield self._untimed("put_office", [self._put(office, 1) for office in offices], Code.OK)
        # A new office has nothing and asks for a refill at once; as that its money comes, and arms the next one.
        opened = [
            recorded(self._store.apply_credit(office.office_id, 1, OPENING_MICROS, refill_number=1))
            for office in self.funded
        ]
        yield self._untimed("apply_credit", opened, Code.OK)

    def round(self, number: int) -> Iterator[Step]:
        """One round; steps have to be run in their order, all of them."""
        self._clock.ms = self._start_ms + (number + 1) * ROUND_MS
        yield from self._switch_ticked(number)
        yield from self._gateway_ticked(number)
        yield from self._cut(number)
        yield from self._messages(number)
        yield from self._settings(number)
        yield from self._refills()

    def _switch_ticked(self, number: int) -> Iterator[Step]:
        store, ids = self._store, [call_id_of("a", number, index) for index in range(len(self.funded))]
        calls = list(zip(self.funded, ids, strict=True))
        fresh = [recorded(store.authorize_call(office, call_request(name))) for office, name in calls]
        yield Step("authorize_call", "fresh id, funded", fresh, (Code.FUNDED, 60))
        yield Step("authorize_call", "repeated", fresh, (Code.REPLAYED, 60))
        asked = [call_id_of("b", number, index) for index in range(len(self.funded))]
        dry = [
            recorded(store.authorize_call(office, call_request(name), dry_run=True))
            for office, name in zip(self.funded, asked, strict=True)
        ]
        yield Step("authorize_call", "dry run (a quote)", dry, (Code.FUNDED, 60))
        denied = [
            recorded(store.authorize_call(office, call_request(name)))
            for office, name in zip(self.dipping, asked, strict=True)
        ]
        yield Step("authorize_call", "fresh id, denied", denied, (Code.INSUFFICIENT_FUNDS,))
        answered = [recorded(store.answer_call(office, name, switch_id="sbc-1")) for office, name in calls]
        yield Step("answer_call", "", answered, (Code.OK, 60))
        self._clock.ms += 50_000
        ticked = [recorded(store.tick_call(office, name, 50, switch_id="sbc-1")) for office, name in calls]
        yield Step("tick_call", "by the switch", ticked, (Code.OK, 120, 0, MINUTE_MICROS), -MINUTE_MICROS)
        self._clock.ms += 60_000
        ended = [
            recorded(store.end_call(office, name, _TALK_SECONDS, cause="16", switch_id="sbc-1"))
            for office, name in calls
        ]
        price = RATE.price_micros(_TALK_SECONDS)
        yield Step("end_call", "", ended, (Code.OK, _TALK_SECONDS, price, 0), MINUTE_MICROS - price)

    def _gateway_ticked(self, number: int) -> Iterator[Step]:
        store, ids = self._store, [call_id_of("c", number, index) for index in range(len(self.funded))]
        calls = list(zip(self.funded, ids, strict=True))
        yield from self._live(calls, ticked_by_gateway=True)
        self._clock.ms += 45_000
        heard = [recorded(store.hear_call(office, name, 45, switch_id="sbc-1")) for office, name in calls]
        yield Step("hear_call", "", heard, (Code.OK, 60))
        self._clock.ms += 5_000
        by_clock = [recorded(store.tick_call(office, name, BY_CLOCK)) for office, name in calls]
        yield Step("tick_call", "by the gateway", by_clock, (Code.OK, 120, 0, MINUTE_MICROS), -MINUTE_MICROS)
        self._clock.ms += 131_000
        lapsed = [recorded(store.lapse_call(office, name)) for office, name in calls]
        yield Step("lapse_call", "", lapsed, (Code.LAPSED, MINUTE_MICROS))

    def _cut(self, number: int) -> Iterator[Step]:
        store, ids = self._store, [call_id_of("d", number, index) for index in range(len(self.funded))]
        calls = list(zip(self.funded, ids, strict=True))
        yield from self._live(calls, max_duration_seconds=60)
        self._clock.ms += 60_000
        cut = [recorded(store.cut_call(office, name)) for office, name in calls]
        yield Step("cut_call", "", cut, (Code.CUT, 60, FinalReason.MAX_DURATION))
        ended = [recorded(store.end_call(office, name, 60)) for office, name in calls]
        yield self._untimed("end_call", ended, Code.OK, -MINUTE_MICROS)

    def _messages(self, number: int) -> Iterator[Step]:
        store, ids = self._store, [call_id_of("e", number, index) for index in range(len(self.funded))]
        messages = list(zip(self.funded, ids, strict=True))
        sent = [recorded(store.authorize_message(office, message_request(name))) for office, name in messages]
        yield Step("authorize_message", "fresh id, funded", sent, (Code.FUNDED, MESSAGE_MICROS), -MESSAGE_MICROS)
        blocked = [
            recorded(store.authorize_message(office, message_request(name)))
            for office, name in zip(self.dipping, ids, strict=True)
        ]
        yield Step("authorize_message", "fresh id, blocked", blocked, (Code.INSUFFICIENT_FUNDS, 0))
        refunded = [recorded(store.refund_message(office, name)) for office, name in messages]
        yield Step("refund_message", "", refunded, (Code.OK, MESSAGE_MICROS), MESSAGE_MICROS)

    def _settings(self, number: int) -> Iterator[Step]:
        credited = [
            recorded(self._store.apply_credit(office.office_id, number + 2, CREDIT_MICROS)) for office in self.funded
        ]
        yield Step("apply_credit", "", credited, (Code.OK,), CREDIT_MICROS)
        version = self.funded[0].version + 1
        leases = [
            recorded(self._store.lease_shard(lease_key(index % SHARDS), "bench", 10_000))
            for index in range(len(self.funded))
        ]
        yield Step("lease_shard", "", leases, (Code.OK,))
        yield Step("put_office", "", [self._put(office, version) for office in self.funded], (Code.OK,))
        self.funded = [office._replace(version=version) for office in self.funded]

    def _refills(self) -> Iterator[Step]:
        store, names = self._store, [office.office_id for office in self.dipping]
        claims = [recorded(store.claim_refill(name, 1)) for name in names]
        yield Step("claim_refill", "", claims, (Code.OK, REFILL_MICROS))
        failed = [recorded(store.fail_refill(name, 1, 0, self._clock.ms)) for name in names]
        yield Step("fail_refill", "", failed, (Code.OK, RefillState.WAITING))
        judged = [recorded(store.judge_refill(name)) for name in names]
        yield Step("judge_refill", "raises a trigger", judged, (Code.OK, RefillState.PENDING))

    def _live(self, calls: list[tuple[CachedOffice, str]], **changes: Any) -> Iterator[Step]:
        store = self._store
        yield self._untimed(
            "authorize_call",
            [recorded(store.authorize_call(office, call_request(name, **changes))) for office, name in calls],
            Code.FUNDED,
        )
        yield self._untimed(
            "answer_call", [recorded(store.answer_call(office, name)) for office, name in calls], Code.OK
        )

    def _put(self, office: CachedOffice, version: int) -> Command:
        settings = OfficeSettingsRecord(
            version=version,
            state=OfficeState.ACTIVE,
            credit_limit_micros=0,
            max_concurrent_calls=0,
            max_price_per_minute_micros=0,
            daily_spend_limit_micros=0,
            refill_threshold_micros=REFILL_MICROS // 10,
            refill_amount_micros=REFILL_MICROS,
            refill_generation=1,
        )
        profile = OfficeProfile(country="US", time_zone="America/New_York", company_id="bench")
        return recorded(
            self._store.put_office(office.office_id, settings.pack(profile), refill_enabled=True, create=version == 1)
        )

    @staticmethod
    def _untimed(operation: str, commands: list[Command], code: Code, moved_micros: int = 0) -> Step:
        return Step(operation, "", commands, (code,), moved_micros, timed=False)


def _office(office_id: str) -> CachedOffice:
    return CachedOffice(office_id, office_keys(office_id), 1, "US", "", "America/New_York", "bench", is_suspended=False)

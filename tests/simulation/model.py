"""The ledger again, in plain Python, from the rules: slow, obvious, and with nothing kept that follows.

The scripts keep sums (balance, reserved, concurrent calls) and change them by differences; here they are added up anew
whenever they are asked for. The scripts price and invert in closed form; here a table is walked increment by
increment. What is the same is what the rules and the heads of the scripts say, and the fields of replies and entries.
"""

import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from itertools import zip_longest
from math import ceil, inf
from typing import Any

from gateway.domain.rate import Rate
from gateway.domain.vocabulary import CallState, FinalReason, OfficeState, RefillState
from gateway.store.codes import Code
from tests.support.balances import OutboxEntry, fingerprint

LARGEST = 10**15
SETUP_MS, GRACE_MS, FRESH_MS, CUT_AGAIN_MS = 180_000, 60_000, 45_000, 5_000
BLOCKED_A_SECOND, DENIED_A_MINUTE = 100, 100

GRANTING = {Code.EMERGENCY, Code.FREE, Code.FUNDED}


class PriceTable:
    """What a rate costs at the end of each of its increments, walked one after the other as far as is asked."""

    def __init__(self, rate: Rate) -> None:
        self.ends, self.prices = [0], [0]
        self._steps = self._walk(rate)

    def _walk(self, rate: Rate) -> Iterator[tuple[int, int]]:
        cost, second = Fraction(rate.connect_fee_micros), 0
        for slot, following in zip_longest(rate.slots, rate.slots[1:]):
            while following is None or second < following.from_second:
                second += slot.increment_seconds
                cost += Fraction(slot.price_micros * slot.increment_seconds, slot.per_seconds)
                yield second, ceil(cost)

    def _index(self, seconds: int) -> int:
        """Of the first increment that ends at or after so many seconds."""
        while self.ends[-1] < seconds:
            end, price = next(self._steps)
            self.ends.append(end)
            self.prices.append(price)
        return bisect_left(self.ends, seconds)

    def round_up(self, seconds: int) -> int:
        return self.ends[self._index(seconds)]

    def price(self, seconds: int) -> int:
        return self.prices[self._index(seconds)]

    def longest(self, budget: float, target: int) -> int:
        """The longest whole-increment time, or the target itself, that the budget pays."""
        if self.price(target) <= budget:
            return target
        return self.ends[max(0, bisect_right(self.prices, budget) - 1)]


@cache
def table_of(rate: Rate) -> PriceTable:
    return PriceTable(rate)


@dataclass(frozen=True)
class Request:
    """What a switch asked, as rating found it."""

    office_id: str
    call_id: str
    verdict: Code
    content: int
    requested: int
    max_duration: int
    by_gateway: bool
    rate: Rate | None
    switch_id: str
    details: bytes

    @property
    def tick(self) -> int:
        return self.rate.tick_seconds if self.rate else 60


@dataclass
class Call:
    request: Request
    state: CallState
    authorized_ms: int
    heard_ms: int
    granted: int = 0
    answered_ms: int = 0
    used: int = 0
    confirmed: int = 0
    debited: int = 0
    final: int = 0
    journaled: bool = False
    due_ms: int = 0

    @property
    def is_live(self) -> bool:
        return self.state < CallState.LAPSED

    @property
    def is_paid(self) -> bool:
        return self.request.verdict == Code.FUNDED

    def price(self, seconds: int) -> int:
        return table_of(self.request.rate).price(seconds) if self.request.rate else 0

    def longest(self, budget: float, target: int) -> int:
        return table_of(self.request.rate).longest(budget, target) if self.request.rate else target

    def target(self, seconds: int) -> int:
        """Whole increments, at most the maximum duration."""
        longest = self.request.max_duration
        if self.request.rate is None or seconds >= longest:
            return min(longest, seconds)
        return min(longest, table_of(self.request.rate).round_up(seconds))

    def hear_used(self, used: int, now_ms: int) -> None:
        """The switch lists how long it has talked; a clock that says something quite different was set meanwhile."""
        answered_ms = max(self.authorized_ms, now_ms - max(used, self.used) * 1000)
        late_ms = self.request.tick * 1000 + GRACE_MS
        if not self.answered_ms or abs(answered_ms - self.answered_ms) > late_ms:
            self.answered_ms = answered_ms

    @property
    def held(self) -> int:
        return self.price(self.granted) - self.debited if self.is_live else 0

    @property
    def granted_end_ms(self) -> int:
        return self.answered_ms + self.granted * 1000

    @property
    def lapses_ms(self) -> int:
        if self.state == CallState.RINGING:
            return self.authorized_ms + SETUP_MS
        return max(self.granted_end_ms, self.heard_ms) + GRACE_MS

    @property
    def ends_with_grant(self) -> bool:
        return self.is_paid and (self.final != 0 or self.granted == self.request.max_duration)

    def next_look(self, now_ms: int) -> int:
        if self.state == CallState.CUT:
            return min(now_ms + CUT_AGAIN_MS, self.lapses_ms)
        if self.state == CallState.ANSWERED and self.ends_with_grant:
            return self.granted_end_ms
        if self.state == CallState.ANSWERED and self.is_paid and self.request.by_gateway:
            return self.granted_end_ms - min(10_000, self.request.tick * 1000 // 2)
        return self.lapses_ms


def call_bytes(c: Call, held: int) -> bytes:
    """As lib/call.lua packs it."""
    r = c.request
    head = struct.pack(
        "<BBBBBB8sqqqIIIIHqq", 1, c.state, r.verdict, c.final, 2 if r.by_gateway else 1, c.journaled,
        fingerprint(r.content), c.authorized_ms, c.answered_ms, c.heard_ms, c.granted, c.used, c.confirmed,
        r.max_duration, r.tick, c.debited, held,
    )  # fmt: skip
    return head + r.switch_id.encode() + b"\0" + (r.rate.packed if r.rate else bytes(5)) + r.details


@dataclass(frozen=True)
class EndedCall:
    """What is kept of an ended call; unknown: only its id is spent."""

    known: bool
    duration: int
    billed: int = 0
    debited: int = 0
    written_off: int = 0


@dataclass(frozen=True)
class Message:
    content: int
    debited: int
    day: int
    reason: Code
    refunded: bool = False
    asked_back: bool = False
    """A refund came for an id that was not known: it is spent."""

    @property
    def is_spent(self) -> bool:
        return self.refunded or self.asked_back


@dataclass(frozen=True)
class Settings:
    version: int = 1
    state: OfficeState = OfficeState.ACTIVE
    credit_limit: int = 0
    max_calls: int = 0
    max_price: int = 0
    daily_limit: int = 0
    threshold: int = 5_000_000
    refill_amount: int = 50_000_000
    generation: int = 0


@dataclass
class Office:
    office_id: str
    shard: int
    settings: Settings
    credits: int = 0
    credit_number: int = 0
    credit_amount: int = 0
    settled: int = 0
    """Net debits of ended calls and of messages."""
    day: int = 0
    spent: int = 0
    refill: RefillState = RefillState.OFF
    refills_applied: int = 0
    refill_until: int = 0
    refill_failures: int = 0
    refill_failed_attempt: int = 0
    refill_level: int = 0
    blocked_second: int = 0
    blocked_count: int = 0
    blocked_dropped: int = 0
    denied_minute: int = 0
    denied_count: int = 0
    denied_dropped: int = 0


@dataclass
class Model:
    """All offices. Each operation returns the reply of its script, without the records that some replies carry."""

    offices: dict[str, Office] = field(default_factory=dict)
    calls: dict[tuple[str, str], Call | EndedCall] = field(default_factory=dict)
    messages: dict[tuple[str, str], Message] = field(default_factory=dict)
    clocks: dict[int, int] = field(default_factory=dict)
    journal: list[OutboxEntry] = field(default_factory=list)

    # Sums.

    def records(self, office_id: str) -> Iterator[Call]:
        return (c for (owner, _), c in self.calls.items() if owner == office_id and isinstance(c, Call))

    def balance(self, o: Office) -> int:
        return o.credits - o.settled - sum(c.debited for c in self.records(o.office_id))

    def reserved(self, o: Office) -> int:
        return sum(c.held for c in self.records(o.office_id))

    def available(self, o: Office) -> int:
        return self.balance(o) + o.settings.credit_limit - self.reserved(o)

    def concurrent(self, o: Office) -> int:
        return sum(c.is_live and c.is_paid for c in self.records(o.office_id))

    def spend_room(self, o: Office) -> float:
        limit = o.settings.daily_limit
        return max(0, limit - o.spent - self.reserved(o)) if limit else inf

    def room(self, o: Office) -> tuple[float, FinalReason]:
        funds, spend = self.available(o), self.spend_room(o)
        return (spend, FinalReason.SPEND_LIMIT) if spend < funds else (funds, FinalReason.INSUFFICIENT_FUNDS)

    # What operations are made of. An operation works on copies; what is not committed did not happen.

    def begin(self, office_id: str, now_ms: int, day: int | None = None) -> tuple[Office, int]:
        o = replace(self.offices[office_id])
        if day is not None and day > o.day:
            o.day, o.spent = day, 0
        return o, max(now_ms, self.clocks.get(o.shard, 0))

    def commit(self, o: Office, now_ms: int, lacking: int | None = None) -> None:
        """Judge the refill, last, and keep office and clock."""
        self.judge(o, now_ms, lacking)
        self.offices[o.office_id] = o
        self.clocks[o.shard] = now_ms

    def keep(self, c: Call, now_ms: int, *, is_look: bool = False) -> None:
        """What is heard of a cut call does not put off the next command to cut it; the look that gives it does."""
        self.calls[c.request.office_id, c.request.call_id] = c
        due_ms = c.next_look(now_ms)
        c.due_ms = min(c.due_ms, due_ms) if c.state == CallState.CUT and not is_look else due_ms

    def judge(self, o: Office, now_ms: int, lacking: int | None = None) -> bool:
        ready = o.refill == RefillState.ARMED or (o.refill == RefillState.WAITING and now_ms >= o.refill_until)
        funds, level = self.available(o), o.settings.threshold
        if lacking is not None and lacking <= o.settings.refill_amount:
            level = max(level, funds + lacking)
        if not ready or funds >= level:
            return False
        o.refill, o.refill_until, o.refill_level = RefillState.PENDING, 0, level
        more = {
            "refill_amount": o.settings.refill_amount,
            "threshold": o.settings.threshold,
            "available": funds,
        }
        self.write("refill", o, f"{o.office_id}/{o.refills_applied + 1}", now_ms, 0, **more)
        return True

    def write(self, kind: str, o: Office, entry_id: str, now_ms: int, amount: int, **more: Any) -> None:
        fields = {k: v if isinstance(v, bytes) else str(v).encode() for k, v in more.items()}
        self.journal.append(OutboxEntry(kind, o.office_id, entry_id, now_ms, amount, self.balance(o), fields))

    def write_call(self, kind: str, o: Office, c: Call, now_ms: int, taken: int | None, **more: Any) -> None:
        fields = {
            "authorized_at": c.authorized_ms,
            "debited": c.debited,
            "confirmed": c.confirmed,
            "answered_at": c.answered_ms,
            **more,
        }
        if not c.journaled:
            c.journaled = True
            fields["record"] = call_bytes(c, held=0 if kind == "end" else c.held)
        self.write(kind, o, c.request.call_id, now_ms, -(taken or 0), **fields)

    def spend(self, o: Office, taken: int) -> None:
        o.spent = max(0, o.spent + taken)

    def advance(self, o: Office, c: Call, used: int, target: int) -> int:
        """Grant up to the target what can be paid, and debit what was used of it."""
        target = max(target, c.granted)
        room, why = self.room(o)
        before = c.debited
        granted = max(c.granted, c.longest(before + c.held + room, target))
        c.granted = granted
        c.debited = max(before, c.price(min(used, granted)))
        c.final = why if granted < target else FinalReason.MAX_DURATION if granted == c.request.max_duration else 0
        self.spend(o, c.debited - before)
        return c.debited - before

    def find(self, office_id: str, call_id: str) -> Call | EndedCall | None:
        """A copy, so that nothing has changed until it is kept."""
        known = self.calls.get((office_id, call_id)) if office_id in self.offices else None
        return replace(known) if isinstance(known, Call) else known

    # Calls.

    def authorize(
        self, now_ms: int, day: int, version: int, request: Request, price_per_minute: int, dry_run: bool
    ) -> tuple[int, ...]:
        office_id = request.office_id
        if office_id not in self.offices:
            return Code.UNKNOWN_OFFICE, 0, 0, 0
        o, now_ms = self.begin(office_id, now_ms, day)
        if o.settings.version != version:
            return Code.OFFICE_CHANGED, 0, 0, 0
        known = self.find(office_id, request.call_id)
        if isinstance(known, Call) and request.verdict != Code.INVALID_NUMBER:
            if known.request.content != request.content:
                return Code.ID_REUSED, 0, 0, 0
            return Code.REPLAYED, known.granted, known.final, self.available(o)
        if request.verdict == Code.INVALID_NUMBER:
            known = None
        c = Call(request, CallState.RINGING, now_ms, now_ms)
        available, lacking = self.available(o), None
        decision = self.decide(o, c, known is not None, price_per_minute)
        if decision == Code.INSUFFICIENT_FUNDS:
            lacking = c.price(1) - available
        if decision in GRANTING:
            if dry_run or (decision == Code.EMERGENCY and known is not None):
                return decision, c.granted, c.final, available
            self.keep(c, now_ms)
            self.commit(o, now_ms)
        elif not dry_run and known is None:
            self.judge(o, now_ms, lacking)
            if o.denied_minute != now_ms // 60_000:
                o.denied_minute, o.denied_count = now_ms // 60_000, 0
            if o.denied_count < DENIED_A_MINUTE:
                more = {"reason": int(decision), "details": request.details, "unrecorded_before": o.denied_dropped}
                self.write("denied", o, request.call_id, now_ms, 0, **more)
                o.denied_count, o.denied_dropped = o.denied_count + 1, 0
            else:
                o.denied_dropped += 1
            self.offices[office_id], self.clocks[o.shard] = o, now_ms
        return decision, c.granted, c.final, self.available(o)

    def decide(self, o: Office, c: Call, spent_id: bool, price_per_minute: int) -> Code:
        """The first reason that applies; fills in the grant."""
        s, verdict = o.settings, c.request.verdict
        if verdict == Code.EMERGENCY:
            c.granted = c.request.max_duration
            return verdict
        if verdict == Code.INVALID_NUMBER:
            return verdict
        if s.state == OfficeState.SUSPENDED:
            return Code.OFFICE_SUSPENDED
        if spent_id:
            return Code.CALL_ENDED
        if verdict == Code.FREE:
            c.granted = c.request.max_duration
        if verdict != Code.FUNDED:
            return verdict
        if s.max_price and price_per_minute > s.max_price:
            return Code.PRICE_LIMIT
        if s.max_calls and self.concurrent(o) >= s.max_calls:
            return Code.TOO_MANY_CALLS
        if c.price(1) > self.spend_room(o):
            return Code.SPEND_LIMIT
        if c.price(1) > self.available(o):
            return Code.INSUFFICIENT_FUNDS
        self.advance(o, c, 0, c.target(c.request.requested or c.request.tick))
        return verdict

    def closed(self, office_id: str, known: Call | EndedCall | None, switch_id: str) -> tuple[int, ...] | None:
        """The answer about a call of which there is nothing to say but this."""
        if known is None:
            return Code.NOT_FOUND, 0, 0, 0, 0
        if isinstance(known, EndedCall):
            available = self.available(self.offices[office_id])
            return Code.ENDED, known.billed, FinalReason.ENDED, known.debited, available
        if switch_id and known.request.switch_id and switch_id != known.request.switch_id:
            return Code.FORBIDDEN, 0, 0, 0, 0
        return None

    def revive(self, o: Office, c: Call, used: int, target: int, now_ms: int) -> tuple[int | None, int]:
        """What was debited; None and why, if the call cannot go on."""
        if c.final:
            return None, c.final
        if c.is_paid:
            room, why = self.room(o)
            if c.longest(c.debited + room, target) <= used:
                return None, why if used < target else FinalReason.MAX_DURATION
        c.state, c.heard_ms = CallState.ANSWERED if c.answered_ms else CallState.RINGING, now_ms
        if c.is_paid:
            return self.advance(o, c, used, target), 0
        c.granted = c.request.max_duration
        return 0, 0

    def answer(
        self, now_ms: int, day: int, office_id: str, call_id: str, answered_ms: int, switch_id: str
    ) -> tuple[int, ...]:
        c = self.find(office_id, call_id)
        closed = self.closed(office_id, c, switch_id)
        if closed or not isinstance(c, Call):
            return closed or ()
        o, now_ms = self.begin(office_id, now_ms, day)
        if c.state == CallState.CUT:
            return Code.ENDED, c.granted, c.final, c.debited, self.available(o)
        if not c.answered_ms:
            c.answered_ms = min(max(answered_ms, c.authorized_ms), now_ms) if answered_ms else now_ms
        taken: int | None = 0
        lapsed = c.state == CallState.LAPSED
        if lapsed:
            taken, why = self.revive(o, c, c.used, c.target(c.used + c.request.tick), now_ms)
            if taken is None:
                return Code.ENDED, c.granted, why, c.debited, self.available(o)
        c.state, c.heard_ms = CallState.ANSWERED, now_ms
        self.keep(c, now_ms)
        if taken or (lapsed and c.journaled):
            self.write_call("revive", o, c, now_ms, taken)
        self.commit(o, now_ms)
        return Code.OK, c.granted, c.final, c.debited, self.available(o)

    def tick(
        self, now_ms: int, day: int, office_id: str, call_id: str, used: int, requested: int, switch_id: str
    ) -> tuple[int, ...]:
        """A tick of the switch."""
        c = self.find(office_id, call_id)
        closed = self.closed(office_id, c, switch_id)
        if closed or not isinstance(c, Call):
            return closed or ()
        o, now_ms = self.begin(office_id, now_ms, day)
        late, used = used < c.used, max(used, c.used)
        c.answered_ms = c.answered_ms or max(c.authorized_ms, now_ms - used * 1000)
        c.confirmed = max(c.confirmed, used)
        target = c.target(used + (requested or c.request.tick))
        taken: int | None = 0
        lapsed = c.state == CallState.LAPSED
        if lapsed:
            taken, why = self.revive(o, c, used, target, now_ms)
            if taken is None:
                return Code.ENDED, c.granted, why, c.debited, self.available(o)
        elif c.state == CallState.CUT:
            final = c.final
            taken = self.advance(o, c, used, c.granted)
            c.final = final
        else:
            c.state = CallState.ANSWERED
            if c.is_paid and not late:
                taken = self.advance(o, c, used, target)
        c.used, c.heard_ms = used, now_ms
        self.keep(c, now_ms)
        if taken or (lapsed and c.journaled):
            self.write_call("tick", o, c, now_ms, taken)
        self.commit(o, now_ms)
        code = Code.ENDED if c.state == CallState.CUT else Code.OK
        return code, c.granted, c.final, c.debited, self.available(o)

    def hear(self, now_ms: int, day: int, office_id: str, call_id: str, used: int, switch_id: str) -> tuple[int, ...]:
        """The switch lists the call as live; 0 used: ringing."""
        c = self.find(office_id, call_id)
        closed = self.closed(office_id, c, switch_id)
        if closed or not isinstance(c, Call):
            return closed or ()
        o, now_ms = self.begin(office_id, now_ms, day)
        c.confirmed = max(c.confirmed, used)
        if used:
            c.hear_used(used, now_ms)
        taken: int | None = 0
        lapsed = c.state == CallState.LAPSED
        if lapsed:
            used = max(used, c.used)
            taken, why = self.revive(o, c, used, c.target(used + c.request.tick), now_ms)
            if taken is None:
                return Code.ENDED, c.granted, why, c.debited, self.available(o)
            c.used = used
        elif c.state == CallState.RINGING and used:
            c.state = CallState.ANSWERED
        c.heard_ms = now_ms
        self.keep(c, now_ms)
        if taken or (lapsed and c.journaled):
            self.write_call("revive", o, c, now_ms, taken)
        self.commit(o, now_ms)
        code = Code.ENDED if c.state == CallState.CUT else Code.OK
        return code, c.granted, c.final, c.debited, self.available(o)

    def tick_by_clock(self, now_ms: int, day: int, office_id: str, call_id: str) -> tuple[Any, ...]:
        """A tick of the gateway; of a CUT_DUE that was not cut yet only the code counts."""
        c = self.find(office_id, call_id)
        closed = self.closed(office_id, c, "")
        if closed or not isinstance(c, Call):
            return closed or ()
        o, now_ms = self.begin(office_id, now_ms, day)

        def answer(code: Code) -> tuple[Any, ...]:
            progress = code, c.granted, c.final, c.debited, self.available(o)
            return *progress, c.heard_ms, c.request.switch_id

        if c.state == CallState.CUT:
            return answer(Code.CUT_DUE)
        mine = c.ends_with_grant or c.request.by_gateway
        if c.state != CallState.ANSWERED or not c.is_paid or not mine:
            return answer(Code.LAPSE_DUE)
        if now_ms < c.next_look(now_ms):
            return answer(Code.OK)
        if not c.ends_with_grant and now_ms - c.heard_ms >= FRESH_MS + GRACE_MS:
            return answer(Code.LAPSE_DUE)
        if c.request.by_gateway and now_ms - c.heard_ms < FRESH_MS:
            c.used = max(c.used, min(c.granted, (now_ms - c.answered_ms) // 1000))
        before = c.granted
        taken = self.advance(o, c, c.used, c.target(c.granted + c.request.tick))
        if c.granted == before and now_ms >= c.granted_end_ms:
            return (Code.CUT_DUE,)
        self.keep(c, now_ms)
        if taken:
            self.write_call("tick", o, c, now_ms, taken)
        self.commit(o, now_ms)
        return answer(Code.OK)

    def cut(self, now_ms: int, day: int, office_id: str, call_id: str, forced: bool) -> tuple[Any, ...]:
        c = self.find(office_id, call_id)
        if not isinstance(c, Call) or not c.is_live:
            return Code.NOT_FOUND, 0, 0, "", 0
        o, now_ms = self.begin(office_id, now_ms, day)
        # A gateway's tick may come so late that the grant is over before anybody found it to be final.
        may_end = c.ends_with_grant or (c.is_paid and c.request.by_gateway)
        at_end = c.state == CallState.ANSWERED and may_end and now_ms >= c.granted_end_ms
        taken, late_ms, code = 0, 0, Code.CUT
        if c.request.verdict == Code.EMERGENCY:
            code = Code.NOT_DUE
        elif c.state == CallState.CUT:
            code = Code.LAPSE_DUE if now_ms >= c.lapses_ms and not forced else Code.REPLAYED
        elif forced:
            c.state, c.final = CallState.CUT, FinalReason.OPERATOR
        elif not at_end:
            code = Code.NOT_DUE
        else:
            before = c.granted
            taken = self.advance(o, c, c.used, c.target(c.granted + c.request.tick))
            if c.granted == before:
                c.state, late_ms = CallState.CUT, now_ms - c.granted_end_ms
            else:
                code = Code.OK
        if code not in (Code.NOT_DUE, Code.LAPSE_DUE):
            self.keep(c, now_ms, is_look=True)
            if taken:
                self.write_call("tick", o, c, now_ms, taken)
            self.commit(o, now_ms)
        return code, c.granted, c.final, c.request.switch_id, late_ms

    def end(
        self, now_ms: int, day: int, office_id: str, call_id: str, duration: int, cause: str, switch_id: str
    ) -> tuple[int, ...]:
        c = self.find(office_id, call_id)
        if c is None and office_id in self.offices:
            self.calls[office_id, call_id] = EndedCall(known=False, duration=duration)
        if c is None or (isinstance(c, EndedCall) and not c.known):
            return Code.NOT_FOUND, 0, 0, 0, 0
        o, now_ms = self.begin(office_id, now_ms, day)
        if isinstance(c, EndedCall):
            code = Code.REPLAYED if c.duration == duration else Code.ID_REUSED
            return code, c.billed, c.debited, c.written_off, self.available(o)
        closed = self.closed(office_id, c, switch_id)
        if closed:
            return closed
        billed = c.granted if c.final and c.granted < duration <= c.granted + 2 else duration
        price, before = c.price(billed), c.debited
        c.debited = min(price, before + c.held + max(0, self.available(o))) if price > before else price
        c.confirmed = billed
        ended = EndedCall(True, duration, billed, c.debited, price - c.debited)
        self.calls[office_id, call_id] = ended
        o.settled += c.debited
        self.spend(o, c.debited - before)
        more = {"duration": duration, "billed": billed, "written_off": ended.written_off, "cause": cause}
        self.write_call("end", o, c, now_ms, c.debited - before, **more)
        self.commit(o, now_ms)
        return Code.OK, billed, ended.debited, ended.written_off, self.available(o)

    def lapse(self, now_ms: int, day: int, office_id: str, call_id: str, missing_since_ms: int) -> tuple[int, ...]:
        c = self.find(office_id, call_id)
        if not isinstance(c, Call) or not c.is_live:
            return Code.NOT_FOUND, 0, 0
        o, now_ms = self.begin(office_id, now_ms, day)
        if now_ms < c.lapses_ms and c.heard_ms >= missing_since_ms:
            self.keep(c, now_ms)
            if c.due_ms <= now_ms and not c.ends_with_grant:
                # A tick that was withheld from a silent switch; nothing else is due until it lapses.
                c.due_ms = c.lapses_ms
            return Code.NOT_DUE, c.debited, self.available(o)
        before = c.debited
        if c.is_paid:
            seconds = max(c.confirmed, 1 if c.answered_ms else 0)
            c.debited = max(before, c.price(min(seconds, c.granted)))
            self.spend(o, c.debited - before)
        if c.state != CallState.CUT:
            c.final = 0
            c.granted = c.longest(c.debited, c.granted) if c.is_paid else 0
        c.state = CallState.LAPSED
        self.keep(c, now_ms)
        if c.debited > before or c.journaled:
            self.write_call("lapse", o, c, now_ms, c.debited - before)
        self.commit(o, now_ms)
        return Code.LAPSED, c.debited, self.available(o)

    # Messages.

    def message(
        self,
        now_ms: int,
        day: int,
        version: int,
        office_id: str,
        message_id: str,
        verdict: Code,
        content: int,
        price: int,
        details: bytes,
        dry_run: bool,
    ) -> tuple[int, ...]:
        if office_id not in self.offices:
            return Code.UNKNOWN_OFFICE, 0, 0
        o, now_ms = self.begin(office_id, now_ms, day)
        if o.settings.version != version:
            return Code.OFFICE_CHANGED, 0, 0
        known = self.messages.get((office_id, message_id)) if verdict != Code.INVALID_NUMBER else None
        available = self.available(o)
        if known and not known.is_spent:
            if known.content != content:
                return Code.ID_REUSED, 0, 0
            return Code.REPLAYED, known.debited, available
        decision: Code = verdict
        if verdict == Code.INVALID_NUMBER:
            pass
        elif known:
            is_suspended = o.settings.state == OfficeState.SUSPENDED
            return Code.OFFICE_SUSPENDED if is_suspended else Code.MESSAGE_REFUNDED, 0, available
        elif o.settings.state == OfficeState.SUSPENDED:
            decision = Code.OFFICE_SUSPENDED
        elif verdict in GRANTING and price > self.spend_room(o):
            decision = Code.SPEND_LIMIT
        elif verdict in GRANTING and price > available:
            decision = Code.INSUFFICIENT_FUNDS
        if dry_run:
            return decision, price if decision in GRANTING else 0, available
        if decision in GRANTING:
            o.settled += price
            self.spend(o, price)
            self.messages[office_id, message_id] = Message(content, price, o.day, verdict)
            more = {"reason": int(verdict), "details": details, "fingerprint": fingerprint(content)}
            self.write("message", o, message_id, now_ms, -price, **more)
            self.commit(o, now_ms)
            return decision, price, self.available(o)
        # Blocked: the trigger comes first, then the entry about the message.
        self.judge(o, now_ms, price - available if decision == Code.INSUFFICIENT_FUNDS else None)
        if o.blocked_second != now_ms // 1000:
            o.blocked_second, o.blocked_count = now_ms // 1000, 0
        if o.blocked_count < BLOCKED_A_SECOND:
            more = {"reason": int(decision), "details": details, "unrecorded_before": o.blocked_dropped}
            self.write("blocked", o, message_id, now_ms, 0, **more)
            o.blocked_count, o.blocked_dropped = o.blocked_count + 1, 0
        else:
            o.blocked_dropped += 1
        self.offices[office_id], self.clocks[o.shard] = o, now_ms
        return decision, 0, self.available(o)

    def refund(self, now_ms: int, day: int, office_id: str, message_id: str) -> tuple[int, ...]:
        known = self.messages.get((office_id, message_id))
        if office_id not in self.offices or (known and known.asked_back):
            return Code.NOT_FOUND, 0, 0
        if known is None:
            self.messages[office_id, message_id] = Message(0, 0, 0, Code.OK, asked_back=True)
            self.write("late_refund", self.offices[office_id], message_id, now_ms, 0)
            return Code.NOT_FOUND, 0, 0
        o, now_ms = self.begin(office_id, now_ms, day)
        if known.refunded:
            return Code.REPLAYED, known.debited, self.available(o)
        self.messages[office_id, message_id] = replace(known, refunded=True)
        o.settled -= known.debited
        if known.day == o.day:
            self.spend(o, -known.debited)
        self.write("message_refund", o, message_id, now_ms, known.debited)
        self.commit(o, now_ms)
        return Code.OK, known.debited, self.available(o)

    # Credits, settings, refills.

    def credit(self, now_ms: int, office_id: str, number: int, amount: int, refill: int) -> tuple[int | None, ...]:
        if office_id not in self.offices:
            return Code.UNKNOWN_OFFICE, 0, 0, 0, 0
        o, now_ms = self.begin(office_id, now_ms)
        balance, available = self.balance(o), self.available(o)
        if number <= o.credit_number:
            code = Code.REPLAYED
        elif number > o.credit_number + 1:
            code = Code.OUT_OF_ORDER
        elif amount < 0 and available + amount < 0:
            code = Code.NOT_COVERED
        elif abs(balance + amount) > LARGEST:
            code = Code.OUT_OF_RANGE
        elif refill and refill != o.refills_applied + 1:
            code = Code.NOT_PENDING
        else:
            code = Code.OK
            o.credits, o.credit_number, o.credit_amount = o.credits + amount, number, amount
            if refill:
                o.refills_applied = refill
                o.refill_until = o.refill_failures = o.refill_failed_attempt = 0
                o.refill = RefillState.OFF if o.refill == RefillState.OFF else RefillState.ARMED
            self.write("credit", o, str(number), now_ms, amount, refill=refill)
            self.commit(o, now_ms)
        moved = o.credit_amount if number == o.credit_number else None
        return code, self.balance(o), self.available(o), o.credit_number, moved

    def put_office(
        self, now_ms: int, office_id: str, shard: int, settings: Settings, refill_enabled: bool, create: bool
    ) -> tuple[int, ...]:
        is_new = office_id not in self.offices
        if is_new and not create:
            return Code.UNKNOWN_OFFICE, 0, 0
        if is_new:
            o = Office(office_id, shard, settings)
            now_ms = max(now_ms, self.clocks.get(shard, 0))
        else:
            o, now_ms = self.begin(office_id, now_ms)
            if settings.version <= o.settings.version:
                return Code.STALE, self.available(o), 0
            smallest = max(0, self.reserved(o) - self.balance(o))
            if settings.credit_limit < smallest:
                return Code.NOT_COVERED, self.available(o), smallest
            if settings.threshold != o.settings.threshold:
                o.refill_level = settings.threshold
        if is_new or settings.generation > o.settings.generation:
            if not refill_enabled:
                o.refill, o.refill_until = RefillState.OFF, 0
            elif o.refill in (RefillState.OFF, RefillState.WAITING):
                o.refill, o.refill_until, o.refill_failures = RefillState.ARMED, 0, 0
        o.settings = settings
        self.commit(o, now_ms)
        return Code.OK, self.available(o), 0

    def claim_refill(self, now_ms: int, office_id: str, number: int) -> tuple[int, ...]:
        o, now_ms = self.begin(office_id, now_ms)
        if o.refill != RefillState.PENDING or number != o.refills_applied + 1:
            return Code.NOT_PENDING, 0
        self.offices[office_id], self.clocks[o.shard] = o, now_ms
        if self.available(o) >= o.refill_level:
            o.refill = RefillState.ARMED
            return Code.NOT_NEEDED, 0
        return Code.OK, o.settings.refill_amount

    def fail_refill(self, now_ms: int, office_id: str, number: int, attempt: int, until_ms: int) -> tuple[int, ...]:
        o, now_ms = self.begin(office_id, now_ms)
        if number == o.refills_applied + 1 and 0 < attempt <= o.refill_failed_attempt:
            return Code.REPLAYED, o.refill, o.refill_failures
        if o.refill != RefillState.PENDING or number != o.refills_applied + 1:
            return Code.NOT_PENDING, o.refill, o.refill_failures
        if attempt:
            o.refill_failures, o.refill_failed_attempt = o.refill_failures + 1, attempt
        o.refill, o.refill_until = RefillState.WAITING, until_ms
        if o.refill_failures == 3:
            o.refill, o.refill_until = RefillState.OFF, 0
        self.offices[office_id], self.clocks[o.shard] = o, now_ms
        return Code.OK, o.refill, o.refill_failures

    def judge_refill(self, now_ms: int, office_id: str) -> bool:
        o, now_ms = self.begin(office_id, now_ms)
        waited = o.refill == RefillState.WAITING and now_ms >= o.refill_until
        if waited and self.available(o) >= o.settings.threshold:
            o.refill, o.refill_until = RefillState.ARMED, 0
            self.commit(o, now_ms)
            return False
        if not self.judge(o, now_ms):
            return False
        self.commit(o, now_ms)
        return True

"""Model and store side by side: each operation goes to both, and after each everything that the store holds is compared
with the model, and held against the invariants of the ledger."""

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.domain.rate import Rate
from gateway.domain.vocabulary import CallState, FinalReason, Reason
from gateway.store.balances import (
    BY_CLOCK,
    BalanceStore,
    CallProgress,
    CallRequest,
    MessageRequest,
)
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.keys import due_key, office_keys, outbox_key, shard_of
from gateway.store.offices import CachedOffice
from gateway.store.records import CallRecord, CallStub, OfficeRecord, OfficeSettingsRecord, unpack_call
from gateway.v1.records_pb2 import Details, OfficeProfile
from tests.simulation.model import Call, Message, Model, Office, Request, Settings
from tests.support.balances import ManualClock, OutboxEntry, fingerprint
from tests.support.store_keys import all_keys

DETAILS: Final = Details(called_number="+18765550100", user_id="u1").SerializeToString()

# The first two share a shard: its clock, its due set and its outbox.
OFFICES: Final = {"o-2": "UTC", "o-59": "America/New_York", "o-1": "Pacific/Auckland", "o-none": "UTC"}
assert shard_of("o-2") == shard_of("o-59") != shard_of("o-1")


class Mismatch(AssertionError):
    """Model and store differ."""


REPLIES: Final[Counter[str]] = Counter()
"""How often each code was returned by each operation, for whoever asks whether a run was any good."""


def expect(what: str, store: object, model: object) -> None:
    if store != model:
        raise Mismatch(f"{what}\n  store: {store}\n  model: {model}")
    if isinstance(store, tuple) and store and isinstance(store[0], Code):
        REPLIES[f"{what.removeprefix('reply of ')}: {store[0].name}"] += 1


@dataclass
class World:
    """One run of the simulation.

    Attributes:
        moved: Net amount that the outbox says was moved for each call or message since its id was last free.
    """

    connection: StoreConnection
    clock: ManualClock = field(default_factory=ManualClock)
    model: Model = field(default_factory=Model)
    steps: int = 0
    moved: defaultdict[tuple[str, str, str], int] = field(default_factory=lambda: defaultdict(int))
    totals: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    positions: dict[int, bytes] = field(default_factory=dict)
    charged: set[str] = field(default_factory=set)
    attempts_failed: Counter[tuple[str, int]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.balances = BalanceStore(self.connection, self.clock)

    def cached(self, office_id: str, version: int | None = None) -> CachedOffice:
        if version is None:
            office = self.model.offices.get(office_id)
            version = office.settings.version if office else 1
        return CachedOffice(office_id, office_keys(office_id), version, "US", "", OFFICES[office_id], "acme", False)

    def day(self, office_id: str) -> int:
        return self.cached(office_id).day(self.clock.now_ms())

    # Operations.

    async def authorize(self, request: Request, *, version: int | None = None, dry_run: bool = False) -> Code:
        office = self.cached(request.office_id, version)
        rate = request.rate
        price = rate.price_per_minute_micros if rate else 0
        before = await self.dump() if dry_run else None
        reply = await self.balances.authorize_call(
            office,
            CallRequest(
                request.call_id,
                request.verdict,
                fingerprint(request.content),
                request.requested,
                request.max_duration,
                request.by_gateway,
                rate,
                price,
                request.switch_id,
                request.details,
            ),
            dry_run=dry_run,
        )
        now_ms = self.clock.now_ms()
        expected = self.model.authorize(now_ms, self.day(request.office_id), office.version, request, price, dry_run)
        expect("reply of authorize_call", reply[:4], expected)
        if reply.code == Code.REPLAYED:
            assert reply.record is not None
            known = self.model.calls[request.office_id, request.call_id]
            assert isinstance(known, Call)
            expect("record of a replay", unpack_call(reply.record), record_of(known))
        if before is not None:
            expect("what a dry run writes", await self.dump(), before)
        await self.verify()
        return reply.code

    async def answer(self, office_id: str, call_id: str, *, answered_ms: int = 0, switch_id: str = "") -> None:
        reply = await self.balances.answer_call(
            self.cached(office_id), call_id, answered_ms=answered_ms, switch_id=switch_id
        )
        now_ms, day = self.clock.now_ms(), self.day(office_id)
        expect(
            "reply of answer_call",
            reply[:5],
            self.model.answer(now_ms, day, office_id, call_id, answered_ms, switch_id),
        )
        await self.verify()

    async def tick(
        self, office_id: str, call_id: str, used: int, *, requested: int = 0, switch_id: str = ""
    ) -> CallProgress:
        reply = await self.balances.tick_call(
            self.cached(office_id), call_id, used, requested_seconds=requested, switch_id=switch_id
        )
        now_ms, day = self.clock.now_ms(), self.day(office_id)
        expected = self.model.tick(now_ms, day, office_id, call_id, used, requested, switch_id)
        expect("reply of tick_call", reply[:5], expected)
        await self.verify()
        return reply

    async def hear(self, office_id: str, call_id: str, used: int, *, switch_id: str = "") -> None:
        reply = await self.balances.hear_call(self.cached(office_id), call_id, used, switch_id=switch_id)
        now_ms, day = self.clock.now_ms(), self.day(office_id)
        expect("reply of hear_call", reply[:5], self.model.hear(now_ms, day, office_id, call_id, used, switch_id))
        await self.verify()

    async def tick_by_clock(self, office_id: str, call_id: str) -> Code:
        reply = await self.balances.tick_call(self.cached(office_id), call_id, BY_CLOCK)
        now_ms, day = self.clock.now_ms(), self.day(office_id)
        expected = self.model.tick_by_clock(now_ms, day, office_id, call_id)
        expect("reply of tick_call by the clock", reply[: len(expected)], expected)
        await self.verify()
        return reply.code

    async def cut(self, office_id: str, call_id: str, *, forced: bool = False) -> Code:
        reply = await self.balances.cut_call(self.cached(office_id), call_id, forced=forced)
        now_ms, day = self.clock.now_ms(), self.day(office_id)
        expect("reply of cut_call", reply, self.model.cut(now_ms, day, office_id, call_id, forced))
        if reply.code in (Code.CUT, Code.REPLAYED) and not forced:
            # Invariant 7: only a call that is paid for is ever cut by the gateway.
            known = self.model.calls[office_id, call_id]
            assert isinstance(known, Call)
            assert known.is_paid or known.final == FinalReason.OPERATOR
        await self.verify()
        return reply.code

    async def end(self, office_id: str, call_id: str, duration: int, *, cause: str = "16", switch_id: str = "") -> None:
        known = self.model.calls.get((office_id, call_id))
        rate = known.request.rate if isinstance(known, Call) else None
        reply = await self.balances.end_call(
            self.cached(office_id), call_id, duration, cause=cause, switch_id=switch_id
        )
        now_ms, day = self.clock.now_ms(), self.day(office_id)
        expected = self.model.end(now_ms, day, office_id, call_id, duration, cause, switch_id)
        expect("reply of end_call", reply, expected)
        if reply.code == Code.OK:
            # Invariants 6 and 8.
            price = rate.price_micros(reply.billed_seconds) if rate else 0
            expect("debited + written off", reply.debited_micros + reply.written_off_micros, price)
            assert reply.billed_seconds in range(max(0, duration - 2), duration + 1)
            assert duration or reply.debited_micros == 0
        await self.verify()

    async def lapse(self, office_id: str, call_id: str, *, missing_since_ms: int = 0) -> Code:
        reply = await self.balances.lapse_call(self.cached(office_id), call_id, missing_since_ms=missing_since_ms)
        now_ms, day = self.clock.now_ms(), self.day(office_id)
        expect("reply of lapse_call", reply, self.model.lapse(now_ms, day, office_id, call_id, missing_since_ms))
        await self.verify()
        return reply.code

    async def message(
        self,
        office_id: str,
        message_id: str,
        price: int,
        *,
        verdict: Code = Code.FUNDED,
        content: int = 1,
        version: int | None = None,
        dry_run: bool = False,
    ) -> None:
        office = self.cached(office_id, version)
        before = await self.dump() if dry_run else None
        request = MessageRequest(message_id, verdict, fingerprint(content), price, DETAILS)
        reply = await self.balances.authorize_message(office, request, dry_run=dry_run)
        now_ms, day = self.clock.now_ms(), self.day(office_id)
        expected = self.model.message(
            now_ms, day, office.version, office_id, message_id, verdict, content, price, DETAILS, dry_run
        )
        expect("reply of authorize_message", reply[:3], expected)
        if before is not None:
            expect("what a dry run writes", await self.dump(), before)
        await self.verify()

    async def refund(self, office_id: str, message_id: str) -> None:
        reply = await self.balances.refund_message(self.cached(office_id), message_id)
        now_ms, day = self.clock.now_ms(), self.day(office_id)
        expect("reply of refund_message", reply, self.model.refund(now_ms, day, office_id, message_id))
        await self.verify()

    async def credit(self, office_id: str, number: int, amount: int, *, refill: int = 0) -> Code:
        reply = await self.balances.apply_credit(office_id, number, amount, refill_number=refill)
        expected = self.model.credit(self.clock.now_ms(), office_id, number, amount, refill)
        expect("reply of apply_credit", reply, expected)
        await self.verify()
        return reply.code

    async def put_office(
        self, office_id: str, settings: Settings, *, refill_enabled: bool = False, create: bool = True
    ) -> Code:
        packed = settings_record(settings).pack(profile_of(office_id))
        reply = await self.balances.put_office(office_id, packed, refill_enabled=refill_enabled, create=create)
        shard = shard_of(office_id)
        expected = self.model.put_office(self.clock.now_ms(), office_id, shard, settings, refill_enabled, create)
        expect("reply of put_office", reply, expected)
        await self.verify()
        return reply.code

    async def judge_refill(self, office_id: str) -> None:
        raised = await self.balances.judge_refill(office_id)
        expect("reply of judge_refill", raised, self.model.judge_refill(self.clock.now_ms(), office_id))
        await self.verify()

    async def claim_refill(self, office_id: str, number: int) -> tuple[Code, int]:
        reply = await self.balances.claim_refill(office_id, number)
        expected = self.model.claim_refill(self.clock.now_ms(), office_id, number)
        expect("reply of claim_refill", reply, expected)
        await self.verify()
        return reply

    async def fail_refill(self, office_id: str, number: int, attempt: int, until_ms: int) -> None:
        reply = await self.balances.fail_refill(office_id, number, attempt, until_ms)
        expected = self.model.fail_refill(self.clock.now_ms(), office_id, number, attempt, until_ms)
        expect("reply of fail_refill", reply, expected)
        await self.verify()

    # What a gateway's loops do.

    async def due_loop(self, office_id: str, times: int = 1) -> None:
        """Look at what is due in the office's shard, as the due loop does; two gateways may both have read the set."""
        key, now_ms = due_key(shard_of(office_id)), self.clock.now_ms()
        entries = await self.connection.ask("ZRANGEBYSCORE", key, 0, now_ms, "WITHSCORES", "LIMIT", 0, 100)
        due = dict(zip(entries[::2], entries[1::2], strict=True))
        newly_cut: set[bytes] = set()
        for _ in range(times):
            for member in due:
                owner, call_id = member.decode().split(":", 1)
                code = await self.tick_by_clock(owner, call_id)
                if code == Code.CUT_DUE:
                    code = await self.cut(owner, call_id)
                    newly_cut |= {member} if code == Code.CUT else set()
                if code == Code.LAPSE_DUE:
                    await self.lapse(owner, call_id)
        # It gets on: a call that was looked at is due at another time or no longer, or has been cut.
        after = await self.connection.ask("ZRANGE", key, 0, -1, "WITHSCORES")
        still = dict(zip(after[::2], after[1::2], strict=True))
        for member, score in due.items():
            if still.get(member) == score and member not in newly_cut:
                raise Mismatch(f"{member!r} was due at {int(score)} and still is, now {now_ms}")

    async def refiller(self, office_id: str, *, accepted: bool, wait_ms: int, lost_after_claim: bool) -> None:
        """Charge a card for the refill asked for, as the refiller does: claim, charge, credit or fail."""
        o = self.model.offices[office_id]
        number = o.refills_applied + 1
        code, amount = await self.claim_refill(office_id, number)
        if code != Code.OK or lost_after_claim:
            return
        # The next attempt is the ledger's to know: one more than it saw fail, whatever the store remembers.
        attempt = self.attempts_failed[office_id, number] + 1
        if not accepted:
            self.attempts_failed[office_id, number] = attempt
            await self.fail_refill(office_id, number, attempt, self.clock.now_ms() + wait_ms)
            return
        if await self.credit(office_id, o.credit_number + 1, amount, refill=number) == Code.OK:
            self.charge(office_id, number)

    def charge(self, office_id: str, number: int) -> None:
        """Invariant 5: at most one charge a refill, and one credit for it."""
        assert f"{office_id}/{number}" not in self.charged, f"refill {office_id}/{number} is credited twice"
        self.charged.add(f"{office_id}/{number}")

    async def forget_ended(self, office_id: str, call_id: str) -> None:
        """The stub's time is over; the store would forget it by its own clock, which is not the simulated one."""
        if isinstance(self.model.calls.get((office_id, call_id)), Call):
            return
        self.model.calls.pop((office_id, call_id), None)
        self.moved.pop(("call", office_id, call_id), None)
        await self.connection.ask("DEL", office_keys(office_id).call_prefix + call_id.encode())

    async def forget_message(self, office_id: str, message_id: str) -> None:
        self.model.messages.pop((office_id, message_id), None)
        self.moved.pop(("message", office_id, message_id), None)
        await self.connection.ask("DEL", office_keys(office_id).message_prefix + message_id.encode())

    async def flush_functions(self) -> None:
        """Somebody flushes the functions behind our back: the next operation loads them again."""
        await self.connection.ask("FUNCTION", "FLUSH", "SYNC")

    # Comparison.

    async def verify(self) -> None:
        """Compare everything and check every invariant."""
        self.steps += 1
        model = self.model
        by_shard: dict[int, list[Office]] = defaultdict(list)
        for office in model.offices.values():
            by_shard[office.shard].append(office)
        reads = [await self._read_shard(shard, offices) for shard, offices in by_shard.items()]
        entries = [entry for outbox, _ in reads for entry in outbox]
        # Shard by shard, as they are read: what happened in two shards has no order.
        written = [e for shard in by_shard for e in model.journal if model.offices[e.office].shard == shard]
        model.journal = []
        expect("outbox entries", entries, written)
        for entry in entries:
            self._add_up(entry)
        for (_, values), (shard, offices) in zip(reads, by_shard.items(), strict=True):
            expect(f"clock of shard {shard}", int(values["clock"] or 0), model.clocks.get(shard, 0))
            expect(f"due set of shard {shard}", values["due"], self._due(offices))
            for office in offices:
                self._verify_office(office, values)

    async def _read_shard(self, shard: int, offices: list[Office]) -> tuple[list[OutboxEntry], dict[str, Any]]:
        names: list[str] = ["clock"]
        keys: list[bytes] = [office_keys(offices[0].office_id).clock]
        for office in offices:
            of = office_keys(office.office_id)
            names.append(office.office_id)
            keys.append(of.office)
            for owner, call_id in self.model.calls:
                if owner == office.office_id:
                    names.append(f"{owner}/call/{call_id}")
                    keys.append(of.call_prefix + call_id.encode())
            for owner, message_id in self.model.messages:
                if owner == office.office_id:
                    names.append(f"{owner}/message/{message_id}")
                    keys.append(of.message_prefix + message_id.encode())
        start = b"(" + self.positions[shard] if shard in self.positions else b"-"
        read = self.connection.send("MGET", *keys)
        read_due = self.connection.send("ZRANGE", due_key(shard), 0, -1, "WITHSCORES")
        read_outbox = self.connection.send("XRANGE", outbox_key(shard), start, "+")
        values: dict[str, Any] = dict(zip(names, await read, strict=True))
        due = await read_due
        values["due"] = {m.decode(): int(score) for m, score in zip(due[::2], due[1::2], strict=True)}
        outbox = await read_outbox
        if outbox:
            self.positions[shard] = outbox[-1][0]
        return [OutboxEntry.read(fields) for _, fields in outbox], values

    def _add_up(self, entry: OutboxEntry) -> None:
        self.totals[entry.office] += entry.amount
        kind = {"message": "message", "message_refund": "message"}.get(entry.kind, "call")
        if entry.kind not in ("credit", "refill", "blocked", "denied", "late_refund"):
            self.moved[kind, entry.office, entry.id] += entry.amount

    def _due(self, offices: list[Office]) -> dict[str, int]:
        owners = {office.office_id for office in offices}
        return {
            f"{owner}:{call_id}": call.due_ms
            for (owner, call_id), call in self.model.calls.items()
            if owner in owners and isinstance(call, Call) and call.is_live
        }

    def _verify_office(self, o: Office, values: dict[str, Any]) -> None:
        model = self.model
        record = OfficeRecord.unpack(values[o.office_id])
        expect(f"record of {o.office_id}", record, office_record(model, o))
        # Invariants 1 and 4: nothing is drained here, and credits are journaled as they are applied.
        expect(f"balance of {o.office_id} by its outbox", record.balance_micros, self.totals[o.office_id])
        # Invariant 2.
        assert record.available_micros >= 0, f"{o.office_id} has {record.available_micros} available"
        assert record.day_spend_micros >= 0
        held, concurrent = 0, 0
        for (owner, call_id), call in model.calls.items():
            if owner != o.office_id:
                continue
            what = f"call {owner}/{call_id}"
            packed = values[f"{owner}/call/{call_id}"]
            assert packed is not None, f"{what} is gone"
            stored = unpack_call(packed)
            moved = -self.moved["call", owner, call_id]
            if isinstance(stored, CallStub):
                assert not isinstance(call, Call), f"{what} is ended"
                stub = CallStub(call.known, call.duration, call.billed, call.debited, call.written_off)
                expect(what, stored, stub)
                expect(f"{what}, debited by its outbox", moved, stored.debited_micros)
                continue
            assert isinstance(call, Call), f"{what} is not ended"
            expect(what, stored, record_of(call))
            expect(f"{what}, debited by its outbox", moved, stored.debited_micros)
            if stored.state < CallState.LAPSED:
                assert stored.held_micros >= 0
                held += stored.held_micros
                concurrent += stored.reason == Reason.FUNDED
                if stored.rate is not None:
                    price = stored.rate.price_micros(stored.granted_seconds)
                    expect(f"{what}, held + debited", stored.held_micros + stored.debited_micros, price)
            else:
                assert stored.held_micros == 0
        # Invariant 3.
        expect(f"reserved of {o.office_id}", record.reserved_micros, held)
        expect(f"concurrent calls of {o.office_id}", record.concurrent_calls, concurrent)
        for (owner, message_id), message in model.messages.items():
            if owner == o.office_id:
                what = f"message {owner}/{message_id}"
                expect(what, values[f"{owner}/message/{message_id}"], message_bytes(message))
                net = -self.moved["message", owner, message_id]
                expect(f"{what}, net debit", net, 0 if message.is_spent else message.debited)

    async def dump(self) -> dict[bytes, bytes]:
        names = sorted(await all_keys(self.connection))
        return {name: await self.connection.ask("DUMP", name) for name in names}


def profile_of(office_id: str) -> OfficeProfile:
    return OfficeProfile(country="US", time_zone=OFFICES[office_id], company_id="acme")


def settings_record(s: Settings) -> OfficeSettingsRecord:
    return OfficeSettingsRecord(
        s.version,
        s.state,
        s.credit_limit,
        s.max_calls,
        s.max_price,
        s.daily_limit,
        s.threshold,
        s.refill_amount,
        s.generation,
    )


def office_record(model: Model, o: Office) -> OfficeRecord:
    return OfficeRecord(
        model.balance(o),
        model.reserved(o),
        model.concurrent(o),
        o.day,
        o.spent,
        o.credit_number,
        o.credit_amount,
        o.refill,
        o.refills_applied,
        o.refill_until,
        o.refill_failures,
        o.refill_failed_attempt,
        o.refill_level,
        o.blocked_second,
        o.blocked_count,
        o.blocked_dropped,
        o.denied_minute,
        o.denied_count,
        o.denied_dropped,
        settings_record(o.settings),
        profile_of(o.office_id),
    )


def record_of(c: Call) -> CallRecord:
    r = c.request
    rate: Rate | None = r.rate
    return CallRecord(
        c.state,
        Reason(r.verdict),
        FinalReason(c.final) if c.final else None,
        r.by_gateway,
        fingerprint(r.content),
        c.authorized_ms,
        c.answered_ms,
        c.heard_ms,
        c.granted,
        c.used,
        c.confirmed,
        r.max_duration,
        r.tick,
        c.debited,
        c.held,
        r.switch_id,
        rate,
        Details.FromString(r.details),
    )


def message_bytes(m: Message) -> bytes:
    """As lib/message.lua packs it."""
    state = 3 if m.asked_back else 2 if m.refunded else 1
    head = bytes([1, state]) + fingerprint(m.content)
    return head + m.debited.to_bytes(8, "little") + m.day.to_bytes(8, "little") + bytes([m.reason])

"""The balances in the store: one method a script, one round trip a method.

Nothing but these scripts moves money. A method raises `StoreUnavailable` when no answer came in time; the operation may
then have happened or not, and the same call with the same id finds out.
"""

from collections.abc import Awaitable
from typing import Any, Final, NamedTuple

from gateway.domain.rate import Rate
from gateway.store.clock import Clock
from gateway.store.codes import CODES, Code
from gateway.store.connection import StoreConnection
from gateway.store.keys import office_keys, outbox_key
from gateway.store.offices import CachedOffice
from gateway.store.records import NO_RATE, CallRecord, CallStub, OfficeRecord, unpack_call

_TICK_SECONDS: Final = 60
"""Of a call that costs nothing, which is never ticked."""

_PLAIN_PROGRESS: Final = 5

BY_CLOCK: Final = -1
"""In place of used seconds: the gateway ticks by its clock."""


class Lifetimes(NamedTuple):
    """The times of a call's life that are settings, in milliseconds."""

    setup_ms: int = 180_000
    grace_ms: int = 60_000
    fresh_ms: int = 45_000
    stub_ms: int = 3_600_000
    lapsed_ms: int = 86_400_000


class CallRequest(NamedTuple):
    """A rated request for a call, as authorize_call.lua wants it.

    Attributes:
        verdict: What rating found: EMERGENCY, DESTINATION_BLOCKED, FRAUD_GUARD, NO_RATE, FREE or FUNDED (priced).
        fingerprint: 8 bytes that tell this request from another one with the same id.
        requested_seconds: 0 to 86,400; 0 is one tick.
        rate: None: costs nothing, or was refused before it was rated.
        switch_id: Whose call it is; empty: an operator's.
        details: Serialised `gateway.v1.Details`.
    """

    call_id: str
    verdict: Code
    fingerprint: bytes
    requested_seconds: int
    max_duration_seconds: int
    ticked_by_gateway: bool
    rate: Rate | None
    price_per_minute_micros: int
    switch_id: str
    details: bytes


class CallGrant(NamedTuple):
    """What authorize_call.lua answers; `record` with REPLAYED (the call) and OFFICE_CHANGED (the office)."""

    code: Code
    granted_seconds: int
    final: int
    available_micros: int
    record: bytes | None = None


class CallProgress(NamedTuple):
    """What answer_call.lua, tick_call.lua and hear_call.lua answer.

    Attributes:
        final: A FinalReason, or 0.
        heard_ms: When the switch last said anything of the call, in Unix milliseconds; of ticks by the clock only.
        switch_id: Whose call it is; likewise.
    """

    code: Code
    granted_seconds: int
    final: int
    debited_micros: int
    available_micros: int
    heard_ms: int = 0
    switch_id: str = ""


class CallSettlement(NamedTuple):
    """What end_call.lua answers."""

    code: Code
    billed_seconds: int
    debited_micros: int
    written_off_micros: int
    available_micros: int


class CallCut(NamedTuple):
    """What cut_call.lua answers; `late_ms` is how long after its granted time a call was marked cut, else 0."""

    code: Code
    granted_seconds: int
    final: int
    switch_id: str
    late_ms: int


class CallLapse(NamedTuple):
    """What lapse_call.lua answers."""

    code: Code
    debited_micros: int
    available_micros: int


class MessageRequest(NamedTuple):
    """A rated request for a message, as authorize_message.lua wants it; fields as in `CallRequest`."""

    message_id: str
    verdict: Code
    fingerprint: bytes
    price_micros: int
    details: bytes


class MessageGrant(NamedTuple):
    """What authorize_message.lua answers; `record` is the reason with REPLAYED, the office with OFFICE_CHANGED."""

    code: Code
    debited_micros: int
    available_micros: int
    record: int | bytes | None = None


class MessageRefund(NamedTuple):
    """What refund_message.lua answers."""

    code: Code
    refunded_micros: int
    available_micros: int


class CreditResult(NamedTuple):
    """What apply_credit.lua answers.

    Attributes:
        credit_number: The last one the store holds.
        moved_micros: What this number moved, now or (REPLAYED) before; None: a later one was applied since.
    """

    code: Code
    balance_micros: int
    available_micros: int
    credit_number: int
    moved_micros: int | None


class PutOfficeResult(NamedTuple):
    """What put_office.lua answers."""

    code: Code
    available_micros: int
    smallest_credit_limit_micros: int


class RefillClaim(NamedTuple):
    """What claim_refill.lua answers."""

    code: Code
    amount_micros: int


class RefillFailure(NamedTuple):
    """What fail_refill.lua answers; `state` is a RefillState."""

    code: Code
    state: int
    failures: int


class BalanceStore:
    """Runs the scripts.

    Args:
        connection: To the store.
        clock: The store's clock, or a test's.
        lifetimes: Settings of a call's life.
    """

    def __init__(self, connection: StoreConnection, clock: Clock, lifetimes: Lifetimes | None = None) -> None:
        self._connection = connection
        self._clock = clock
        self._lifetimes = lifetimes or Lifetimes()

    def now_ms(self) -> int:
        """Now, by the store's clock, in Unix milliseconds."""
        return self._clock.now_ms()

    async def authorize_call(self, office: CachedOffice, request: CallRequest, *, dry_run: bool = False) -> CallGrant:
        """Reserve the first tick of a call, at most once per call id; dry: only say what would be decided."""
        rate = request.rate
        reply = await self._run_call(
            "authorize_call",
            office,
            request.call_id,
            office.version,
            int(request.verdict),
            request.fingerprint,
            request.requested_seconds,
            rate.tick_seconds if rate is not None else _TICK_SECONDS,
            request.max_duration_seconds,
            2 if request.ticked_by_gateway else 1,
            request.price_per_minute_micros,
            request.switch_id,
            rate.packed if rate is not None else NO_RATE,
            request.details,
            self._lifetimes.setup_ms,
            1 if dry_run else 0,
        )
        return CallGrant(CODES[reply[0]], *reply[1:])

    async def answer_call(
        self, office: CachedOffice, call_id: str, *, answered_ms: int = 0, switch_id: str = ""
    ) -> CallProgress:
        """Start the clock of a call; answered_ms 0 is now."""
        times = self._lifetimes
        reply = await self._run_call(
            "answer_call", office, call_id, answered_ms, switch_id, times.setup_ms, times.grace_ms
        )
        return CallProgress(CODES[reply[0]], *reply[1:])

    async def tick_call(
        self,
        office: CachedOffice,
        call_id: str,
        used_seconds: int,
        *,
        requested_seconds: int = 0,
        switch_id: str = "",
    ) -> CallProgress:
        """Debit what was used and reserve the next tick; `BY_CLOCK` for used_seconds: the gateway ticks."""
        times = self._lifetimes
        reply = await self._run_call(
            "tick_call",
            office,
            call_id,
            used_seconds,
            requested_seconds,
            switch_id,
            times.setup_ms,
            times.grace_ms,
            times.fresh_ms,
        )
        progress = CallProgress(CODES[reply[0]], *reply[1:5])
        if len(reply) == _PLAIN_PROGRESS:
            return progress
        return progress._replace(heard_ms=reply[5], switch_id=reply[6].decode())

    async def hear_call(
        self, office: CachedOffice, call_id: str, used_seconds: int, *, switch_id: str = ""
    ) -> CallProgress:
        """Confirm a call that its switch lists as live; used_seconds 0: ringing."""
        times = self._lifetimes
        reply = await self._run_call(
            "hear_call", office, call_id, used_seconds, switch_id, times.setup_ms, times.grace_ms
        )
        return CallProgress(CODES[reply[0]], *reply[1:])

    async def cut_call(self, office: CachedOffice, call_id: str, *, forced: bool = False) -> CallCut:
        """Look once more, then mark the call cut; forced: at an operator's word."""
        code, granted, final, switch_id, late_ms = await self._run_call(
            "cut_call", office, call_id, 1 if forced else 0, self._lifetimes.grace_ms
        )
        return CallCut(CODES[code], granted, final, switch_id.decode(), late_ms)

    async def end_call(
        self, office: CachedOffice, call_id: str, duration_seconds: int, *, cause: str = "", switch_id: str = ""
    ) -> CallSettlement:
        """Settle a call at the price of its duration."""
        times = self._lifetimes
        reply = await self._run_call(
            "end_call", office, call_id, duration_seconds, cause, switch_id, times.setup_ms, times.stub_ms
        )
        return CallSettlement(CODES[reply[0]], *reply[1:])

    async def lapse_call(self, office: CachedOffice, call_id: str, *, missing_since_ms: int = 0) -> CallLapse:
        """Settle a call that nothing is heard of at its confirmed seconds.

        Args:
            office: That pays.
            call_id: The call.
            missing_since_ms: A call that was not heard of since then lapses now: its switch has listed its calls twice
                without it. 0: only silence counts.
        """
        times = self._lifetimes
        reply = await self._run_call(
            "lapse_call", office, call_id, missing_since_ms, times.setup_ms, times.grace_ms, times.lapsed_ms
        )
        return CallLapse(CODES[reply[0]], *reply[1:])

    async def authorize_message(
        self, office: CachedOffice, request: MessageRequest, *, dry_run: bool = False
    ) -> MessageGrant:
        """Debit a message whole, or block it; dry: only say what would be decided."""
        reply = await self._run_message(
            "authorize_message",
            office,
            request.message_id,
            office.version,
            int(request.verdict),
            request.fingerprint,
            request.price_micros,
            request.details,
            self._lifetimes.stub_ms,
            1 if dry_run else 0,
        )
        return MessageGrant(CODES[reply[0]], *reply[1:])

    async def refund_message(self, office: CachedOffice, message_id: str) -> MessageRefund:
        """Give the debit of a message back, once."""
        reply = await self._run_message("refund_message", office, message_id, self._lifetimes.stub_ms)
        return MessageRefund(CODES[reply[0]], *reply[1:])

    async def apply_credit(
        self, office_id: str, number: int, amount_micros: int, *, refill_number: int = 0
    ) -> CreditResult:
        """Put the office's next numbered credit on its balance."""
        keys = office_keys(office_id)
        reply = await self._connection.run(
            "apply_credit",
            (keys.clock, keys.office, keys.outbox),
            (self._clock.now_ms(), keys.office_id, number, amount_micros, refill_number),
        )
        return CreditResult(CODES[reply[0]], *reply[1:])

    async def put_office(
        self, office_id: str, settings: bytes, *, refill_enabled: bool, create: bool
    ) -> PutOfficeResult:
        """Project an office's settings; `settings` from `OfficeSettingsRecord.pack`."""
        keys = office_keys(office_id)
        reply = await self._connection.run(
            "put_office",
            (keys.clock, keys.office, keys.outbox),
            (self._clock.now_ms(), keys.office_id, settings, 1 if refill_enabled else 0, 1 if create else 0),
        )
        return PutOfficeResult(CODES[reply[0]], *reply[1:])

    async def restore_office(self, office_id: str, record: bytes) -> bool:
        """Put an office back that the store has lost; False: it is there. `record` from `OfficeRecord.pack`."""
        keys = office_keys(office_id)
        code, _ = await self._connection.run(
            "restore_office",
            (keys.clock, keys.office, keys.outbox),
            (self._clock.now_ms(), keys.office_id, record),
        )
        return int(code) == Code.OK

    async def claim_refill(self, office_id: str, number: int) -> RefillClaim:
        """Write the claim without which no card may be charged."""
        keys = office_keys(office_id)
        reply = await self._connection.run("claim_refill", (keys.clock, keys.office), (self._clock.now_ms(), number))
        return RefillClaim(CODES[reply[0]], *reply[1:])

    async def fail_refill(self, office_id: str, number: int, attempt: int, until_ms: int) -> RefillFailure:
        """Say that an attempt to charge for a refill has failed, or (attempt 0) that it must wait for another day."""
        keys = office_keys(office_id)
        reply = await self._connection.run(
            "fail_refill", (keys.clock, keys.office), (self._clock.now_ms(), number, attempt, until_ms)
        )
        return RefillFailure(CODES[reply[0]], *reply[1:])

    async def judge_refill(self, office_id: str) -> bool:
        """Raise the trigger of an office whose waiting time is over; True if it was raised."""
        keys = office_keys(office_id)
        reply = await self._connection.run(
            "judge_refill", (keys.clock, keys.office, keys.outbox), (self._clock.now_ms(), keys.office_id)
        )
        return int(reply[0]) == Code.OK

    async def trim_outbox(self, shard: int, taken: str) -> int:
        """Drop what is in the ledger, up to this entry; returns how many are left."""
        (left,) = await self._connection.run("trim_outbox", (outbox_key(shard),), (taken,))
        return int(left)

    async def lease_shard(self, lease: bytes, gateway: str, ttl_ms: int) -> bool:
        """Take or keep the right to do a shard's work, or with ttl_ms 0 give it back; False: another's."""
        (code,) = await self._connection.run("lease_shard", (lease,), (gateway, ttl_ms))
        return int(code) == Code.OK

    async def read_office(self, office_id: str) -> OfficeRecord | None:
        """Return an office as the store holds it now; None: unknown."""
        packed = await self._connection.ask("GET", office_keys(office_id).office)
        return None if packed is None else OfficeRecord.unpack(packed)

    async def read_call(self, office_id: str, call_id: str) -> CallRecord | CallStub | None:
        """Return a call as the store holds it now; None: unknown, or ended too long ago."""
        packed = await self._connection.ask("GET", office_keys(office_id).call_prefix + call_id.encode())
        return None if packed is None else unpack_call(packed)

    def _run_call(self, operation: str, office: CachedOffice, call_id: str, *args: bytes | str | int) -> Awaitable[Any]:
        """Run a script about a call: all of them have these keys, and begin with these arguments."""
        keys, now_ms = office.keys, self._clock.now_ms()
        return self._connection.run(
            operation,
            (keys.clock, keys.office, keys.call_prefix + call_id.encode(), keys.due, keys.outbox),
            (now_ms, keys.office_id, call_id, office.day(now_ms), *args),
        )

    def _run_message(
        self, operation: str, office: CachedOffice, message_id: str, *args: bytes | str | int
    ) -> Awaitable[Any]:
        """Run a script about a message, likewise."""
        keys, now_ms = office.keys, self._clock.now_ms()
        return self._connection.run(
            operation,
            (keys.clock, keys.office, keys.message_prefix + message_id.encode(), keys.outbox),
            (now_ms, keys.office_id, message_id, office.day(now_ms), *args),
        )

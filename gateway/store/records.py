"""What the packed strings in the store say: the Python side of lib/office.lua, lib/call.lua and lib/message.lua.

Scripts write these bytes, with two exceptions: the settings of an office, which put_office.lua stores as they are
packed here, and what a rebuild makes again of a store that was lost. Reading is for answers to people (GetOffice,
GetCall, ExplainCall), for replays and for the audit.
"""

import struct
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.domain.rate import Rate
from gateway.domain.vocabulary import CallState, FinalReason, OfficeState, Reason, RefillState
from gateway.v1.records_pb2 import Details, OfficeProfile

_COUNTERS: Final = struct.Struct("<19q")
_SETTINGS: Final = struct.Struct("<9q")
_CALL_HEAD: Final = struct.Struct("<BBBBBB8sqqqIIIIHqq")
_REASON_AT: Final = 2
_FINGERPRINT_AT: Final = 6
_FINGERPRINT_SIZE: Final = 8
_CALL_STUB: Final = struct.Struct("<BB8sIIqq")
_RATE_HEAD: Final = struct.Struct("<IB")
_SLOT_SIZE: Final = 14
_SPENT: Final = 6
_MESSAGE: Final = struct.Struct("<BB8sqqB")
_FORMAT: Final = 1
_SENT: Final = 1
_REFUNDED: Final = 2
_JOURNALED: Final = 1
_TICKER_AT: Final = 4

_REASONS: Final = {reason.value: reason for reason in Reason}

NO_RATE: Final = _RATE_HEAD.pack(0, 0)
"""The packed rate of a call that costs nothing."""


@dataclass(frozen=True, slots=True)
class OfficeSettingsRecord:
    """The settings of an office that scripts enforce; amounts in micros, 0 means no limit where a limit is meant."""

    version: int
    state: OfficeState
    credit_limit_micros: int
    max_concurrent_calls: int
    max_price_per_minute_micros: int
    daily_spend_limit_micros: int
    refill_threshold_micros: int
    refill_amount_micros: int
    refill_generation: int

    def pack(self, profile: OfficeProfile) -> bytes:
        """The bytes that put_office.lua stores."""
        return (
            _SETTINGS.pack(
                self.version,
                self.state,
                self.credit_limit_micros,
                self.max_concurrent_calls,
                self.max_price_per_minute_micros,
                self.daily_spend_limit_micros,
                self.refill_threshold_micros,
                self.refill_amount_micros,
                self.refill_generation,
            )
            + profile.SerializeToString()
        )


@dataclass(frozen=True, slots=True)
class OfficeRecord:
    """An office as the store holds it; amounts in micros, instants in Unix milliseconds (0: none)."""

    balance_micros: int
    reserved_micros: int
    concurrent_calls: int
    day: int
    day_spend_micros: int
    credit_number: int
    credit_amount_micros: int
    refill_state: RefillState
    refill_number: int
    refill_until_ms: int
    refill_failures: int
    refill_failed_attempt: int
    refill_level_micros: int
    blocked_second: int
    blocked_count: int
    blocked_dropped: int
    denied_minute: int
    denied_count: int
    denied_dropped: int
    settings: OfficeSettingsRecord
    profile: OfficeProfile

    @property
    def available_micros(self) -> int:
        """What may still be reserved or debited."""
        return self.balance_micros + self.settings.credit_limit_micros - self.reserved_micros

    def pack(self) -> bytes:
        """The whole value, as scripts write it and `unpack` reads it."""
        counters = _COUNTERS.pack(
            self.balance_micros, self.reserved_micros, self.concurrent_calls, self.day, self.day_spend_micros,
            self.credit_number, self.credit_amount_micros, self.refill_state, self.refill_number, self.refill_until_ms,
            self.refill_failures, self.refill_failed_attempt, self.refill_level_micros, self.blocked_second,
            self.blocked_count, self.blocked_dropped, self.denied_minute, self.denied_count, self.denied_dropped,
        )  # fmt: skip
        return counters + self.settings.pack(self.profile)

    @classmethod
    def unpack(cls, packed: bytes) -> "OfficeRecord":
        """Read an office's value."""
        (
            balance, reserved, calls, day, spent, credit_number, credit_amount, refill_state, refill_number,
            refill_until, refill_failures, refill_failed_attempt, refill_level, blocked_second, blocked_count,
            blocked_dropped, denied_minute, denied_count, denied_dropped,
        ) = _COUNTERS.unpack_from(packed)  # fmt: skip
        (
            version, state, credit_limit, max_calls, max_price, daily_limit, threshold, amount, generation,
        ) = _SETTINGS.unpack_from(packed, _COUNTERS.size)  # fmt: skip
        settings = OfficeSettingsRecord(
            version, OfficeState(state), credit_limit, max_calls, max_price, daily_limit, threshold, amount, generation
        )
        return cls(
            balance, reserved, calls, day, spent, credit_number, credit_amount, RefillState(refill_state),
            refill_number, refill_until, refill_failures, refill_failed_attempt, refill_level, blocked_second,
            blocked_count, blocked_dropped, denied_minute, denied_count, denied_dropped, settings,
            OfficeProfile.FromString(packed[_COUNTERS.size + _SETTINGS.size :]),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class CallRecord:
    """A live or lapsed call as the store holds it; amounts in micros, times from the answer in seconds."""

    state: CallState
    reason: Reason
    final: FinalReason | None
    ticked_by_gateway: bool
    fingerprint: bytes
    authorized_ms: int
    answered_ms: int
    heard_ms: int
    granted_seconds: int
    used_seconds: int
    confirmed_seconds: int
    max_duration_seconds: int
    tick_seconds: int
    debited_micros: int
    held_micros: int
    switch_id: str
    rate: Rate | None
    details: Details


@dataclass(frozen=True, slots=True)
class CallStub:
    """What is kept of an ended call, or of an id whose end came before its authorization (`known` is then False)."""

    known: bool
    duration_seconds: int
    billed_seconds: int
    debited_micros: int
    written_off_micros: int

    def pack(self, fingerprint: bytes) -> bytes:
        """The value of an ended call, as end_call.lua writes it."""
        return _CALL_STUB.pack(
            _FORMAT,
            CallState.ENDED if self.known else _SPENT,
            fingerprint,
            self.duration_seconds,
            self.billed_seconds,
            self.debited_micros,
            self.written_off_micros,
        )


def pack_message(*, fingerprint: bytes, debited_micros: int, day: int, reason: Reason, is_refunded: bool) -> bytes:
    """The value of a message that was sent, as authorize_message.lua and refund_message.lua write it."""
    return _MESSAGE.pack(_FORMAT, _REFUNDED if is_refunded else _SENT, fingerprint, debited_micros, day, reason)


def pack_lapsed(packed: bytes, *, answered_ms: int, confirmed_seconds: int, debited_micros: int) -> bytes:
    """The value of a call as lapse_call.lua would leave it, out of an earlier one and of what it came to since then.

    It holds nothing, and is granted what its debit has paid for: a revival or an end settles the difference.

    Args:
        packed: The call as it was when it was journaled first.
        answered_ms: 0: not answered.
        confirmed_seconds: The highest that its switch said.
        debited_micros: Of the whole call.
    """
    call = unpack_call(packed)
    if not isinstance(call, CallRecord):
        raise TypeError("a call that is over cannot lapse")
    granted = 0
    if call.reason is Reason.FUNDED and call.rate is not None:
        granted = call.rate.longest_seconds(debited_micros, call.max_duration_seconds)
    head = _CALL_HEAD.pack(
        _FORMAT, CallState.LAPSED, call.reason, 0, packed[_TICKER_AT], _JOURNALED, call.fingerprint, call.authorized_ms,
        answered_ms, call.heard_ms, granted, max(call.used_seconds, confirmed_seconds), confirmed_seconds,
        call.max_duration_seconds, call.tick_seconds, debited_micros, 0,
    )  # fmt: skip
    return head + packed[_CALL_HEAD.size :]


class CallOrigin(NamedTuple):
    """What of a call's record never changes: what it was, and what prices it.

    Attributes:
        reason: Why it was let through.
        fingerprint: Of its request, 8 bytes.
        switch_id: Whose call it is; empty: an operator's.
        rate: Packed, as `Rate.unpack` takes it, or `NO_RATE`.
        details: Of its request and its rating.
    """

    reason: Reason
    fingerprint: bytes
    switch_id: str
    rate: bytes
    details: Details


def unpack_origin(packed: bytes) -> CallOrigin:
    """Read the part of a live or lapsed call's value that never changes.

    It makes no `Rate`: the journal does this for every call and keeps the packed one.
    """
    switch_at, rate_at, details_at = _CALL_HEAD.size, *_bounds(packed)
    return CallOrigin(
        _REASONS[packed[_REASON_AT]],
        packed[_FINGERPRINT_AT : _FINGERPRINT_AT + _FINGERPRINT_SIZE],
        packed[switch_at : rate_at - 1].decode(),
        packed[rate_at:details_at],
        Details.FromString(packed[details_at:]),
    )


def unpack_call(packed: bytes) -> CallRecord | CallStub:
    """Read a call's value."""
    if packed[1] >= CallState.ENDED:
        _, state, _, duration, billed, debited, written_off = _CALL_STUB.unpack(packed)
        return CallStub(state != _SPENT, duration, billed, debited, written_off)
    (
        _, state, reason, final, ticker, _, fingerprint, authorized_ms, answered_ms, heard_ms,
        granted, used, confirmed, max_duration, tick, debited, held,
    ) = _CALL_HEAD.unpack_from(packed)  # fmt: skip
    rate_at, details_at = _bounds(packed)
    return CallRecord(
        CallState(state),
        Reason(reason),
        FinalReason(final) if final else None,
        ticker == 2,
        fingerprint,
        authorized_ms,
        answered_ms,
        heard_ms,
        granted,
        used,
        confirmed,
        max_duration,
        tick,
        debited,
        held,
        packed[_CALL_HEAD.size : rate_at - 1].decode(),
        Rate.unpack(packed[rate_at:details_at], tick) if details_at - rate_at > _RATE_HEAD.size else None,
        Details.FromString(packed[details_at:]),
    )


def _bounds(packed: bytes) -> tuple[int, int]:
    """Where in a call's value the rate begins, behind the switch and its zero byte, and where the details do."""
    rate_at = packed.index(0, _CALL_HEAD.size) + 1
    _, slots = _RATE_HEAD.unpack_from(packed, rate_at)
    return rate_at, rate_at + _RATE_HEAD.size + slots * _SLOT_SIZE

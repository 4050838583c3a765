"""What the ledger knows, as the store had it: pure, from rows to values."""

import dataclasses
from typing import Final

from gateway.domain.calendar import day_number
from gateway.domain.vocabulary import RefillState
from gateway.ledger.rebuilding import OfficeToRestore, UsageToRestore
from gateway.projection.offices import stored_settings
from gateway.store.balances import Lifetimes
from gateway.store.keys import office_keys
from gateway.store.records import CallStub, OfficeRecord, pack_lapsed, pack_message
from gateway.store.restoration import Value

_FAILURES_ALLOWED: Final = 2
"""In a row; the next one turns refill off (fail_refill.lua)."""


def office_value(restored: OfficeToRestore, *, day: int, spent_micros: int) -> bytes:
    """An office without live calls, whose refill restore_office.lua judges at once.

    Args:
        restored: What the ledger knows.
        day: Today, in the office's own time zone.
        spent_micros: Today.
    """
    office, refill = restored.office, restored.refill
    state = RefillState.OFF
    if office.refill.enabled and refill.is_under_way:
        state = RefillState.PENDING
    elif office.refill.enabled and refill.failures <= _FAILURES_ALLOWED:
        state = RefillState.ARMED
    newest, profile = stored_settings(office)
    settings = dataclasses.replace(newest, version=restored.version, credit_limit_micros=restored.credit_limit_micros)
    return OfficeRecord(
        balance_micros=restored.balance_micros,
        reserved_micros=0,
        concurrent_calls=0,
        day=day,
        day_spend_micros=max(0, spent_micros),
        credit_number=restored.credit_number,
        credit_amount_micros=restored.credit_amount_micros,
        refill_state=state,
        refill_number=restored.refill_number,
        refill_until_ms=0,
        refill_failures=refill.failures,
        refill_failed_attempt=refill.failed_attempt,
        refill_level_micros=office.refill.threshold_micros if state is RefillState.PENDING else 0,
        blocked_second=0,
        blocked_count=0,
        blocked_dropped=0,
        denied_minute=0,
        denied_count=0,
        denied_dropped=0,
        settings=settings,
        profile=profile,
    ).pack()


def usage_value(record: UsageToRestore, *, now_ms: int, time_zone: str, lifetimes: Lifetimes) -> Value:
    """A call or message: one that is not over as lapsed, so that a revival or an end settles the difference."""
    keys = office_keys(record.office_id)
    name = record.thing_id.encode()
    if record.is_message:
        packed = pack_message(
            fingerprint=record.fingerprint,
            debited_micros=record.cost_micros + record.refunded_micros,
            day=day_number(record.started_at, time_zone),
            reason=record.reason,
            is_refunded=record.refunded_micros > 0,
        )
        since = now_ms if record.refunded_micros else record.started_at
        return Value(keys.message_prefix + name, packed, since + lifetimes.stub_ms - now_ms)
    if record.is_ended_call:
        stub = CallStub(
            True, record.duration_seconds, record.billed_seconds, record.cost_micros, record.written_off_micros
        )
        expires_in_ms = record.closed_at + lifetimes.stub_ms - now_ms
        return Value(keys.call_prefix + name, stub.pack(record.fingerprint), expires_in_ms)
    packed = pack_lapsed(
        record.record,
        answered_ms=record.answered_at,
        confirmed_seconds=record.duration_seconds,
        debited_micros=record.cost_micros,
    )
    return Value(keys.call_prefix + name, packed, lifetimes.lapsed_ms)

"""Calls listed, shown and explained: as the store holds them, and from the usage records once they are over."""

import asyncio
from typing import Final

from google.protobuf.internal.containers import RepeatedScalarFieldContainer

from gateway.api.credits.access import OfficeAccess
from gateway.api.credits.arithmetic import price_steps
from gateway.api.credits.fields import check_reason, enum_of, instant, read_page
from gateway.api.credits.rate_rows import RateRows, row_message
from gateway.api.credits.usage_records import is_call, record_call, record_message, record_steps
from gateway.domain.identity import Identity
from gateway.domain.ids import validate_id, validate_office_id
from gateway.domain.money import format_amount
from gateway.domain.trace import Trace
from gateway.domain.usage import UsageState
from gateway.domain.vocabulary import CallState, Direction, FinalReason, License, Reason, Service
from gateway.errors import FailedPrecondition, NotFound
from gateway.ledger.audit import AuditLog
from gateway.ledger.offices import Offices
from gateway.ledger.usage import Usage, UsageRecord
from gateway.store.balances import BalanceStore
from gateway.store.clock import Clock
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.keys import due_key, shard_of
from gateway.store.offices import OfficeCache
from gateway.store.records import CallRecord, CallStub
from gateway.v1 import authorization_pb2
from gateway.v1 import credits_pb2 as pb

_SCANNED: Final = 1_000


class CallRpcs:
    """What is asked about calls.

    Args:
        offices: For rights.
        store: Holds the calls.
        connection: To list them.
        rows: Finds the rows that priced them.
        usage: The records of those that are over, and of what was refused.
        log: Where it is noted who cut one.
        clock: The store's.
    """

    def __init__(
        self,
        offices: Offices,
        store: BalanceStore,
        connection: StoreConnection,
        rows: RateRows,
        usage: Usage,
        log: AuditLog,
        clock: Clock,
    ) -> None:
        self._access = OfficeAccess(offices)
        self._store = store
        self._connection = connection
        self._rows = rows
        self._usage = usage
        self._log = log
        self._clock = clock
        self._cached = OfficeCache(connection)

    async def list(self, request: pb.ListCallsRequest, identity: Identity) -> pb.ListCallsResponse:
        """The live calls of an office by call_id; a page may be short, since calls end while they are listed.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.readable`, or no such page.
            Unavailable: SQL or the store did not answer.
        """
        page = read_page(request.page_size, request.page_token)
        await self._access.readable(request.office_id, identity)
        after = page.after((str,), "calls", request.office_id)
        call_ids = sorted(await self._live_calls(request.office_id))
        if after is not None:
            call_ids = [call_id for call_id in call_ids if call_id > str(after[0])]
        part = page.page(call_ids[: page.limit + 1], lambda call_id: (call_id,), "calls", request.office_id)
        records = await asyncio.gather(*(self._store.read_call(request.office_id, call_id) for call_id in part.items))
        return pb.ListCallsResponse(
            calls=[
                _live(request.office_id, call_id, record)
                for call_id, record in zip(part.items, records, strict=True)
                if isinstance(record, CallRecord)
            ],
            next_page_token=part.next_page_token,
        )

    async def get(self, request: pb.GetCallRequest, identity: Identity) -> pb.Call:
        """A live, lapsed or ended call.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.readable`, or the call_id can be none.
            NotFound: Nobody knows the call, or it is a message or was refused.
            Unavailable: SQL or the store did not answer.
        """
        office_id, call_id = request.office_id, request.call_id
        found = await self._find(office_id, call_id, identity)
        if isinstance(found, CallRecord):
            return _live(office_id, call_id, found)
        if isinstance(found, CallStub):
            return _ended(office_id, call_id, found)
        if not is_call(found):
            raise NotFound(
                "This is no call that was let through: ExplainCall says what became of it.",
                reason="CALL_NOT_FOUND",
                field="call_id",
            )
        return record_call(office_id, found)

    async def explain(self, request: pb.ExplainCallRequest, identity: Identity) -> pb.ExplainCallResponse:
        """What a call or message costs and by which row, step by step, or why it was refused; raises as `get`."""
        office_id, call_id = request.office_id, request.call_id
        found = await self._find(office_id, call_id, identity)
        if isinstance(found, UsageRecord):
            return await self._explain_record(office_id, found)
        if isinstance(found, CallStub):
            return pb.ExplainCallResponse(call=_ended(office_id, call_id, found), steps=_steps_of_ended(found))
        details = found.details
        response = pb.ExplainCallResponse(
            call=_live(office_id, call_id, found),
            request_id=details.request_id,
            trace_id=Trace.unpack(details.trace).trace_id.hex(),
        )
        row = await self._rows.message((details.deck_version, details.rate_line), found.rate)
        if row is not None:
            response.rate_row.CopyFrom(row)
        _explain_live(response.steps, found, row)
        return response

    async def cut(self, request: pb.CutCallRequest, identity: Identity) -> pb.CutCallResponse:
        """Have the switch of a live call hang it up; noted first, so that no cut is without its author.

        Raises:
            PermissionDenied: The bearer is no operator.
            InvalidArgument: An id or the reason cannot be one.
            NotFound: There is no such live call.
            FailedPrecondition: It is an emergency call.
            Unavailable: SQL or the store did not answer.
        """
        identity.may_operate()
        office_id, call_id = request.office_id, request.call_id
        validate_office_id(office_id)
        validate_id(call_id, "call_id")
        check_reason(request.reason)
        office = await self._cached.get(office_id)
        if office is None or not isinstance(await self._store.read_call(office_id, call_id), CallRecord):
            raise _no_live_call()
        await self._log.write(
            now_ms=self._clock.now_ms(),
            actor=identity.actor,
            action="call.cut",
            target=f"call:{office_id}/{call_id}",
            reason=request.reason,
        )
        cut = await self._store.cut_call(office, call_id, forced=True)
        if cut.code is Code.NOT_FOUND:
            raise _no_live_call()
        if cut.code is Code.NOT_DUE:
            raise FailedPrecondition("An emergency call is never cut.", reason="EMERGENCY_CALL")
        return pb.CutCallResponse(replayed=cut.code is Code.REPLAYED)

    async def _find(self, office_id: str, call_id: str, identity: Identity) -> CallRecord | CallStub | UsageRecord:
        """What is known: the live call; else its record, which knows more than the stub, once that is written."""
        validate_id(call_id, "call_id")
        await self._access.readable(office_id, identity)
        known = await self._store.read_call(office_id, call_id)
        if isinstance(known, CallRecord):
            return known
        record = await self._usage.find(office_id, call_id)
        if known is not None and known.known and (record is None or not _is_of(record, known)):
            return known
        if record is None:
            raise NotFound(
                "Nothing of this id is known: no call, message or refusal. ListCalls and ListUsage have what is.",
                reason="CALL_NOT_FOUND",
                field="call_id",
            )
        return record

    async def _explain_record(self, office_id: str, record: UsageRecord) -> pb.ExplainCallResponse:
        key = record.deck_version, record.rate_line
        row = (await self._rows.find([key])).get(key)
        shown = row_message(key, row, record.call_rate)
        return pb.ExplainCallResponse(
            call=record_call(office_id, record) if is_call(record) else None,
            rate_row=shown,
            steps=record_steps(record, row),
            record=record_message(record, shown),
            request_id=record.request_id or "",
            trace_id=record.trace_id or "",
        )

    async def _live_calls(self, office_id: str) -> set[str]:
        """The ids by the due set of the office's shard; what begins or ends meanwhile may be in it or not."""
        key, begin = due_key(shard_of(office_id)), len(office_id) + 1
        found: set[str] = set()
        cursor = b"0"
        while True:
            # No character of an office_id means anything in a pattern.
            cursor, entries = await self._connection.ask(
                "ZSCAN", key, cursor, "MATCH", f"{office_id}:*", "COUNT", _SCANNED
            )
            found.update(member.decode()[begin:] for member in entries[::2])
            if cursor == b"0":
                return found


def _no_live_call() -> NotFound:
    return NotFound(
        "There is no such live call: it never was, or it has ended. ListCalls has those that are.",
        reason="CALL_NOT_FOUND",
        field="call_id",
    )


def _live(office_id: str, call_id: str, call: CallRecord) -> pb.Call:
    details = call.details
    message = pb.Call(
        office_id=office_id,
        call_id=call_id,
        state=enum_of(call.state),
        reason=enum_of(call.reason),
        category=enum_of(details.category),
        direction=enum_of(details.direction),
        license=enum_of(details.license),
        service=enum_of(details.service),
        calling_number=details.calling_number,
        called_number=details.called_number,
        user_id=details.user_id,
        department_id=details.department_id,
        switch_id=call.switch_id or details.switch_label,
        authorized_at=instant(call.authorized_ms),
        granted_seconds=call.granted_seconds,
        final_unit=call.final in (FinalReason.INSUFFICIENT_FUNDS, FinalReason.SPEND_LIMIT),
        used_seconds=call.used_seconds,
        confirmed_seconds=call.confirmed_seconds,
        debited_micros=call.debited_micros,
        held_micros=call.held_micros,
        final_reason=enum_of(call.final),
    )
    if call.answered_ms:
        message.answered_at.CopyFrom(instant(call.answered_ms))
    return message


def _ended(office_id: str, call_id: str, stub: CallStub) -> pb.Call:
    paid = stub.debited_micros or stub.written_off_micros
    return pb.Call(
        office_id=office_id,
        call_id=call_id,
        state=enum_of(CallState.ENDED),
        reason=enum_of(Reason.FUNDED if paid else None),
        used_seconds=stub.billed_seconds,
        confirmed_seconds=stub.duration_seconds,
        debited_micros=stub.debited_micros,
        written_off_micros=stub.written_off_micros,
        final_reason=enum_of(FinalReason.ENDED),
    )


def _is_of(record: UsageRecord, stub: CallStub) -> bool:
    """Whether a record is of the call that the store has just ended, and not of an earlier one of the same id."""
    return (
        is_call(record)
        and record.state is UsageState.CLOSED
        and (record.duration_seconds, record.billed_seconds) == (stub.duration_seconds, stub.billed_seconds)
        and (record.cost_micros, record.written_off_micros) == (stub.debited_micros, stub.written_off_micros)
    )


def _explain_live(
    steps: "RepeatedScalarFieldContainer[str]", call: CallRecord, row: authorization_pb2.RateRow | None
) -> None:
    if call.reason is Reason.EMERGENCY:
        steps.append("an emergency call: not rated, never debited")
        return
    details = call.details
    kinds = [(Direction, details.direction), (Service, details.service), (License, details.license)]
    names = [kind(value).name for kind, value in kinds if value in list(kind)]
    steps.append(f"to {details.called_number}: {', '.join(names)}")
    if row is not None:
        steps.append(f"deck {row.deck_version}, {row.why}")
    if call.rate is None:
        steps.append("free: nothing is held or debited")
        return
    steps.extend(price_steps(call.rate, min(call.used_seconds, call.granted_seconds)))
    steps.append(
        f"debited so far {format_amount(call.debited_micros)}, held {format_amount(call.held_micros)} more for "
        f"{call.granted_seconds} s granted"
    )
    if call.state is CallState.LAPSED:
        steps.append("lapsed: settled at what its switch confirmed, nothing is held; it may be heard of again")
    if call.final is not None:
        steps.append(f"no more can be granted: {call.final.name}")


def _steps_of_ended(stub: CallStub) -> list[str]:
    if not stub.duration_seconds:
        return ["ended, not answered: 0.00"]
    steps = [f"ended after {stub.duration_seconds} s, {stub.billed_seconds} s billed"]
    price = stub.debited_micros + stub.written_off_micros
    steps.append(f"price {format_amount(price)}, debited {format_amount(stub.debited_micros)}")
    if stub.written_off_micros:
        steps.append(f"written off {format_amount(stub.written_off_micros)}: no funds were there for it")
    return steps

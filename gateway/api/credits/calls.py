"""Calls as the store holds them: listed, shown and explained."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from google.protobuf.internal.containers import RepeatedScalarFieldContainer

from gateway.api.answers import call_rate_row
from gateway.api.credits.access import OfficeAccess
from gateway.api.credits.arithmetic import price_steps
from gateway.api.credits.fields import check_reason, enum_of, instant, read_page
from gateway.domain.deck import Deck, RateRow, parse_deck
from gateway.domain.deck.rows import describe
from gateway.domain.identity import Identity
from gateway.domain.ids import validate_id, validate_office_id
from gateway.domain.money import format_amount
from gateway.domain.vocabulary import CallState, Direction, FinalReason, License, Reason, Service
from gateway.errors import FailedPrecondition, NotFound
from gateway.ledger.audit import AuditLog
from gateway.ledger.decks import Decks
from gateway.ledger.errors import DeckNotFound
from gateway.ledger.offices import Offices
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
_ROWS_REMEMBERED: Final = 1_000


class CallRpcs:
    """What is asked about calls.

    Args:
        offices: For rights.
        store: Holds the calls.
        connection: To list them.
        rows: Finds the rows that priced them.
        log: Where it is noted who cut one.
        clock: The store's.
    """

    def __init__(
        self,
        offices: Offices,
        store: BalanceStore,
        connection: StoreConnection,
        rows: "RateRows",
        log: AuditLog,
        clock: Clock,
    ) -> None:
        self._access = OfficeAccess(offices)
        self._store = store
        self._connection = connection
        self._rows = rows
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
        """A live, lapsed or recently ended call.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.readable`, or the call_id can be none.
            NotFound: The store does not hold the call, or not any more.
            Unavailable: SQL or the store did not answer.
        """
        call_id = request.call_id
        record = await self._find(request.office_id, call_id, identity)
        make: Callable[..., pb.Call] = _live if isinstance(record, CallRecord) else _ended
        return make(request.office_id, call_id, record)

    async def explain(self, request: pb.ExplainCallRequest, identity: Identity) -> pb.ExplainCallResponse:
        """What a call costs so far and by which row, step by step; raises as `get`."""
        record = await self._find(request.office_id, request.call_id, identity)
        if isinstance(record, CallStub):
            return pb.ExplainCallResponse(
                call=_ended(request.office_id, request.call_id, record), steps=_steps_of_ended(record)
            )
        response = pb.ExplainCallResponse(call=_live(request.office_id, request.call_id, record))
        row = await self._rows.of(record)
        if row is not None:
            response.rate_row.CopyFrom(row)
        _explain_live(response.steps, record, row)
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

    async def _find(self, office_id: str, call_id: str, identity: Identity) -> CallRecord | CallStub:
        validate_id(call_id, "call_id")
        await self._access.readable(office_id, identity)
        record = await self._store.read_call(office_id, call_id)
        if record is None or (isinstance(record, CallStub) and not record.known):
            raise NotFound(
                "This call is not known: it never was, or it ended too long ago. ListCalls has the live ones.",
                reason="CALL_NOT_FOUND",
                field="call_id",
            )
        return record

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


class RateRows:
    """Finds the row that priced a call by the deck version kept with it.

    Args:
        decks: Every version.
        current: The deck in force as this process has it, so that it need not be read again.
    """

    def __init__(self, decks: Decks, current: Callable[[], Deck | None]) -> None:
        self._decks = decks
        self._current = current
        self._found: OrderedDict[tuple[int, int], RateRow | None] = OrderedDict()
        self._old: Deck | None = None
        self._reading = asyncio.Lock()

    async def of(self, call: CallRecord) -> authorization_pb2.RateRow | None:
        """The row, or what the call itself knows of it where its deck is gone; None: it was never rated.

        Raises:
            DatabaseError: The deck cannot be read now.
        """
        version, line = call.details.deck_version, call.details.rate_line
        if not version or not line:
            return None
        row = await self._find(version, line)
        if row is not None:
            return call_rate_row(version, row)
        message = authorization_pb2.RateRow(
            deck_version=version, line=line, why="The deck is gone; as kept with the call"
        )
        if call.rate is not None:
            message.why += f": {describe(call.rate)}"
            message.connect_fee_micros = call.rate.connect_fee_micros
            message.tick_seconds = call.rate.tick_seconds
            for slot in call.rate.slots:
                message.slots.add(
                    from_second=slot.from_second,
                    price_micros=slot.price_micros,
                    per_seconds=slot.per_seconds,
                    increment_seconds=slot.increment_seconds,
                )
        return message

    async def _find(self, version: int, line: int) -> RateRow | None:
        key = version, line
        if key not in self._found:
            async with self._reading:
                deck = await self._deck(version)
            row = None if deck is None else await asyncio.to_thread(_row_of, deck, line)
            self._found[key] = row
            if len(self._found) > _ROWS_REMEMBERED:
                self._found.popitem(last=False)
        return self._found[key]

    async def _deck(self, version: int) -> Deck | None:
        for known in (self._current(), self._old):
            if known is not None and known.version == version:
                return known
        try:
            content = (await self._decks.content(version)).content
        except DeckNotFound:
            return None
        self._old = await asyncio.to_thread(parse_deck, content, version)
        return self._old


def _row_of(deck: Deck, line: int) -> RateRow | None:
    return next((row for row in deck.rows() if row.row_id == line and isinstance(row, RateRow)), None)


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

"""Decides about calls: the way of every call operation from its request to its response.

Shared by the unary servicer, the Session and the HTTP hooks, so that there is one implementation: check the fields,
rate, ask the store once, answer. Emergency comes before all of that and waits for nothing.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

from gateway.api.answers import (
    OFFICE_CHANGES,
    call_rate_row,
    category_of,
    decision_of,
    id_reused,
    reason_of,
    settings_keep_changing,
)
from gateway.api.emergencies import GRANTED_SECONDS, EmergencyCalls
from gateway.api.rating import CurrentRater, RatedCall, fingerprint, under_guards, verdict_without_office
from gateway.api.validation import CallFields, CallRequestMessage, check_call, check_label, check_seconds
from gateway.domain.identity import Identity
from gateway.domain.ids import validate_id, validate_office_id
from gateway.domain.numbers import is_emergency
from gateway.domain.vocabulary import Category, Reason
from gateway.errors import AlreadyExists, NotFound, PermissionDenied, TollgateError
from gateway.metrics import count_decision
from gateway.store.balances import BalanceStore, CallGrant, CallProgress, CallRequest
from gateway.store.codes import Code
from gateway.store.faults import StoreFault, StoreUnavailable
from gateway.store.offices import CachedOffice, OfficeCache
from gateway.store.records import CallRecord, unpack_call
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.records_pb2 import Details

log = structlog.get_logger(__name__)

# What is compared for every operation: to look a member up in its enum takes 0.1 us each time (Python 3.11).
_FREE: Final = Code.FREE
_FUNDED: Final = Code.FUNDED
_REPLAYED: Final = Code.REPLAYED
_ID_REUSED: Final = Code.ID_REUSED
_OFFICE_CHANGED: Final = Code.OFFICE_CHANGED
_ENDED: Final = Code.ENDED
_NOT_FOUND: Final = Code.NOT_FOUND
_FORBIDDEN: Final = Code.FORBIDDEN

_LATEST_MS: Final = 2**52
_BACKGROUND_TASKS: Final = 1_000


class Calls:
    """Answers call operations.

    Args:
        store: The balances.
        offices: The offices this process knows.
        rater: Follows the deck in force.
        max_duration_seconds: The longest grant, 60 to 86,400.
        has_callback: Whether a switch has a callback, so that its calls are ticked by the gateway.
    """

    def __init__(
        self,
        store: BalanceStore,
        offices: OfficeCache,
        rater: CurrentRater,
        *,
        max_duration_seconds: int,
        has_callback: Callable[[str], bool] = lambda switch_id: False,  # noqa: ARG005
    ) -> None:
        self._store = store
        self._offices = offices
        self._rater = rater
        self._max_duration = max_duration_seconds
        self._has_callback = has_callback
        self._emergencies = EmergencyCalls()
        self._background: set[asyncio.Task[None]] = set()

    def is_emergency(self, request: CallRequestMessage) -> bool:
        """Whether a call is granted before anything else is looked at: fields, rights, load, funds, the store."""
        office = self._offices.cached(request.office_id)
        return is_emergency(request.called_number, office.country if office is not None else None)

    def is_emergency_call(self, office_id: str, call_id: str, identity: Identity) -> bool:
        """Whether this is a live emergency call that was granted here, to this switch."""
        return self._emergencies.holds(office_id, call_id, identity.switch_id)

    async def authorize(
        self, request: pb.AuthorizeCallRequest, identity: Identity, *, ticked_by_gateway: bool = False
    ) -> pb.AuthorizeCallResponse:
        """Reserve the first tick of a call, at most once per call id.

        Raises:
            InvalidArgument: A field is wrong.
            PermissionDenied: The switch may not use this office.
            AlreadyExists: The call_id is that of a live call with another request.
            StoreUnavailable: No answer in time. The reservation may or may not exist: retry with the same id.
        """
        if self.is_emergency(request):
            count_decision("call", Reason.EMERGENCY)
            return self._grant_emergency(request, identity)
        ticked_by_gateway = ticked_by_gateway or self._has_callback(identity.switch_id)
        rated, grant = await self._ask(request, identity, ticked_by_gateway=ticked_by_gateway)
        if grant.code is _REPLAYED:
            return _replay(grant)
        count_decision("call", grant.code)
        # Field by field, here and where an end is answered: keywords take protobuf a third longer.
        response = pb.AuthorizeCallResponse()
        response.decision = decision_of(grant.code)
        response.reason = reason_of(grant.code)
        response.granted_seconds = grant.granted_seconds
        response.final_unit = _is_final_unit(grant.final)
        response.category = category_of(rated.category)
        if rated.row is not None:
            response.price_per_minute_micros = rated.row.rate.price_per_minute_micros
        response.available_micros = grant.available_micros
        return response

    async def quote(self, request: pb.QuoteCallRequest, identity: Identity) -> pb.QuoteCallResponse:
        """Say what `authorize` would decide now and what a duration would cost; changes nothing.

        Raises:
            InvalidArgument, PermissionDenied, AlreadyExists, StoreUnavailable: As `authorize`.
        """
        if self.is_emergency(request):
            return pb.QuoteCallResponse(
                decision=pb.GRANTED,
                reason=pb.EMERGENCY,
                granted_seconds=GRANTED_SECONDS,
                category=pb.CATEGORY_EMERGENCY,
            )
        check_seconds(request.duration_seconds, "duration_seconds")
        rated, grant = await self._ask(request, identity, dry_run=True)
        reason = _record_of(grant).reason if grant.code is _REPLAYED else Reason(grant.code)
        response = pb.QuoteCallResponse(
            decision=decision_of(reason),
            reason=reason_of(reason),
            granted_seconds=grant.granted_seconds,
            category=category_of(rated.category),
            available_micros=grant.available_micros,
        )
        if rated.row is not None:
            response.price_micros = rated.row.rate.price_micros(request.duration_seconds)
            response.price_per_minute_micros = rated.row.rate.price_per_minute_micros
            response.rate_row.CopyFrom(call_rate_row(rated.deck_version, rated.row))
        return response

    async def answer(self, request: pb.AnswerCallRequest, identity: Identity) -> pb.AnswerCallResponse:
        """Start the clock of a call.

        Raises:
            InvalidArgument: A field is wrong.
            PermissionDenied: The office or the call is another's.
            NotFound: The call is unknown: authorize it again with the same id, or hang up.
            StoreUnavailable: No answer in time: retry.
        """
        answered_ms = 0
        if request.HasField("answered_at"):
            # Whatever it says, the script clamps it; here it only has to stay a number that the script can hold.
            milliseconds = request.answered_at.seconds * 1000 + request.answered_at.nanos // 1_000_000
            answered_ms = max(1, min(milliseconds, _LATEST_MS))
        if self.is_emergency_call(request.office_id, request.call_id, identity):
            self._tell_store(self._progress(request.office_id, request.call_id, identity, answered_ms=answered_ms))
            return pb.AnswerCallResponse(granted_seconds=GRANTED_SECONDS)
        progress = await self._progress(request.office_id, request.call_id, identity, answered_ms=answered_ms)
        return pb.AnswerCallResponse(
            granted_seconds=progress.granted_seconds,
            final_unit=_is_final_unit(progress.final),
            debited_micros=progress.debited_micros,
            available_micros=progress.available_micros,
            ended=progress.code is _ENDED,
            final_reason=progress.final,  # type: ignore[arg-type]  # the numbers are the contract's
        )

    async def tick(self, request: pb.TickCallRequest, identity: Identity) -> pb.TickCallResponse:
        """Debit what was used and reserve the next tick.

        Raises:
            InvalidArgument, PermissionDenied, NotFound, StoreUnavailable: As `answer`.
        """
        check_seconds(request.used_seconds, "used_seconds")
        check_seconds(request.requested_seconds, "requested_seconds")
        if self.is_emergency_call(request.office_id, request.call_id, identity):
            return pb.TickCallResponse(granted_seconds=GRANTED_SECONDS)
        progress = await self._progress(
            request.office_id,
            request.call_id,
            identity,
            used_seconds=request.used_seconds,
            requested_seconds=request.requested_seconds,
        )
        return pb.TickCallResponse(
            granted_seconds=progress.granted_seconds,
            final_unit=_is_final_unit(progress.final),
            debited_micros=progress.debited_micros,
            available_micros=progress.available_micros,
            ended=progress.code is _ENDED,
            final_reason=progress.final,  # type: ignore[arg-type]  # the numbers are the contract's
        )

    async def end(self, request: pb.EndCallRequest, identity: Identity) -> pb.EndCallResponse:
        """Settle a call at the price of its duration.

        Raises:
            InvalidArgument, PermissionDenied, StoreUnavailable: As `answer`.
            NotFound: The call is unknown; final: the id is spent by it.
            AlreadyExists: The call was ended with another duration.
        """
        check_seconds(request.duration_seconds, "duration_seconds")
        check_label(request.cause, "cause")
        if self.is_emergency_call(request.office_id, request.call_id, identity):
            self._emergencies.remove(request.office_id, request.call_id, identity.switch_id)
            self._tell_store(self._settle(request, identity))
            return pb.EndCallResponse(billed_seconds=request.duration_seconds)
        return await self._settle(request, identity)

    async def close(self) -> None:
        """Wait for what the store is still to be told."""
        await asyncio.gather(*self._background, return_exceptions=True)

    async def _ask(
        self,
        request: CallRequestMessage,
        identity: Identity,
        *,
        ticked_by_gateway: bool = False,
        dry_run: bool = False,
    ) -> tuple[RatedCall, CallGrant]:
        """Check, rate and ask the store: one round trip, two for an office that is not cached or just changed."""
        call = check_call(request, needs_id=not dry_run)
        identity.may_use_office_as_switch(call.office_id)
        rater = self._rater.current()
        office = self._offices.cached(call.office_id) or await self._offices.get(call.office_id)
        if office is None:
            code = verdict_without_office(call.called_number)
            return RatedCall(code, None, None, None), CallGrant(code, 0, 0, 0)
        asked = fingerprint(
            call.direction, call.calling_number, call.called_number, call.license, call.service, call.requested_seconds
        )
        for _ in range(OFFICE_CHANGES):
            rated = rater.rate_call(
                office, call.direction, call.license, call.service, call.calling_number, call.called_number
            )
            if office.guards and rated.verdict is _FUNDED:
                rated = under_guards(rated, office, call.direction, self._store.now_ms())
            ask = CallRequest(
                call.call_id,
                rated.verdict,
                asked,
                call.requested_seconds,
                self._max_duration,
                ticked_by_gateway,
                rated.row.rate if rated.verdict is _FUNDED and rated.row is not None else None,
                rated.row.rate.price_per_minute_micros if rated.row is not None else 0,
                identity.switch_id,
                _details(call, rated),
            )
            try:
                grant = await self._store.authorize_call(office, ask, dry_run=dry_run)
            except StoreUnavailable:
                if rated.verdict is Code.INVALID_NUMBER:
                    return rated, CallGrant(rated.verdict, 0, 0, 0)
                if rated.verdict is not _FREE:
                    raise
                # Free calls need no funds, so they do not wait for a store that keeps them.
                if office.is_suspended:
                    return rated, CallGrant(Code.OFFICE_SUSPENDED, 0, 0, 0)
                return rated, CallGrant(Code.FREE, self._max_duration, 0, 0)
            if grant.code is _ID_REUSED:
                raise id_reused("call_id")
            if grant.code is not _OFFICE_CHANGED:
                return rated, grant
            assert grant.record is not None  # noqa: S101  # the script sends it with this code
            office = self._offices.remember(call.office_id, grant.record)
        raise settings_keep_changing()

    async def _progress(
        self,
        office_id: str,
        call_id: str,
        identity: Identity,
        *,
        answered_ms: int = 0,
        used_seconds: int | None = None,
        requested_seconds: int = 0,
    ) -> CallProgress:
        """Answer a call, or tick it where used seconds are given."""
        office = await self._office_of(office_id, call_id, identity)
        if used_seconds is None:
            progress = await self._store.answer_call(
                office, call_id, answered_ms=answered_ms, switch_id=identity.switch_id
            )
        else:
            progress = await self._store.tick_call(
                office, call_id, used_seconds, requested_seconds=requested_seconds, switch_id=identity.switch_id
            )
        _check_found(progress.code)
        return progress

    async def _settle(self, request: pb.EndCallRequest, identity: Identity) -> pb.EndCallResponse:
        office = await self._office_of(request.office_id, request.call_id, identity)
        end = await self._store.end_call(
            office, request.call_id, request.duration_seconds, cause=request.cause, switch_id=identity.switch_id
        )
        if end.code is _ID_REUSED:
            raise AlreadyExists(
                "This call was ended with another duration_seconds before, and the first EndCall stands.",
                reason="CALL_ENDED",
                field="duration_seconds",
            )
        _check_found(end.code)
        response = pb.EndCallResponse()
        response.billed_seconds = end.billed_seconds
        response.debited_micros = end.debited_micros
        response.written_off_micros = end.written_off_micros
        response.available_micros = end.available_micros
        response.replayed = end.code is _REPLAYED
        return response

    async def _office_of(self, office_id: str, call_id: str, identity: Identity) -> CachedOffice:
        validate_office_id(office_id)
        validate_id(call_id, "call_id")
        identity.may_use_office_as_switch(office_id)
        office = self._offices.cached(office_id) or await self._offices.get(office_id)
        if office is None:
            raise _call_not_found()
        return office

    def _grant_emergency(self, request: pb.AuthorizeCallRequest, identity: Identity) -> pb.AuthorizeCallResponse:
        """Grant at once; the store is told behind its back, for the usage record."""
        self._emergencies.add(request.office_id, request.call_id, identity.switch_id)
        self._tell_store(self._record_emergency(request, identity))
        return pb.AuthorizeCallResponse(
            decision=pb.GRANTED,
            reason=pb.EMERGENCY,
            granted_seconds=GRANTED_SECONDS,
            category=pb.CATEGORY_EMERGENCY,
        )

    async def _record_emergency(self, request: pb.AuthorizeCallRequest, identity: Identity) -> None:
        call = check_call(request, needs_id=True)
        # The call was granted all the same, but in the usage of an office only its own switches have a say.
        identity.may_use_office_as_switch(call.office_id)
        office = await self._offices.get(call.office_id)
        ask = CallRequest(
            call.call_id,
            Code.EMERGENCY,
            fingerprint(Code.EMERGENCY, call.called_number),
            0,
            GRANTED_SECONDS,
            False,
            None,
            0,
            identity.switch_id,
            _details(call, RatedCall(Code.EMERGENCY, Category.EMERGENCY, None, None)),
        )
        for _ in range(OFFICE_CHANGES):
            if office is None:
                return
            grant = await self._store.authorize_call(office, ask)
            if grant.code is not _OFFICE_CHANGED:
                return
            # Nothing of an emergency depends on the settings, but nothing is written by old ones.
            assert grant.record is not None  # noqa: S101  # the script sends it with this code
            office = self._offices.remember(call.office_id, grant.record)
        raise settings_keep_changing()

    def _tell_store(self, work: Coroutine[Any, Any, object]) -> None:
        """Do something that nobody waits for; it may fail, and then only the usage record is poorer."""
        if len(self._background) >= _BACKGROUND_TASKS:
            work.close()
            return

        async def tell() -> None:
            try:
                await work
            except (TollgateError, StoreFault) as error:
                log.warning("an emergency call was not recorded", error=str(error))

        task = asyncio.get_running_loop().create_task(tell())
        self._background.add(task)
        task.add_done_callback(self._background.discard)


def _replay(grant: CallGrant) -> pb.AuthorizeCallResponse:
    """The first answer again, with the grant as it is now and the price that was quoted then."""
    call = _record_of(grant)
    return pb.AuthorizeCallResponse(
        decision=decision_of(call.reason),
        reason=reason_of(call.reason),
        granted_seconds=grant.granted_seconds,
        final_unit=_is_final_unit(grant.final),
        category=category_of(call.details.category),
        price_per_minute_micros=call.rate.price_per_minute_micros if call.rate is not None else 0,
        available_micros=grant.available_micros,
        replayed=True,
    )


def _record_of(grant: CallGrant) -> CallRecord:
    assert grant.record is not None  # noqa: S101  # the script sends it with REPLAYED
    call = unpack_call(grant.record)
    assert isinstance(call, CallRecord)  # noqa: S101  # an ended call is CALL_ENDED, never REPLAYED
    return call


def _details(call: CallFields, rated: RatedCall) -> bytes:
    details = Details()
    details.called_number = rated.called.e164 if rated.called is not None else call.called_number
    details.calling_number = call.calling_number
    details.direction = call.direction
    details.license = call.license
    details.service = call.service
    details.category = rated.category or 0
    details.user_id = call.user_id
    details.department_id = call.department_id
    details.switch_label = call.switch_label
    if rated.row is not None:
        details.deck_version = rated.deck_version
        details.rate_line = rated.row.row_id
    return details.SerializeToString()


def _is_final_unit(final: int) -> bool:
    """Funds or spend limit stand behind a final unit; the maximum duration was asked for and granted whole."""
    return final in (pb.FINAL_REASON_INSUFFICIENT_FUNDS, pb.FINAL_REASON_SPEND_LIMIT)


def _check_found(code: Code) -> None:
    if code is _NOT_FOUND:
        raise _call_not_found()
    if code is _FORBIDDEN:
        raise PermissionDenied


def _call_not_found() -> NotFound:
    return NotFound(
        "This call is not known. Before its end: authorize it again with the same call_id, or hang up; after it: "
        "nothing is billed.",
        reason="CALL_NOT_FOUND",
    )

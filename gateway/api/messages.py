"""Decides about messages: an event each, debited whole or blocked."""

from typing import NamedTuple

from gateway.api.answers import (
    OFFICE_CHANGES,
    decision_of,
    id_reused,
    message_rate_row,
    reason_of,
    settings_keep_changing,
)
from gateway.api.rating import CurrentRater, RatedMessage, fingerprint, verdict_without_office
from gateway.api.validation import MessageRequestMessage, check_message
from gateway.domain.identity import Identity
from gateway.domain.ids import validate_id, validate_office_id
from gateway.domain.vocabulary import Category, MessageKind, Reason
from gateway.errors import NotFound
from gateway.metrics import count_decision
from gateway.store.balances import BalanceStore, MessageGrant, MessageRequest
from gateway.store.codes import Code
from gateway.store.faults import StoreUnavailable
from gateway.store.offices import OfficeCache
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.records_pb2 import Details


class _Asked(NamedTuple):
    """What rating made of a request for a message, and what the store said."""

    rated: RatedMessage
    price_micros: int
    grant: MessageGrant

    @property
    def reason(self) -> Reason:
        """Why it was decided so; of a replay, why it was then."""
        if self.grant.code is Code.REPLAYED:
            assert isinstance(self.grant.record, int)  # noqa: S101  # the script sends it with this code
            return Reason(self.grant.record)
        return Reason(self.grant.code)


class Messages:
    """Answers message operations.

    Args:
        store: The balances.
        offices: The offices this process knows.
        rater: Follows the deck in force.
    """

    def __init__(self, store: BalanceStore, offices: OfficeCache, rater: CurrentRater) -> None:
        self._store = store
        self._offices = offices
        self._rater = rater

    async def authorize(self, request: pb.AuthorizeMessageRequest, identity: Identity) -> pb.AuthorizeMessageResponse:
        """Debit a message whole, or block it; at most once per message id.

        Raises:
            InvalidArgument: A field is wrong.
            PermissionDenied: The switch may not use this office.
            AlreadyExists: The message_id is that of a message with another request.
            StoreUnavailable: No answer in time. The debit may or may not exist: retry with the same id.
        """
        asked = await self._ask(request, identity)
        replayed = asked.grant.code is Code.REPLAYED
        if not replayed:
            count_decision("message", asked.reason)
        return pb.AuthorizeMessageResponse(
            decision=decision_of(asked.reason),
            reason=reason_of(asked.reason),
            debited_micros=asked.grant.debited_micros,
            available_micros=asked.grant.available_micros,
            replayed=replayed,
        )

    async def quote(self, request: pb.QuoteMessageRequest, identity: Identity) -> pb.QuoteMessageResponse:
        """Say what `authorize` would decide now and what the message would cost; changes nothing.

        Raises:
            InvalidArgument, PermissionDenied, AlreadyExists, StoreUnavailable: As `authorize`.
        """
        asked = await self._ask(request, identity, dry_run=True)
        response = pb.QuoteMessageResponse(
            decision=decision_of(asked.reason),
            reason=reason_of(asked.reason),
            price_micros=asked.price_micros,
            available_micros=asked.grant.available_micros,
        )
        if asked.rated.row is not None:
            response.rate_row.CopyFrom(message_rate_row(asked.rated.deck_version, asked.rated.row))
        return response

    async def refund(self, request: pb.RefundMessageRequest, identity: Identity) -> pb.RefundMessageResponse:
        """Give the debit of a message back, once.

        Raises:
            InvalidArgument, PermissionDenied: As `authorize`.
            NotFound: It was not sent, or too long ago; what the ledger knows of it comes back as a credit.
            StoreUnavailable: No answer in time: retry.
        """
        validate_office_id(request.office_id)
        validate_id(request.message_id, "message_id")
        identity.may_use_office_as_switch(request.office_id)
        office = await self._offices.get(request.office_id)
        refund = await self._store.refund_message(office, request.message_id) if office is not None else None
        if refund is None or refund.code is Code.NOT_FOUND:
            raise NotFound(
                "No such message was sent, or too long ago to be given back at once: if the ledger knows it, its price "
                "comes back as a credit.",
                reason="MESSAGE_NOT_FOUND",
            )
        return pb.RefundMessageResponse(
            refunded_micros=refund.refunded_micros,
            available_micros=refund.available_micros,
            replayed=refund.code is Code.REPLAYED,
        )

    async def _ask(self, request: MessageRequestMessage, identity: Identity, *, dry_run: bool = False) -> _Asked:
        """Check, rate and ask the store: one round trip, two for an office that is not cached or just changed."""
        kind = check_message(request, needs_id=not dry_run)
        identity.may_use_office_as_switch(request.office_id)
        rater = self._rater.current()
        office = await self._offices.get(request.office_id)
        if office is None:
            code = verdict_without_office(request.called_number)
            return _Asked(RatedMessage(code, None, None), 0, MessageGrant(code, 0, 0))
        asked = fingerprint(kind, request.calling_number, request.called_number, request.segments)
        for _ in range(OFFICE_CHANGES):
            rated = rater.rate_message(office, kind, request.called_number)
            price = rated.row.rate.price_of_segments_micros(request.segments) if rated.row is not None else 0
            ask = MessageRequest(request.message_id, rated.verdict, asked, price, _details(request, kind, rated))
            try:
                grant = await self._store.authorize_message(office, ask, dry_run=dry_run)
            except StoreUnavailable:
                if rated.verdict is not Code.INVALID_NUMBER:
                    raise
                grant = MessageGrant(rated.verdict, 0, 0)
            if grant.code is Code.ID_REUSED:
                raise id_reused("message_id")
            if grant.code is not Code.OFFICE_CHANGED:
                return _Asked(rated, price, grant)
            assert isinstance(grant.record, bytes)  # noqa: S101  # the script sends it with this code
            office = self._offices.remember(request.office_id, grant.record)
        raise settings_keep_changing()


def _details(request: MessageRequestMessage, kind: MessageKind, rated: RatedMessage) -> bytes:
    return Details(
        called_number=rated.called.e164 if rated.called is not None else request.called_number,
        calling_number=request.calling_number,
        message_kind=kind,
        segments=request.segments,
        category=Category.MESSAGE,
        user_id=request.user_id,
        department_id=request.department_id,
        deck_version=rated.deck_version if rated.row is not None else 0,
        rate_line=rated.row.row_id if rated.row is not None else 0,
    ).SerializeToString()

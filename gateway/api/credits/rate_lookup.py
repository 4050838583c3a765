"""What a call or message of an office would be answered now, what it costs and why, for who may read the office."""

from dataclasses import dataclass
from typing import Final

from gateway.api.calls import Calls
from gateway.api.credits.access import OfficeAccess
from gateway.api.messages import Messages
from gateway.domain.identity import Identity
from gateway.domain.numbers import NumberInfo, identify, normalise
from gateway.domain.vocabulary import Category, Decision, Direction, License, MessageKind, Reason, Role, Service
from gateway.ledger.offices import Offices
from gateway.store.offices import OfficeCache
from gateway.v1 import authorization_pb2 as pb

_QUOTING: Final = Identity(Role.OPERATOR, "rate_lookup")
"""Quotes are for switches and operators: whoever may read the office is quoted to in the gateway's own name."""


@dataclass(frozen=True, slots=True)
class RateQuestion:
    """A call or message that somebody thinks of.

    Attributes:
        office_id: Who would pay.
        called_number: As dialled, 1 to 64 characters.
        service: A call's service or a message's kind.
        calling_number: As it comes, at most 64 characters; empty: withheld.
        direction: Of a call, seen from the office.
        license: Of who would make or take a call.
        duration_seconds: Of talk, to be priced, 0 to 86,400.
        segments: Of a message, 1 to 255.
    """

    office_id: str
    called_number: str
    service: Service | MessageKind = Service.VOICE
    calling_number: str = ""
    direction: Direction = Direction.OUTBOUND
    license: License = License.STANDARD
    duration_seconds: int = 60
    segments: int = 1


@dataclass(frozen=True, slots=True)
class RateAnswer:
    """What would be answered, and what it would cost; amounts in micros.

    Attributes:
        reason: Why the decision would be what it is.
        category: None where it cannot be told.
        called: The called number in E.164, and what it is; None: no number, or an emergency number.
        calling_number: In E.164; empty: withheld, or no number.
        price_micros: Of the duration or of the segments; 0 without a row.
        price_per_minute_micros: Of a call: 60 s of its dearest slot; 0 of a message.
        available_micros: The office's available funds; 0 where they were not looked at.
        row: The row of the deck that prices it, with why that one; None: none was found or looked for.
    """

    reason: Reason
    category: Category | None
    called: NumberInfo | None
    calling_number: str
    price_micros: int
    price_per_minute_micros: int
    available_micros: int
    row: pb.RateRow | None

    @property
    def decision(self) -> Decision:
        """Whether it would be let through."""
        return self.reason.decision


class RateLookup:
    """Looks prices up by the deciders themselves, so that they are those of a real call or message.

    Args:
        offices: For rights, and for their countries.
        cache: The deciders' offices.
        calls: Quotes calls.
        messages: Quotes messages.
    """

    def __init__(self, offices: Offices, cache: OfficeCache, calls: Calls, messages: Messages) -> None:
        self._access = OfficeAccess(offices)
        self._cache = cache
        self._calls = calls
        self._messages = messages

    async def look_up(self, question: RateQuestion, identity: Identity) -> RateAnswer:
        """Say what would be decided now, what it would cost and by which row; changes nothing.

        Raises:
            InvalidArgument: A value is out of its range.
            PermissionDenied, OfficeNotFound: As `OfficeAccess.readable`.
            StoreUnavailable: The store did not answer.
            Unavailable: The rates are not loaded yet.
            DatabaseError: The database did not answer.
        """
        office = await self._access.readable(question.office_id, identity)
        country = office.settings.country
        # Of an office that the deciders do not know yet, the emergency numbers of every country would be emergencies.
        await self._cache.get(question.office_id)
        if isinstance(question.service, MessageKind):
            return await self._look_up_message(question, question.service, country)
        return await self._look_up_call(question, question.service, country)

    async def _look_up_call(self, question: RateQuestion, service: Service, country: str) -> RateAnswer:
        request = pb.QuoteCallRequest(
            office_id=question.office_id,
            direction=question.direction,  # type: ignore[arg-type]  # the numbers are the contract's, here and below
            calling_number=question.calling_number,
            called_number=question.called_number,
            license=question.license,  # type: ignore[arg-type]
            service=service,  # type: ignore[arg-type]
            duration_seconds=question.duration_seconds,
        )
        quote = await self._calls.quote(request, _QUOTING)
        return _answer(quote, question, country, Category(quote.category) if quote.category else None)

    async def _look_up_message(self, question: RateQuestion, kind: MessageKind, country: str) -> RateAnswer:
        request = pb.QuoteMessageRequest(
            office_id=question.office_id,
            calling_number=question.calling_number,
            called_number=question.called_number,
            kind=kind,  # type: ignore[arg-type]
            segments=question.segments,
        )
        quote = await self._messages.quote(request, _QUOTING)
        return _answer(quote, question, country, Category.MESSAGE)


def _answer(
    quote: pb.QuoteCallResponse | pb.QuoteMessageResponse,
    question: RateQuestion,
    country: str,
    category: Category | None,
) -> RateAnswer:
    reason = Reason(quote.reason)
    return RateAnswer(
        reason=reason,
        category=category,
        called=None if reason is Reason.EMERGENCY else identify(question.called_number, country),
        calling_number=normalise(question.calling_number, country) or "",
        price_micros=quote.price_micros,
        price_per_minute_micros=quote.price_per_minute_micros if isinstance(quote, pb.QuoteCallResponse) else 0,
        available_micros=quote.available_micros,
        row=quote.rate_row if quote.HasField("rate_row") else None,
    )

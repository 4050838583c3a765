"""The cards of an office: added, confirmed, listed and removed by its admins."""

from typing import Final

from gateway.api.credits.access import OfficeAccess
from gateway.billing.payment_methods import Cards
from gateway.domain.identity import Identity
from gateway.domain.ids import validate_id
from gateway.errors import InvalidArgument
from gateway.ledger.offices import Offices
from gateway.ledger.payment_methods import PaymentMethod, PaymentMethods
from gateway.store.clock import Clock
from gateway.v1 import credits_pb2 as pb

MAX_ANSWER_MICROS: Final = 10**9


class PaymentMethodRpcs:
    """What is asked about cards."""

    def __init__(self, offices: Offices, methods: PaymentMethods, cards: Cards, clock: Clock) -> None:
        self._access = OfficeAccess(offices)
        self._methods = methods
        self._cards = cards
        self._clock = clock

    async def add(self, request: pb.AddPaymentMethodRequest, identity: Identity) -> pb.PaymentMethod:
        """Keep a card with the provider and make the small charge, once per token.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.administered`.
            TollgateError: As `Cards.add`.
        """
        await self._access.administered(request.office_id, identity)
        standing = await self._cards.add(request.office_id, request.provider_token, actor=identity.actor)
        return _message(standing.method, standing.confirmation_url)

    async def begin_entry(self, office_id: str, return_url: str, cancel_url: str, identity: Identity) -> str:
        """Where a browser is to go for a card to be entered.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.administered`.
            TollgateError: As `Cards.begin_entry`.
        """
        await self._access.administered(office_id, identity)
        return await self._cards.begin_entry(office_id, return_url=return_url, cancel_url=cancel_url)

    async def finish_entry(self, office_id: str, entry: str, identity: Identity) -> pb.PaymentMethod:
        """Add the card that was entered, and make the small charge, once per entry.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.administered`.
            TollgateError: As `Cards.finish_entry`.
        """
        await self._access.administered(office_id, identity)
        standing = await self._cards.finish_entry(office_id, entry, actor=identity.actor)
        return _message(standing.method, standing.confirmation_url)

    async def resume(self, office_id: str, payment_method_id: str, identity: Identity) -> pb.PaymentMethod:
        """Go on with a card that its bank or its small charge has held up.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.administered`.
            TollgateError: As `Cards.resume`.
        """
        await self._access.administered(office_id, identity)
        validate_id(payment_method_id, "payment_method_id")
        standing = await self._cards.resume(office_id, payment_method_id, actor=identity.actor)
        return _message(standing.method, standing.confirmation_url)

    async def confirm(self, request: pb.ConfirmPaymentMethodRequest, identity: Identity) -> pb.PaymentMethod:
        """Take the answer to the question for the small charge's amount.

        Raises:
            InvalidArgument: The amount can be none; it is not counted as an answer.
            PermissionDenied, OfficeNotFound: As `OfficeAccess.administered`.
            TollgateError: As `Cards.confirm`.
        """
        await self._access.administered(request.office_id, identity)
        validate_id(request.payment_method_id, "payment_method_id")
        if not 1 <= request.amount_micros <= MAX_ANSWER_MICROS:
            raise InvalidArgument("amount_micros", f"must be 1 to {MAX_ANSWER_MICROS} micros; it was not counted")
        confirmed = await self._cards.confirm(
            request.office_id, request.payment_method_id, request.amount_micros, actor=identity.actor
        )
        return _message(confirmed)

    async def list(self, request: pb.ListPaymentMethodsRequest, identity: Identity) -> pb.ListPaymentMethodsResponse:
        """The cards of an office.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.administered`.
        """
        await self._access.administered(request.office_id, identity)
        methods = await self._methods.list(request.office_id)
        return pb.ListPaymentMethodsResponse(
            payment_methods=[_message(method, method.confirmation_url) for method in methods]
        )

    async def remove(self, request: pb.RemovePaymentMethodRequest, identity: Identity) -> pb.PaymentMethod:
        """Let a card pay no more.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.administered`.
            PaymentMethodNotFound: The office has no such card.
            FailedPrecondition: The automatic refill charges it.
        """
        await self._access.administered(request.office_id, identity)
        validate_id(request.payment_method_id, "payment_method_id")
        removed = await self._methods.remove(
            request.office_id, request.payment_method_id, actor=identity.actor, now_ms=self._clock.now_ms()
        )
        return _message(removed)


def _message(method: PaymentMethod, confirmation_url: str = "") -> pb.PaymentMethod:
    return pb.PaymentMethod(
        payment_method_id=method.payment_method_id,
        office_id=method.office_id,
        brand=method.brand,
        last_four=method.last_four,
        expiry_month=method.expiry_month,
        expiry_year=method.expiry_year,
        confirmed=method.confirmed_at is not None,
        locked=method.is_locked,
        confirmation_url=confirmation_url,
    )

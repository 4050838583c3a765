"""AddCredits and ListOfferedAmounts: buying credits by card, or on the next invoice."""

from gateway.api.credits.access import OfficeAccess
from gateway.billing.purchases import Buying, Standing
from gateway.domain.credit import transaction_id
from gateway.domain.identity import Identity
from gateway.ledger.offices import Offices
from gateway.ledger.purchases import Purchase, PurchaseRequest
from gateway.v1 import credits_pb2 as pb


class PurchaseRpcs:
    """What is asked by whoever buys."""

    def __init__(self, offices: Offices, buying: Buying) -> None:
        self._access = OfficeAccess(offices)
        self._buying = buying

    async def add(self, request: pb.AddCreditsRequest, identity: Identity) -> pb.AddCreditsResponse:
        """Buy credits, once per idempotency key.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.administered`.
            TollgateError: As `Buying.buy`.
        """
        purchase = PurchaseRequest(
            office_id=request.office_id,
            amount_micros=request.amount_micros,
            payment_method_id=request.payment_method_id,
            idempotency_key=request.idempotency_key,
        )
        purchase.validate()
        await self._access.administered(request.office_id, identity)
        bought = await self._buying.buy(purchase, actor=identity.actor)
        credit = bought.application.credit
        return pb.AddCreditsResponse(
            transaction_id=transaction_id(credit.office_id, credit.number),
            balance_micros=bought.application.balance_micros,
            available_micros=bought.application.available_micros,
            replayed=bought.replayed,
        )

    async def standing(self, office_id: str, idempotency_key: str, identity: Identity) -> Standing | None:
        """How a purchase stands; None: there is none of this key. Changes nothing and asks no provider.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.administered`.
            DatabaseError: The database did not answer.
        """
        await self._access.administered(office_id, identity)
        return await self._buying.standing(office_id, idempotency_key)

    async def latest(self, office_id: str, identity: Identity) -> Purchase | None:
        """The newest purchase of an office that was not refused; raises as `standing`."""
        await self._access.administered(office_id, identity)
        return await self._buying.latest(office_id)

    async def offered(
        self, _request: pb.ListOfferedAmountsRequest, identity: Identity
    ) -> pb.ListOfferedAmountsResponse:
        """The amounts that may be bought, the same for every office.

        Raises:
            PermissionDenied: The bearer is a switch.
        """
        identity.may_use_credits()
        return pb.ListOfferedAmountsResponse(amounts_micros=self._buying.offered)

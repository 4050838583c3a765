"""ListTransactions: money that entered or left an office outside its calls and messages."""

from typing import Final

from gateway.api.credits.access import OfficeAccess
from gateway.api.credits.fields import instant, read_page
from gateway.domain.credit import CreditKind, transaction_id
from gateway.domain.identity import Identity
from gateway.ledger.credits import Credit, Credits
from gateway.ledger.offices import Offices
from gateway.v1 import credits_pb2 as pb

_KINDS: Final = {
    CreditKind.PURCHASE: "purchase",
    CreditKind.REFILL: "refill",
    CreditKind.ADJUSTMENT: "adjustment",
    CreditKind.MESSAGE_REFUND: "refund",
    CreditKind.CHARGEBACK: "chargeback",
}


class TransactionRpcs:
    """What is asked of an office's numbered credits."""

    def __init__(self, offices: Offices, ledger: Credits) -> None:
        self._access = OfficeAccess(offices)
        self._credits = ledger

    async def list(self, request: pb.ListTransactionsRequest, identity: Identity) -> pb.ListTransactionsResponse:
        """What has moved, newest first: the sum of all is what the balance would be without calls and messages.

        So a credit that is still on its way to the balance, or was refused, is not in it.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.readable`, or no such page.
            DatabaseError: The database did not answer.
        """
        page = read_page(request.page_size, request.page_token)
        await self._access.readable(request.office_id, identity)
        part = await self._credits.list(page, request.office_id, only_applied=True)
        return pb.ListTransactionsResponse(
            transactions=[transaction(credit) for credit in part.items], next_page_token=part.next_page_token
        )


def transaction(credit: Credit) -> pb.Transaction:
    """A credit in the contract's terms."""
    return pb.Transaction(
        transaction_id=transaction_id(credit.office_id, credit.number),
        at=instant(credit.applied_at or credit.created_at),
        amount_micros=credit.amount_micros,
        kind=_KINDS[credit.kind],
        description=credit.reason,
        refill_id=credit.refill_id or "",
    )

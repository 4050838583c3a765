"""Add Value: choose, review, confirm, receipt.

A purchase has its address before it is made, and the address is its idempotency key: whoever goes back, reloads, sends
twice or loses the connection comes to the same purchase, and buys nothing a second time. A second tab, or another
admin, has another key: a purchase that was made since the form was opened is shown first, and asked about.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode

import structlog
from starlette.responses import Response
from starlette.routing import BaseRoute

from gateway.billing.errors import ChargeUndecided, ConfirmationRequired
from gateway.billing.purchases import Standing
from gateway.domain.ids import validate_id
from gateway.domain.payment import ChargeStatus, PurchaseStatus
from gateway.errors import FailedPrecondition, InvalidArgument, TollgateError, Unavailable
from gateway.ledger.purchases import Purchase
from gateway.page.cards import can_pay
from gateway.page.desk import Desk, Visit, see_other, told
from gateway.page.forms import Form
from gateway.page.office import pays_by_invoice
from gateway.page.refill import RefillOrder
from gateway.v1 import credits_pb2 as pb

log = structlog.get_logger(__name__)

_KEY_BYTES: Final = 18

_REFILL_PROBLEMS: Final = {
    "late": "The payment was not through yet when you ordered it. Now that it is, you can turn it on.",
    "failed": "The purchase is not affected. Turn it on there.",
}
"""By what the address of the receipt says: words in it could be anybody's."""


class PurchasePages:
    """The way to more credits."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[BaseRoute]:
        """The paths."""
        route = self._desk.route
        return [
            route("/offices/{office_id}/purchases/new", self._choose),
            route("/offices/{office_id}/purchases/review", self._begin),
            route("/offices/{office_id}/purchases/{key}", self._show, self._confirm),
        ]

    async def _choose(self, visit: Visit) -> Response:
        return await self._choices(visit, await self._desk.office(visit), await self._desk.cards(visit), Form({}))

    async def _choices(
        self,
        visit: Visit,
        office: pb.Office,
        cards: list[pb.PaymentMethod],
        form: Form,
        refused: InvalidArgument | None = None,
    ) -> Response:
        """What can be chosen; after a choice that cannot be, with all of it kept, and what is wrong."""
        latest = await self._desk.of.purchases.latest(office.office_id, visit.identity)
        seen = "" if latest is None else latest.purchase_id
        return visit.page(
            "purchase_choose.html",
            status=200 if refused is None else 400,
            office=office,
            cards=[card for card in cards if can_pay(card)],
            unconfirmed=[card for card in cards if not can_pay(card) and not card.locked],
            amounts=await self._offered(visit),
            by_invoice=pays_by_invoice(office),
            seen=seen if refused is None else form.text("seen"),
            form=form,
            problem="" if refused is None else told(refused),
            field="" if refused is None else refused.field,
        )

    async def _begin(self, visit: Visit) -> Response:
        """Give the purchase its address; the browser forgets the way here, so that Back does not make another one."""
        query = visit.query
        office, cards = await self._desk.office(visit), await self._desk.cards(visit)
        try:
            _Order.read(query, office, cards, await self._offered(visit))
        except InvalidArgument as refused:
            return await self._choices(visit, office, cards, query, refused)
        fields = {name: query.text(name) for name in ("amount", "card", "refill", "threshold", "refill_amount", "seen")}
        key = secrets.token_urlsafe(_KEY_BYTES)
        given = urlencode({name: value for name, value in fields.items() if value})
        return see_other(f"/offices/{office.office_id}/purchases/{key}?{given}")

    async def _show(self, visit: Visit) -> Response:
        # First, so that the balance of a receipt is one of after the purchase.
        standing = await self._standing(visit)
        office = await self._desk.office(visit)
        if standing is not None:
            return _tell(visit, office, standing)
        cards = await self._desk.cards(visit)
        try:
            order = _Order.read(visit.query, office, cards, await self._offered(visit))
        except InvalidArgument as refused:
            return await self._choices(visit, office, cards, visit.query, refused)
        return await self._review(visit, office, order, visit.query)

    async def _review(
        self, visit: Visit, office: pb.Office, order: "_Order", form: Form, *, status: int = 200, problem: str = ""
    ) -> Response:
        latest = await self._desk.of.purchases.latest(office.office_id, visit.identity)
        return visit.page(
            "purchase_review.html",
            status=status,
            office=office,
            order=order,
            latest=latest if _is_news(latest, visit, form) else None,
            seen="" if latest is None else latest.purchase_id,
            problem=problem,
        )

    async def _confirm(self, visit: Visit) -> Response:
        form, office_id, key = visit.form, visit.param("office_id"), visit.param("key")
        if await self._standing(visit) is not None:
            return see_other(self._address(visit))
        office, cards = await self._desk.office(visit), await self._desk.cards(visit)
        try:
            order = _Order.read(form, office, cards, await self._offered(visit))
        except InvalidArgument as refused:
            return await self._choices(visit, office, cards, form, refused)
        latest = await self._desk.of.purchases.latest(office_id, visit.identity)
        if _is_news(latest, visit, form):
            return await self._review(visit, office, order, form, status=409)
        request = pb.AddCreditsRequest(
            office_id=office_id,
            amount_micros=order.amount_micros,
            payment_method_id="" if order.card is None else order.card.payment_method_id,
            idempotency_key=key,
        )
        problem = ""
        try:
            await self._desk.of.purchases.add(request, visit.identity)
        except (ConfirmationRequired, ChargeUndecided):
            # The page of the purchase says so, and what to do. A refill would charge the card a second time now, since
            # the funds are as low as before.
            problem = "late" if order.refill is not None else ""
        except FailedPrecondition as refused:
            if await self._standing(visit) is None:
                # Nothing was written down, so the key is free: another card may be chosen, or the amount.
                return await self._review(visit, office, order, form, status=400, problem=told(refused))
            return see_other(self._address(visit))
        except Unavailable as fault:
            return visit.page("purchase_unknown.html", status=503, office=office, text=told(fault))
        else:
            problem = await self._set_refill(visit, request, order.refill)
        return see_other(self._address(visit) + (f"?{urlencode({'refill_problem': problem})}" if problem else ""))

    async def _set_refill(self, visit: Visit, bought: pb.AddCreditsRequest, refill: RefillOrder | None) -> str:
        """Turn automatic refill on where it was asked for; what keeps it off undoes no purchase, and is told."""
        if refill is None:
            return ""
        request = pb.SetAutoRefillRequest(
            office_id=bought.office_id,
            enabled=True,
            threshold_micros=refill.threshold_micros,
            amount_micros=refill.amount_micros,
            payment_method_id=bought.payment_method_id,
        )
        try:
            await self._desk.of.offices.set_auto_refill(request, visit.identity)
        except TollgateError as fault:
            log.warning("page_refill_not_set", office_id=bought.office_id, reason=fault.reason, error=fault.message)
            return "failed"
        return ""

    async def _offered(self, visit: Visit) -> Sequence[int]:
        offered = await self._desk.of.purchases.offered(pb.ListOfferedAmountsRequest(), visit.identity)
        return offered.amounts_micros

    async def _standing(self, visit: Visit) -> Standing | None:
        key = visit.param("key")
        validate_id(key, "key")
        return await self._desk.of.purchases.standing(visit.param("office_id"), key, visit.identity)

    @staticmethod
    def _address(visit: Visit) -> str:
        return f"/offices/{visit.param('office_id')}/purchases/{visit.param('key')}"


def _is_news(latest: Purchase | None, visit: Visit, form: Form) -> bool:
    """Whether something was bought since the form was opened, by whomever: they may not know of it.

    This very purchase is none: the same form, sent twice at once, may have made it a moment ago.
    """
    if latest is None or latest.idempotency_key == visit.param("key"):
        return False
    return latest.purchase_id != form.text("seen")


@dataclass(frozen=True, slots=True)
class _Order:
    """What was chosen, all of which is on the page to choose from; without a card it goes on the invoice."""

    amount_micros: int
    card: pb.PaymentMethod | None
    refill: RefillOrder | None

    @classmethod
    def read(cls, form: Form, office: pb.Office, cards: Sequence[pb.PaymentMethod], offered: Sequence[int]) -> "_Order":
        """Read it.

        Raises:
            InvalidArgument: Something of it cannot be had, or not any more.
        """
        amount_micros = form.micros("amount")
        if amount_micros not in offered:
            raise InvalidArgument("amount", "must be one of the amounts on the page: choose one")
        by_card = not pays_by_invoice(office)
        card = next((card for card in cards if card.payment_method_id == form.text("card") and can_pay(card)), None)
        if by_card and card is None:
            raise InvalidArgument("card", "must be one of the cards on the page: choose one")
        refill = None
        if form.is_on("refill"):
            refill = RefillOrder.read(
                form, office.currency, threshold="threshold", amount="refill_amount", by_card=by_card
            )
        return cls(amount_micros, card if by_card else None, refill)


def _tell(visit: Visit, office: pb.Office, standing: Standing) -> Response:
    """How a purchase stands: bought, waiting for somebody, or refused."""
    purchase, charge = standing.purchase, standing.charge
    if purchase.status is PurchaseStatus.DECLINED:
        kind = "refused"
    elif purchase.credit_number is not None:
        kind = "bought" if standing.is_credited else "paid"
    elif charge is not None and charge.status is ChargeStatus.ACTION_REQUIRED:
        kind = "confirm"
    else:
        kind = "undecided"
    if "hx-request" in visit.request.headers and visit.query.text("shown") == kind:
        # To the page that looks every now and then: as it was. It keeps the focus, and is not read out once more.
        return Response(status_code=204)
    is_on = office.refill.state != pb.REFILL_STATE_OFF
    return visit.page(
        "purchase.html",
        office=office,
        purchase=purchase,
        charge=charge,
        kind=kind,
        refill_problem="" if is_on else _REFILL_PROBLEMS.get(visit.query.text("refill_problem"), ""),
    )

"""Payment methods: cards added on the provider's own page, confirmed by the amount of a small charge, removed."""

from starlette.responses import Response
from starlette.routing import BaseRoute

from gateway.api.credits.payment_methods import MAX_ANSWER_MICROS
from gateway.billing.errors import ChargeUndecided
from gateway.domain.money import format_amount
from gateway.errors import FailedPrecondition, InvalidArgument, NotFound
from gateway.page.desk import Desk, Visit, see_other, told
from gateway.page.forms import Form
from gateway.v1 import credits_pb2 as pb


def can_pay(card: pb.PaymentMethod) -> bool:
    """Whether a card can be chosen; that it has not expired is seen when it is charged."""
    return card.confirmed and not card.locked


class CardPages:
    """The cards of an office.

    Args:
        desk: What pages have in common.
        public_url: Where the provider's page sends browsers back to.
    """

    def __init__(self, desk: Desk, public_url: str) -> None:
        self._desk = desk
        self._public_url = public_url

    def routes(self) -> list[BaseRoute]:
        """The paths."""
        route = self._desk.route
        return [
            route("/offices/{office_id}/cards", self._show),
            # By GET and not by a form: a form of ours may lead to no other site, a link may.
            route("/offices/{office_id}/cards/new", self._enter),
            route("/offices/{office_id}/cards/entered", self._entered),
            route("/offices/{office_id}/cards/{card_id}/confirm", post=self._confirm),
            route("/offices/{office_id}/cards/{card_id}/resume", post=self._resume),
            route("/offices/{office_id}/cards/{card_id}/remove", self._ask_to_remove, self._remove),
        ]

    async def _show(self, visit: Visit) -> Response:
        return await self._list(visit)

    async def _list(self, visit: Visit, *, problem: str = "", status: int = 200, wrong_card: str = "") -> Response:
        return visit.page(
            "cards.html",
            status=status,
            office=await self._desk.office(visit),
            cards=await self._desk.cards(visit),
            problem=problem,
            wrong_card=wrong_card,
            done=visit.query.text("done"),
        )

    async def _enter(self, visit: Visit) -> Response:
        here = self._public_url + self._path(visit)
        try:
            url = await self._desk.of.payment_methods.begin_entry(
                visit.param("office_id"), f"{here}/entered", here, visit.identity
            )
        except FailedPrecondition as refused:
            return await self._list(visit, problem=told(refused), status=400)
        return see_other(url)

    async def _entered(self, visit: Visit) -> Response:
        entry = visit.query.text("entry")
        try:
            await self._desk.of.payment_methods.finish_entry(visit.param("office_id"), entry, visit.identity)
        except (FailedPrecondition, InvalidArgument) as refused:
            return await self._list(visit, problem=told(refused), status=400)
        except ChargeUndecided:
            return see_other(f"{self._path(visit)}?done=undecided")
        return see_other(f"{self._path(visit)}?done=added")

    async def _confirm(self, visit: Visit) -> Response:
        card_id = visit.param("card_id")
        try:
            request = pb.ConfirmPaymentMethodRequest(
                office_id=visit.param("office_id"),
                payment_method_id=card_id,
                amount_micros=_answer(visit.form),
            )
            await self._desk.of.payment_methods.confirm(request, visit.identity)
        except (FailedPrecondition, InvalidArgument, NotFound) as refused:
            return await self._list(visit, problem=told(refused), status=400, wrong_card=card_id)
        return see_other(f"{self._path(visit)}?done=confirmed")

    async def _resume(self, visit: Visit) -> Response:
        """Go on with a card whose owner has agreed at their bank, or whose small charge did not come."""
        try:
            await self._desk.of.payment_methods.resume(visit.param("office_id"), visit.param("card_id"), visit.identity)
        except (FailedPrecondition, InvalidArgument, NotFound) as refused:
            return await self._list(visit, problem=told(refused), status=400)
        except ChargeUndecided:
            return see_other(f"{self._path(visit)}?done=undecided")
        return see_other(self._path(visit))

    async def _ask_to_remove(self, visit: Visit) -> Response:
        card_id = visit.param("card_id")
        card = next((each for each in await self._desk.cards(visit) if each.payment_method_id == card_id), None)
        if card is None:
            return see_other(self._path(visit))
        return visit.page("card_remove.html", office=await self._desk.office(visit), card=card)

    async def _remove(self, visit: Visit) -> Response:
        request = pb.RemovePaymentMethodRequest(
            office_id=visit.param("office_id"), payment_method_id=visit.param("card_id")
        )
        try:
            await self._desk.of.payment_methods.remove(request, visit.identity)
        except (FailedPrecondition, NotFound) as refused:
            return await self._list(visit, problem=told(refused), status=400)
        return see_other(f"{self._path(visit)}?done=removed")

    @staticmethod
    def _path(visit: Visit) -> str:
        return f"/offices/{visit.param('office_id')}/cards"


def _answer(form: Form) -> int:
    """The amount of a small charge as its owner tells it.

    Raises:
        InvalidArgument: It can be none, so that it is not counted as an answer.
    """
    amount_micros = form.amount("amount")
    if not 1 <= amount_micros <= MAX_ANSWER_MICROS:
        raise InvalidArgument(
            "amount", f"must be more than 0 and at most {format_amount(MAX_ANSWER_MICROS)}; it was not counted"
        )
    return amount_micros

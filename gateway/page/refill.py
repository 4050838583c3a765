"""Automatic refill of an office: on or off, below what, by how much, from which card."""

from dataclasses import dataclass
from typing import Self

from starlette.responses import Response
from starlette.routing import BaseRoute

from gateway.domain.minor_units import minor_unit_micros
from gateway.domain.money import format_amount
from gateway.errors import FailedPrecondition, InvalidArgument, NotFound
from gateway.page.cards import can_pay
from gateway.page.desk import Desk, Visit, see_other, told
from gateway.page.forms import Form
from gateway.page.office import pays_by_invoice
from gateway.v1 import credits_pb2 as pb


@dataclass(frozen=True, slots=True)
class RefillOrder:
    """What people say of a refill, in units of the currency and not in micros, as they are told."""

    threshold_micros: int
    amount_micros: int

    @classmethod
    def read(cls, form: Form, currency: str, *, threshold: str, amount: str, by_card: bool) -> Self:
        """Read it from two fields of a form.

        Args:
            form: What was sent.
            currency: Of the office.
            threshold: The name of the field of what the funds go below.
            amount: That of what is added then.
            by_card: Whether a card pays, which cannot be charged with less than the smallest coin.

        Raises:
            InvalidArgument: One of them is none, or the two do not go together.
        """
        order = cls(form.amount(threshold), form.amount(amount))
        for name, micros in ((threshold, order.threshold_micros), (amount, order.amount_micros)):
            if micros <= 0:
                raise InvalidArgument(name, "must be more than 0")
        if order.amount_micros < order.threshold_micros:
            least = format_amount(order.threshold_micros)
            raise InvalidArgument(amount, f"what is added must be at least what the funds go below, {least}")
        if by_card and order.amount_micros % (coin := minor_unit_micros(currency)):
            least = format_amount(coin, decimals=0)
            raise InvalidArgument(amount, f"what is added must be a multiple of {least}, or no card can be charged")
        return order


class RefillPage:
    """The settings of the refill."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> list[BaseRoute]:
        """The paths."""
        return [self._desk.route("/offices/{office_id}/refill", self._show, self._save)]

    async def _show(self, visit: Visit) -> Response:
        return await self._page(visit, None)

    async def _save(self, visit: Visit) -> Response:
        form, card_id = visit.form, visit.form.text("card")
        office = await self._desk.office(visit)
        try:
            order = RefillOrder.read(
                form, office.currency, threshold="threshold", amount="amount", by_card=bool(card_id)
            )
            request = pb.SetAutoRefillRequest(
                office_id=office.office_id,
                enabled=form.is_on("enabled"),
                threshold_micros=order.threshold_micros,
                amount_micros=order.amount_micros,
                payment_method_id=card_id,
            )
            await self._desk.of.offices.set_auto_refill(request, visit.identity)
        except (InvalidArgument, FailedPrecondition, NotFound) as refused:
            return await self._page(visit, form, status=400, problem=told(refused), field=refused.field or "")
        return see_other(f"/offices/{visit.param('office_id')}/refill?done=1")

    async def _page(
        self, visit: Visit, form: Form | None, *, status: int = 200, problem: str = "", field: str = ""
    ) -> Response:
        office, cards = await self._desk.office(visit), await self._desk.cards(visit)
        return visit.page(
            "refill.html",
            status=status,
            office=office,
            cards=[card for card in cards if can_pay(card)],
            by_invoice=pays_by_invoice(office),
            form=form,
            problem=problem,
            field=field,
            done=visit.query.is_on("done"),
        )

"""Automatic refill of an office: on or off, below what, by how much, from which card."""

from starlette.responses import Response
from starlette.routing import BaseRoute

from gateway.errors import FailedPrecondition, InvalidArgument
from gateway.page.cards import can_pay
from gateway.page.desk import Desk, Visit, see_other, told
from gateway.page.forms import Form
from gateway.page.office import pays_by_invoice
from gateway.v1 import credits_pb2 as pb


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
        form = visit.form
        try:
            request = pb.SetAutoRefillRequest(
                office_id=visit.param("office_id"),
                enabled=form.is_on("enabled"),
                threshold_micros=form.amount("threshold"),
                amount_micros=form.amount("amount"),
                payment_method_id=form.text("card"),
            )
            await self._desk.of.offices.set_auto_refill(request, visit.identity)
        except (InvalidArgument, FailedPrecondition) as refused:
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

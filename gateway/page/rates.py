"""Rates: what a call or message from here to there would cost now, and why."""

from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from gateway.api.credits.rate_lookup import RateLookup, RateQuestion
from gateway.domain.vocabulary import Direction, License, MessageKind, Service
from gateway.errors import InvalidArgument
from gateway.page.desk import Desk, Visit, told
from gateway.page.forms import Form

_SERVICES: Final[dict[str, Service | MessageKind]] = {
    "voice": Service.VOICE,
    "fax": Service.FAX,
    "sms": MessageKind.SMS,
    "mms": MessageKind.MMS,
}
_DIRECTIONS: Final = {"outbound": Direction.OUTBOUND, "inbound": Direction.INBOUND}
_LICENSES: Final = {
    "standard": License.STANDARD,
    "contact_center": License.CONTACT_CENTER,
    "sales": License.SALES,
}
_MOST_MINUTES: Final = 1_440
_MINUTES: Final = 5
_LONGEST_NUMBER: Final = 64


class RatesPage:
    """Looks prices up.

    Args:
        desk: What pages have in common.
        lookup: Knows the prices.
    """

    def __init__(self, desk: Desk, lookup: RateLookup) -> None:
        self._desk = desk
        self._lookup = lookup

    def routes(self) -> list[BaseRoute]:
        """The paths."""
        return [self._desk.route("/offices/{office_id}/rates", self._show)]

    async def _show(self, visit: Visit) -> Response:
        office = await self._desk.office(visit)
        query = visit.query
        answer, problem, field = None, "", ""
        if query.text("called"):
            try:
                answer = await self._lookup.look_up(_question(office.office_id, query), visit.identity)
            except InvalidArgument as refused:
                problem, field = told(refused), refused.field
        return visit.page(
            "rates.html",
            status=400 if problem else 200,
            office=office,
            query=query,
            answer=answer,
            problem=problem,
            field=field,
            minutes=query.text("minutes") or str(_MINUTES),
            is_message=isinstance(_SERVICES.get(query.text("service")), MessageKind),
        )


def _question(office_id: str, query: Form) -> RateQuestion:
    return RateQuestion(
        office_id=office_id,
        called_number=_number(query, "called"),
        calling_number=_number(query, "calling"),
        service=query.choice("service", _SERVICES, Service.VOICE),
        direction=query.choice("direction", _DIRECTIONS, Direction.OUTBOUND),
        license=query.choice("license", _LICENSES, License.STANDARD),
        duration_seconds=_whole(query, "minutes", _MINUTES, _MOST_MINUTES) * 60,
        segments=_whole(query, "segments", 1, 255),
    )


def _number(query: Form, name: str) -> str:
    text = query.text(name)
    if len(text) > _LONGEST_NUMBER:
        raise InvalidArgument(f"{name}_number", "is too long for a number")
    return text


def _whole(query: Form, name: str, usual: int, most: int) -> int:
    text = query.text(name) or str(usual)
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= most):
        raise InvalidArgument(name, f"must be a whole number from 1 to {most}")
    return int(text)

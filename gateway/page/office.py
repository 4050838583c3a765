"""Calling Credits of an office: its funds and its calls as they move, what came in, and what needs attention."""

import asyncio
import itertools
from collections.abc import AsyncGenerator
from typing import Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from gateway.ledger.open_refills import OpenRefills, RefillFailure
from gateway.ledger.usage import Usage
from gateway.page.desk import Desk, Visit
from gateway.page.formats import is_low
from gateway.page.live import Event, LiveStreams
from gateway.page.rendering import render_part
from gateway.v1 import credits_pb2 as pb

LOOK_EVERY_SECONDS: Final = 1.0
"""Between two looks at an office that somebody watches: cost ticks by the minute, calls come by the second."""

_NOTICE_EVERY: Final = 5
"""Looks between two at what needs attention: it takes the ledger some 20 ms to say."""

CALLS_SHOWN: Final = 50
_RECENT: Final = 5
_BLOCKED_WITHIN_MS: Final = 24 * 3600 * 1000


class Notice:
    """What a banner says: `kind` is the name of a block of parts/notice.html."""

    def __init__(
        self, kind: str, *, failure: RefillFailure | None = None, blocked: int = 0, confirmation_url: str = ""
    ) -> None:
        self.kind = kind
        self.failure = failure
        self.blocked = blocked
        self.confirmation_url = confirmation_url


class OfficePage:
    """The page of one office.

    Args:
        desk: What pages have in common.
        refills: Say why the last refill failed.
        usage: Says whether messages were blocked.
        streams: Keep the page up to date.
    """

    def __init__(self, desk: Desk, refills: OpenRefills, usage: Usage, streams: LiveStreams) -> None:
        self._desk = desk
        self._refills = refills
        self._usage = usage
        self._streams = streams

    def routes(self) -> list[BaseRoute]:
        """The paths."""
        route = self._desk.route
        return [route("/offices/{office_id}", self._show), route("/offices/{office_id}/live", self._live)]

    async def _show(self, visit: Visit) -> Response:
        office = await self._desk.office(visit)
        calls, notice, recent = await asyncio.gather(self._calls(visit), self._notice(office), self._recent(visit))
        return visit.page("office.html", office=office, calls=calls, notice=notice, recent=recent)

    async def _live(self, visit: Visit) -> Response:
        await self._desk.office(visit)  # Whoever may not see it hears so at once, and not by an event.
        return self._streams.response(visit, self._events(visit))

    async def _events(self, visit: Visit) -> AsyncGenerator[Event, None]:
        """The parts of the page as they are; the stream sends none twice."""
        notice: Notice | None = None
        for look in itertools.count():
            office, calls = await self._desk.office(visit), await self._calls(visit)
            if look % _NOTICE_EVERY == 0:
                notice = await self._notice(office)
            yield Event("notice", render_part("parts/notice.html", visit=visit, office=office, notice=notice))
            yield Event("funds", render_part("parts/funds.html", visit=visit, office=office))
            yield Event("calls", render_part("parts/calls.html", visit=visit, office=office, calls=calls))
            await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _calls(self, visit: Visit) -> pb.ListCallsResponse:
        request = pb.ListCallsRequest(office_id=visit.param("office_id"), page_size=CALLS_SHOWN)
        return await self._desk.of.calls.list(request, visit.identity)

    async def _recent(self, visit: Visit) -> pb.ListTransactionsResponse:
        request = pb.ListTransactionsRequest(office_id=visit.param("office_id"), page_size=_RECENT)
        return await self._desk.of.transactions.list(request, visit.identity)

    async def _notice(self, office: pb.Office) -> Notice | None:
        """The one thing that needs attention most."""
        if office.state == pb.OFFICE_STATE_SUSPENDED:
            return Notice("suspended")
        if office.fraud_guards:
            return Notice("guarded")
        since_ms = self._desk.clock.now_ms() - _BLOCKED_WITHIN_MS
        # Only where funds are short now: a message that was blocked before the last purchase is no news.
        if not is_low(office):
            return None
        failure = await self._refills.last_failure(office.office_id)
        if failure is not None and office.refill.state in (pb.REFILL_STATE_WAITING, pb.REFILL_STATE_OFF):
            return Notice("refill_failed", failure=failure)
        is_pending = office.refill.state == pb.REFILL_STATE_PENDING
        if is_pending and (confirmation_url := await self._refills.confirmation_url(office.office_id)):
            return Notice("refill_asked", confirmation_url=confirmation_url)
        blocked = await self._usage.blocked_messages(office.office_id, since_ms)
        if blocked:
            return Notice("blocked", blocked=blocked)
        if is_pending:
            return Notice("refilling")
        return Notice("low")


def pays_by_invoice(office: pb.Office) -> bool:
    """Whether an office gets invoices instead of being charged by card."""
    return office.payment_terms == pb.PAYMENT_TERMS_INVOICE

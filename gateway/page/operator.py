"""The operator's view: decisions as they are made, why, and the refills that are not through."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from starlette.responses import Response
from starlette.routing import BaseRoute

from gateway.api.credits.refill_queue import RefillQueue
from gateway.feeds.decisions import DecisionFeed, DecisionSample
from gateway.page.charts import columns
from gateway.page.desk import Desk, Visit
from gateway.page.live import Event, LiveStreams
from gateway.page.rendering import render_part

_BARS: Final = 60
"""Seconds that are shown."""

_QUEUE_EVERY: Final = 5
"""Samples between two looks at the queue."""

_QUEUE_SHOWN: Final = 50


class OperatorPage:
    """What an operator watches.

    Args:
        desk: What pages have in common.
        decisions: Of this machine's gateways.
        queue: Refills.
        streams: Keep the page up to date.
    """

    def __init__(self, desk: Desk, decisions: DecisionFeed, queue: RefillQueue, streams: LiveStreams) -> None:
        self._desk = desk
        self._decisions = decisions
        self._queue = queue
        self._streams = streams

    def routes(self) -> list[BaseRoute]:
        """The paths."""
        return [self._desk.route("/operator", self._show), self._desk.route("/operator/live", self._live)]

    async def _show(self, visit: Visit) -> Response:
        visit.identity.may_operate()
        return visit.page("operator.html", **self._load(), queue=await self._queue.list(visit.identity, _QUEUE_SHOWN))

    async def _live(self, visit: Visit) -> Response:
        visit.identity.may_operate()
        return self._streams.response(visit, self._events(visit))

    async def _events(self, visit: Visit) -> AsyncGenerator[Event, None]:
        taken = 0
        async with aclosing(self._decisions.watch()) as samples:
            async for _ in samples:
                yield Event("load", render_part("parts/load.html", **self._load()))
                if taken % _QUEUE_EVERY == 0:
                    queue = await self._queue.list(visit.identity, _QUEUE_SHOWN)
                    yield Event("queue", render_part("parts/queue.html", queue=queue, currency=self._desk.currency))
                taken += 1

    def _load(self) -> dict[str, Any]:
        history = self._decisions.history()
        latest: DecisionSample | None = history[-1] if history else None
        shown = history[-_BARS:]
        by_reason = sorted(latest.by_reason.items(), key=lambda item: -item[1]) if latest is not None else []
        return {
            "latest": latest,
            "by_reason": by_reason,
            # As wide from the first second on: what was not seen is nothing, on the left.
            "bars": columns(
                [("", 0)] * (_BARS - len(shown)) + [(str(sample.at_ms), round(sample.per_second)) for sample in shown]
            ),
            "currency": self._desk.currency,
        }

"""Server-sent events (WHATWG HTML, section 9.2): parts of a page that replace those of before, rendered here."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final, NamedTuple

from starlette.responses import Response, StreamingResponse

from gateway.errors import TollgateError, Unauthenticated, Unavailable
from gateway.page.desk import Desk, Visit, told

MAX_STREAMS: Final = 500
"""Of one back: half of the connections that its server takes, so that pages go on to be answered."""

RECHECK_SECONDS: Final = 5.0
"""How often it is seen whether the session of a stream is still good."""

_RETRY_MS: Final = 2_000
_PING: Final = b": still there\n\n"


class Event(NamedTuple):
    """A part of the page: which, and its HTML now."""

    name: str
    html: str

    def encoded(self) -> bytes:
        """As it goes over the wire; a line of its own for each of the text's.

        A part that is empty now has an empty line: an event without data is none to a browser, and the part would stay.
        """
        lines = "".join(f"data: {line}\n" for line in self.html.splitlines() or [""])
        return f"event: {self.name}\n{lines}\n".encode()


class LiveStreams:
    """The streams of this back.

    Args:
        desk: Says whose session is still good.
    """

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open = 0
        self._ending = asyncio.Event()

    def end(self) -> None:
        """End every stream, and each that is opened from now on: the server stops. Browsers come back by themselves."""
        self._ending.set()

    def response(self, visit: Visit, events: AsyncGenerator[Event, None]) -> Response:
        """Answer with the events, each part only when it differs from what was sent of it before.

        Past MAX_STREAMS a page stays as it is until it is loaded anew: 204 tells a browser not to come again.
        """
        if self._open >= MAX_STREAMS:
            return Response(status_code=204)
        headers = {"x-accel-buffering": "no"}
        return StreamingResponse(self._stream(visit, events), media_type="text/event-stream", headers=headers)

    async def _stream(self, visit: Visit, events: AsyncGenerator[Event, None]) -> AsyncGenerator[bytes, None]:
        self._open += 1
        sent: dict[str, str] = {}
        try:
            async with aclosing(events):
                yield f"retry: {_RETRY_MS}\n\n".encode()
                checked_at = asyncio.get_running_loop().time()
                while not self._ending.is_set():
                    event = await self._next(events)
                    if event is None:
                        return
                    if event.html != sent.get(event.name):
                        sent[event.name] = event.html
                        yield event.encoded()
                    now = asyncio.get_running_loop().time()
                    if now - checked_at >= RECHECK_SECONDS:
                        checked_at = now
                        # Also what tells a proxy, and us, that the other end is still there.
                        yield _PING
                        await self._desk.identify(visit.session)
        except Unauthenticated:
            yield Event("gone", "Your session has ended: sign in again.").encoded()
        except Unavailable:
            return  # The browser comes again in a while, and keeps what it shows until then.
        except TollgateError as fault:
            yield Event("gone", told(fault)).encoded()
        finally:
            self._open -= 1

    async def _next(self, events: AsyncGenerator[Event, None]) -> Event | None:
        """The next event; None once the server stops."""
        coming = asyncio.ensure_future(anext(events, None))
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait([coming, ending], return_when=asyncio.FIRST_COMPLETED)
            return coming.result() if coming.done() else None
        finally:
            ending.cancel()
            if not coming.done():
                coming.cancel()
                await asyncio.gather(coming, return_exceptions=True)

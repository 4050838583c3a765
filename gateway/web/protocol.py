"""HTTP/1.1 of uvicorn on httptools, with limits to what comes before a request is one.

The parser is C and quicker than h11, but it keeps what it reads for as long as it reads: a head without an end, or one
that comes byte by byte, would hold memory and a connection for ever. Bodies have limits of their own (middleware.py),
and uvicorn's keep-alive time-out ends connections that are idle between requests.
"""

import asyncio
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 64 * 1024
HEAD_SECONDS: Final = 10.0


class BoundedHttpProtocol(HttpToolsProtocol):
    """Refuses a head that is too long, and closes the connection on one that takes too long."""

    _pending = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """A client is there; its first request has to come."""
        super().connection_made(transport)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; the callbacks below say what became of them."""
        self._pending += len(data)
        super().data_received(data)
        # Head, trailers, extensions of chunks: whatever is neither a whole head nor a part of a body.
        if self._pending > MAX_HEAD_BYTES:
            self.send_400_response(f"The head has more than {MAX_HEAD_BYTES} bytes: send less.")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._wait_for_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is there."""
        self._pending = 0
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of its body is."""
        self._pending = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """All of it is."""
        self._pending = 0
        super().on_message_complete()

    def _wait_for_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        self.transport.close()

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

"""What every request passes on its way in and out: counted, kept small and quick, and answered with safe headers."""

import asyncio
from collections.abc import Mapping
from typing import Final

import structlog
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.errors import Internal
from gateway.metrics import count_http_request
from gateway.request_context import REQUEST_ID, request_id, request_id_from
from gateway.web.errors import error_response

log = structlog.get_logger(__name__)

MAX_BODY_BYTES: Final = 64 * 1024
BODY_SECONDS: Final = 30.0
"""How long a body may take to come; whoever sends it byte by byte keeps no connection open longer."""

NO_ROUTE: Final = "none"
_REQUEST_ID: Final = REQUEST_ID.encode()

SECURITY_HEADERS: Final = {
    # Styles, scripts and pictures of our own only, nothing inline; nobody may frame a page that asks for consent.
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # To ourselves only: without it browsers would not say from where a form of ours was posted either.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}


class RequestIds:
    """Gives each request its id: the caller's, or one that is made here; it is in the log and in the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request under its id."""
        given = next((value for name, value in scope["headers"] if name == _REQUEST_ID), b"")
        chosen = request_id_from(given.decode("latin-1"))

        async def add_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = chosen
            await send(message)

        before = request_id.set(chosen)
        try:
            await self._app(scope, receive, add_id)
        finally:
            request_id.reset(before)


class Observed:
    """Counts requests by route and status class, and turns what nobody caught into a 500 without its words."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and count it."""
        status = 0

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # Before it is sent, so that who has the answer finds it counted.
                count_http_request(route_of(scope), status)
            await send(message)

        try:
            await self._app(scope, receive, observe)
        except Exception:
            log.exception("http_failed", route=route_of(scope))
            if status:
                raise  # The answer has begun: all that is left is to cut it off.
            await error_response(scope, Internal())(scope, receive, observe)
        finally:
            if not status:
                count_http_request(route_of(scope), status)


def route_of(scope: Scope) -> str:
    """The route that a request took, as it is written in the code: a metric must not grow with what people type."""
    route = scope.get("route")
    return route.path if isinstance(route, Route | Mount) else NO_ROUTE


class SecurityHeaders:
    """Adds to each response what a browser is to hold itself to, where the response does not say so itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with those headers."""

        async def add_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, add_headers)


class BodyLimit:
    """Refuses bodies that are too large, whether they say so or not, and those that take too long to come.

    Args:
        app: What answers.
        limits: In bytes, of paths where MAX_BODY_BYTES is not the limit.
    """

    def __init__(self, app: ASGIApp, limits: Mapping[str, int]) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request whose body keeps to the limit."""
        limit = self._limits.get(scope["path"], MAX_BODY_BYTES)
        body = _Body(receive, limit, _announced(scope))
        await self._app(scope, body.receive, send)


class _Body:
    """The body of one request as it comes in."""

    def __init__(self, receive: Receive, limit: int, announced: int) -> None:
        self._receive = receive
        self._limit = limit
        self._size = announced
        self._deadline: float | None = None
        self._has_ended = False

    async def receive(self) -> Message:
        """The next part; afterwards, that the client is gone, for which there is no hurry.

        Raises:
            HTTPException: 413, it is too large; 408, it did not come in time.
        """
        if self._has_ended:
            return await self._receive()
        self._check_size()
        if self._deadline is None:
            self._size = 0  # From here on it is counted.
            self._deadline = asyncio.get_running_loop().time() + BODY_SECONDS
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise HTTPException(408, f"The body did not come within {BODY_SECONDS:g} s: send it again.") from error
        self._size += len(message.get("body", b""))
        self._has_ended = not message.get("more_body", False)
        self._check_size()
        return message

    def _check_size(self) -> None:
        if self._size > self._limit:
            raise HTTPException(413, f"The body has more than {self._limit} bytes: send less.")


def _announced(scope: Scope) -> int:
    """The Content-Length, of which the parser has seen that it is a number; 0 without one."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)
    return 0

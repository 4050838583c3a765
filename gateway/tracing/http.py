"""Requests that come in by HTTP, traced: hooks, webhooks and pages."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.request_context import TRACEPARENT, request_id
from gateway.tracing.tracer import Kind, Tracer
from gateway.web.middleware import route_of

_SERVER_FAULT: Final = 500
_TRACEPARENT: Final = TRACEPARENT.encode()


class TracedHttp:
    """Requests over HTTP, a span for each: hooks, webhooks and pages.

    Args:
        app: What answers.
        tracer: Records.
    """

    def __init__(self, app: ASGIApp, tracer: Tracer) -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        beginning = self._tracer.sampled(_traceparent(scope))
        if beginning is None:
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        with self._tracer.span(
            method, kind=Kind.SERVER, beginning=beginning, attributes={"http.request.method": method}
        ) as span:

            async def observe(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set("http.response.status_code", message["status"])
                    if message["status"] >= _SERVER_FAULT:
                        span.fail(str(message["status"]))
                await send(message)

            try:
                await self._app(scope, receive, observe)
            finally:
                # Only now is it known: what people type is neither a name nor an attribute.
                route = route_of(scope)
                span.rename(f"{method} {route}")
                span.set("http.route", route)
                span.set("tollgate.request_id", request_id.get())


def _traceparent(scope: Scope) -> str:
    return next((str(value, "latin-1") for name, value in scope["headers"] if name == _TRACEPARENT), "")

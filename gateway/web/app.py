"""The HTTP application: routes put behind what every request passes."""

from collections.abc import Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from gateway.errors import TollgateError
from gateway.web.errors import answer_fault, answer_http_exception
from gateway.web.middleware import BodyLimit, Observed, RequestIds, SecurityHeaders


def make_app(
    routes: Sequence[BaseRoute], *, body_limits: Mapping[str, int], around: Sequence[Middleware] = ()
) -> ASGIApp:
    """Put routes together.

    Args:
        routes: Of all parts of the gateway that are on HTTP.
        body_limits: The largest body in bytes, by path, where the usual limit is not the right one.
        around: What else every request passes, once it has its id.
    """
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(RequestIds),
            *around,
            Middleware(SecurityHeaders),
            Middleware(Observed),
            Middleware(BodyLimit, limits=body_limits),
        ],
        exception_handlers={
            TollgateError: answer_fault,
            HTTPException: answer_http_exception,
            ClientDisconnect: answer_http_exception,
        },
    )

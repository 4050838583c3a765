"""From exceptions to answers: JSON for programs, a page for browsers, and nobody's inner words for either."""

import math
from http import HTTPStatus
from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Scope

from gateway.errors import Internal, RateLimited, TollgateError, Unavailable
from gateway.web.pages import render_page

log = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS: Final = 5

_STATUS: Final = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}
"""As google.api maps gRPC codes to HTTP."""


async def answer_fault(request: Request, error: Exception) -> Response:
    """Answer what an endpoint raised of the tree in gateway/errors.py."""
    fault = error if isinstance(error, TollgateError) else Internal()
    if isinstance(fault, Internal):
        log.error("http_failed", reason=fault.reason, exc_info=error)
    elif isinstance(fault, Unavailable):
        log.warning("http_unavailable", reason=fault.reason, error=repr(fault.__cause__ or fault))
    return error_response(request.scope, fault)


async def answer_http_exception(request: Request, error: Exception) -> Response:
    """Answer what the router or a limit refused."""
    if isinstance(error, ClientDisconnect):
        error = HTTPException(400, "The request was broken off.")
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    # The router gives the status's phrase only; that is no cure.
    message = error.detail if error.detail != status.phrase else status.description or status.phrase
    return _respond(request.scope, status, status.name, message, headers=dict(error.headers or {}))


def status_of(error: TollgateError) -> HTTPStatus:
    """How HTTP says it."""
    return HTTPStatus(_STATUS[error.code])


def error_response(scope: Scope, error: TollgateError) -> Response:
    """The answer that tells a fault, with its reason and its cure."""
    status = status_of(error)
    headers = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["retry-after"] = str(RETRY_AFTER_SECONDS)
    elif isinstance(error, RateLimited):
        headers["retry-after"] = str(math.ceil(error.retry_after_seconds))
    elif status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return _respond(scope, status, error.reason, error.message, field=error.field, headers=headers)


def _respond(
    scope: Scope,
    status: HTTPStatus,
    reason: str,
    message: str,
    *,
    field: str | None = None,
    headers: dict[str, str],
) -> Response:
    if "text/html" in Request(scope).headers.get("accept", ""):
        return render_page("message.html", status=status, headers=headers, title=status.phrase, text=message)
    told = {"reason": reason, "message": message}
    if field is not None:
        told["field"] = field
    return JSONResponse({"error": told}, status_code=status, headers=headers)

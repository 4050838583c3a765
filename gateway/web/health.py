"""Health over HTTP: whether the process lives, and whether it can answer in full."""

from collections.abc import Callable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import BaseRoute, Route


def health_routes(is_ready: Callable[[], bool]) -> Sequence[BaseRoute]:
    """/health/live and /health/ready.

    Args:
        is_ready: Whether requests can be answered in full now.
    """

    async def live(_request: Request) -> JSONResponse:
        return JSONResponse({"status": "live"})

    async def ready(_request: Request) -> JSONResponse:
        if is_ready():
            return JSONResponse({"status": "ready"})
        return JSONResponse({"status": "not ready"}, status_code=503)

    return [Route("/health/live", live), Route("/health/ready", ready)]

"""The routes of the hooks, and of the document that describes them."""

import importlib.resources
from collections.abc import Sequence
from functools import cache
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.hooks.operations import Hooks
from gateway.web.peers import peer_of

OPENAPI_PATH: Final = "/v1/openapi.json"
OPENAPI_FILE: Final = "openapi.json"


def hook_routes(hooks: Hooks) -> Sequence[BaseRoute]:
    """Where switches post."""

    async def hook(request: Request) -> Response:
        token, peer = request.headers.get("authorization", ""), peer_of(request)
        body = await hooks.answer(request.scope["path"], token, peer, await request.body())
        return Response(body, media_type="application/json")

    async def openapi(_: Request) -> Response:
        return Response(_openapi(), media_type="application/json")

    return [*(Route(path, hook, methods=["POST"]) for path in hooks.by_path), Route(OPENAPI_PATH, openapi)]


@cache
def _openapi() -> bytes:
    return (importlib.resources.files("gateway.data") / OPENAPI_FILE).read_bytes()

"""Pages for people: templates of this package, everything in them escaped, and the files that all pages name."""

import hashlib
import importlib.resources
from collections.abc import Mapping
from functools import cache
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC_PATH: Final = "/static"

_KEPT: Final = "public, max-age=31536000, immutable"


@cache
def static_url(name: str) -> str:
    """Where a file of gateway/web/static is: another content has another address, so that browsers may keep it."""
    content = (importlib.resources.files("gateway.web") / "static" / name).read_bytes()
    return f"{STATIC_PATH}/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"


def templates_of(package: str) -> Environment:
    """The templates of a package, in its folder templates: everything in them escaped, and no name forgiven."""
    templates = Environment(
        loader=PackageLoader(package), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    templates.globals["static_url"] = static_url
    return templates


_TEMPLATES: Final = templates_of("gateway.web")


def render_page(
    template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
) -> HTMLResponse:
    """A page made of a template in gateway/web/templates."""
    return HTMLResponse(_TEMPLATES.get_template(template).render(values), status_code=status, headers=headers)


def static_route() -> Mount:
    """The route of the style sheet and the scripts that the pages name."""
    files = _KeptFiles(packages=[("gateway.web", "static")])
    return Mount(STATIC_PATH, GZipMiddleware(files), name="static")


class _KeptFiles(StaticFiles):
    """Files that browsers keep for good when they asked for them by their content."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with a file."""
        response = await super().get_response(path, scope)
        if scope["query_string"].startswith(b"v="):
            response.headers["cache-control"] = _KEPT
        return response

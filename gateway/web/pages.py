"""Pages for people: templates of this package, everything in them escaped."""

from collections.abc import Mapping
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

STATIC_PATH: Final = "/static"

_TEMPLATES: Final = Environment(
    loader=PackageLoader("gateway.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render_page(
    template: str, *, status: int = 200, headers: Mapping[str, str] | None = None, **values: object
) -> HTMLResponse:
    """A page made of a template in gateway/web/templates."""
    return HTMLResponse(_TEMPLATES.get_template(template).render(values), status_code=status, headers=headers)


def static_route() -> Mount:
    """The route of the style sheets and pictures that the pages name."""
    return Mount(STATIC_PATH, StaticFiles(packages=[("gateway.web", "static")]), name="static")

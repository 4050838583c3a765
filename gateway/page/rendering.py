"""Templates of the page, everything in them escaped."""

from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse

from gateway.page.formats import FILTERS, WORDS
from gateway.web.pages import static_url

_TEMPLATES: Final = Environment(
    loader=PackageLoader("gateway.page"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.filters.update(FILTERS)
_TEMPLATES.globals.update(WORDS, static_url=static_url)


def render(template: str, *, status: int = 200, **values: object) -> HTMLResponse:
    """A page made of a template in gateway/page/templates."""
    return HTMLResponse(render_part(template, **values), status_code=status)


def render_part(template: str, **values: object) -> str:
    """A part of a page, as it goes into an event."""
    return _TEMPLATES.get_template(template).render(values)

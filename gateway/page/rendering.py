"""Templates of the page, everything in them escaped."""

from typing import Final

from starlette.responses import HTMLResponse

from gateway.page.charts import SIZES
from gateway.page.formats import FILTERS, WORDS
from gateway.v1 import authorization_pb2, credits_pb2
from gateway.web.pages import templates_of

_TEMPLATES: Final = templates_of("gateway.page")
_TEMPLATES.filters.update(FILTERS)
_TEMPLATES.globals.update(WORDS, **SIZES, pb=credits_pb2, call_pb=authorization_pb2)


def render(template: str, *, status: int = 200, **values: object) -> HTMLResponse:
    """A page made of a template in gateway/page/templates."""
    return HTMLResponse(render_part(template, **values), status_code=status)


def render_part(template: str, **values: object) -> str:
    """A part of a page, as it goes into an event."""
    return _TEMPLATES.get_template(template).render(values)

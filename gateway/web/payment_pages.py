"""Pages that the owner of a card sees on the way of a payment."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.domain.minor_units import format_charge
from gateway.payments.provider import RETURN_PATH, SANDBOX_CONFIRMATION_PATH
from gateway.payments.sandbox import SandboxProvider
from gateway.payments.sandbox_books import Confirmation
from gateway.payments.sandbox_file import Status
from gateway.web.pages import render_page

_ANSWERS: Final = {"approve": True, "refuse": False}


async def _returned(_request: Request) -> Response:
    # What the query claims about the payment is not repeated: anybody can write it. The webhook knows.
    return render_page(
        "message.html",
        title="Thank you",
        text="You may close this page. What has become of the payment is shown where you began it.",
    )


RETURN_ROUTE: Final = Route(RETURN_PATH, _returned)
"""Where browsers come back to from the provider's own pages."""


def sandbox_routes(sandbox: SandboxProvider) -> Sequence[BaseRoute]:
    """The page by which the sandbox asks the owner of a card.

    There is no token to be shown here, nor against forged forms: nobody can guess the id in the link, and whoever has
    it is the one who was to get it.
    """

    async def ask(request: Request) -> Response:
        found = await sandbox.find_confirmation(_asked(request))
        return _page(_existing(found))

    async def answer(request: Request) -> Response:
        form = parse_qs((await request.body()).decode("utf-8", "replace"))
        given = form.get("answer", [""])[0]
        if given not in _ANSWERS:
            raise HTTPException(400, "Say approve or refuse: go back and press one of the two buttons.")
        found = await sandbox.answer_confirmation(_asked(request), approve=_ANSWERS[given])
        _existing(found)
        # So that a reload does not send the answer again.
        return RedirectResponse(RETURN_PATH, status_code=303)

    async def confirm(request: Request) -> Response:
        return await answer(request) if request.method == "POST" else await ask(request)

    return [Route(SANDBOX_CONFIRMATION_PATH, confirm, methods=["GET", "POST"])]


def _asked(request: Request) -> str:
    return request.query_params.get("charge", "")


def _existing(found: Confirmation | None) -> Confirmation:
    if found is None:
        raise HTTPException(404, "There is no payment to confirm by this link: take the newest one.")
    return found


def _page(asked: Confirmation) -> Response:
    if asked.status is not Status.WAITING:
        return render_page(
            "message.html", title="Nothing to confirm", text="This was answered before, or it is not wanted any more."
        )
    amount = None
    if asked.amount_micros is not None and asked.currency is not None:
        amount = format_charge(asked.amount_micros, asked.currency)
    return render_page("confirmation.html", amount=amount, card=asked.card, description=asked.description)

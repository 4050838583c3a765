"""Pages that the owner of a card sees on the way of a payment."""

from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qs

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.domain.minor_units import format_charge
from gateway.payments.provider import ENTRY_PARAMETER, RETURN_PATH, SANDBOX_CARD_PATH, SANDBOX_CONFIRMATION_PATH
from gateway.payments.return_urls import with_entry
from gateway.payments.sandbox import SandboxProvider
from gateway.payments.sandbox_books import Confirmation
from gateway.payments.sandbox_cards import named_cards
from gateway.payments.sandbox_file import EntryRecord, Status
from gateway.web.pages import render_page

_ANSWERS: Final = {"approve": True, "refuse": False}


async def _returned(_request: Request) -> Response:
    # What the query claims about the payment is not repeated: anybody can write it. The webhook knows.
    return render_page(
        "message.html",
        title="Thank you",
        text="You may close this page. What has become of the payment is shown where you began it.",
        back="/",
    )


RETURN_ROUTE: Final = Route(RETURN_PATH, _returned)
"""Where browsers come back to from the provider's own pages."""


def sandbox_routes(sandbox: SandboxProvider) -> Sequence[BaseRoute]:
    """The pages of the sandbox for the owner of a card: where a test card is chosen, and where a payment is confirmed.

    There is no token to be shown here, nor against forged forms: nobody can guess the id in the link, and whoever has
    it is the one who was to get it.
    """
    return [*_card_routes(sandbox), *_confirmation_routes(sandbox)]


def _card_routes(sandbox: SandboxProvider) -> Sequence[BaseRoute]:
    async def show(request: Request) -> Response:
        entry = _existing_entry(await sandbox.find_entry(_entry_of(request)))
        if entry.token:
            return _back_from(entry)  # Whoever goes back in the browser has entered it already.
        return render_page("card_entry.html", cards=named_cards(), cancel_url=entry.cancel_url)

    async def choose(request: Request) -> Response:
        token = await _answer_of(request, "card")
        if token not in named_cards():
            raise HTTPException(400, "There is no such test card: go back and choose one of the list.")
        return _back_from(_existing_entry(await sandbox.choose_card(_entry_of(request), token)))

    async def enter(request: Request) -> Response:
        return await choose(request) if request.method == "POST" else await show(request)

    return [Route(SANDBOX_CARD_PATH, enter, methods=["GET", "POST"])]


def _confirmation_routes(sandbox: SandboxProvider) -> Sequence[BaseRoute]:

    async def ask(request: Request) -> Response:
        found = await sandbox.find_confirmation(_asked(request))
        return _page(_existing(found))

    async def answer(request: Request) -> Response:
        given = await _answer_of(request, "answer")
        if given not in _ANSWERS:
            raise HTTPException(400, "Say approve or refuse: go back and press one of the two buttons.")
        found = await sandbox.answer_confirmation(_asked(request), approve=_ANSWERS[given])
        _existing(found)
        # So that a reload does not send the answer again.
        return RedirectResponse(RETURN_PATH, status_code=303)

    async def confirm(request: Request) -> Response:
        return await answer(request) if request.method == "POST" else await ask(request)

    return [Route(SANDBOX_CONFIRMATION_PATH, confirm, methods=["GET", "POST"])]


async def _answer_of(request: Request, field: str) -> str:
    """What a form says; empty if it says nothing."""
    form = parse_qs((await request.body()).decode("utf-8", "replace"))
    return form.get(field, [""])[0]


def _entry_of(request: Request) -> str:
    return request.query_params.get(ENTRY_PARAMETER, "")


def _existing_entry(found: EntryRecord | None) -> EntryRecord:
    if found is None:
        raise HTTPException(404, "There is no card to enter by this link: begin to add the card anew.")
    return found


def _back_from(entry: EntryRecord) -> Response:
    # Where the entry was begun, and nowhere that a request could name. A reload does not send the choice again.
    return RedirectResponse(with_entry(entry.return_url, entry.entry_id), status_code=303)


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

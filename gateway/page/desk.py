"""What every page passes: who is signed in, whether a form is from a page of theirs, and how faults are told."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from gateway.api.credits.servicer import Operations
from gateway.api.credits.sign_in_links import SIGN_IN_PATH
from gateway.domain.identity import Identity
from gateway.domain.vocabulary import Role
from gateway.errors import Internal, InvalidArgument, TollgateError, Unauthenticated
from gateway.page.forms import Form
from gateway.page.rendering import render
from gateway.page.sessions import Session, Sessions
from gateway.store.clock import Clock
from gateway.store.directory import Directory
from gateway.v1 import credits_pb2 as pb
from gateway.web.errors import status_of

log = structlog.get_logger(__name__)

_WORDS: Final[Mapping[str, str]] = {
    "BALANCE_OUT_OF_RANGE": "The balance would be larger than any may be: add less.",
    "CALL_NOT_FOUND": "Nothing of this id is known: no call, message or refusal.",
    "CARD_CONFIRMATION_PENDING": "There is no small charge to tell the amount of, now: it has not gone through yet, or "
    "was given back. Have another one made.",
    "CARD_UNCONFIRMED": "This card is not confirmed yet: tell the amount of its small charge under Payment methods.",
    "INVOICE_NOT_FOUND": "The office has no such invoice.",
    "OFFICE_NOT_FOUND": "There is no such office.",
    "PAYMENT_METHOD_IN_USE": "The automatic refill charges this card: turn that off, or choose another card for it.",
    "PAYMENT_METHOD_NOT_ALLOWED": "This office pays by invoice: no card is charged for it.",
    "PAYMENT_METHOD_NOT_FOUND": "The office has no such card, or no more: choose another one.",
    "TOO_MANY_PAYMENT_METHODS": "The office has as many cards as it may have: remove one first.",
}
"""What people are told, by reason, where the fault's own words name what programs would call."""


@dataclass(frozen=True)
class Visit:
    """A request of somebody who is signed in."""

    request: Request
    session: Session
    identity: Identity
    form: Form
    """What was posted; empty on GET, where `query` has what there is."""

    @property
    def query(self) -> Form:
        """The query of the request."""
        return Form.of_query(self.request)

    @property
    def is_operator(self) -> bool:
        """Whether everything is theirs to see."""
        return self.identity.role is Role.OPERATOR

    @property
    def is_admin(self) -> bool:
        """Whether they may buy for the offices that they see."""
        return self.identity.is_admin

    def param(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    def page(self, template: str, *, status: int = 200, **values: Any) -> Response:
        """A page of theirs."""
        return render(template, status=status, visit=self, **values)


Handler: TypeAlias = Callable[[Visit], Awaitable[Response]]


def own_origins(request: Request) -> tuple[str, str]:
    """What a browser calls the site that it sent a request to: a proxy before us may be what speaks TLS."""
    host = request.headers.get("host", "")
    return f"http://{host}", f"https://{host}"


def see_other(path: str) -> Response:
    """Have the browser go on by GET: a reload then repeats nothing."""
    return RedirectResponse(path, status_code=303)


class Desk:
    """What the pages have in common.

    Args:
        operations: Of Credits: the pages ask nothing that a client of the contract could not.
        directory: Knows the tokens.
        sessions: The cookies.
        clock: The store's.
        currency: Of this installation.
    """

    def __init__(
        self, operations: Operations, directory: Directory, sessions: Sessions, clock: Clock, *, currency: str
    ) -> None:
        self.of = operations
        self.directory = directory
        self.sessions = sessions
        self.clock = clock
        self.currency = currency

    def route(self, path: str, get: Handler | None = None, post: Handler | None = None) -> Route:
        """A page at a path: how it is shown, and what its form does."""
        handlers: Mapping[str, Handler | None] = {"GET": get, "HEAD": get, "POST": post}

        async def answer(request: Request) -> Response:
            handler = handlers[request.method]
            assert handler is not None  # noqa: S101  # the router lets no other method through
            return await self._answer(request, handler)

        return Route(path, answer, methods=[method for method, handler in handlers.items() if handler is not None])

    async def office(self, visit: Visit) -> pb.Office:
        """The office in the path.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound, Unavailable: As GetOffice.
        """
        return await self.of.offices.get(pb.GetOfficeRequest(office_id=visit.param("office_id")), visit.identity)

    async def cards(self, visit: Visit) -> list[pb.PaymentMethod]:
        """The cards of the office in the path, which only its admins see; raises as `office`."""
        request = pb.ListPaymentMethodsRequest(office_id=visit.param("office_id"))
        return list((await self.of.payment_methods.list(request, visit.identity)).payment_methods)

    async def identify(self, session: Session) -> Identity:
        """Whose session it is.

        Raises:
            Unauthenticated: It is over, or its token was revoked or has expired.
            Unavailable: It cannot be told now.
            PermissionDenied: It is a switch's.
        """
        if self.sessions.is_over(session):
            raise Unauthenticated
        identity = await self.directory.bearer(session.token_hash)
        identity.may_use_credits()
        return identity

    async def _answer(self, request: Request, handler: Handler) -> Response:
        session = self.sessions.read(request)
        if session is None:
            return self._sign_in(request)
        visit: Visit | None = None
        try:
            identity = await self.identify(session)
            posted = request.method == "POST"
            visit = Visit(request, session, identity, await Form.of_body(request) if posted else Form({}))
            if posted and not hmac.compare_digest(visit.form.text("csrf").encode(), session.csrf.encode()):
                return visit.page(
                    "fault.html",
                    status=HTTPStatus.FORBIDDEN,
                    title="Nothing was done",
                    text="This form is from an earlier session. Go back, reload the page and send it again.",
                )
            return await handler(visit)
        except Unauthenticated:
            response = self._sign_in(request)
            self.sessions.forget(response)
            return response
        except TollgateError as fault:
            return _tell(request, visit, fault)

    def _sign_in(self, request: Request) -> Response:
        """Ask who it is; afterwards they come back to where they were.

        What was posted is not done after that: the page is shown, and asks again.
        """
        query = {"next": _back_to(request)}
        if request.cookies.get(self.sessions.cookie) is not None:
            query["ended"] = "1"
        target = f"{SIGN_IN_PATH}?{urlencode(query)}"
        if "hx-request" in request.headers:
            return Response(status_code=204, headers={"hx-redirect": target})
        return see_other(target)


def _back_to(request: Request) -> str:
    """The page that they look at: what is posted to, or asked for as a part, may be no page by itself."""
    url = request.url
    asked = f"{url.path}?{url.query}" if url.query else url.path
    if request.method != "POST" and "hx-request" not in request.headers:
        return asked
    shown = request.headers.get("referer", "")
    for site in own_origins(request):
        if shown.startswith(f"{site}/"):
            return shown.removeprefix(site)
    return "/"


def _tell(request: Request, visit: Visit | None, fault: TollgateError) -> Response:
    if isinstance(fault, Internal):
        log.error("page_failed", path=request.scope["path"], reason=fault.reason, exc_info=fault)
    status = status_of(fault)
    text = told(fault)
    if isinstance(fault, InvalidArgument):
        # Here is no form that would show which field it was.
        text = f"{fault.field.replace('_', ' ').capitalize()}: {text[:1].lower()}{text[1:]}"
    if "hx-request" in request.headers:
        return render("parts/fault.html", status=status, text=text)
    return render("fault.html", status=status, visit=visit, title=status.phrase, text=text)


def told(fault: TollgateError) -> str:
    """What went wrong, without the name of a field that the page shows under another."""
    message = _WORDS.get(fault.reason, fault.message)
    if fault.field and message.startswith(f"{fault.field}: "):
        message = message.removeprefix(f"{fault.field}: ")
    return message[:1].upper() + message[1:]

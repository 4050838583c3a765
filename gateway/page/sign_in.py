"""Signing in with a token or a one-time link, and signing out."""

from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from gateway.api.credits.sign_in_links import SIGN_IN_PATH
from gateway.api.sign_ins import SignIns, TooManyFailures
from gateway.domain.identity import hash_secret
from gateway.errors import PermissionDenied, Unauthenticated
from gateway.ledger.sign_in_links import SignInLinks
from gateway.page.desk import Desk, Visit, own_origins, see_other
from gateway.page.forms import Form
from gateway.page.rendering import render
from gateway.web.peers import peer_of

_LONGEST_TOKEN: Final = 200
_NOT_KNOWN: Final = "This token is not known, was revoked or has expired. Ask whoever gave it to you for another."
_NO_SWITCH: Final = "This is the token of a switch. Sign in with one of a person."
_LINK_USED: Final = "This link was used before, or has expired. Ask whoever gave it to you for another."
_FOREIGN: Final = "This form was sent from another site. Open the page and sign in there."


class SignIn:
    """The way in, and out.

    Args:
        desk: Where they go.
        links: One-time links.
        sign_ins: Looks at the tokens.
    """

    def __init__(self, desk: Desk, links: SignInLinks, sign_ins: SignIns) -> None:
        self._desk = desk
        self._links = links
        self._sign_ins = sign_ins

    def routes(self) -> list[BaseRoute]:
        """The paths."""
        return [
            Route(SIGN_IN_PATH, self._by_token, methods=["GET", "POST"]),
            Route(SIGN_IN_PATH + "/{secret}", self._by_link, methods=["GET", "POST"]),
            self._desk.route("/sign-out", post=self._sign_out),
        ]

    async def _by_token(self, request: Request) -> Response:
        query = Form.of_query(request)
        back_to = _local(query.text("next"))
        if request.method != "POST":
            told = "Your session has ended. Nothing was done since." if query.is_on("ended") else ""
            return render("sign_in.html", visit=None, back_to=back_to, told=told, link="")
        form = await Form.of_body(request)
        if _is_foreign(request):
            return render("sign_in.html", status=403, visit=None, back_to=back_to, told=_FOREIGN, link="")
        token_hash, back_to = hash_secret(form.text("token")[:_LONGEST_TOKEN]), _local(form.text("next"))
        try:
            await self._sign_ins.bearer(token_hash, peer_of(request), "page")
        except TooManyFailures as refused:
            return render("sign_in.html", status=429, visit=None, back_to=back_to, told=refused.message, link="")
        except Unauthenticated:
            return self._refused(_NOT_KNOWN, back_to)
        return await self._enter(token_hash, back_to)

    async def _by_link(self, request: Request) -> Response:
        """Asks for a click first: programs that look at links in mail would else use it up."""
        if request.method != "POST":  # The router lets HEAD through with GET.
            return render("sign_in.html", visit=None, back_to="/", told="", link=request.url.path)
        if _is_foreign(request):
            return render("sign_in.html", status=403, visit=None, back_to="/", told=_FOREIGN, link="")
        secret_hash = hash_secret(request.path_params["secret"])
        token_hash = await self._links.redeem(secret_hash, now_ms=self._desk.clock.now_ms())
        if token_hash is None:
            # Counted, but never held up: nobody guesses a link, and others may come from the same proxy with theirs.
            self._sign_ins.failed(peer_of(request), "link")
            return self._refused(_LINK_USED, "/")
        return await self._enter(token_hash, "/")

    async def _enter(self, token_hash: str, back_to: str) -> Response:
        desk = self._desk
        session = desk.sessions.begin(token_hash)
        try:
            await desk.identify(session)
        except (Unauthenticated, PermissionDenied) as refused:
            return self._refused(_NOT_KNOWN if isinstance(refused, Unauthenticated) else _NO_SWITCH, back_to)
        response = see_other(back_to)
        desk.sessions.keep(response, session)
        return response

    @staticmethod
    def _refused(told: str, back_to: str) -> Response:
        return render("sign_in.html", status=401, visit=None, back_to=back_to, told=told, link="")

    async def _sign_out(self, _visit: Visit) -> Response:
        response = see_other(SIGN_IN_PATH)
        self._desk.sessions.forget(response)
        return response


def _local(target: str) -> str:
    """A path of ours to go on to; whatever might lead elsewhere is the first page instead."""
    is_ours = target.startswith("/") and not target.startswith(("//", "/\\"))
    return target if is_ours and target.isprintable() else "/"


def _is_foreign(request: Request) -> bool:
    """Whether a form came from another site: nobody is to be signed in as somebody else by a page they look at."""
    origin = request.headers.get("origin")
    return origin is not None and origin not in own_origins(request)

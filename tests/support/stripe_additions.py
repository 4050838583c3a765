"""What Stripe has and localstripe lacks: answered here, by Stripe's public documentation, and not by localstripe.

Stands between the proxy (idempotency_proxy.py) and localstripe, which keeps everything that has to do with money:
customers, cards, intents with their states, charges and refunds. Answered or altered here:

- parameters that localstripe does not take are kept back (description, off_session, return_url, expand,
  allowed_payment_method_types), and the old payment_method_types refused as the present API version does;
- error types and codes: card_error, resource_missing with its param, payment_intent_unexpected_state;
- the list of intents by customer and time, newest first, in pages;
- test cards that localstripe has not (CARDS): decline codes of a charge, a bank that asks in the owner's absence
  (402 authentication_required, the intent back to requires_payment_method, and requires_action when it is confirmed
  anew), one that asks when the card is added, and cards whose requests or replies get lost;
- links: next_action.redirect_to_url instead of use_stripe_sdk, and what the card's owner answers there;
- SetupIntents that are made and confirmed in one request, that keep the card under its customer, and that fail;
- Checkout Sessions that set a card up, and what the card's owner does on Stripe's page;
- refunds of what was refunded or disputed before, or never charged; disputes;
- the events payment_failed (of authentication), canceled, refunded and dispute.created.
"""

import json
import secrets
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode

import aiohttp

from tests.support.idempotency_proxy import Answer, Fault, Request

KEPT_BACK = ("description", "off_session", "return_url", "expand", "allowed_payment_method_types")

CARD_MESSAGES = {
    "card_declined": "Your card was declined.",
    "insufficient_funds": "Your card has insufficient funds.",
    "expired_card": "Your card has expired.",
    "processing_error": "An error occurred while processing your card. Try again in a little bit.",
    "authentication_required": "Your card was declined. This transaction requires authentication.",
    "payment_intent_authentication_failure": "The provided PaymentMethod has failed authentication.",
    "setup_intent_authentication_failure": "The provided PaymentMethod has failed authentication.",
}

GOOD_NUMBER = "4242424242424242"
DECLINED_NUMBER = "4000000000000341"
"""localstripe lets it be added, and refuses each charge."""
ASKING_NUMBER = "4000002760003184"
"""localstripe wants each charge, and the adding, to be confirmed by the owner."""


@dataclass(frozen=True)
class TestCard:
    """A card that localstripe has not.

    Attributes:
        number: Of localstripe's test cards, the one whose behaviour is nearest.
        decline: Code and decline code of a charge.
        advice: The bank's.
        asks_when_added: The bank wants to hear from the owner then.
        asks_at_charge: The same at each charge.
        fault: What happens to a confirmation.
    """

    number: str = GOOD_NUMBER
    decline: tuple[str, str | None] | None = None
    advice: str | None = None
    asks_when_added: bool = False
    asks_at_charge: bool = False
    fault: Fault | None = None


def _declined(code: str, decline_code: str | None = None, advice: str | None = None) -> TestCard:
    return TestCard(DECLINED_NUMBER, decline=(code, decline_code), advice=advice)


CARDS = {
    "pm_proxy_other": TestCard("5555555555554444"),
    "pm_proxy_insufficient_funds": _declined("card_declined", "insufficient_funds"),
    "pm_proxy_expired": _declined("expired_card"),
    "pm_proxy_stolen": _declined("card_declined", "stolen_card"),
    "pm_proxy_try_again_later": _declined("card_declined", "do_not_honor", "try_again_later"),
    "pm_proxy_do_not_try_again": _declined("card_declined", "insufficient_funds", "do_not_try_again"),
    "pm_proxy_processing_error": _declined("processing_error"),
    "pm_proxy_asks_at_charge": TestCard(ASKING_NUMBER, asks_at_charge=True),
    "pm_proxy_asks_when_added": TestCard(ASKING_NUMBER, asks_when_added=True),
    "pm_proxy_request_lost": TestCard(fault=Fault.DROPPED),
    "pm_proxy_reply_lost": TestCard(fault=Fault.REPLY_LOST),
}


@dataclass
class _Intent:
    """What is kept here of an intent."""

    description: str | None
    method_id: str
    created: int
    return_url: str | None = None
    error: dict[str, Any] | None = None
    """The last one, where it is not localstripe's."""
    back_to_start: bool = False
    """Whether it failed here, so that localstripe does not know of it."""


@dataclass
class StripeAdditions:
    """A backend of the proxy in front of a localstripe server."""

    localstripe: str
    session: aiohttp.ClientSession
    authorization: str
    """Of what the tests themselves ask; then of the last request that had one."""
    link_base: str = "http://127.0.0.1/owner"
    cards_are_on: bool = True
    """Among the payment methods of the account."""
    _cards: dict[str, TestCard] = field(default_factory=dict)
    _intents: dict[str, _Intent] = field(default_factory=dict)
    _setups: dict[str, dict[str, Any]] = field(default_factory=dict)
    _checkouts: dict[str, dict[str, Any]] = field(default_factory=dict)
    _disputed: set[str] = field(default_factory=set)
    _events: list[dict[str, Any]] = field(default_factory=list)

    async def __call__(self, request: Request) -> Answer:
        """Answer a request as Stripe would."""
        self.authorization = request.authorization or self.authorization
        match request.method, request.path.strip("/").split("/")[1:]:
            case "POST", ["payment_intents"]:
                return await self._create_intent(request)
            case "GET", ["payment_intents"]:
                return await self._list_intents(request)
            case "GET", ["payment_intents", intent_id]:
                return await self._show_intent(await self.pass_on(request), intent_id)
            case "POST", ["payment_intents", intent_id, "confirm"]:
                return await self._confirm(request, intent_id)
            case "POST", ["payment_intents", intent_id, "cancel"]:
                return await self._cancel(request, intent_id)
            case "POST", ["setup_intents"]:
                return await self._set_up(request)
            case "GET", ["setup_intents", setup_id]:
                return self._show_setup(await self.pass_on(request), setup_id)
            case "POST", ["checkout", "sessions"]:
                return await self._open_checkout(request)
            case "GET", ["checkout", "sessions", session_id]:
                checkout = self._checkouts.get(session_id)
                return _missing("session") if checkout is None else Answer.of(200, checkout)
            case "POST", ["refunds"]:
                return await self._refund(request)
        answer = await self.pass_on(request)
        return _missing("id") if answer.status == 404 else answer

    def fault_of(self, request: Request) -> Fault | None:
        """The fault that lies in the card that is to be charged."""
        match request.method, request.path.strip("/").split("/")[1:]:
            case "POST", ["payment_intents", intent_id, "confirm"] if intent_id in self._intents:
                return self._cards.get(self._intents[intent_id].method_id, TestCard()).fault
        return None

    async def answer_link(self, url: str, approve: bool) -> None:
        """Do what the card's owner does who follows a link: say yes or no, if there still is a question."""
        named = url.rsplit("/", 1)[1]
        if named.startswith("seti_"):
            await self._answer_setup(named, approve)
            return
        intent = await self._get(f"/v1/payment_intents/{named}")
        if intent["status"] != "requires_action":
            return
        await self._authenticate(intent, approve)
        if not approve:
            self._add_event("payment_intent.payment_failed", await self.intent(named))

    async def dispute(self, intent_id: str) -> None:
        """Let the bank take a charge back."""
        intent = await self.intent(intent_id)
        self._disputed.add(intent_id)
        about = {"object": "dispute", "id": "du_1", "payment_intent": intent_id, "charge": "ch_1", "metadata": {}}
        self._add_event("charge.dispute.created", {**about, "amount": intent["amount"], "currency": intent["currency"]})

    async def intent(self, intent_id: str) -> dict[str, Any]:
        """An intent as Stripe would show it."""
        return self._shown(await self._get(f"/v1/payment_intents/{intent_id}"))

    async def charges(self) -> list[dict[str, Any]]:
        """Every charge that took money, as localstripe has it."""
        charges = await self._get("/v1/charges?limit=100000")
        return [charge for charge in charges["data"] if charge["status"] == "succeeded"]

    async def events(self) -> list[dict[str, Any]]:
        """Every event: localstripe's, then those of here."""
        events: list[dict[str, Any]] = (await self._get("/v1/events?limit=100000"))["data"]
        return events + self._events

    # Intents

    async def _create_intent(self, request: Request) -> Answer:
        form = request.form
        if any(name.startswith("payment_method_types") for name in form):
            return _refused("payment_method_types_no_longer_supported", "payment_method_types")
        if refused := await self._missing_of(form, "customer", "payment_method"):
            return refused
        answer = await self.pass_on(request)
        if answer.status != 200:
            return answer
        intent_id = json.loads(answer.body)["id"]
        self._intents[intent_id] = _Intent(form.get("description"), form["payment_method"], request.at)
        return await self._show_intent(answer, intent_id)

    async def _list_intents(self, request: Request) -> Answer:
        form = request.form
        if refused := await self._missing_of(form, "customer"):
            return refused
        answer = await self.pass_on(Request("GET", request.path, "limit=100000", "", request.authorization))
        if answer.status != 200:
            return answer
        since = int(form.get("created[gte]", "0"))
        shown = [self._shown(intent) for intent in reversed(json.loads(answer.body)["data"])]
        found = [
            intent
            for intent in shown
            if form.get("customer") in (None, intent["customer"]) and intent["created"] >= since
        ]
        if after := form.get("starting_after"):
            found = found[[intent["id"] for intent in found].index(after) + 1 :]
        limit = int(form.get("limit", "10"))
        page = {"object": "list", "url": request.path, "data": found[:limit], "has_more": len(found) > limit}
        return Answer.of(200, page)

    async def _confirm(self, request: Request, intent_id: str) -> Answer:
        form, kept = request.form, self._intents.get(intent_id)
        if kept is None:
            return _missing("intent")
        status = (await self.intent(intent_id))["status"]
        if status != "requires_confirmation" and not (kept.back_to_start and "payment_method" in form):
            return _refused("payment_intent_unexpected_state", "")
        card = self._cards.get(kept.method_id, TestCard())
        if card.asks_at_charge and form.get("off_session") == "true":
            kept.back_to_start, kept.error = True, _card_error("authentication_required", "authentication_required")
            shown = await self.intent(intent_id)
            self._add_event("payment_intent.payment_failed", shown)
            return Answer.of(402, {"error": {**kept.error, "payment_intent": shown}})
        kept.back_to_start, kept.error, kept.return_url = False, None, form.get("return_url")
        if card.decline is not None:
            kept.error = _card_error(*card.decline, advice=card.advice)
        answer = await self.pass_on(Request("POST", request.path, "", "", request.authorization))
        if answer.status == 402:
            shown = await self.intent(intent_id)
            error = {**json.loads(answer.body)["error"], "type": "card_error", **(kept.error or {})}
            return Answer.of(402, {"error": {**error, "payment_intent": shown}})
        if card.asks_when_added:
            # Its owner has agreed when it was added, which localstripe does not remember.
            return Answer.of(200, self._shown(await self._authenticate(json.loads(answer.body), approve=True)))
        return await self._show_intent(answer, intent_id)

    async def _cancel(self, request: Request, intent_id: str) -> Answer:
        answer = await self.pass_on(request)
        if answer.status == 400:
            return _refused("payment_intent_unexpected_state", "")
        if answer.status == 200:
            self._add_event("payment_intent.canceled", await self.intent(intent_id))
        return await self._show_intent(answer, intent_id)

    async def _authenticate(self, intent: dict[str, Any], approve: bool) -> dict[str, Any]:
        body = urlencode({"client_secret": intent["client_secret"], "success": str(approve).lower()})
        answer = await self.pass_on(Request("POST", f"/v1/payment_intents/{intent['id']}/_authenticate", "", body))
        return _content(answer)

    async def _show_intent(self, answer: Answer, intent_id: str) -> Answer:
        if answer.status == 404:
            return _missing("intent")
        return Answer.of(200, self._shown(json.loads(answer.body))) if answer.status == 200 else answer

    def _shown(self, intent: dict[str, Any]) -> dict[str, Any]:
        """An intent with what localstripe does not know of it."""
        kept = self._intents.get(intent["id"])
        if kept is None:
            return intent
        shown = {**intent, "description": kept.description, "created": kept.created}
        if kept.back_to_start and intent["status"] != "canceled":
            shown |= {"status": "requires_payment_method", "payment_method": None}
        if kept.error is not None and (kept.back_to_start or intent["last_payment_error"]):
            shown["last_payment_error"] = kept.error
        if intent["next_action"]:
            shown["next_action"] = self._link(intent["id"], kept.return_url)
        return shown

    def _link(self, named: str, return_url: str | None) -> dict[str, Any]:
        return {
            "type": "redirect_to_url",
            "redirect_to_url": {"url": f"{self.link_base}/{named}", "return_url": return_url},
        }

    # Cards

    async def _set_up(self, request: Request) -> Answer:
        form = request.form
        if refused := await self._missing_of(form, "customer"):
            return refused
        method = await self._method(form["payment_method"])
        if method is None:
            return _missing("payment_method")
        if method["customer"] not in (None, form["customer"]):
            return _refused("payment_method_unexpected_state", "payment_method")
        body = urlencode({"customer": form["customer"], "usage": form["usage"]})
        made = await self.pass_on(Request("POST", "/v1/setup_intents", "", body))
        setup_id = json.loads(made.body)["id"]
        self._setups[setup_id] = {"return_url": form["return_url"], "shown": {"last_setup_error": None}}
        confirmed = await self.confirm_setup(setup_id, payment_method=method["id"])
        if confirmed.status != 200:
            return Answer.of(402, {"error": {**json.loads(confirmed.body)["error"], "type": "card_error"}})
        if json.loads(confirmed.body)["status"] == "requires_action" and not self._card(method).asks_when_added:
            confirmed = await self.confirm_setup(setup_id)
        if json.loads(confirmed.body)["status"] == "succeeded":
            await self._attach(method["id"], form["customer"])
        return self._show_setup(confirmed, setup_id)

    async def _open_checkout(self, request: Request) -> Answer:
        form = request.form
        if any(name.startswith("payment_method_types") for name in form):
            return _refused("payment_method_types_no_longer_supported", "payment_method_types")
        if form.get("mode") != "setup":
            return _refused("parameter_missing", "line_items")
        if "currency" not in form and "allowed_payment_method_types[0]" not in form:
            return _refused("parameter_missing", "currency")
        if not self.cards_are_on:
            return _refused("", "allowed_payment_method_types")
        for name in ("success_url", "cancel_url"):
            if not form.get(name, "").startswith(("http://", "https://")):
                return _refused("url_invalid", name)
        if refused := await self._missing_of(form, "customer"):
            return refused
        of_setup = {"customer": form["customer"], "usage": "off_session"}
        of_setup |= {f"metadata[{name}]": value for name, value in _entries(form, "setup_intent_data[metadata]")}
        setup = _content(await self.pass_on(Request("POST", "/v1/setup_intents", "", urlencode(of_setup))))
        session_id = f"cs_test_{secrets.token_hex(28)}"
        self._checkouts[session_id] = {
            "id": session_id,
            "object": "checkout.session",
            "mode": "setup",
            "status": "open",
            "payment_status": "no_payment_required",
            "customer": form["customer"],
            "setup_intent": setup["id"],
            "metadata": dict(_entries(form, "metadata")),
            "success_url": form["success_url"],
            "cancel_url": form["cancel_url"],
            "url": f"{self.link_base}/{session_id}",
        }
        return Answer.of(200, self._checkouts[session_id])

    async def enter_card(self, url: str, token: str) -> str:
        """Enter a card on Stripe's page, its bank agreeing where it asks; returns where the browser is sent."""
        checkout = self._checkouts[url.rsplit("/", 1)[1]]
        assert checkout["status"] == "open"
        method = await self._method(token)
        assert method is not None
        confirmed = await self.confirm_setup(checkout["setup_intent"], payment_method=method["id"])
        if _content(confirmed)["status"] == "requires_action":
            await self.confirm_setup(checkout["setup_intent"])
        await self._attach(method["id"], checkout["customer"])
        checkout |= {"status": "complete", "url": None}
        return str(checkout["success_url"]).replace("{CHECKOUT_SESSION_ID}", checkout["id"])

    def expire_checkout(self, url: str) -> str:
        """Let a day pass in which nobody enters a card; returns the session's id."""
        checkout = self._checkouts[url.rsplit("/", 1)[1]]
        checkout |= {"status": "expired", "url": None}
        return str(checkout["id"])

    async def _answer_setup(self, setup_id: str, approve: bool) -> None:
        setup = await self._get(f"/v1/setup_intents/{setup_id}")
        if setup["status"] != "requires_action":
            return
        if approve:
            await self.confirm_setup(setup_id)
            await self._attach(setup["payment_method"], setup["customer"])
            return
        error = _card_error("setup_intent_authentication_failure", None)
        self._setups[setup_id]["shown"] = {
            "status": "requires_payment_method",
            "payment_method": None,
            "next_action": None,
            "last_setup_error": error,
        }

    async def _method(self, token: str) -> dict[str, Any] | None:
        """The PaymentMethod that a token stands for, made when it is a test card's; None if there is none."""
        if card := CARDS.get(token):
            fields = {"number": card.number, "exp_month": "12", "exp_year": "2030", "cvc": "123"}
            form = {"type": "card", **{f"card[{name}]": value for name, value in fields.items()}}
            method = _content(await self.pass_on(Request("POST", "/v1/payment_methods", "", urlencode(form))))
            self._cards[method["id"]] = card
            return method
        answer = await self.pass_on(Request("GET", f"/v1/payment_methods/{token}"))
        return _content(answer) if answer.status == 200 else None

    def _card(self, method: dict[str, Any]) -> TestCard:
        return self._cards.get(method["id"], TestCard())

    async def _attach(self, method_id: str, customer_id: str) -> None:
        body = urlencode({"customer": customer_id})
        _content(await self.pass_on(Request("POST", f"/v1/payment_methods/{method_id}/attach", "", body)))

    async def confirm_setup(self, setup_id: str, **form: str) -> Answer:
        """Confirm a SetupIntent at localstripe: with payment_method=, or as its card's owner without."""
        return await self.pass_on(Request("POST", f"/v1/setup_intents/{setup_id}/confirm", "", urlencode(form)))

    def _show_setup(self, answer: Answer, setup_id: str) -> Answer:
        if answer.status != 200:
            return _missing("intent")
        setup = json.loads(answer.body)
        kept = self._setups.get(setup_id, {"return_url": None, "shown": {"last_setup_error": None}})
        if setup["next_action"]:
            setup["next_action"] = self._link(setup_id, kept["return_url"])
        return Answer.of(200, setup | kept["shown"])

    # Refunds

    async def _refund(self, request: Request) -> Answer:
        intent_id = request.form["payment_intent"]
        intent = await self.intent(intent_id)
        if intent_id in self._disputed:
            return _refused("charge_disputed", "")
        if intent["status"] != "succeeded":
            return _refused("", "payment_intent")
        if (await self._get(f"/v1/refunds?payment_intent={intent_id}"))["data"]:
            return _refused("charge_already_refunded", "")
        answer = await self.pass_on(request)
        about = {"object": "charge", "id": intent["latest_charge"]["id"], "payment_intent": intent_id}
        about |= {name: intent[name] for name in ("amount", "currency", "metadata")}
        self._add_event("charge.refunded", {**about, "amount_refunded": intent["amount"], "refunded": True})
        return answer

    # localstripe

    async def _missing_of(self, form: dict[str, str], *names: str) -> Answer | None:
        """The error of the first thing that a request names and that does not exist."""
        for name in names:
            if name in form:
                answer = await self.pass_on(Request("GET", f"/v1/{name}s/{form[name]}"))
                if answer.status == 404:
                    return _missing(name, status=400)
        return None

    async def _get(self, path: str) -> dict[str, Any]:
        path, _, query = path.partition("?")
        return _content(await self.pass_on(Request("GET", path, query)))

    async def pass_on(self, request: Request) -> Answer:
        """Ask localstripe itself."""
        body = urlencode([(name, value) for name, value in parse_qsl(request.body) if not name.startswith(KEPT_BACK)])
        headers = {
            "Authorization": request.authorization or self.authorization,
            "Content-Type": "application/x-www-form-urlencoded",
        }
        url = f"{self.localstripe}{request.path}" + (f"?{request.query}" if request.query else "")
        async with self.session.request(request.method, url, data=body or None, headers=headers) as answer:
            return Answer(answer.status, await answer.text())

    def _add_event(self, event_type: str, about: dict[str, Any]) -> None:
        self._events.append(
            {
                "id": f"evt_proxy_{len(self._events)}",
                "object": "event",
                "type": event_type,
                "created": int(time.time()),
                "data": {"object": about},
            }
        )


def _entries(form: dict[str, str], name: str) -> list[tuple[str, str]]:
    """What a form has below a name: `metadata[a]=b`."""
    return [(key[len(name) + 1 : -1], value) for key, value in form.items() if key.startswith(f"{name}[")]


def _content(answer: Answer) -> dict[str, Any]:
    assert answer.status == 200, answer.body
    content: dict[str, Any] = json.loads(answer.body)
    return content


def _card_error(code: str, decline_code: str | None, *, advice: str | None = None) -> dict[str, Any]:
    message = CARD_MESSAGES.get(decline_code or "") or CARD_MESSAGES.get(code) or CARD_MESSAGES["card_declined"]
    return {
        "type": "card_error",
        "code": code,
        "decline_code": decline_code,
        "advice_code": advice,
        "message": message,
    }


def _missing(param: str, *, status: int = 404) -> Answer:
    return Answer.error(status, "invalid_request_error", "No such thing", code="resource_missing", param=param)


def _refused(code: str, param: str) -> Answer:
    return Answer.error(400, "invalid_request_error", "Not possible now", code=code or None, param=param or None)

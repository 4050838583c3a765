"""What is on HTTP, asked over real connections: webhooks, pages, health, errors, limits, and the end in order."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from gateway.address import Address
from gateway.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    TollgateError,
    Unauthenticated,
    Unavailable,
)
from gateway.ledger.errors import LedgerBroken
from gateway.payments.provider import (
    ActionRequired,
    CardEntry,
    ChargeAttempt,
    Declined,
    NewPaymentMethod,
    PaymentEvent,
    PaymentEventKind,
    PaymentMethodActionRequired,
    PaymentMethodAdded,
    Succeeded,
)
from gateway.payments.sandbox import SandboxProvider
from gateway.payments.sandbox_cards import named_cards
from gateway.startup import StartupError
from gateway.web import middleware
from gateway.web.app import make_app
from gateway.web.health import health_routes
from gateway.web.middleware import MAX_BODY_BYTES, SECURITY_HEADERS
from gateway.web.pages import static_route
from gateway.web.payment_pages import RETURN_ROUTE, sandbox_routes
from gateway.web.server import HttpServer
from gateway.web.webhooks import MAX_WEBHOOK_BYTES, WEBHOOK_PATH, WebhookReceiver, webhook_routes
from tests.support.balances import NOON, ManualClock
from tests.support.http import Answer, ask
from tests.support.sandbox import PUBLIC_URL, Postbox, entry_in, opened_sandbox

INNER_WORDS = "secret words of the inside"
BROWSER = {"Accept": "text/html,application/xhtml+xml"}
RETURN_URL = f"{PUBLIC_URL}/cards/entered?office=berlin"
CANCEL_URL = f"{PUBLIC_URL}/cards"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@asynccontextmanager
async def serving(routes: Sequence[BaseRoute], *, drain_seconds: int = 5) -> AsyncIterator[HttpServer]:
    app = make_app(routes, body_limits={WEBHOOK_PATH: MAX_WEBHOOK_BYTES})
    server = await HttpServer.open(app, "http_listen", Address("127.0.0.1", 0), drain_seconds=drain_seconds)
    try:
        await server.start()
        yield server
    finally:
        await server.close()


@dataclass
class Site:
    """A gateway's HTTP side with a sandbox, and who deals with its events."""

    port: int
    sandbox: SandboxProvider
    clock: ManualClock
    events: list[PaymentEvent] = field(default_factory=list)
    fault: Exception | None = None
    keys: int = 0

    async def on_event(self, event: PaymentEvent) -> None:
        if self.fault is not None:
            raise self.fault
        self.events.append(event)

    def key(self) -> str:
        self.keys += 1
        return f"site/{self.keys}"

    async def attempt(self, token: str = "tok_visa", description: str = "Calling credits") -> ChargeAttempt:
        request = NewPaymentMethod(token=token, owner_id="berlin", idempotency_key=self.key())
        added = await self.sandbox.add_payment_method(request)
        assert isinstance(added, PaymentMethodAdded)
        return ChargeAttempt(
            idempotency_key=self.key(),
            amount_micros=12_300_000,
            currency="USD",
            method=added.reference,
            description=description,
        )

    async def asked(self, description: str = "Calling credits") -> tuple[ChargeAttempt, str]:
        """A charge that waits for its owner, and the path of its link."""
        attempt = await self.attempt("tok_authentication_required", description)
        outcome = await self.sandbox.charge(attempt)
        assert isinstance(outcome, ActionRequired)
        return attempt, outcome.confirmation_url.removeprefix(PUBLIC_URL)

    async def entering(self) -> str:
        """The path of a page on which a card is to be chosen."""
        page = await self.sandbox.begin_card_entry(CardEntry("berlin", RETURN_URL, CANCEL_URL, self.key()))
        return page.removeprefix(PUBLIC_URL)

    async def webhook(self) -> tuple[bytes, str]:
        """Of a charge, as the sandbox sends it."""
        await self.sandbox.charge(await self.attempt())
        return (await Postbox().collect(self.sandbox))[-1]

    async def post(self, body: bytes, signature: str | None) -> Answer:
        headers = {} if signature is None else {"Stripe-Signature": signature}
        return await ask(self.port, WEBHOOK_PATH, method="POST", body=body, headers=headers)


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[Site]:
    clock = ManualClock(NOON)
    async with opened_sandbox(folder, clock) as sandbox:
        made = Site(0, sandbox, clock)
        receiver = WebhookReceiver(sandbox, made.on_event, clock.now_ms)
        routes = [RETURN_ROUTE, static_route(), *webhook_routes(receiver), *sandbox_routes(sandbox)]
        async with serving(routes) as server:
            made.port = server.port
            yield made


def counted(route: str, status: str) -> float:
    labels = {"route": route, "status": status}
    return REGISTRY.get_sample_value("tollgate_http_requests_total", labels) or 0.0


async def test_a_webhook_is_acknowledged_when_its_event_is_dealt_with(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        body, signature = await there.webhook()
        before = counted(WEBHOOK_PATH, "2xx")
        answer = await there.post(body, signature)
        assert (answer.status, answer.json()) == (200, {"received": True})
        [event] = there.events
        assert (event.kind, event.amount_micros) == (PaymentEventKind.CHARGE_SUCCEEDED, 12_300_000)
        assert counted(WEBHOOK_PATH, "2xx") == before + 1
        await there.post(body, signature)
        assert there.events == [event, event]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda body, signature: (body, None), "WEBHOOK_SIGNATURE_INVALID"),
        (lambda body, signature: (body, ""), "WEBHOOK_SIGNATURE_INVALID"),
        (lambda body, signature: (body, "t=1,v1=abc"), "WEBHOOK_SIGNATURE_INVALID"),
        (lambda body, signature: (body + b" ", signature), "WEBHOOK_SIGNATURE_INVALID"),
        (lambda body, signature: (b"", signature), "WEBHOOK_SIGNATURE_INVALID"),
    ],
)
async def test_a_webhook_of_somebody_else_is_refused(tmp_path: Path, change: object, reason: str) -> None:
    assert callable(change)
    async with site(tmp_path) as there:
        answer = await there.post(*change(*await there.webhook()))
        assert (answer.status, answer.json()["error"]["reason"]) == (400, reason)
        assert there.events == []


async def test_a_webhook_that_is_played_back_or_makes_no_sense_is_refused(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        body, signature = await there.webhook()
        nonsense = await there.post(b"{}", there.sandbox.sign_webhook(b"{}"))
        assert (nonsense.status, nonsense.json()["error"]["reason"]) == (400, "WEBHOOK_MALFORMED")
        there.clock.move(301)
        late = await there.post(body, signature)
        assert (late.status, late.json()["error"]["reason"]) == (400, "WEBHOOK_STALE")
        assert there.events == []


async def test_a_webhook_comes_again_when_it_could_not_be_dealt_with(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        body, signature = await there.webhook()
        there.fault = Unavailable("The database is away: try again.")
        away = await there.post(body, signature)
        assert (away.status, away.headers["retry-after"]) == (503, "5")
        there.fault = ZeroDivisionError(INNER_WORDS)
        broken = await there.post(body, signature)
        assert (broken.status, broken.json()["error"]["reason"]) == (500, "INTERNAL")
        assert INNER_WORDS not in broken.text
        there.fault = None
        assert (await there.post(body, signature)).status == 200
        assert len(there.events) == 1


async def test_the_sandbox_hands_its_webhooks_to_the_same_receiver(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        receiver = WebhookReceiver(there.sandbox, there.on_event, there.clock.now_ms)
        await there.sandbox.charge(await there.attempt())
        there.fault = Unavailable("The database is away: try again.")
        assert await there.sandbox.send_webhooks(receiver.receive)
        there.fault = None
        assert not await there.sandbox.send_webhooks(receiver.receive)
        there.clock.move(1)
        assert await there.sandbox.send_webhooks(receiver.receive)
        assert [event.kind for event in there.events] == [PaymentEventKind.CHARGE_SUCCEEDED]
        assert not await there.sandbox.send_webhooks(receiver.receive)


async def test_an_event_that_means_nothing_to_us_is_acknowledged(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        body = b'{"id":"evt_1","type":"customer.admired","created":1}'
        assert (await there.post(body, there.sandbox.sign_webhook(body))).status == 200
        assert [event.kind for event in there.events] == [PaymentEventKind.OTHER]


@pytest.mark.parametrize(("answer", "outcome"), [("approve", Succeeded), ("refuse", Declined)])
async def test_the_owner_of_a_card_answers_on_a_page(tmp_path: Path, answer: str, outcome: type) -> None:
    async with site(tmp_path) as there:
        attempt, link = await there.asked()
        page = await ask(there.port, link)
        assert page.status == 200
        assert "Pay 12.30 USD?" in page.text
        assert re.search(r"visa ending in \d{4}", page.text)
        assert isinstance(await there.sandbox.look_up(attempt, sent_at_ms=NOON), ActionRequired)
        body = f"answer={answer}".encode()
        answered = await ask(there.port, link, method="POST", body=body, headers=FORM)
        assert (answered.status, answered.headers["location"]) == (303, "/payments/return")
        assert isinstance(await there.sandbox.look_up(attempt, sent_at_ms=NOON), outcome)
        other = b"answer=refuse" if answer == "approve" else b"answer=approve"
        await ask(there.port, link, method="POST", body=other, headers=FORM)
        assert isinstance(await there.sandbox.look_up(attempt, sent_at_ms=NOON), outcome)
        again = await ask(there.port, link)
        assert again.status == 200
        assert "Nothing to confirm" in again.text


async def test_the_owner_of_a_card_may_allow_that_it_is_added(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        request = NewPaymentMethod(token="tok_action_required", owner_id="berlin", idempotency_key="add")
        asked = await there.sandbox.add_payment_method(request)
        assert isinstance(asked, PaymentMethodActionRequired)
        link = asked.confirmation_url.removeprefix(PUBLIC_URL)
        assert "Allow future charges?" in (await ask(there.port, link)).text
        await ask(there.port, link, method="POST", body=b"answer=approve", headers=FORM)
        again = NewPaymentMethod(asked.token, "berlin", "add again", asked.customer_id)
        assert isinstance(await there.sandbox.add_payment_method(again), PaymentMethodAdded)


async def test_a_card_is_chosen_on_a_page(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        link = await there.entering()
        page = await ask(there.port, link)
        assert page.status == 200
        assert "Test payment: no card is charged." in page.text
        assert set(re.findall(r'name="card" value="([^"]+)"', page.text)) == named_cards().keys()
        assert all(card.description in page.text for card in named_cards().values())
        assert f'<a href="{CANCEL_URL}">Cancel</a>' in page.text
        assert (await ask(there.port, link)).text == page.text  # A reload, or a Cancel that was none, changes nothing.
        for choice in (b"card=tok_mastercard", b"card=tok_visa"):  # Only the first one counts.
            chosen = await ask(there.port, link, method="POST", body=choice, headers=FORM)
            entry = entry_in(link)
            assert (chosen.status, chosen.headers["location"]) == (303, f"{RETURN_URL}&entry={entry}")
        again = await ask(there.port, link)
        assert (again.status, again.headers["location"]) == (303, chosen.headers["location"])
        token = await there.sandbox.finish_card_entry(entry, owner_id="berlin")
        added = await there.sandbox.add_payment_method(NewPaymentMethod(token, "berlin", "add"))
        assert isinstance(added, PaymentMethodAdded)
        assert added.card.brand == "mastercard"


async def test_a_browser_is_sent_nowhere_but_back(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        link = await there.entering()
        elsewhere = "https://elsewhere.example"
        asked = f"{link}&return_url={elsewhere}&cancel_url={elsewhere}&next={elsewhere}"
        assert elsewhere not in (await ask(there.port, asked)).text
        body = f"card=tok_visa&return_url={elsewhere}".encode()
        headers = FORM | {"Host": "elsewhere.example", "Referer": elsewhere}
        chosen = await ask(there.port, asked, method="POST", body=body, headers=headers)
        assert chosen.headers["location"] == f"{RETURN_URL}&entry={entry_in(link)}"


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        ("?entry=entry_there_is_none", "GET", None, 404),
        ("", "GET", None, 404),
        ("?entry=", "GET", None, 404),
        ("?entry=%00%ff", "GET", None, 404),
        ("?entry=entry_there_is_none", "POST", b"card=tok_visa", 404),
        ("?entry=entry_there_is_none", "POST", b"card=tok_of_nobody", 400),
        ("?entry=entry_there_is_none", "POST", b"card=4242424242424242", 400),
        ("?entry=entry_there_is_none", "POST", b"", 400),
        ("?entry=entry_there_is_none", "POST", b"\xff\xfe%%%", 400),
        ("?entry=entry_there_is_none", "PUT", b"", 405),
    ],
)
async def test_an_entry_of_a_card_that_makes_no_sense(
    tmp_path: Path, path: str, method: str, body: bytes | None, status: int
) -> None:
    async with site(tmp_path) as there:
        answer = await ask(there.port, f"/payments/sandbox/card{path}", method=method, body=body, headers=BROWSER)
        assert answer.status == status
        assert answer.headers["content-type"].startswith("text/html")
        assert "4242" not in answer.text


@pytest.mark.parametrize(
    ("path", "method", "body", "status"),
    [
        ("?charge=ch_there_is_none", "GET", None, 404),
        ("", "GET", None, 404),
        ("?charge=", "GET", None, 404),
        ("?charge=%00%ff", "GET", None, 404),
        ("?charge=ch_there_is_none", "POST", b"answer=approve", 404),
        ("?charge=ch_there_is_none", "POST", b"answer=perhaps", 400),
        ("?charge=ch_there_is_none", "POST", b"", 400),
        ("?charge=ch_there_is_none", "POST", b"\xff\xfe%%%", 400),
        ("?charge=ch_there_is_none", "PUT", b"", 405),
    ],
)
async def test_a_confirmation_that_makes_no_sense(
    tmp_path: Path, path: str, method: str, body: bytes | None, status: int
) -> None:
    async with site(tmp_path) as there:
        path = f"/payments/sandbox/confirm{path}"
        answer = await ask(there.port, path, method=method, body=body, headers=BROWSER)
        assert answer.status == status
        assert answer.headers["content-type"].startswith("text/html")


async def test_what_a_page_shows_is_escaped(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        _, link = await there.asked("<script>alert(1)</script>")
        page = await ask(there.port, link)
        assert "&lt;script&gt;" in page.text
        assert "<script" not in page.text


async def test_the_return_page_repeats_nothing_of_what_it_is_told(tmp_path: Path) -> None:
    async with site(tmp_path) as there:
        page = await ask(there.port, "/payments/return?redirect_status=succeeded&x=repeated")
        assert page.status == 200
        assert "You may close this page." in page.text
        assert '<a href="/">Back to Calling Credits</a>' in page.text
        assert "succeeded" not in page.text
        assert "repeated" not in page.text
        style = re.search(r'href="(/static/[^"]+)"', page.text)
        assert style is not None
        sheet = await ask(there.port, style[1])
        assert (sheet.status, sheet.headers["content-type"]) == (200, "text/css; charset=utf-8")


@pytest.mark.parametrize("is_ready", [True, False])
async def test_health(is_ready: bool) -> None:
    async with serving(health_routes(lambda: is_ready)) as server:
        assert (await ask(server.port, "/health/live")).status == 200
        assert (await ask(server.port, "/health/ready")).status == (200 if is_ready else 503)


async def raise_bug(_request: Request) -> Response:
    raise ZeroDivisionError(INNER_WORDS)


async def echo_length(request: Request) -> Response:
    return PlainTextResponse(str(len(await request.body())))


BUG = Route("/bug", raise_bug)
ECHO = Route("/echo", echo_length, methods=["POST"])
WIDE = Route(WEBHOOK_PATH, echo_length, methods=["POST"])


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (InvalidArgument("amount_micros", "must be above zero"), 400, "INVALID_ARGUMENT"),
        (FailedPrecondition("The card is locked."), 400, "FAILED_PRECONDITION"),
        (Unauthenticated(), 401, "UNAUTHENTICATED"),
        (PermissionDenied(), 403, "PERMISSION_DENIED"),
        (NotFound("There is none."), 404, "NOT_FOUND"),
        (AlreadyExists("There is one."), 409, "ALREADY_EXISTS"),
        (ResourceExhausted("Try again."), 429, "OVERLOADED"),
        (LedgerBroken(INNER_WORDS), 500, "LEDGER_BROKEN"),
        (Unavailable("Try again."), 503, "UNAVAILABLE"),
    ],
)
async def test_a_fault_is_told_with_its_reason(fault: TollgateError, status: int, reason: str) -> None:
    async def endpoint(_request: Request) -> Response:
        raise fault

    async with serving([Route("/", endpoint)]) as server:
        answer = await ask(server.port, "/")
        assert answer.status == status
        told = answer.json()["error"]
        assert (told["reason"], told["message"], told.get("field")) == (reason, fault.message, fault.field)
        assert INNER_WORDS not in answer.text
        page = await ask(server.port, "/", headers=BROWSER)
        assert page.status == status
        assert page.headers["content-type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("path", "method", "status", "reason"),
    [
        ("/", "GET", 404, "NOT_FOUND"),
        ("/no/such/page", "GET", 404, "NOT_FOUND"),
        ("/static/../../etc/passwd", "GET", 404, "NOT_FOUND"),
        ("/static/%2e%2e/%2e%2e/server.py", "GET", 404, "NOT_FOUND"),
        ("/static/", "GET", 404, "NOT_FOUND"),
        ("/echo", "GET", 405, "METHOD_NOT_ALLOWED"),
        ("/bug", "POST", 405, "METHOD_NOT_ALLOWED"),
        ("/bug", "GET", 500, "INTERNAL"),
    ],
)
async def test_every_answer_is_clear_and_has_safe_headers(path: str, method: str, status: int, reason: str) -> None:
    async with serving([BUG, ECHO, static_route()]) as server:
        answer = await ask(server.port, path, method=method)
        assert (answer.status, answer.json()["error"]["reason"]) == (status, reason)
        assert INNER_WORDS not in answer.text
        assert answer.headers.items() >= SECURITY_HEADERS.items()
        assert "server" not in answer.headers
        assert (await ask(server.port, "/echo", method="POST", body=b"lives")).text == "5"


@pytest.mark.parametrize(
    ("path", "size", "status"),
    [
        ("/echo", MAX_BODY_BYTES, 200),
        ("/echo", MAX_BODY_BYTES + 1, 413),
        (WEBHOOK_PATH, MAX_WEBHOOK_BYTES, 200),
        (WEBHOOK_PATH, MAX_WEBHOOK_BYTES + 1, 413),
    ],
)
@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_has_a_limit(path: str, size: int, status: int, announced: bool) -> None:
    body = b"x" * size
    async with serving([ECHO, WIDE]) as server:
        answer = await ask(server.port, path, method="POST", body=body if announced else [body[:-1], body[-1:]])
        assert answer.status == status
        assert answer.text == str(size) if status == 200 else answer.json()["error"]["reason"]


async def test_a_body_that_is_only_announced_is_refused_at_once() -> None:
    async with serving([ECHO]) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 413")
        finally:
            writer.close()
            await writer.wait_closed()


async def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.05)
    async with serving([ECHO]) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        finally:
            writer.close()
            await writer.wait_closed()


async def test_who_hangs_up_disturbs_nobody() -> None:
    async with serving([ECHO]) as server:
        before = counted("/echo", "5xx")
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        assert (await ask(server.port, "/echo", method="POST", body=b"lives")).text == "5"
        assert counted("/echo", "5xx") == before


async def test_requests_are_counted_by_route_and_never_by_path() -> None:
    async with serving([ECHO, BUG, static_route()]) as server:
        before = [counted(*labels) for labels in (("none", "4xx"), ("/bug", "5xx"), ("/static", "2xx"))]
        for number in range(3):
            await ask(server.port, f"/guess/{number}")
        await ask(server.port, "/bug?office=springfield")
        await ask(server.port, "/static/page.css")
        after = [counted(*labels) for labels in (("none", "4xx"), ("/bug", "5xx"), ("/static", "2xx"))]
        assert [now - then for now, then in zip(after, before, strict=True)] == [3, 1, 1]
        routes = {sample.labels["route"] for metric in REGISTRY.collect() for sample in metric.samples
                  if sample.name == "tollgate_http_requests_total"}  # fmt: skip
        assert not any("guess" in route or "springfield" in route for route in routes)


async def test_what_was_accepted_is_answered_at_the_end() -> None:
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def slow(_request: Request) -> Response:
        begun.set()
        await let_go.wait()
        return PlainTextResponse("done")

    async with serving([Route("/slow", slow)]) as server:
        stop = asyncio.Event()
        running = asyncio.create_task(server.run(stop))
        asked = asyncio.create_task(ask(server.port, "/slow"))
        await begun.wait()
        stop.set()
        closing = asyncio.create_task(server.close())
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            except ConnectionError:
                break  # Refused, or reset when it was in the queue as the listener closed.
            writer.close()
        assert not asked.done()
        let_go.set()
        assert (await asked).text == "done"
        await closing
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_what_takes_too_long_is_cut_off_at_the_end() -> None:
    begun = asyncio.Event()

    async def endless(_request: Request) -> Response:
        begun.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving([Route("/endless", endless)], drain_seconds=0) as server:
        asked = asyncio.create_task(ask(server.port, "/endless"))
        await begun.wait()
        await server.close()
        [ended] = await asyncio.gather(asked, return_exceptions=True)
        assert isinstance(ended, ConnectionError) or (isinstance(ended, Answer) and ended.status >= 500)


async def test_a_server_that_ends_by_itself_is_a_fault() -> None:
    async with serving([ECHO]) as server:
        running = asyncio.create_task(server.run(asyncio.Event()))
        await server.close()
        with pytest.raises(RuntimeError, match="by itself"):
            await running


async def test_a_taken_address_is_told_with_its_setting() -> None:
    async with serving([ECHO]) as server:
        app = make_app([], body_limits={})
        taken = Address("127.0.0.1", server.port)
        with pytest.raises(StartupError, match=rf"TOLLGATE_HTTP_LISTEN: 127\.0\.0\.1:{server.port} is taken"):
            await HttpServer.open(app, "http_listen", taken, drain_seconds=0)
        with pytest.raises(StartupError, match=r"TOLLGATE_HTTP_LISTEN: .*no address of this machine"):
            await HttpServer.open(app, "http_listen", Address("192.0.2.1", 0), drain_seconds=0)


async def test_a_server_that_was_never_started_lets_its_address_go() -> None:
    app = make_app([], body_limits={})
    server = await HttpServer.open(app, "http_listen", Address("127.0.0.1", 0), drain_seconds=0)
    with pytest.raises(RuntimeError, match="start"):
        await server.run(asyncio.Event())
    await server.close()
    again = await HttpServer.open(app, "http_listen", Address("127.0.0.1", server.port), drain_seconds=0)
    await again.close()

"""An HTTP proxy that does with Idempotency-Key what Stripe does, and breaks down at the moments that matter.

In front of localstripe, which ignores the header. By Stripe's documentation of idempotent requests:

- a key's first answer is kept and given again (with `Idempotent-Replayed: true`), server errors too;
- other content, or another path, under the same key is an `idempotency_error` (400);
- a request while the key's first is under way is a 409;
- what was turned away before it began (wrong parameters, credentials, too many requests) is not kept.

`days_pass` does what days do: the keys are forgotten, and the `Date` of the answers is a later one.
"""

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from enum import Enum
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

from aiohttp import web

WAIT_SECONDS = 10.0
DAY_SECONDS = 86_400

NOT_KEPT = frozenset({400, 401, 403, 404, 409, 429})


@dataclass(frozen=True)
class Request:
    """A request, as far as anybody behind the proxy cares."""

    method: str
    path: str
    query: str = ""
    body: str = ""
    authorization: str = ""
    at: int = field(default=0, compare=False)
    """When it is carried out, by Stripe's clock; Unix seconds."""

    @property
    def form(self) -> dict[str, str]:
        """The body's fields, or the query's; names as they are sent, e.g. metadata[office_id]."""
        return {name: values[0] for name, values in parse_qs(self.body or self.query, keep_blank_values=True).items()}


@dataclass(frozen=True)
class Answer:
    """An answer; the body is JSON."""

    status: int
    body: str

    @classmethod
    def of(cls, status: int, content: object) -> "Answer":
        """An answer with that content."""
        return cls(status, json.dumps(content))

    @classmethod
    def error(cls, status: int, kind: str, message: str, **more: object) -> "Answer":
        """An error in Stripe's form."""
        return cls.of(status, {"error": {"type": kind, "message": message, **more}})


Backend = Callable[[Request], Awaitable[Answer]]


class Fault(Enum):
    """What happens to a request."""

    DROPPED = "the connection closes and nobody heard of the request"
    REPLY_LOST = "it is carried out, and the connection closes instead of a reply"
    RATE_LIMITED = "429, and it is not carried out"
    FAILS_BEFORE = "500, and it is not carried out"
    FAILS_AFTER = "500, and it is carried out"
    BAD_GATEWAY = "502 with a page of HTML, and it is carried out"
    NONSENSE = "200 with an empty object, and it is carried out"


@dataclass
class Gate:
    """A request that is held until the test lets it go on."""

    _arrived: asyncio.Event = field(default_factory=asyncio.Event)
    _opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def reached(self) -> None:
        """Wait until the request stands before the gate."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self._arrived.wait()

    def open(self) -> None:
        """Let it go on."""
        self._opened.set()

    async def pass_through(self) -> None:
        """Wait as the request."""
        self._arrived.set()
        await self._opened.wait()


@dataclass
class _Plan:
    wanted: re.Pattern[str]
    fault: Fault | None = None
    before: Gate | None = None
    after: Gate | None = None


@dataclass
class _Kept:
    request: Request
    answer: Answer | None = None


class IdempotencyProxy:
    """The proxy; a fault or gate is for one request, the next whose line matches: `POST /v1/customers name=Berlin`."""

    def __init__(self, backend: Backend, fault_of: Callable[[Request], Fault | None] = lambda request: None) -> None:
        """Prepare the proxy.

        Args:
            backend: Answers what gets through.
            fault_of: A fault that lies in the request itself, such as that of a card.
        """
        self._backend = backend
        self._fault_of = fault_of
        self._plans: list[_Plan] = []
        self._kept: dict[str, _Kept] = {}
        self._runner: web.AppRunner | None = None
        self.url = ""
        self.later_seconds = 0
        """How much later than the present it is at Stripe's."""
        self.requests: list[Request] = []
        """What has come in."""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def fail(self, wanted: str, fault: Fault) -> None:
        """Let the next request whose line matches a regular expression fail."""
        self._plans.append(_Plan(re.compile(wanted), fault=fault))

    def hold(self, wanted: str) -> Gate:
        """Hold the next such request before it is carried out."""
        gate = Gate()
        self._plans.append(_Plan(re.compile(wanted), before=gate))
        return gate

    def hold_reply(self, wanted: str) -> Gate:
        """Hold the reply to the next such request."""
        gate = Gate()
        self._plans.append(_Plan(re.compile(wanted), after=gate))
        return gate

    def days_pass(self, days: int = 3) -> None:
        """Forget every key, as Stripe may after 24 hours, and go on at a later date."""
        self._kept.clear()
        self.later_seconds += days * DAY_SECONDS

    async def _handle(self, incoming: web.Request) -> web.StreamResponse:
        request = Request(
            incoming.method,
            incoming.path,
            incoming.query_string,
            await incoming.text(),
            incoming.headers.get("Authorization", ""),
        )
        self.requests.append(request)
        plan = self._plan_of(request)
        fault = plan.fault or self._fault_of(request)
        if plan.before:
            await plan.before.pass_through()
        match fault:
            case Fault.DROPPED:
                return _cut_off(incoming)
            case Fault.RATE_LIMITED:
                too_many = Answer.error(429, "invalid_request_error", "Too many requests", code="rate_limit")
                return _response(too_many, self._now())
        answer, replayed = await self._once(incoming.headers.get("Idempotency-Key"), request, fault)
        answered_at = self._now()
        if plan.after:
            await plan.after.pass_through()
        if fault is Fault.REPLY_LOST:
            return _cut_off(incoming)
        if fault is Fault.BAD_GATEWAY:
            return web.Response(status=502, text="<html>Bad gateway</html>", content_type="text/html")
        given = Answer.of(200, {}) if fault is Fault.NONSENSE else answer
        return _response(given, answered_at, replayed=replayed)

    def _now(self) -> int:
        return int(time.time()) + self.later_seconds

    def _plan_of(self, request: Request) -> _Plan:
        for plan in self._plans:
            if plan.wanted.search(f"{request.method} {request.path} {request.body}"):
                self._plans.remove(plan)
                return plan
        return _Plan(re.compile(""))

    async def _once(self, key: str | None, request: Request, fault: Fault | None) -> tuple[Answer, bool]:
        """Carry a request out, or give its key's first answer again."""
        if request.method != "POST" or key is None:
            return await self._carry_out(request, fault), False
        kept = self._kept.get(key)
        if kept is None:
            kept = self._kept[key] = _Kept(request)
            try:
                answer = await self._carry_out(request, fault)
            except BaseException:
                del self._kept[key]
                raise
            if answer.status in NOT_KEPT:
                # A day may have passed meanwhile.
                self._kept.pop(key, None)
            else:
                kept.answer = answer
            return answer, False
        if kept.request != request:
            return Answer.error(400, "idempotency_error", "The key was first used with other parameters"), False
        if kept.answer is None:
            message = "Another request with this key is under way"
            return Answer.error(409, "invalid_request_error", message, code="idempotency_key_in_use"), False
        return kept.answer, True

    async def _carry_out(self, request: Request, fault: Fault | None) -> Answer:
        failed = Answer.error(500, "api_error", "Something went wrong at Stripe's")
        if fault is Fault.FAILS_BEFORE:
            return failed
        answer = await self._backend(replace(request, at=self._now()))
        return failed if fault is Fault.FAILS_AFTER else answer


def _response(answer: Answer, at: int, *, replayed: bool = False) -> web.Response:
    headers = {"Date": formatdate(at, usegmt=True), "Request-Id": "req_of_the_proxy"}
    if replayed:
        headers["Idempotent-Replayed"] = "true"
    return web.Response(status=answer.status, text=answer.body, content_type="application/json", headers=headers)


def _cut_off(incoming: web.Request) -> web.Response:
    if incoming.transport is not None:
        incoming.transport.abort()
    return web.Response()

"""SIP endpoints of a few lines over UDP, for what sipp's scenarios cannot say: races, floods, malformed requests.

An endpoint sends what it is told and hands out what comes, message by message; it retransmits nothing on its own.
"""

import asyncio
import itertools
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self, cast

WAIT_SECONDS = 5.0
"""How long a message that must come is waited for."""

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class SipMessage:
    """A request or a response."""

    start: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    @classmethod
    def parse(cls, data: bytes) -> Self:
        head, _, body = data.partition(b"\r\n\r\n")
        start, *lines = head.decode(errors="replace").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return cls(start, tuple((name.strip(), value.strip()) for name, _, value in pairs), body)

    def encode(self) -> bytes:
        kept = ((name, value) for name, value in self.headers if name.lower() != "content-length")
        lines = [self.start, *(f"{name}: {value}" for name, value in kept)]
        lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body

    def all(self, name: str) -> list[str]:
        """All values of a header."""
        return [value for each, value in self.headers if each.lower() == name.lower()]

    def header(self, name: str) -> str:
        """The first value of a header; empty if there is none."""
        return next(iter(self.all(name)), "")

    @property
    def status(self) -> int:
        """Of a response; 0 for a request."""
        return int(self.start.split()[1]) if self.start.startswith("SIP/2.0 ") else 0

    @property
    def method(self) -> str:
        """Of a request, or that which a response answers."""
        return self.header("CSeq").split()[-1] if self.status else self.start.split()[0]

    @property
    def uri(self) -> str:
        """Of a request."""
        return self.start.split()[1]

    @property
    def contact(self) -> str:
        """The URI of its Contact."""
        return self.header("Contact").strip("<>")


class Endpoint(asyncio.DatagramProtocol):
    """A UDP socket on which SIP messages come and go."""

    transport: asyncio.DatagramTransport

    def __init__(self) -> None:
        self.received: asyncio.Queue[SipMessage] = asyncio.Queue()
        self.on_message: Callable[[SipMessage], bool] | None = None
        self._kept: list[SipMessage] = []

    @classmethod
    async def open(cls, host: str = "127.0.0.1", port: int = 0) -> Self:
        """Bind to an address; port 0: any."""
        loop = asyncio.get_running_loop()
        _, endpoint = await loop.create_datagram_endpoint(cls, local_addr=(host, port))
        return endpoint

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)
        self.host, self.port = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not data.strip():
            return  # A keep-alive.
        message = SipMessage.parse(data)
        if self.on_message is None or not self.on_message(message):
            self.received.put_nowait(message)

    def send(self, message: SipMessage, to: tuple[str, int]) -> None:
        self.transport.sendto(message.encode(), to)

    def close(self) -> None:
        self.transport.close()

    async def expect(self, *wanted: int | str, limit_seconds: float = WAIT_SECONDS) -> SipMessage:
        """The next response with one of these statuses, or request with one of these methods; others are kept.

        Raises:
            AssertionError: None came in time.
        """
        return await self.expect_that(
            lambda message: (message.status or message.method) in wanted, str(wanted), limit_seconds
        )

    async def expect_that(
        self, fits: Callable[[SipMessage], bool], what: str, limit_seconds: float = WAIT_SECONDS
    ) -> SipMessage:
        """The next message that fits; others are kept.

        Raises:
            AssertionError: None came in time.
        """
        for message in self._kept:
            if fits(message):
                self._kept.remove(message)
                return message
        try:
            async with asyncio.timeout(limit_seconds):
                while not fits(message := await self.received.get()):
                    self._kept.append(message)
                return message
        except TimeoutError:
            raise AssertionError(f"no {what} came, but {[each.start for each in self._kept]}") from None

    def forget(self) -> list[SipMessage]:
        """Everything that came and was not expected."""
        while not self.received.empty():
            self._kept.append(self.received.get_nowait())
        kept, self._kept = self._kept, []
        return kept


def response(request: SipMessage, status: int, *headers: tuple[str, str], to_tag: str = "callee") -> SipMessage:
    """The answer to a request."""
    copied = [(name, value) for name in ("Via", "Record-Route") for value in request.all(name)]
    to = request.header("To")
    if status > 100 and "tag=" not in to:
        to += f";tag={to_tag}"
    copied += [("From", request.header("From")), ("To", to)]
    copied += [("Call-ID", request.header("Call-ID")), ("CSeq", request.header("CSeq"))]
    return SipMessage(f"SIP/2.0 {status} Answer", (*copied, *headers))


@dataclass
class Call:
    """The caller's side of one call.

    Attributes:
        endpoint: From where.
        proxy: To where everything is sent.
        called: The user part of the request URI.
    """

    endpoint: Endpoint
    proxy: tuple[str, int]
    called: str
    calling: str = "+12175550101"
    headers: tuple[tuple[str, str], ...] = ()
    uri: str = ""
    call_id: str = field(default_factory=lambda: f"{uuid.uuid4().hex}@test")
    tag: str = field(default_factory=lambda: f"caller{next(_numbers)}")
    branch: str = field(default_factory=lambda: f"z9hG4bK{uuid.uuid4().hex}")
    cseq: int = 1
    answer: SipMessage | None = None
    requests: dict[str, str] = field(default_factory=dict)
    """The branch of the last request with each method."""

    def __post_init__(self) -> None:
        self.uri = self.uri or f"sip:{self.called}@{self.proxy[0]}:{self.proxy[1]}"

    def request(self, method: str, *headers: tuple[str, str], body: bytes = b"", branch: str = "") -> SipMessage:
        """A request of this call; within its dialog once it is answered."""
        here = f"{self.endpoint.host}:{self.endpoint.port}"
        via = branch or (self.branch if method in ("INVITE", "CANCEL") else f"z9hG4bK{uuid.uuid4().hex}")
        self.requests[method] = via
        uri, to, routes = self.uri, f"<{self.uri}>", []
        if self.answer is not None and method != "CANCEL":
            uri, to = self.answer.contact, self.answer.header("To")
            routes = [("Route", value) for value in reversed(self.answer.all("Record-Route"))]
        cseq = f"{self.cseq} {method}"
        return SipMessage(
            f"{method} {uri} SIP/2.0",
            (
                ("Via", f"SIP/2.0/UDP {here};branch={via}"),
                ("Max-Forwards", "70"),
                ("From", f"<sip:{self.calling}@{self.endpoint.host}>;tag={self.tag}"),
                ("To", to),
                ("Call-ID", self.call_id),
                ("CSeq", cseq),
                ("Contact", f"<sip:caller@{here}>"),
                *routes,
                *self.headers,
                *headers,
            ),
            body,
        )

    def send(self, method: str, *headers: tuple[str, str], body: bytes = b"", branch: str = "") -> None:
        self.endpoint.send(self.request(method, *headers, body=body, branch=branch), self.proxy)

    def invite(self) -> None:
        self.send("INVITE")

    def ack(self, final: SipMessage) -> None:
        """Acknowledge a final response: hop by hop if it is a refusal."""
        if final.status < 300:
            self.answer = final
            self.send("ACK")
            return
        request = self.request("ACK", branch=self.branch)
        headers = tuple((name, final.header("To") if name == "To" else value) for name, value in request.headers)
        self.endpoint.send(SipMessage(request.start, headers), self.proxy)

    async def final(self, *statuses: int, limit_seconds: float = WAIT_SECONDS) -> SipMessage:
        """Wait for the final response, and acknowledge it."""
        answer = await self.response("INVITE", *(statuses or range(200, 700)), limit_seconds=limit_seconds)
        self.ack(answer)
        return answer

    async def response(self, method: str, *statuses: int, limit_seconds: float = WAIT_SECONDS) -> SipMessage:
        """Wait for a response to a request of this call."""
        return await self.endpoint.expect_that(
            lambda each: each.status in statuses and each.method == method and each.header("Call-ID") == self.call_id,
            f"{statuses} to {method} of {self.call_id}",
            limit_seconds,
        )

    async def arrives(self, method: str) -> SipMessage:
        """Wait for a request within this call."""
        return await self.endpoint.expect_that(
            lambda each: not each.status and each.method == method and each.header("Call-ID") == self.call_id,
            f"{method} of {self.call_id}",
        )

    def bye(self) -> None:
        self.cseq += 1
        self.send("BYE")

    def reply(self, request: SipMessage, status: int) -> None:
        """Answer a request that came within this call."""
        self.endpoint.send(response(request, status), self.proxy)


class Callee:
    """Answers what comes to it, by what is dialled or as told.

    Args:
        endpoint: Where calls arrive.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    def reply(self, request: SipMessage, status: int, *headers: tuple[str, str], to_tag: str = "callee") -> None:
        """Answer by way of the request's topmost Via."""
        host, _, port = request.header("Via").split()[1].split(";")[0].partition(":")
        contact = ("Contact", f"<sip:callee@{self.endpoint.host}:{self.endpoint.port}>")
        self.endpoint.send(response(request, status, contact, *headers, to_tag=to_tag), (host, int(port or 5060)))

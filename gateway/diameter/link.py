"""Asks the gateway, by unary rpcs: a call that is authorized by one is ticked by whoever authorized it.

A Session would have the gateway tick these calls by its own clock; here the client counts the time (CC-Time), and what
it reports is what is billed. See docs/decisions/0018-diameter.md.
"""

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final, TypeVar

import grpc
import grpc.aio
import structlog
from google.protobuf.message import Message

from gateway.address import Address
from gateway.client.channel_options import CHANNEL_OPTIONS
from gateway.client.tls import Tls, dial
from gateway.client_channel import Fault, fault_of
from gateway.diameter.codes import ResultCode
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub

log = structlog.get_logger(__name__)

T = TypeVar("T")

FIRST_PAUSE_SECONDS: Final = 0.02
LONGEST_PAUSE_SECONDS: Final = 5.0
SETTLE_SECONDS: Final = 3_600.0
"""How long a settlement is tried that no gateway answers; then the gateway's own rules have settled the call."""

MAX_SETTLING: Final = 100_000

_OPTIONS: Final = (
    *CHANNEL_OPTIONS,
    # gRPC's own pauses grow to 2 minutes; a gateway that is back is to be asked again at once.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)
_AGAIN: Final = {"UNAVAILABLE", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "CANCELLED"}


class Unanswered(Exception):
    """No answer in time; what was asked may or may not have happened, and asking again with the same id is safe.

    Attributes:
        code: UNABLE_TO_DELIVER where no gateway was reached, TOO_BUSY where one sheds load.
    """

    def __init__(self, code: ResultCode, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Rejected(Exception):
    """The gateway will not do this, however often it is asked.

    Attributes:
        fault: Its words.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(f"{fault.code}: {fault.message}")
        self.fault = fault


class Link:
    """The way to a gateway.

    Args:
        address: Where CallAuthorization is.
        token: The switch's, or an operator's.
        deadline_seconds: How long an answer may take, retries included; well below the clients' Tx timer.
        random: Varies the pauses between attempts.
        tls: How what is said is encrypted; None: it is not.

    Raises:
        TlsFilesError: A file of `tls` cannot be used.
    """

    def __init__(
        self, address: Address, token: str, deadline_seconds: float, random: Random, tls: Tls | None = None
    ) -> None:
        self._channel = dial(str(address), tls, _OPTIONS)
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self.deadline_seconds = deadline_seconds
        self._random = random
        self._settling: set[asyncio.Task[Any]] = set()
        stub = CallAuthorizationStub(self._channel)
        self.stub: Any = stub
        """Its methods are what `ask` takes."""

    async def ask(self, rpc: Any, request: Message, limit_seconds: float | None = None) -> Any:
        """Ask, again and again until the deadline where that may help.

        Raises:
            Unanswered: No answer in time.
            Rejected: A definite no to the request itself.
        """
        limit = self.deadline_seconds if limit_seconds is None else limit_seconds
        until = asyncio.get_running_loop().time() + limit
        pause = FIRST_PAUSE_SECONDS
        while True:
            remaining = until - asyncio.get_running_loop().time()
            try:
                return await rpc(request, timeout=max(remaining, 0.001), metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                fault = fault_of(error)
            if fault.code not in _AGAIN:
                raise Rejected(fault)
            wait = pause * self._random.uniform(0.5, 1.0)
            if asyncio.get_running_loop().time() + wait >= until:
                is_busy = fault.code == "RESOURCE_EXHAUSTED"
                raise Unanswered(ResultCode.TOO_BUSY if is_busy else ResultCode.UNABLE_TO_DELIVER, fault.message)
            await asyncio.sleep(wait)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def settle(self, what: str, work: Callable[[], Awaitable[T]]) -> "asyncio.Task[T]":
        """Do what moves money for good, whether or not anybody still waits for it.

        Args:
            what: For the log.
            work: May be done several times; ends with something other than Unanswered.

        Raises:
            Unanswered: Too much waits to be settled already.
        """
        if len(self._settling) >= MAX_SETTLING:
            raise Unanswered(ResultCode.TOO_BUSY, f"{MAX_SETTLING} calls wait for a gateway")
        task = asyncio.create_task(self._until_done(what, work))
        self._settling.add(task)
        task.add_done_callback(self._settled)
        return task

    async def settled(self, settling: "asyncio.Task[T]") -> T:
        """Wait for what is being settled, as long as for any answer.

        Raises:
            Unanswered: Not yet.
        """
        try:
            async with asyncio.timeout(self.deadline_seconds):
                return await asyncio.shield(settling)
        except TimeoutError:
            text = "no gateway answers; this is settled as soon as one does"
            raise Unanswered(ResultCode.UNABLE_TO_DELIVER, text) from None

    async def close(self, limit_seconds: float) -> None:
        """Let what is being settled finish, for so long."""
        if self._settling:
            await asyncio.wait(self._settling, timeout=limit_seconds)
        for task in list(self._settling):
            task.cancel()
        if self._settling:
            log.error("diameter_not_settled", calls=len(self._settling), cure="they lapse at what was confirmed")
            await asyncio.gather(*self._settling, return_exceptions=True)
        await self._channel.close()

    async def _until_done(self, what: str, work: Callable[[], Awaitable[T]]) -> T:
        until = asyncio.get_running_loop().time() + SETTLE_SECONDS
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                return await work()
            except Unanswered as error:
                if asyncio.get_running_loop().time() > until:
                    log.error("diameter_settlement_given_up", what=what, error=error.text)
                    raise
            await asyncio.sleep(pause * self._random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _settled(self, task: "asyncio.Task[Any]") -> None:
        self._settling.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever waited has had it; nobody may wait any longer.

"""One connection with a Diameter peer (RFC 6733): who it is, whether it lives, its requests and their answers."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from itertools import count
from typing import Any, Final

import structlog

from gateway.diameter.avps import Incoming, answer_bytes, avp, group, missing, request_bytes
from gateway.diameter.codes import (
    APPLICATION_CREDIT_CONTROL,
    APPLICATION_RELAY,
    AUTH_APPLICATION_ID,
    DISCONNECT_CAUSE,
    ERROR_MESSAGE,
    FAILED_AVP,
    ORIGIN_HOST,
    RESULT_CODE,
    VENDOR_SPECIFIC_APPLICATION_ID,
    Command,
    ResultCode,
)
from gateway.diameter.framing import NotDiameter, read_message
from gateway.diameter.identity import DiameterIdentity
from gateway.diameter.refusal import Refused

log = structlog.get_logger(__name__)

CAPABILITIES_SECONDS: Final = 10.0
"""Within which a new connection has to say who it is."""

WATCHDOG_SECONDS: Final = 30.0
"""A peer that is silent for so long is asked whether it lives, and for as long again given up (RFC 3539: Tw)."""

MAX_UNDER_WAY: Final = 1_000
"""Requests of one peer at once. Beyond them nothing is read: TCP tells the peer to wait."""

MAX_UNSENT_BYTES: Final = 4 << 20
"""A peer that does not read its answers is given up."""

_REBOOTING: Final = 0

Handler = Callable[[Incoming], Awaitable[bytes]]
"""Answers a credit-control request; never raises for what is in it."""


class PeerConnection:
    """A connection that a peer has opened.

    Args:
        reader: Its bytes.
        writer: Its bytes.
        identity: Who we are.
        allowed_hosts: Origin-Hosts that may connect, in lower case; empty: any.
        handle: Answers the requests.
        watchdog_seconds: As WATCHDOG_SECONDS.
    """

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        identity: DiameterIdentity,
        allowed_hosts: Collection[str],
        handle: Handler,
        *,
        watchdog_seconds: float = WATCHDOG_SECONDS,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._identity = identity
        self._allowed_hosts = allowed_hosts
        self._handle = handle
        self._watchdog_seconds = watchdog_seconds
        self._sequence = count(1)
        self._under_way: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(MAX_UNDER_WAY)
        self._left = asyncio.Event()
        self.host = ""
        """Its Origin-Host, once it has said so."""
        self._address = "{}:{}".format(*writer.get_extra_info("peername")[:2])

    async def run(self, on_known: Callable[["PeerConnection"], None]) -> None:
        """Serve the peer until either side leaves.

        Args:
            on_known: Called once the peer has said who it is.
        """
        try:
            if await self._exchange_capabilities():
                on_known(self)
                log.info("diameter_peer_connected", peer=self.host, address=self._address)
                await self._serve()
        except NotDiameter as error:
            log.warning("diameter_peer_spoke_garbage", peer=self.host, address=self._address, error=str(error))
        except (ConnectionError, TimeoutError) as error:
            log.warning("diameter_peer_lost", peer=self.host, address=self._address, error=str(error) or "silent")
        finally:
            self._left.set()
            await self._close()

    async def leave(self, limit_seconds: float) -> None:
        """Answer what is under way, tell the peer to go elsewhere, and close; for no longer than the limit."""
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(limit_seconds):
                while self._under_way:
                    await asyncio.wait(self._under_way)
                if self.host:
                    cause = avp(DISCONNECT_CAUSE, _REBOOTING)
                    self._request(Command.DISCONNECT_PEER, [*self._identity.origin(), cause])
                    await self._left.wait()
        self.abort()

    def abort(self) -> None:
        """Close at once."""
        self._writer.transport.abort()

    async def _exchange_capabilities(self) -> bool:
        """Whether the peer said who it is, and may stay."""
        async with asyncio.timeout(CAPABILITIES_SECONDS):
            data = await read_message(self._reader)
        if data is None:
            return False
        try:
            message = Incoming.parse(data)
            if not message.is_request or message.command != Command.CAPABILITIES_EXCHANGE:
                raise NotDiameter(f"command {message.command} before Capabilities-Exchange")
            host = self._check_capabilities(message)
        except Refused as refused:
            log.warning("diameter_peer_refused", address=self._address, error=str(refused))
            self._answer_refused(data, refused)
            await self._writer.drain()
            return False
        self.host = host
        ip_address = str(self._writer.get_extra_info("sockname")[0])
        result = avp(RESULT_CODE, ResultCode.SUCCESS)
        self._send(answer_bytes(data, [result, *self._identity.capabilities(ip_address)]))
        return True

    def _check_capabilities(self, message: Incoming) -> str:
        host = message.avps.text(ORIGIN_HOST)
        if not host:
            raise missing(ORIGIN_HOST)
        if self._allowed_hosts and host.lower() not in self._allowed_hosts:
            raise Refused(ResultCode.UNKNOWN_PEER, f"{host[:255]} is not among the peers of this server")
        applications = set(message.avps.unsigneds(AUTH_APPLICATION_ID))
        for vendor in message.avps.groups(VENDOR_SPECIFIC_APPLICATION_ID):
            applications.update(vendor.unsigneds(AUTH_APPLICATION_ID))
        if not applications & {APPLICATION_CREDIT_CONTROL, APPLICATION_RELAY}:
            raise Refused(ResultCode.NO_COMMON_APPLICATION, "this server does credit control (application 4) only")
        return host

    async def _serve(self) -> None:
        asked = False
        reading = asyncio.create_task(read_message(self._reader))
        try:
            while True:
                # A watchdog that cancelled the reading could lose half a message, so the reading goes on beside it.
                done, _ = await asyncio.wait([reading], timeout=self._watchdog_seconds)
                if not done:
                    if asked:
                        raise TimeoutError
                    asked = True
                    self._request(Command.DEVICE_WATCHDOG, [*self._identity.origin(), self._identity.state()])
                    continue
                asked = False
                data = reading.result()
                if data is None or not await self._take(data):
                    return
                reading = asyncio.create_task(read_message(self._reader))
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _take(self, data: bytes) -> bool:
        """Deal with a message; False: the peer leaves."""
        try:
            message = Incoming.parse(data)
        except Refused as refused:
            self._answer_refused(data, refused)
            return True
        if not message.is_request:
            if message.command == Command.DISCONNECT_PEER:
                self._left.set()
                return False
            return True
        match message.command, message.application:
            case Command.DEVICE_WATCHDOG, _:
                result = avp(RESULT_CODE, ResultCode.SUCCESS)
                self._send(answer_bytes(data, [result, *self._identity.origin(), self._identity.state()]))
            case Command.DISCONNECT_PEER, _:
                # What is under way is answered first: the peer closes when it has this answer.
                while self._under_way:
                    await asyncio.wait(self._under_way)
                self._send(answer_bytes(data, [avp(RESULT_CODE, ResultCode.SUCCESS), *self._identity.origin()]))
                log.info("diameter_peer_left", peer=self.host, address=self._address)
                await self._writer.drain()
                return False
            case Command.CREDIT_CONTROL, application if application == APPLICATION_CREDIT_CONTROL:
                await self._room.acquire()
                task = asyncio.create_task(self._answer(message))
                self._under_way.add(task)
                task.add_done_callback(self._finished)
            case _, application if application not in {0, APPLICATION_CREDIT_CONTROL}:
                text = f"application {application} is not served here"
                self._answer_refused(data, Refused(ResultCode.APPLICATION_UNSUPPORTED, text))
            case command, _:
                text = f"command {command} is not served here"
                self._answer_refused(data, Refused(ResultCode.COMMAND_UNSUPPORTED, text))
        return True

    async def _answer(self, message: Incoming) -> None:
        self._send(await self._handle(message))

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._under_way.discard(task)
        self._room.release()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("diameter_request_failed", peer=self.host, exc_info=error)

    def _answer_refused(self, data: bytes, refused: Refused) -> None:
        avps: list[Any] = [avp(RESULT_CODE, refused.code), *self._identity.origin(), avp(ERROR_MESSAGE, refused.text)]
        if refused.failed:
            avps.append(group(FAILED_AVP, refused.failed))
        self._send(answer_bytes(data, avps, is_error=refused.code.is_protocol_error))

    def _request(self, command: Command, avps: list[Any]) -> None:
        self._send(request_bytes(command, next(self._sequence), avps))

    def _send(self, data: bytes) -> None:
        transport = self._writer.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            log.warning("diameter_peer_does_not_read", peer=self.host, address=self._address)
            transport.abort()
            return
        self._writer.write(data)

    async def _close(self) -> None:
        # What was asked for is done, whether or not its answer still reaches anybody.
        self._writer.close()
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._writer.wait_closed()
        self.abort()

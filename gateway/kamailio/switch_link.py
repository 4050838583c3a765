"""The connection to Kamailio's evapi port: connects again for ever, beats, hands out notes, sends messages."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import structlog

from gateway.address import Address
from gateway.kamailio.errors import KamailioError, ProtocolError
from gateway.kamailio.netstring import NetstringDecoder, encode_for_kamailio
from gateway.kamailio.notes import Note, read_note

_log = structlog.get_logger(__name__)

BEAT_SECONDS: Final = 1.0
"""Kamailio asks nobody who was silent for 3 s: a sidecar that hangs must not make the calls wait."""

_RETRY_SECONDS: Final = 0.25
_CONNECT_SECONDS: Final = 2.0


class SwitchLink:
    """One connection at a time, for as long as `run` runs.

    Args:
        address: Kamailio's evapi port.
        on_note: Takes each note, at once.
        on_connected: Awaited on each new connection, before Kamailio is told that somebody is there to ask.
        on_broken: Told when a connection that Kamailio knew of has ended.
    """

    def __init__(
        self,
        address: Address,
        *,
        on_note: Callable[[Note], None],
        on_connected: Callable[[], Awaitable[None]],
        on_broken: Callable[[], None],
    ) -> None:
        self._address = address
        self._on_note = on_note
        self._on_connected = on_connected
        self._on_broken = on_broken
        self._transport: asyncio.Transport | None = None

    def send(self, message: dict[str, Any]) -> bool:
        """Send a message; whether there is a connection to send it on."""
        if self._transport is None:
            return False
        self._transport.write(encode_for_kamailio(json.dumps(message, separators=(",", ":")).encode()))
        return True

    async def run(self) -> None:
        """Stay connected until cancelled."""
        refused = False
        while True:
            try:
                await self._use_one_connection()
                refused = False
            except (OSError, TimeoutError, KamailioError) as error:
                if not refused:
                    _log.warning("kamailio_away", address=str(self._address), error=str(error) or repr(error))
                refused = True
            await asyncio.sleep(_RETRY_SECONDS)

    async def _use_one_connection(self) -> None:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        async with asyncio.timeout(_CONNECT_SECONDS):
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: _EvapiProtocol(self._on_note, ended), self._address.host, self._address.port
            )
        beating = False
        try:
            await self._on_connected()
            self._transport = transport
            _log.info("kamailio_connected", address=str(self._address))
            beating = True
            while not ended.done():
                self.send({"do": "beat"})
                await asyncio.wait([ended], timeout=BEAT_SECONDS)
            _log.warning("kamailio_disconnected", error=str(ended.exception() or ""))
        finally:
            self._transport = None
            transport.close()
            if beating:
                self._on_broken()


class _EvapiProtocol(asyncio.Protocol):
    """Reads notes from a socket whose acknowledgements are not delayed.

    Kamailio does not set TCP_NODELAY, so that its next message waits for the acknowledgement of the last one; the
    kernel would delay that by 40 ms, and forgets after each read that it was told not to.
    """

    def __init__(self, on_note: Callable[[Note], None], ended: "asyncio.Future[None]") -> None:
        self._on_note = on_note
        self._ended = ended
        self._decoder = NetstringDecoder()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._socket = cast("socket.socket", transport.get_extra_info("socket"))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._acknowledge_at_once()

    def data_received(self, data: bytes) -> None:
        self._acknowledge_at_once()
        try:
            payloads = self._decoder.feed(data)
        except ProtocolError as error:
            _log.error("evapi_garbled", error=str(error))
            self._transport.abort()
            return
        for payload in payloads:
            try:
                self._on_note(read_note(payload))
            except ProtocolError as error:
                _log.error("note_not_understood", error=str(error))

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._ended.done():
            self._ended.set_exception(exc) if exc else self._ended.set_result(None)

    def _acknowledge_at_once(self) -> None:
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

"""Posts to the callback of a switch: signed JSON out, JSON back."""

from typing import Any, Final

import aiohttp

from gateway.domain.switch import Switch
from gateway.errors import InvalidArgument
from gateway.hooks.proto_json import packed, read_object
from gateway.request_context import outgoing_headers
from gateway.signature import HEADER, sign
from gateway.store.clock import Clock

MAX_ANSWER_BYTES: Final = 8 * 1024 * 1024
"""Room for a list of some 80,000 live calls."""

_CONNECTIONS_OF_A_SWITCH: Final = 16


class NotAnswered(Exception):
    """The switch did not answer, or not as it should; the text says how, for the log."""


class CallbackClient:
    """Keeps connections to the callbacks open; redirects are not followed, as the signature was for another URL.

    Args:
        clock: Goes into the signature, so that nobody can post an old command again as new.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._session: aiohttp.ClientSession | None = None

    async def post(self, switch: Switch, content: dict[str, Any], *, timeout_seconds: float) -> bytes:
        """Post to a switch and return the body of its answer, which was a 2xx.

        Raises:
            NotAnswered: It did not answer in time, or with another status, or with too much.
        """
        body = packed(content)
        signature = sign(body, switch.callback_secret, at_seconds=self._clock.now_ms() // 1000)
        try:
            async with self._open().post(
                switch.callback_url,
                data=body,
                headers={"Content-Type": "application/json", HEADER: signature, **outgoing_headers()},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=timeout_seconds),
            ) as answer:
                read = bytearray()
                async for chunk in answer.content.iter_any():
                    read += chunk
                    if len(read) > MAX_ANSWER_BYTES:
                        raise NotAnswered(f"more than {MAX_ANSWER_BYTES} bytes")
                if not 200 <= answer.status < 300:
                    raise NotAnswered(f"HTTP {answer.status}")
                return bytes(read)
        except TimeoutError as error:
            raise NotAnswered(f"no answer within {timeout_seconds:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise NotAnswered(f"no answer: {type(error).__name__}") from error

    async def ask(self, switch: Switch, content: dict[str, Any], *, timeout_seconds: float) -> dict[str, Any]:
        """Post to a switch and return the object that it answers with.

        Raises:
            NotAnswered: As `post`, or the answer is no object.
        """
        body = await self.post(switch, content, timeout_seconds=timeout_seconds)
        try:
            return read_object(body, "the answer")
        except InvalidArgument as error:
            raise NotAnswered(error.message) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        # Not in the constructor: it needs the running loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, limit_per_host=_CONNECTIONS_OF_A_SWITCH),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "tollgate"},
            )
        return self._session

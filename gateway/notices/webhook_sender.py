"""Notices as signed HTTP requests to a URL of the operator's."""

import json
from typing import Final

import aiohttp

from gateway.domain.notice import Channel, Delivery
from gateway.notices.sender import NotSent, Refused, kind_of
from gateway.notices.texts import as_plain, write
from gateway.request_context import outgoing_headers
from gateway.signature import HEADER, sign

ID_HEADER: Final = "Tollgate-Notice-Id"
_GONE: Final = 410


class WebhookSender:
    """POSTs each notice as JSON; any 2xx is a yes, and its body is not read.

    410 (Gone) is a no for ever. Everything else is tried again, since whoever answers 404 or 401 today has perhaps only
    deployed something broken; a redirect too, which is not followed: the signature was for the URL that was configured.

    Args:
        url: http or https.
        secret: For the signature.
        timeout_seconds: For the whole request.
    """

    channel = Channel("webhook")

    def __init__(self, url: str, secret: str, *, timeout_seconds: float) -> None:
        self._url = url
        self._secret = secret
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._session: aiohttp.ClientSession | None = None

    async def send(self, delivery: Delivery, *, now_ms: int) -> None:
        """POST it; the id is the notice's key, the same with every attempt.

        Raises:
            NotSent: No answer, or one that is neither 2xx nor 410.
            Refused: 410.
        """
        body = _body(delivery)
        headers = {
            "Content-Type": "application/json",
            ID_HEADER: delivery.notice.key,
            HEADER: sign(body, self._secret, at_seconds=now_ms // 1000),
            **outgoing_headers(),
        }
        try:
            async with self._open().post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
        except TimeoutError as error:
            raise NotSent("no answer in time") from error
        except (aiohttp.ClientError, OSError) as error:
            raise NotSent(f"no answer: {kind_of(error)}") from error
        if status == _GONE:
            raise Refused(f"HTTP {status}")
        if not 200 <= status < 300:
            raise NotSent(f"HTTP {status}")

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        # Not in the constructor: it needs the running loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # A connection a notice: one kept open would be closed by the receiver just when the next one comes.
                connector=aiohttp.TCPConnector(force_close=True),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": "tollgate"},
            )
        return self._session


def _body(delivery: Delivery) -> bytes:
    notice, office, text = delivery.notice, delivery.office, write(delivery)
    content = {
        "id": notice.key,
        "kind": notice.kind,
        "created_at_ms": delivery.created_at,
        "office_id": office.office_id,
        "company_id": office.company_id,
        "currency": office.currency,
        "facts": dict(notice.facts),
        "subject": text.subject,
        "text": as_plain(text),
    }
    # The same bytes with every attempt, but for a change of the office meanwhile.
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()

"""Who is signed in: a signed cookie that names a token by its hash, so that the token itself is not in the browser.

A session is good for as long as its token is: who revokes the token ends the session, within a second, everywhere.
"""

import secrets
from dataclasses import dataclass
from typing import Final

from itsdangerous import BadData, URLSafeSerializer
from starlette.requests import Request
from starlette.responses import Response

from gateway.store.clock import Clock

SESSION_SECONDS: Final = 12 * 3600
"""A working day: who signs in in the morning is not asked again before the evening."""

_SALT: Final = "tollgate.session"


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in.

    Attributes:
        token_hash: Of the token's secret, as the directory has it.
        csrf: What each form carries, to show that it came from a page of this session.
        ends_at: Unix milliseconds.
    """

    token_hash: str
    csrf: str
    ends_at: int


class Sessions:
    """Writes and reads the cookie.

    Args:
        key: Signs it; the same in every back of an installation.
        clock: Says when a session has ended.
        secure: Whether browsers come by https: the cookie then goes by nothing else, and to this host alone.
    """

    def __init__(self, key: bytes, clock: Clock, *, secure: bool) -> None:
        self._serializer = URLSafeSerializer(key, salt=_SALT)
        self._clock = clock
        self._secure = secure
        # The prefix makes browsers refuse the cookie from a neighbouring subdomain (RFC 6265bis, section 4.1.3.2).
        self.cookie = "__Host-tollgate" if secure else "tollgate"

    def begin(self, token_hash: str) -> Session:
        """A new session of a token that was just shown."""
        return Session(token_hash, secrets.token_urlsafe(16), self._clock.now_ms() + SESSION_SECONDS * 1000)

    def read(self, request: Request) -> Session | None:
        """The session of a request; None: there is none, it has ended, or its cookie is not of our making."""
        text = request.cookies.get(self.cookie)
        if text is None:
            return None
        try:
            token_hash, csrf, ends_at = self._serializer.loads(text)
        except (BadData, ValueError, TypeError):
            return None
        session = Session(token_hash, csrf, ends_at)
        return None if self.is_over(session) else session

    def is_over(self, session: Session) -> bool:
        """Whether its time has passed, whatever its token may still do."""
        return self._clock.now_ms() >= session.ends_at

    def keep(self, response: Response, session: Session) -> None:
        """Have the browser keep a session until it ends.

        Lax and not strict: who comes back from the pages of the payment provider is still signed in.
        """
        text = self._serializer.dumps([session.token_hash, session.csrf, session.ends_at])
        assert isinstance(text, str)  # noqa: S101  # as it is with the serializer's JSON; for the type checker
        response.set_cookie(
            self.cookie, text, max_age=SESSION_SECONDS, path="/", secure=self._secure, httponly=True, samesite="lax"
        )

    def forget(self, response: Response) -> None:
        """Have the browser forget it."""
        response.delete_cookie(self.cookie, path="/", secure=self._secure, httponly=True, samesite="lax")

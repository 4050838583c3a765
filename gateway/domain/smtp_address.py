"""Where the mail server is and how it is spoken to, as one URL says it."""

from dataclasses import dataclass
from enum import Enum
from typing import Final
from urllib.parse import unquote, urlsplit


class MailSecurity(Enum):
    """When the connection is encrypted: after STARTTLS, from the start, or never."""

    STARTTLS = "smtp"
    TLS = "smtps"
    NONE = "smtp+plain"


_PORTS: Final = {MailSecurity.STARTTLS: 587, MailSecurity.TLS: 465, MailSecurity.NONE: 25}
_EXAMPLE: Final = "write e.g. smtp://user:password@mail.example.com:587, smtps://... or, on this machine, smtp+plain://"


@dataclass(frozen=True)
class SmtpAddress:
    """A mail server, and who we are there; no user means no login."""

    host: str
    port: int
    security: MailSecurity
    user: str
    password: str

    def __repr__(self) -> str:
        return f"SmtpAddress({self.security.value}://{self.host}:{self.port})"

    @classmethod
    def parse(cls, url: str) -> "SmtpAddress":
        """Read `smtp://`, `smtps://` or `smtp+plain://`, with `user:password@` percent-encoded.

        Raises:
            ValueError: It cannot be; the message has the cure and not the URL, which may hold a password.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(f"it has no valid host and port; {_EXAMPLE}") from None
        if parts.scheme not in {each.value for each in MailSecurity}:
            raise ValueError(f"its scheme is none of smtp, smtps and smtp+plain; {_EXAMPLE}")
        security = MailSecurity(parts.scheme)
        if not parts.hostname or port == 0 or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError(f"it must be host and port only; {_EXAMPLE}")
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
        if bool(user) != bool(password):
            raise ValueError(f"user and password go together; {_EXAMPLE}")
        if user and security is MailSecurity.NONE:
            raise ValueError("smtp+plain would send the password in the clear; use smtp:// or smtps://")
        return cls(parts.hostname, port or _PORTS[security], security, user, password)

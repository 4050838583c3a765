"""A real SMTP server on loopback, in the test's own loop: it keeps what it takes, and refuses what it is told to."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any, Final

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

OK: Final = "250 OK"


@dataclass
class MailServer:
    """What the server has taken, and what it is to answer: the next answers of each command, then OK for ever."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    envelopes: list[tuple[str | None, list[str]]] = field(default_factory=list)
    logins: list[tuple[str, str]] = field(default_factory=list)
    was_encrypted: list[bool] = field(default_factory=list)
    on_mail: list[str] = field(default_factory=list)
    on_rcpt: list[str] = field(default_factory=list)
    on_data: list[str] = field(default_factory=list)
    hangs_at_data: bool = False
    hangs_at_quit: bool = False
    password: str = "right"

    # The names below are aiosmtpd's.

    async def handle_MAIL(self, _s: SMTP, _session: Session, envelope: Envelope, address: str, options: Any) -> str:  # noqa: N802
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return _next(self.on_mail)

    async def handle_RCPT(self, _s: SMTP, _session: Session, envelope: Envelope, address: str, _o: Any) -> str:  # noqa: N802
        answer = _next(self.on_rcpt)
        if answer == OK:
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, smtp: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        if self.hangs_at_data:
            await asyncio.Event().wait()
        answer = _next(self.on_data)
        if answer == OK:
            assert isinstance(envelope.content, bytes)
            mail = message_from_bytes(envelope.content, policy=default)
            assert isinstance(mail, EmailMessage)
            self.mails.append(mail)
            self.envelopes.append((envelope.mail_from, envelope.rcpt_tos))
            assert smtp.transport is not None
            self.was_encrypted.append(smtp.transport.get_extra_info("ssl_object") is not None)
        return answer

    async def handle_QUIT(self, _s: SMTP, _session: Session, _envelope: Envelope) -> str:  # noqa: N802
        if self.hangs_at_quit:
            await asyncio.Event().wait()
        return "221 Bye"

    def authenticate(self, _s: SMTP, _session: Session, _e: Envelope, _mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == self.password.encode(), handled=False)


@asynccontextmanager
async def mail_server(
    *, starttls: ssl.SSLContext | None = None, tls: ssl.SSLContext | None = None, login: bool = False
) -> AsyncIterator[MailServer]:
    """Listen on a free port until the block ends.

    Args:
        starttls: Offer STARTTLS, and take no mail without it.
        tls: Speak TLS from the start.
        login: Take no mail without a login.
    """
    server = MailServer()
    connections: list[SMTP] = []

    def connect() -> SMTP:
        connection = SMTP(
            server,
            hostname="mail.test",
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=server.authenticate if login else None,
            auth_required=login,
            auth_require_tls=False,
            loop=asyncio.get_running_loop(),
        )
        connections.append(connection)
        return connection

    listener = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for connection in connections:
            task = connection._handler_coroutine
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            if connection.transport is not None:
                connection.transport.close()
        await listener.wait_closed()


def _next(answers: list[str]) -> str:
    return answers.pop(0) if answers else OK

"""Notices by e-mail."""

import asyncio
import hashlib
import ssl
from contextlib import suppress
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

import aiosmtplib

from gateway.domain.notice import Channel, Delivery
from gateway.domain.smtp_address import MailSecurity, SmtpAddress
from gateway.notices.html import as_html
from gateway.notices.sender import NotSent, Refused, kind_of
from gateway.notices.texts import as_plain, write

_GOODBYE_SECONDS: Final = 1.0


class SmtpSender:
    """Hands each notice to a mail server, one mail a recipient, so that none sees another's address.

    What the server refuses for good (5xx) for the recipient or the mail is given up. Everything else is tried again,
    a refused login or sender too: an operator mends that.

    Args:
        address: The mail server.
        sender: The From address.
        operators: Who gets every notice.
        timeout_seconds: For a mail, from the connection to the server's yes.
        tls: Instead of the machine's certificate authorities, for tests.
    """

    def __init__(
        self,
        address: SmtpAddress,
        *,
        sender: str,
        operators: tuple[str, ...],
        timeout_seconds: float,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.channel = Channel("smtp", is_addressed=True, operators=operators)
        self._address = address
        self._sender = sender
        self._timeout_seconds = timeout_seconds
        self._tls = tls if tls is not None or address.security is MailSecurity.NONE else ssl.create_default_context()

    async def send(self, delivery: Delivery, *, now_ms: int) -> None:  # noqa: ARG002
        """Send the mail; its Message-ID is that of the notice and the recipient, the same with every attempt.

        Raises:
            NotSent: The server did not take it now.
            Refused: The server will never take it.
        """
        client = self._client()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await client.connect()
                await client.send_message(_mail(delivery, self._sender))
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _verdict(error.recipients[0].code, "recipient") from error
        except aiosmtplib.SMTPDataError as error:
            raise _verdict(error.code, "mail") from error
        except aiosmtplib.SMTPResponseException as error:
            raise NotSent(f"SMTP {error.code} ({type(error).__name__})") from error
        except (aiosmtplib.SMTPException, OSError) as error:
            raise NotSent(f"no answer: {kind_of(error)}") from error
        else:
            await _say_goodbye(client)
        finally:
            client.close()

    def _client(self) -> aiosmtplib.SMTP:
        address = self._address
        return aiosmtplib.SMTP(
            hostname=address.host,
            port=address.port,
            use_tls=address.security is MailSecurity.TLS,
            start_tls=address.security is MailSecurity.STARTTLS,
            username=address.user or None,
            password=address.password or None,
            tls_context=self._tls,
            timeout=self._timeout_seconds,
        )

    async def close(self) -> None:
        """Nothing stays open: each mail has a connection of its own."""


async def _say_goodbye(client: aiosmtplib.SMTP) -> None:
    """End the conversation; the server has the mail, whatever becomes of this."""
    with suppress(aiosmtplib.SMTPException, OSError):
        async with asyncio.timeout(_GOODBYE_SECONDS):
            await client.quit()


def _verdict(code: int, what: str) -> NotSent | Refused:
    return Refused(f"SMTP {code}: {what} refused") if code >= 500 else NotSent(f"SMTP {code}: {what} not taken now")


def _mail(delivery: Delivery, sender: str) -> EmailMessage:
    text = write(delivery)
    mail = EmailMessage(policy=SMTP)
    mail["From"] = sender
    mail["To"] = delivery.recipient
    mail["Subject"] = text.subject
    mail["Date"] = format_datetime(datetime.fromtimestamp(delivery.created_at / 1000, UTC))
    mail["Message-ID"] = _message_id(delivery, sender)
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers, please.
    # Quoted-printable: a server without 8BITMIME takes it too.
    mail.set_content(as_plain(text), cte="quoted-printable")
    mail.add_alternative(as_html(text), subtype="html", cte="quoted-printable")
    return mail


def _message_id(delivery: Delivery, sender: str) -> str:
    digest = hashlib.sha256(f"{delivery.notice.key}\n{delivery.recipient}".encode()).hexdigest()[:40]
    return f"<{digest}@{sender.rpartition('@')[2]}>"

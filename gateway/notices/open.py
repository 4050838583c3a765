"""From the settings to the ways that notices go."""

from gateway.domain.smtp_address import SmtpAddress
from gateway.notices.log_sender import LogSender
from gateway.notices.sender import Sender
from gateway.notices.smtp_sender import SmtpSender
from gateway.notices.webhook_sender import WebhookSender
from gateway.settings import Settings


def open_senders(settings: Settings) -> tuple[Sender, ...]:
    """The log, and what else is set up."""
    senders: list[Sender] = [LogSender()]
    timeout = settings.notice_timeout_seconds
    if settings.notice_smtp_url is not None and settings.notice_email_from is not None:
        senders.append(
            SmtpSender(
                SmtpAddress.parse(settings.notice_smtp_url),
                sender=settings.notice_email_from,
                operators=settings.notice_email_to,
                timeout_seconds=timeout,
            )
        )
    if settings.notice_webhook_url is not None and settings.notice_webhook_secret is not None:
        secret = settings.notice_webhook_secret.get_secret_value()
        senders.append(WebhookSender(settings.notice_webhook_url, secret, timeout_seconds=timeout))
    return tuple(senders)

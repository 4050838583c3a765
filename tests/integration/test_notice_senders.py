"""Each way that notices go, against a real server that takes them, refuses them, hangs or goes away."""

import asyncio
import hashlib
import hmac
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import structlog

from gateway.domain import notice as notices
from gateway.domain.notice import ByCard, Channel, Delivery, NoticeOffice
from gateway.domain.smtp_address import MailSecurity, SmtpAddress
from gateway.notices.log_sender import LogSender
from gateway.notices.sender import NotSent, Refused
from gateway.notices.smtp_sender import SmtpSender
from gateway.notices.webhook_sender import WebhookSender
from tests.support.mail import MailServer, mail_server
from tests.support.servers import free_port
from tests.support.tls import Authority
from tests.support.webhook import CLOSE, ENDLESS, HANG, answer, webhook_server

AT = 1_700_000_000_000
SECRET = "a-secret-of-the-webhook"
PATIENT_SECONDS, IMPATIENT_SECONDS = 30.0, 0.3

OFFICE = NoticeOffice("o1", "Süd & Söhne", "c1", "USD", "Europe/Berlin")
NEEDED = notices.confirmation_needed(
    "o1",
    "charge-1",
    amount_micros=50_000_000,
    card=ByCard("visa", "4242"),
    confirmation_url="https://bank.example/3ds?client_secret=abc&x=" + "y" * 200,
)
TO_OPS = Delivery(1, "smtp", "ops@example.com", 1, NEEDED, OFFICE, AT)


# The log.


async def test_the_log_has_the_facts_but_not_the_link() -> None:
    with structlog.testing.capture_logs() as lines:
        await LogSender().send(TO_OPS, now_ms=AT)
    (line,) = lines
    assert line["event"] == "notice"
    assert (line["key"], line["office_id"]) == ("CONFIRMATION_NEEDED:charge-1", "o1")
    assert line["facts"]["amount_micros"] == 50_000_000
    assert "client_secret" not in str(line)
    assert "ops@example.com" not in str(line)


# E-mail.


def smtp(
    server: MailServer | int,
    timeout_seconds: float = PATIENT_SECONDS,
    *,
    security: MailSecurity = MailSecurity.NONE,
    user: str = "",
    password: str = "",
    tls: ssl.SSLContext | None = None,
) -> SmtpSender:
    port = server if isinstance(server, int) else server.port
    return SmtpSender(
        SmtpAddress("127.0.0.1", port, security, user, password),
        sender="tollgate@gateway.example",
        operators=("ops@example.com",),
        timeout_seconds=timeout_seconds,
        tls=tls,
    )


async def test_a_mail_is_one_that_people_and_programs_can_read() -> None:
    async with mail_server() as server:
        await smtp(server).send(TO_OPS, now_ms=AT)
    (mail,) = server.mails
    assert server.envelopes == [("tollgate@gateway.example", ["ops@example.com"])]
    assert (mail["From"], mail["To"]) == ("tollgate@gateway.example", "ops@example.com")
    assert mail["Subject"] == "Confirm a card payment for Süd & Söhne"
    assert mail["Date"] == "Tue, 14 Nov 2023 22:13:20 +0000"
    assert mail["Message-ID"].endswith("@gateway.example>")
    assert mail["Auto-Submitted"] == "auto-generated"
    plain, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert page is not None
    assert NEEDED.facts["confirmation_url"] in plain.get_content().split()
    assert "Süd & Söhne" in plain.get_content()
    assert "Süd &amp; Söhne" in page.get_content()
    assert mail.as_bytes().isascii(), "a server without 8BITMIME must take it"


async def test_a_message_id_is_that_of_the_notice_and_the_recipient() -> None:
    others = [TO_OPS, replace(TO_OPS, attempt=9), replace(TO_OPS, recipient="noc@example.com")]
    others.append(replace(TO_OPS, notice=replace(NEEDED, key="other")))
    async with mail_server() as server:
        for each in others:
            await smtp(server).send(each, now_ms=AT)
    ids = [mail["Message-ID"] for mail in server.mails]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("command", "code", "expected"),
    [
        ("on_mail", "451 later", NotSent),
        ("on_mail", "550 not you", NotSent),
        ("on_rcpt", "450 greylisted", NotSent),
        ("on_rcpt", "421 going down", NotSent),
        ("on_rcpt", "550 no such user", Refused),
        ("on_data", "452 full", NotSent),
        ("on_data", "554 spam", Refused),
    ],
)
async def test_what_a_mail_server_refuses(command: str, code: str, expected: type[Exception]) -> None:
    async with mail_server() as server:
        getattr(server, command).append(code)
        with pytest.raises(expected, match=code[:3]) as caught:
            await smtp(server).send(TO_OPS, now_ms=AT)
        assert "ops@example.com" not in str(caught.value)
        assert server.mails == []
        await smtp(server).send(TO_OPS, now_ms=AT)
        assert len(server.mails) == 1


async def test_a_mail_server_that_is_not_there_or_no_mail_server() -> None:
    with pytest.raises(NotSent, match="no answer: ConnectionRefusedError"):
        await smtp(free_port()).send(TO_OPS, now_ms=AT)
    async with webhook_server() as server:
        with pytest.raises(NotSent, match="no answer"):
            await smtp(server.port, IMPATIENT_SECONDS).send(TO_OPS, now_ms=AT)


async def test_a_mail_server_that_hangs() -> None:
    async with mail_server() as server:
        server.hangs_at_data = True
        with pytest.raises(NotSent, match="no answer"):
            await smtp(server, IMPATIENT_SECONDS).send(TO_OPS, now_ms=AT)


async def test_a_mail_that_was_taken_is_sent_whatever_comes_of_the_goodbye() -> None:
    async with mail_server() as server:
        server.hangs_at_quit = True
        await smtp(server).send(TO_OPS, now_ms=AT)
        assert len(server.mails) == 1


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


# What aiosmtpd says of itself, and of a server with a login that (as an attacker's) does without TLS.
AIOSMTPD_WARNS = pytest.mark.filterwarnings(
    "ignore:Requiring AUTH while not requiring TLS:UserWarning", "ignore:Session.login_data:DeprecationWarning"
)


@AIOSMTPD_WARNS
@pytest.mark.parametrize("security", [MailSecurity.STARTTLS, MailSecurity.TLS])
async def test_mail_is_encrypted_and_the_login_comes_after_that(security: MailSecurity, authority: Authority) -> None:
    kind = "tls" if security is MailSecurity.TLS else "starttls"
    contexts: dict[str, Any] = {kind: authority.of_server()}
    async with mail_server(**contexts, login=True) as server:
        login = partial(smtp, server, security=security, user="u@x", tls=authority.of_client())
        await login(password="right").send(TO_OPS, now_ms=AT)
        assert server.was_encrypted == [True]
        assert server.logins == [("u@x", "right")]
        with pytest.raises(NotSent, match="535") as caught:
            await login(password="wr0ng").send(TO_OPS, now_ms=AT)
        assert "wr0ng" not in str(caught.value)
        assert len(server.mails) == 1


@AIOSMTPD_WARNS
async def test_a_mail_server_that_cannot_prove_itself_gets_neither_password_nor_mail(authority: Authority) -> None:
    login = partial(smtp, security=MailSecurity.STARTTLS, user="u", password="right")
    async with mail_server(starttls=authority.of_server(), login=True) as server:
        with pytest.raises(NotSent, match="SSLCertVerificationError"):
            await login(server).send(TO_OPS, now_ms=AT)  # The machine does not know the authority.
        assert (server.mails, server.logins) == ([], [])
    async with mail_server(starttls=authority.of_server("other.example"), login=True) as server:
        with pytest.raises(NotSent):
            await login(server, tls=authority.of_client()).send(TO_OPS, now_ms=AT)
        assert (server.mails, server.logins) == ([], [])
    async with mail_server(login=True) as server:  # Somebody in between has taken STARTTLS out of the greeting.
        with pytest.raises(NotSent):
            await login(server, tls=authority.of_client()).send(TO_OPS, now_ms=AT)
        assert (server.mails, server.logins) == ([], [])


# The webhook.


@asynccontextmanager
async def webhook(url: str, timeout_seconds: float = PATIENT_SECONDS) -> AsyncIterator[WebhookSender]:
    sender = WebhookSender(url, SECRET, timeout_seconds=timeout_seconds)
    try:
        yield sender
    finally:
        await sender.close()


BY_WEBHOOK = replace(TO_OPS, channel="webhook", recipient="")


async def test_a_webhook_is_signed_and_tells_everything() -> None:
    async with webhook_server() as server, webhook(server.url) as sender:
        await sender.send(BY_WEBHOOK, now_ms=AT + 999)
    (posted,) = server.posted
    assert posted.target == "/hook?key=k3y"
    assert posted.headers["content-type"] == "application/json"
    assert posted.headers["tollgate-notice-id"] == NEEDED.key
    digest = hmac.new(SECRET.encode(), b"1700000000." + posted.body, hashlib.sha256).hexdigest()
    assert posted.headers["tollgate-signature"] == f"t=1700000000,v1={digest}"
    content = json.loads(posted.body)
    assert content.pop("text").startswith("The bank wants the cardholder to confirm a payment of 50.00 USD")
    assert content == {
        "id": NEEDED.key,
        "kind": "CONFIRMATION_NEEDED",
        "created_at_ms": AT,
        "office_id": "o1",
        "company_id": "c1",
        "currency": "USD",
        "facts": dict(NEEDED.facts),
        "subject": "Confirm a card payment for Süd & Söhne",
    }


async def test_a_repeat_has_the_same_id_and_the_same_body() -> None:
    async with webhook_server() as server, webhook(server.url) as sender:
        server.answers.append(answer("500 Oops"))
        with pytest.raises(NotSent, match="HTTP 500"):
            await sender.send(BY_WEBHOOK, now_ms=AT)
        await sender.send(replace(BY_WEBHOOK, attempt=2), now_ms=AT + 60_000)
    first, second = server.posted
    assert first.body == second.body
    assert first.headers["tollgate-notice-id"] == second.headers["tollgate-notice-id"]
    assert first.headers["tollgate-signature"] != second.headers["tollgate-signature"]


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "204 No Content", "299 Odd"])
async def test_any_2xx_is_a_yes(status: str) -> None:
    async with webhook_server() as server, webhook(server.url) as sender:
        server.answers.append(answer(status))
        await sender.send(BY_WEBHOOK, now_ms=AT)


@pytest.mark.parametrize(
    "status", ["400 Bad", "401 No", "403 No", "404 Not Found", "408 Slow", "429 Slow down", "500 Oops", "503 Away"]
)
async def test_any_other_answer_is_to_be_tried_again(status: str) -> None:
    async with webhook_server() as server, webhook(server.url) as sender:
        server.answers.append(answer(status, body="why"))
        with pytest.raises(NotSent, match=f"HTTP {status[:3]}"):
            await sender.send(BY_WEBHOOK, now_ms=AT)
        await sender.send(BY_WEBHOOK, now_ms=AT)


async def test_gone_is_a_no_for_ever() -> None:
    async with webhook_server() as server, webhook(server.url) as sender:
        server.answers.append(answer("410 Gone"))
        with pytest.raises(Refused, match="HTTP 410"):
            await sender.send(BY_WEBHOOK, now_ms=AT)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
async def test_a_redirect_is_not_followed(status: str) -> None:
    async with webhook_server() as server, webhook(server.url) as sender:
        server.answers.append(answer(status, f"Location: http://127.0.0.1:{server.port}/elsewhere"))
        with pytest.raises(NotSent, match=f"HTTP {status[:3]}"):
            await sender.send(BY_WEBHOOK, now_ms=AT)
    assert [posted.target for posted in server.posted] == ["/hook?key=k3y"]


@pytest.mark.parametrize(
    "bad", [CLOSE, b"HTTP/1.1 nonsense\r\n\r\n", b"\x00\x01\x02\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000]
)
async def test_what_is_no_answer_is_to_be_tried_again_and_shows_no_url(bad: bytes) -> None:
    async with webhook_server() as server, webhook(server.url) as sender:
        server.answers.append(bad)
        with pytest.raises(NotSent, match="no answer") as caught:
            await sender.send(BY_WEBHOOK, now_ms=AT)
        assert "k3y" not in str(caught.value)
        assert len(server.posted) == 1, "the client repeats nothing by itself"


async def test_a_receiver_that_hangs_or_is_not_there() -> None:
    async with webhook_server() as server, webhook(server.url, IMPATIENT_SECONDS) as sender:
        server.answers.append(HANG)
        with pytest.raises(NotSent, match="no answer in time"):
            await sender.send(BY_WEBHOOK, now_ms=AT)
        await sender.send(BY_WEBHOOK, now_ms=AT)
    async with webhook(f"http://127.0.0.1:{free_port()}/?key=k3y") as sender:
        with pytest.raises(NotSent, match="no answer") as caught:
            await sender.send(BY_WEBHOOK, now_ms=AT)
        assert "k3y" not in str(caught.value)


async def test_a_body_without_an_end_is_not_read() -> None:
    async with webhook_server() as server, webhook(server.url) as sender:
        server.answers.append(ENDLESS)
        async with asyncio.timeout(PATIENT_SECONDS / 2):
            await sender.send(BY_WEBHOOK, now_ms=AT)


async def test_cookies_are_neither_kept_nor_sent() -> None:
    async with webhook_server() as server, webhook(server.url) as sender:
        server.answers.append(answer("200 OK", "Set-Cookie: a=b"))
        await sender.send(BY_WEBHOOK, now_ms=AT)
        await sender.send(BY_WEBHOOK, now_ms=AT)
    assert "cookie" not in server.posted[1].headers


def test_the_names_of_the_channels_are_kept_for_ever() -> None:
    assert LogSender.channel == Channel("log")
    assert WebhookSender.channel == Channel("webhook")
    assert smtp(1).channel == Channel("smtp", is_addressed=True, operators=("ops@example.com",))

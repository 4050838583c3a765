"""What notices say, what makes two of them the same, and how they are signed: no server."""

import hashlib
import hmac
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from gateway.background.notifier import MAX_ATTEMPTS, delay_seconds
from gateway.domain import notice as notices
from gateway.domain.fraud_guard import Guard, GuardKind
from gateway.domain.mail_address import is_mail_address
from gateway.domain.notice import MAX_KEY_LENGTH, ByCard, Delivery, Notice, NoticeKind, NoticeOffice, OnInvoice
from gateway.domain.smtp_address import MailSecurity, SmtpAddress
from gateway.notices.html import as_html
from gateway.notices.texts import Text, as_plain, local_time, write
from gateway.signature import sign

AT = 1_700_000_000_000
CARD = ByCard("visa", "4242")
OFFICE = NoticeOffice("o1", "Springfield", "c1", "USD", "America/New_York")

ALL = [
    notices.low_funds("o1", "7-0", available_micros=4_990_000, threshold_micros=5_000_000, refill_enabled=False),
    notices.messages_blocked("o1", "8-0", available_micros=12_345),
    notices.refill_done("o1", "o1/3", amount_micros=50_000_000, paid=CARD, paid_at=AT, balance_micros=54_990_000),
    notices.refill_failed(
        "o1", "o1/3", 2, amount_micros=50_000_000, card=CARD, cause="Insufficient funds.", next_attempt_at=AT
    ),
    notices.refill_off("o1", "o1/3", amount_micros=50_000_000, card=CARD, cause="Card expired."),
    notices.refill_capped("o1", "2026-11-26", refills_a_day=5, amount_micros=50_000_000),
    notices.confirmation_needed(
        "o1", "x/o1/3/1", amount_micros=50_000_000, card=CARD, confirmation_url="https://bank.example/3ds?id=1&x=2"
    ),
    notices.receipt("o1", "p-1", amount_micros=100_000_000, paid=OnInvoice("2026-11"), paid_at=AT),
    notices.chargeback("o1", "dp_1", amount_micros=50_000_000, taken_micros=20_000_000, owed_micros=30_000_000),
    notices.fraud_guard("o1", Guard(GuardKind.COUNTRY_SPEND, "GB", 25_000_000, 26_500_000, AT, AT + 3_600_000)),
    notices.new_destination("o1", "LV", first_at=AT),
    notices.refill_braked("o1", "o1/3", amount_micros=50_000_000, until=AT),
]

KEYS = [
    "LOW_FUNDS:o1:7-0",
    "MESSAGES_BLOCKED:o1:8-0",
    "REFILL_DONE:o1/3",
    "REFILL_FAILED:o1/3/2",
    "REFILL_OFF:o1/3",
    "REFILL_CAPPED:o1:2026-11-26",
    "CONFIRMATION_NEEDED:x/o1/3/1",
    "RECEIPT:p-1",
    "CHARGEBACK:dp_1",
    f"FRAUD_GUARD:o1:GB:{AT}",
    "NEW_DESTINATION:o1:LV",
    f"REFILL_BRAKED:o1/3:{AT}",
]

SAYS = {
    NoticeKind.LOW_FUNDS: ("4.99 USD is available", "less than 5.00 USD", "turn automatic refill on"),
    NoticeKind.MESSAGES_BLOCKED: ("0.012345 USD is available", "Buy credits"),
    NoticeKind.REFILL_DONE: (
        "Transaction:    o1/3\n",
        "Date:           2023-11-14 17:13 (America/New_York)\n",
        "Amount:         50.00 USD\n",
        "Paid:           visa ending in 4242\n",
        "Balance after:  54.99 USD\n",
    ),
    NoticeKind.REFILL_FAILED: (
        "of 50.00 USD for Springfield failed: the visa ending in 4242 was not charged. The reason given: Insufficient",
        "tried again at 2023-11-14 17:13",
        "Check the visa ending in 4242",
    ),
    NoticeKind.REFILL_OFF: ("turned itself off", "Card expired.", "turn automatic refill on again"),
    NoticeKind.REFILL_CAPPED: ("has had 5 automatic refills", "on 2026-11-26", "of 50.00 USD each", "Buy credits"),
    NoticeKind.CONFIRMATION_NEEDED: ("of 50.00 USD with the visa ending in 4242", "https://bank.example/3ds?id=1&x=2"),
    NoticeKind.RECEIPT: (
        "Transaction:  p-1\n",
        "Amount:       100.00 USD\n",
        "Paid:         on the invoice of 2026-11\n",
    ),
    NoticeKind.CHARGEBACK: ("took back a payment of 50.00 USD", "Still owed:          30.00 USD", "dp_1"),
    NoticeKind.FRAUD_GUARD: (
        "Springfield called GB for as much as",
        "refused until 2023-11-14 18:13 (America/New_York)",
        "Limit of an hour:  25.00 USD\n",
        "Reached:           26.50 USD\n",
        "ask your operator to lift the guard",
    ),
    NoticeKind.NEW_DESTINATION: (
        "call to LV for the first time, at 2023-11-14 17:13",
        "Nothing was stopped",
    ),
    NoticeKind.REFILL_BRAKED: ("of 50.00 USD for Springfield is due", "not charged before 2023-11-14 17:13"),
}


def delivery(notice: Notice, office: NoticeOffice = OFFICE) -> Delivery:
    return Delivery(1, "log", "", 1, notice, office, AT)


class TextOf(HTMLParser):
    """The tags and the visible text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str | None] = []
        self.shown = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name == "href"]

    def handle_data(self, data: str) -> None:
        self.shown += data


def test_every_kind_has_a_maker_a_key_of_its_own_and_a_text() -> None:
    assert [notice.kind for notice in ALL] == list(NoticeKind)
    assert [notice.key for notice in ALL] == KEYS
    assert list(SAYS) == list(NoticeKind)


@pytest.mark.parametrize("notice", ALL, ids=lambda notice: notice.kind)
def test_a_notice_says_what_happened_and_what_mends_it(notice: Notice) -> None:
    text = write(delivery(notice))
    plain = as_plain(text)
    assert "Springfield" in text.subject
    assert text.subject.isprintable()
    assert [words for words in SAYS[notice.kind] if words not in plain] == []
    assert bool(text.action) is (notice.kind not in (NoticeKind.RECEIPT, NoticeKind.REFILL_DONE))


@pytest.mark.parametrize("notice", ALL, ids=lambda notice: notice.kind)
def test_the_page_shows_what_the_plain_text_says(notice: Notice) -> None:
    text = write(delivery(notice))
    shown = TextOf(as_html(text)).shown
    parts = [text.subject, *filter(None, text.says), *(each for pair in text.details for each in pair), text.action]
    assert [part for part in parts if part not in shown] == []


@pytest.mark.parametrize("kind", list(NoticeKind))
@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"amount_micros": None, "paid_at": None},
        {"amount_micros": "fifty", "card_last_four": 4242, "confirmation_url": ["x"], "day": 5, "refills_a_day": True},
    ],
    ids=["none", "null", "of another type"],
)
def test_facts_that_are_missing_or_odd_leave_words_out(kind: NoticeKind, facts: dict[str, object]) -> None:
    text = write(delivery(Notice("k", "o1", kind, facts)))
    plain = as_plain(text)
    assert "Springfield" in plain
    assert "None" not in plain
    assert "fifty" not in plain
    assert text.details == ()


@pytest.mark.parametrize(
    ("facts", "expected"),
    [({"refill_enabled": True}, "nothing needs to be done"), ({}, "turn automatic refill on")],
)
def test_low_funds_depend_on_the_refill(facts: dict[str, object], expected: str) -> None:
    assert expected in write(delivery(Notice("k", "o1", NoticeKind.LOW_FUNDS, facts))).action


@pytest.mark.parametrize(
    ("zone", "expected"),
    [
        ("UTC", "2023-11-14 22:13 (UTC)"),
        ("Asia/Kathmandu", "2023-11-15 03:58 (Asia/Kathmandu)"),
        ("Nowhere/At_All", "2023-11-14 22:13 (UTC)"),
        ("../../etc/passwd", "2023-11-14 22:13 (UTC)"),
        ("", "2023-11-14 22:13 (UTC)"),
    ],
)
def test_times_are_the_offices(zone: str, expected: str) -> None:
    assert local_time(AT, zone) == expected


def test_a_page_escapes_everything() -> None:
    office = NoticeOffice("o1", '<b onclick="x">&amp;</b>', "c1", "<i>", "UTC")
    evil = notices.refill_off("o1", "o1/1", amount_micros=1, card=ByCard("<u>", "'\""), cause="<script>x</script>")
    plain, page = write(delivery(evil, office)), as_html(write(delivery(evil, office)))
    read = TextOf(page)
    assert set(read.tags) <= {"html", "head", "meta", "title", "body", "p"}
    assert all(part in read.shown for part in plain.says)


@pytest.mark.parametrize(
    ("link", "is_link"),
    [
        ("https://bank.example/a?b=1&c=2", True),
        ("http://127.0.0.1/x", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("http://[broken", False),
        ("//bank.example", False),
        ("", False),
    ],
)
def test_only_http_is_a_link(link: str, *, is_link: bool) -> None:
    read = TextOf(as_html(Text("s", ("x",), link=link)))
    assert read.links == ([link] if is_link else [])
    assert link in read.shown


def test_a_key_that_would_be_too_long_is_a_digest_and_still_the_same_one() -> None:
    ids = ["x" * 192, "x" * 255, "x" * 254 + "y"]
    keys = [notices.chargeback("o1", each, amount_micros=1, taken_micros=0, owed_micros=1).key for each in ids]
    assert max(map(len, keys)) <= MAX_KEY_LENGTH
    assert len(set(keys)) == 3
    assert keys[0] == notices.chargeback("o1", ids[0], amount_micros=9, taken_micros=9, owed_micros=0).key


def test_a_signature_is_what_the_guide_says() -> None:
    expected = hmac.new(b"secret-of-16-char", b'1700000000.{"a":1}', hashlib.sha256).hexdigest()
    signed = sign(b'{"a":1}', "secret-of-16-char", at_seconds=1_700_000_000)
    assert signed == f"t=1700000000,v1={expected}"
    others = [
        sign(b'{"a":2}', "secret-of-16-char", at_seconds=1_700_000_000),
        sign(b'{"a":1}', "secret-of-16-cha_", at_seconds=1_700_000_000),
        sign(b'{"a":1}', "secret-of-16-char", at_seconds=1_700_000_001),
    ]
    assert expected not in str(others)


def test_the_guides_verification_takes_what_is_signed_and_nothing_else() -> None:
    guide = (Path(__file__).parents[2] / "docs/how-to/get-notices.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    verify, now = names["is_from_tollgate"], int(time.time())
    body, secret = b'{"a":1}', "secret-of-16-char"
    good = sign(body, secret, at_seconds=now)
    assert verify(good, body, secret)
    assert verify(sign(body, secret, at_seconds=now - 200), body, secret)
    bad = [
        (good, b'{"a":2}', secret),
        (good, body, "another-secret"),
        (sign(body, secret, at_seconds=now - 400), body, secret),
        (sign(body, secret, at_seconds=now + 400), body, secret),
        (good.replace("t=", "t=1"), body, secret),
        (good.replace("v1=", "v1=0"), body, secret),
        (good.replace("v1=", "v0="), body, secret),
        (good.partition(",")[0], body, secret),
        ("t=x,v1=y", body, secret),
        (f"t={now},v1=ö", body, secret),
        ("nonsense", body, secret),
        ("", body, secret),
    ]
    assert [case for case in bad if verify(*case)] == []


def test_attempts_become_rarer_and_take_about_a_day() -> None:
    slowest = [delay_seconds(attempt, 0.0) for attempt in range(1, MAX_ATTEMPTS)]
    quickest = [delay_seconds(attempt, 1.0) for attempt in range(1, MAX_ATTEMPTS)]
    assert slowest[:4] == [10, 20, 40, 80]
    assert slowest == sorted(slowest)
    assert max(slowest) == 3_600
    assert all(quick == pytest.approx(slow * 0.8) for quick, slow in zip(quickest, slowest, strict=True))
    assert 18 * 3_600 < sum(quickest) < 19 * 3_600
    assert 23 * 3_600 < sum(slowest) < 24 * 3_600
    assert delay_seconds(10_000, 0.0) == 3_600


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("ops@example.com", True),
        ("a.b+c@x-1.example", True),
        ("root@localhost", True),
        (f"{'a' * 64}@{'b' * 63}.example", True),
        ("", False),
        ("ops", False),
        ("@example.com", False),
        ("ops@", False),
        ("ops@@example.com", False),
        (".ops@example.com", False),
        ("ops.@example.com", False),
        ("o..ps@example.com", False),
        ("ops@-example.com", False),
        ("ops@example..com", False),
        ("ops@example.com.", False),
        ("Ops <ops@example.com>", False),
        ("a@example.com,b@example.com", False),
        ("ops@example.com\n", False),
        ("ops@example.com\r\nBcc: x@example.com", False),
        ('"o ps"@example.com', False),
        ("öps@example.com", False),
        ("ops@exämple.com", False),
        (f"{'a' * 65}@example.com", False),
        (f"a@{'b.' * 126}com", False),
    ],
)
def test_addresses(text: str, *, is_one: bool) -> None:
    assert is_mail_address(text) is is_one


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example.com", SmtpAddress("mail.example.com", 587, MailSecurity.STARTTLS, "", "")),
        ("smtps://u:p%40ss@mail.example.com/", SmtpAddress("mail.example.com", 465, MailSecurity.TLS, "u", "p@ss")),
        ("smtp+plain://127.0.0.1:2525", SmtpAddress("127.0.0.1", 2525, MailSecurity.NONE, "", "")),
        ("smtp://[::1]:25", SmtpAddress("::1", 25, MailSecurity.STARTTLS, "", "")),
    ],
)
def test_mail_servers(url: str, expected: SmtpAddress) -> None:
    assert SmtpAddress.parse(url) == expected


SECRET = "s3cr3t-password"


@pytest.mark.parametrize(
    "url",
    [
        f"u:{SECRET}@mail.example.com",
        f"http://u:{SECRET}@mail.example.com",
        f"smtp://u:{SECRET}@",
        f"smtp://u:{SECRET}@mail.example.com:0",
        f"smtp://u:{SECRET}@mail.example.com:70000",
        f"smtp://u:{SECRET}@mail.example.com:x",
        f"smtp://u:{SECRET}@[::1",
        f"smtp://u:{SECRET}@mail.example.com/path",
        f"smtp://u:{SECRET}@mail.example.com?tls=no",
        f"smtp://:{SECRET}@mail.example.com",
        "smtp://u@mail.example.com",
        f"smtp+plain://u:{SECRET}@127.0.0.1",
        "",
    ],
)
def test_bad_mail_servers_are_refused_without_their_password(url: str) -> None:
    with pytest.raises(ValueError, match="smtp") as caught:
        SmtpAddress.parse(url)
    assert SECRET not in str(caught.value)


def test_a_mail_server_shows_no_password() -> None:
    assert SECRET not in repr(SmtpAddress.parse(f"smtp://u:{SECRET}@mail.example.com"))


@pytest.mark.parametrize(("currency", "shown"), [("JPY", "5000 JPY"), ("KWD", "5000.000 KWD"), ("EUR", "5000.00 EUR")])
def test_amounts_have_the_decimals_of_their_currency(currency: str, shown: str) -> None:
    office = NoticeOffice("o1", "Springfield", "c1", currency, "America/New_York")
    told = notices.low_funds(
        "o1", "1-0", available_micros=4_990_000_000, threshold_micros=5_000_000_000, refill_enabled=False
    )
    assert f"less than {shown}" in as_plain(write(delivery(told, office)))

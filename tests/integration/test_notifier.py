"""The notifier: what was recorded reaches its receivers once, however they and the senders fail; the clock is moved."""

import asyncio
import contextlib
import json
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import select

from gateway import metrics
from gateway.background.notifier import LONGEST_DELAY_SECONDS, MAX_ATTEMPTS, SENT_AT_ONCE, SPARE_SECONDS, Notifier
from gateway.domain.notice import Channel, Delivery, Notice, NoticeKind
from gateway.domain.smtp_address import MailSecurity, SmtpAddress
from gateway.ledger.database import open_database
from gateway.ledger.errors import DatabaseError
from gateway.ledger.models import NoticeDeliveryRow
from gateway.ledger.notices import Notices, record
from gateway.notices.sender import NotSent, Sender
from gateway.notices.smtp_sender import SmtpSender
from gateway.notices.webhook_sender import WebhookSender
from tests.support.back import OFFICE, running_back
from tests.support.balances import ManualClock
from tests.support.ledger import NOW, Ledger, ledger_of, with_office
from tests.support.mail import mail_server
from tests.support.servers import StoreServer
from tests.support.webhook import CLOSE, HANG, WebhookServer, answer, webhook_server

SECRET = "a-secret-of-the-webhook"
TIMEOUT_SECONDS = 30.0


@dataclass
class Scene:
    """A ledger, a webhook's receiver, and gateways that send to it."""

    ledger: Ledger
    clock: ManualClock
    receiver: WebhookServer
    open_senders: list[Sender]

    def gateway(self, *, timeout_seconds: float = TIMEOUT_SECONDS, notices: Notices | None = None) -> Notifier:
        sender = WebhookSender(self.receiver.url, SECRET, timeout_seconds=timeout_seconds)
        self.open_senders.append(sender)
        return self.notifier(sender, timeout_seconds=timeout_seconds, notices=notices)

    def notifier(
        self, sender: Sender, *, timeout_seconds: float = TIMEOUT_SECONDS, notices: Notices | None = None
    ) -> Notifier:
        return Notifier(
            notices or Notices(self.ledger.database, "USD"),
            (sender.channel,),
            sender,
            self.clock,
            timeout_seconds=timeout_seconds,
            chance=random.Random(1),
        )

    async def tell(self, *dips: int) -> None:
        async with self.ledger.database.write() as session:
            for dip in dips:
                assert await record(session, low(dip), now_ms=self.clock.now_ms())

    async def states(self) -> list[tuple[int, bool, str]]:
        """Attempts, whether it is done, and the error of each delivery."""
        query = select(NoticeDeliveryRow).order_by(NoticeDeliveryRow.notice_seq, NoticeDeliveryRow.recipient)
        async with self.ledger.database.read() as session:
            rows = await session.scalars(query)
            return [(row.attempts, row.done_at is not None, row.error) for row in rows]

    def received(self) -> list[str]:
        return [json.loads(posted.body)["id"] for posted in self.receiver.posted]


def low(dip: int) -> Notice:
    return Notice(f"LOW_FUNDS:o1:{dip}-0", "o1", NoticeKind.LOW_FUNDS, {"available_micros": dip})


@asynccontextmanager
async def scene(url: str) -> AsyncIterator[Scene]:
    database = await open_database(url)
    senders: list[Sender] = []
    try:
        async with webhook_server() as receiver:
            ledger = ledger_of(database)
            await with_office(ledger)
            try:
                yield Scene(ledger, ManualClock(NOW), receiver, senders)
            finally:
                for each in senders:
                    await each.close()
    finally:
        await database.close()


def counted(channel: str, outcome: str) -> float:
    return float(metrics.NOTICES.labels(channel, outcome)._value.get())


def waiting(channel: str) -> float:
    return float(metrics.NOTICES_WAITING.labels(channel)._value.get())


async def test_what_was_recorded_is_sent_once_and_in_order(ledger_url: str) -> None:
    async with scene(ledger_url) as at:
        gateway, before = at.gateway(), counted("webhook", "sent")
        assert not await gateway.turn()
        await at.tell(1, 2)
        assert not await gateway.turn()
        assert sorted(at.received()) == [low(1).key, low(2).key]
        assert (counted("webhook", "sent") - before, waiting("webhook")) == (2, 0)
        at.clock.move(48 * 3_600)
        assert not await gateway.turn()
        assert len(at.receiver.posted) == 2
        assert await at.states() == [(1, True, ""), (1, True, "")]


async def test_a_turn_is_bounded_and_says_that_there_is_more(ledger_url: str) -> None:
    async with scene(ledger_url) as at:
        gateway = at.gateway()
        await at.tell(*range(1, 2 * SENT_AT_ONCE + 2))
        assert await gateway.turn()
        assert sorted(at.received()) == sorted(low(dip).key for dip in range(1, SENT_AT_ONCE + 1))
        assert await gateway.turn()
        assert not await gateway.turn()
        assert len(at.receiver.posted) == 2 * SENT_AT_ONCE + 1


@pytest.mark.parametrize("bad", [answer("500 Oops"), answer("302 Found", "Location: /x"), answer("404 Not Found")])
async def test_a_failure_is_tried_again_when_its_time_has_come(ledger_url: str, bad: bytes) -> None:
    async with scene(ledger_url) as at:
        gateway, before = at.gateway(), counted("webhook", "failed")
        await at.tell(1)
        at.receiver.answers += [bad, bad]
        await gateway.turn()
        ((attempts, done, error),) = await at.states()
        assert (attempts, done, error[:5]) == (1, False, "HTTP ")
        assert (counted("webhook", "failed") - before, waiting("webhook")) == (1, 1)
        at.clock.move(7.9)
        await gateway.turn()
        assert len(at.receiver.posted) == 1
        at.clock.move(2.1)
        await gateway.turn()
        at.clock.move(15.9)
        await gateway.turn()
        assert len(at.receiver.posted) == 2
        at.clock.move(4.1)
        await gateway.turn()
        assert at.received() == [low(1).key] * 3
        assert await at.states() == [(3, True, "")]
        assert len({posted.headers["tollgate-notice-id"] for posted in at.receiver.posted}) == 1


async def test_one_that_hangs_delays_no_other(ledger_url: str) -> None:
    async with scene(ledger_url) as at:
        gateway = at.gateway(timeout_seconds=0.3)
        await at.tell(1, 2, 3)
        at.receiver.answers += [HANG, answer("200 OK"), answer("200 OK")]
        await gateway.turn()
        assert sorted(done for _, done, _ in await at.states()) == [False, True, True]
        assert [error for _, done, error in await at.states() if not done] == ["no answer in time"]


async def test_a_receiver_that_is_gone_gets_it_never_again(ledger_url: str) -> None:
    async with scene(ledger_url) as at:
        gateway, before = at.gateway(), counted("webhook", "given_up")
        await at.tell(1)
        at.receiver.answers.append(answer("410 Gone"))
        await gateway.turn()
        assert await at.states() == [(1, True, "HTTP 410")]
        assert (counted("webhook", "given_up") - before, waiting("webhook")) == (1, 0)
        at.clock.move(48 * 3_600)
        await gateway.turn()
        assert len(at.receiver.posted) == 1


async def test_a_notice_is_given_up_after_so_many_attempts(ledger_url: str) -> None:
    async with scene(ledger_url) as at:
        gateway = at.gateway()
        await at.tell(1)
        at.receiver.answers += [answer("503 Away")] * (2 * MAX_ATTEMPTS)
        started = at.clock.now_ms()
        for _ in range(10_000):
            await gateway.turn()
            if (await at.states())[0][1]:
                break
            at.clock.move(LONGEST_DELAY_SECONDS / 8)
        assert await at.states() == [(MAX_ATTEMPTS, True, "HTTP 503")]
        assert len(at.receiver.posted) == MAX_ATTEMPTS
        assert 18 * 3_600 < (at.clock.now_ms() - started) / 1000 < 26 * 3_600


async def test_two_gateways_send_each_notice_once(ledger_url: str) -> None:
    async with scene(ledger_url) as at:
        gateways = [at.gateway() for _ in range(2)]
        await at.tell(*range(1, 41))

        async def run(gateway: Notifier) -> None:
            while await gateway.turn() or any(not done for _, done, _ in await at.states()):
                pass

        await asyncio.gather(*(run(gateway) for gateway in gateways))
        assert Counter(at.received()) == Counter(low(dip).key for dip in range(1, 41))
        assert await at.states() == [(1, True, "")] * 40


async def test_a_sender_that_dies_before_it_recorded_leaves_the_notice_to_another_with_the_same_id(
    ledger_url: str,
) -> None:
    async with scene(ledger_url) as at:
        await at.tell(1)
        at.receiver.answers.append(HANG)  # It has the notice, and the sender will never know.
        dying = asyncio.create_task(at.gateway().turn())
        await at.receiver.hung.wait()
        other = at.gateway()
        await other.turn()
        assert len(at.receiver.posted) == 1, "it is claimed"
        dying.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await dying
        at.clock.move(TIMEOUT_SECONDS + SPARE_SECONDS - 0.001)
        await other.turn()
        assert len(at.receiver.posted) == 1
        at.clock.move(0.001)
        await other.turn()
        first, second = at.receiver.posted
        assert first.headers["tollgate-notice-id"] == second.headers["tollgate-notice-id"] == low(1).key
        assert first.body == second.body
        assert await at.states() == [(2, True, "")]


class ForgetfulNotices(Notices):
    """A database that is away when the first one is to be recorded as sent."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger.database, "USD")
        self._lost = False

    async def sent(self, delivery: Delivery, *, now_ms: int) -> None:
        if not self._lost:
            self._lost = True
            raise DatabaseError("away")
        await super().sent(delivery, now_ms=now_ms)


async def test_a_database_that_is_away_when_it_was_sent_costs_one_repeat(ledger_url: str) -> None:
    async with scene(ledger_url) as at:
        gateway = at.gateway(notices=ForgetfulNotices(at.ledger))
        await at.tell(1, 2, 3)
        with pytest.raises(DatabaseError):
            await gateway.turn()
        assert sorted(done for _, done, _ in await at.states()) == [False, True, True]
        await gateway.turn()
        assert len(at.receiver.posted) == 3
        at.clock.move(TIMEOUT_SECONDS + SPARE_SECONDS)
        await gateway.turn()
        assert sorted(Counter(at.received()).values()) == [1, 1, 2]
        assert [done for _, done, _ in await at.states()] == [True] * 3


class BrokenSender:
    channel = Channel("webhook")

    def __init__(self) -> None:
        self.errors: list[Exception] = [KeyError("a bug"), NotSent("away")]

    async def send(self, delivery: Delivery, *, now_ms: int) -> None:
        if self.errors:
            raise self.errors.pop(0)

    async def close(self) -> None:
        pass


async def test_a_notice_that_meets_a_bug_ends_no_process_and_is_tried_again(ledger_url: str) -> None:
    async with scene(ledger_url) as at:
        gateway = at.notifier(BrokenSender())
        await at.tell(1)
        errors = []
        for _ in range(3):
            await gateway.turn()
            errors.append((await at.states())[0])
            at.clock.move(60)
        assert errors == [(1, False, "a bug: KeyError"), (2, False, "away"), (3, True, "")]


async def test_each_recipient_has_a_mail_of_its_own(ledger_url: str) -> None:
    async with scene(ledger_url) as at, mail_server() as server:
        sender = SmtpSender(
            SmtpAddress("127.0.0.1", server.port, MailSecurity.NONE, "", ""),
            sender="tollgate@gateway.example",
            operators=("a@example.com", "b@example.com", "c@example.com"),
            timeout_seconds=TIMEOUT_SECONDS,
        )
        gateway = at.notifier(sender)
        await at.tell(1)
        server.on_rcpt += ["550 unknown", "450 greylisted"]
        await gateway.turn()
        assert len(server.mails) == 1
        ends = sorted((done, error) for _, done, error in await at.states())
        assert ends == [
            (False, "SMTP 450: recipient not taken now"),
            (True, ""),
            (True, "SMTP 550: recipient refused"),
        ]
        at.clock.move(10)
        await gateway.turn()
        assert len(server.mails) == 2
        assert len({mail["To"] for mail in server.mails}) == len({mail["Message-ID"] for mail in server.mails}) == 2


async def test_the_back_sends_by_what_is_set_up(store_server: StoreServer, tmp_path: Path) -> None:
    async with (
        webhook_server() as receiver,
        mail_server() as mails,
        running_back(
            store_server,
            tmp_path,
            notice_webhook_url=receiver.url,
            notice_webhook_secret=SECRET,
            notice_smtp_url=f"smtp+plain://127.0.0.1:{mails.port}",
            notice_email_from="tollgate@gateway.example",
            notice_email_to="ops@example.com",
        ) as back,
    ):
        await back.open_office()
        notice = Notice("RECEIPT:p1", OFFICE, NoticeKind.RECEIPT, {"amount_micros": 50_000_000})
        async with back.ledger.database.write() as session:
            await record(session, notice, now_ms=back.clock.now_ms())
        receiver.answers.append(CLOSE)
        notifiers = back.back.background.notifiers
        assert [each.name for each in notifiers] == ["log", "smtp", "webhook"]
        for _ in range(2):
            for each in notifiers:
                await each.turn()
            back.clock.move(10)
        assert [json.loads(posted.body)["id"] for posted in receiver.posted][-1] == "RECEIPT:p1"
        assert [mail["Subject"] for mail in mails.mails] == ["Receipt: 50.00 USD of calling credits for Springfield"]
        assert [await Notices(back.ledger.database, "USD").waiting(each.name) for each in notifiers] == [0, 0, 0]


async def test_without_any_setting_notices_go_to_the_log(store_server: StoreServer, tmp_path: Path) -> None:
    async with running_back(store_server, tmp_path) as back:
        assert [each.name for each in back.back.background.notifiers] == ["log"]

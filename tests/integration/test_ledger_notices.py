"""Notices in the ledger: recorded once, routed once, claimed by one sender at a time; and who receives them."""

import asyncio

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.notice import Channel, Delivery, Notice, NoticeKind, NoticeOffice
from gateway.errors import InvalidArgument, TollgateError
from gateway.ledger.errors import CompanyNotFound, NoticeRecipientNotFound, OfficeNotFound
from gateway.ledger.models import NoticeDeliveryRow, NoticeRow
from gateway.ledger.notice_recipients import NoticeRecipient, NoticeRecipients
from gateway.ledger.notices import MAX_ERROR_LENGTH, Notices, record
from gateway.ledger.paging import PageRequest
from tests.support.ledger import NOW, WHO, Ledger, settings, with_ledger, with_office

LOG, WEBHOOK = Channel("log"), Channel("webhook")
MAIL = Channel("smtp", is_addressed=True, operators=("ops@example.com",))
MINUTE = 60_000


def low(office_id: str = "o1", dip: int = 1) -> Notice:
    return Notice(f"LOW_FUNDS:{office_id}:{dip}-0", office_id, NoticeKind.LOW_FUNDS, {"available_micros": dip})


async def tell(ledger: Ledger, *notices: Notice, now_ms: int = NOW) -> list[bool]:
    async with ledger.database.write() as session:
        return [await record(session, notice, now_ms=now_ms) for notice in notices]


async def rows(ledger: Ledger) -> list[tuple[int, str, str, int, int, int | None, str]]:
    query = select(NoticeDeliveryRow).order_by(
        NoticeDeliveryRow.notice_seq, NoticeDeliveryRow.channel, NoticeDeliveryRow.recipient
    )
    async with ledger.database.read() as session:
        return [
            (row.notice_seq, row.channel, row.recipient, row.attempts, row.next_at, row.done_at, row.error)
            for row in await session.scalars(query)
        ]


async def claim(notices: Notices, channel: str = "log", limit: int = 10, now_ms: int = NOW) -> list[Delivery]:
    return list(await notices.claim(channel, limit, now_ms=now_ms, until=now_ms + MINUTE))


def test_a_notice_is_recorded_once_per_key_and_with_the_rest_or_not_at_all(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        assert await tell(ledger, low(dip=1), low(dip=2), low(dip=1)) == [True, True, False]
        assert await tell(ledger, Notice(low().key, "o2", NoticeKind.RECEIPT, {})) == [False]

        async def fail_after_it(session: AsyncSession) -> None:
            assert await record(session, low(dip=3), now_ms=NOW)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await ledger.database.transact(fail_after_it)
        async with ledger.database.read() as session:
            kept = (await session.scalars(select(NoticeRow).order_by(NoticeRow.seq))).all()
        assert [(row.notice_key, row.office_id, row.kind, row.facts, row.created_at) for row in kept] == [
            ("LOW_FUNDS:o1:1-0", "o1", NoticeKind.LOW_FUNDS, {"available_micros": 1}, NOW),
            ("LOW_FUNDS:o1:2-0", "o1", NoticeKind.LOW_FUNDS, {"available_micros": 2}, NOW),
        ]

    with_ledger(ledger_url, scenario)


def test_of_many_who_record_a_key_at_once_one_does(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        new = await asyncio.gather(
            *(ledger.database.transact(lambda session: record(session, low(), now_ms=NOW)) for _ in range(20))
        )
        assert sorted(new) == [False] * 19 + [True]

    with_ledger(ledger_url, scenario)


def test_a_notice_is_routed_once_to_the_channels_and_recipients_of_that_moment(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        await ledger.offices.create(settings("o2"), actor=WHO, now_ms=NOW)
        await with_office(ledger, "x1", "x")
        recipients, notices = NoticeRecipients(ledger.database), Notices(ledger.database, "USD")
        for company_id, office_id, address in [
            ("c1", "", "all@example.com"),
            ("c1", "", "ops@example.com"),
            ("", "o1", "one@example.com"),
            ("", "o2", "two@example.com"),
            ("x", "", "other@example.com"),
        ]:
            await recipients.add(company_id=company_id, office_id=office_id, address=address, actor=WHO, now_ms=NOW)
        await tell(ledger, low("o1"), low("nowhere"))
        assert await notices.route([LOG, MAIL], 10, now_ms=NOW) == 2
        assert [row[:3] for row in await rows(ledger)] == [
            (1, "log", ""),
            (1, "smtp", "all@example.com"),
            (1, "smtp", "one@example.com"),
            (1, "smtp", "ops@example.com"),
            (2, "log", ""),
            (2, "smtp", "ops@example.com"),
        ]
        # Neither a new channel nor a new recipient gets what is old.
        await recipients.add(company_id="c1", address="late@example.com", actor=WHO, now_ms=NOW)
        assert await notices.route([LOG, WEBHOOK, MAIL], 10, now_ms=NOW) == 0
        assert len(await rows(ledger)) == 6
        await tell(ledger, low("o1", 2))
        assert await notices.route([WEBHOOK, MAIL], 10, now_ms=NOW) == 1
        assert [row[1:3] for row in await rows(ledger)][6:] == [
            ("smtp", "all@example.com"),
            ("smtp", "late@example.com"),
            ("smtp", "one@example.com"),
            ("smtp", "ops@example.com"),
            ("webhook", ""),
        ]

    with_ledger(ledger_url, scenario)


def test_routing_goes_on_where_it_stopped_also_without_any_channel_or_recipient(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        notices = Notices(ledger.database, "USD")
        await tell(ledger, *(low(dip=dip) for dip in range(1, 6)))
        assert await notices.route([LOG], 2, now_ms=NOW) == 2
        assert [row[0] for row in await rows(ledger)] == [1, 2]
        assert await notices.route([], 2, now_ms=NOW) == 2
        assert await notices.route([Channel("smtp", is_addressed=True)], 2, now_ms=NOW) == 1
        assert await notices.route([LOG], 2, now_ms=NOW) == 0
        assert [row[0] for row in await rows(ledger)] == [1, 2]

    with_ledger(ledger_url, scenario)


def test_a_claim_has_what_is_due_oldest_first_and_nobody_else_has_it(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        notices = Notices(ledger.database, "USD")
        await tell(ledger, *(low(dip=dip) for dip in range(1, 6)))
        await notices.route([LOG, WEBHOOK], 10, now_ms=NOW)
        assert await claim(notices, now_ms=NOW - 1) == []
        assert await claim(notices, "smtp") == []
        first = await claim(notices, limit=3)
        office = NoticeOffice("o1", "Springfield", "c1", "USD", "America/New_York")
        assert first == [Delivery(dip, "log", "", 1, low(dip=dip), office, NOW) for dip in (1, 2, 3)]
        assert [each.seq for each in await claim(notices)] == [4, 5]
        assert await claim(notices) == []
        assert [each.seq for each in await claim(notices, "webhook")] == [1, 2, 3, 4, 5]
        assert await notices.waiting("log") == await notices.waiting("webhook") == 5
        # Whoever claimed them died: they come again, and it shows.
        again = await claim(notices, now_ms=NOW + MINUTE)
        assert [(each.seq, each.attempt) for each in again] == [(seq, 2) for seq in (1, 2, 3, 4, 5)]

    with_ledger(ledger_url, scenario)


def test_many_who_claim_at_once_share_without_overlap(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await tell(ledger, *(low(dip=dip) for dip in range(1, 41)))
        await asyncio.gather(*(Notices(ledger.database, "USD").route([LOG], 7, now_ms=NOW) for _ in range(10)))
        shares = await asyncio.gather(*(claim(Notices(ledger.database, "USD"), limit=5) for _ in range(10)))
        assert sorted(each.seq for share in shares for each in share) == list(range(1, 41))

    with_ledger(ledger_url, scenario)


def test_an_office_that_the_ledger_does_not_know_is_its_id(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        notices = Notices(ledger.database, "EUR")
        await tell(ledger, low("ghost"))
        await notices.route([LOG], 10, now_ms=NOW)
        (delivery,) = await claim(notices)
        assert delivery.office == NoticeOffice("ghost", "ghost", "", "EUR", "UTC")

    with_ledger(ledger_url, scenario)


def test_how_attempts_end(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        notices = Notices(ledger.database, "USD")
        await tell(ledger, low(dip=1), low(dip=2), low(dip=3))
        await notices.route([LOG], 10, now_ms=NOW)
        sent, failed, given_up = await claim(notices)
        await notices.sent(sent, now_ms=NOW + 1)
        await notices.failed(failed, "x" * 600, next_at=NOW + 5)
        await notices.given_up(given_up, "HTTP 410", now_ms=NOW + 2)
        assert [row[3:] for row in await rows(ledger)] == [
            (1, NOW + MINUTE, NOW + 1, ""),
            (1, NOW + 5, None, "x" * MAX_ERROR_LENGTH),
            (1, NOW + MINUTE, NOW + 2, "HTTP 410"),
        ]
        assert await notices.waiting("log") == 1
        assert await claim(notices, now_ms=NOW + 4) == []
        (again,) = await claim(notices, now_ms=NOW + 5)
        assert (again.seq, again.attempt) == (2, 2)
        await notices.sent(again, now_ms=NOW + 6)
        assert (await rows(ledger))[1][3:] == (2, NOW + 5 + MINUTE, NOW + 6, "")
        assert await notices.waiting("log") == 0

    with_ledger(ledger_url, scenario)


def test_a_late_sender_may_say_that_it_was_sent_but_not_that_it_failed(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        notices = Notices(ledger.database, "USD")
        await tell(ledger, low())
        await notices.route([LOG], 10, now_ms=NOW)
        (late,) = await claim(notices)
        (quick,) = await claim(notices, now_ms=NOW + MINUTE)
        before = await rows(ledger)
        await notices.failed(late, "no answer", next_at=NOW)
        await notices.given_up(late, "HTTP 410", now_ms=NOW)
        assert await rows(ledger) == before
        await notices.sent(late, now_ms=NOW + 7)
        after = await rows(ledger)
        assert after[0][5:] == (NOW + 7, "")
        await notices.failed(quick, "no answer", next_at=NOW)
        await notices.sent(quick, now_ms=NOW + 9)
        assert await rows(ledger) == after, "what is done stays done"

    with_ledger(ledger_url, scenario)


# Who receives them.


def test_recipients_are_added_and_removed_once_and_that_is_on_record(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        recipients = NoticeRecipients(ledger.database)
        of_office = NoticeRecipient("c1", "o1", "one@example.com")
        of_company = NoticeRecipient("c1", "", "all@example.com")
        for _ in range(2):
            added = await recipients.add(office_id="o1", address="one@example.com", actor=WHO, now_ms=NOW)
            assert added == of_office
            await recipients.add(company_id="c1", address="all@example.com", actor=WHO, now_ms=NOW)
        assert await recipients.list() == (of_company, of_office)
        removed = await recipients.remove(office_id="o1", address="one@example.com", actor=WHO, now_ms=NOW + 1)
        assert removed == of_office
        assert await recipients.list() == (of_company,)
        changes = (await ledger.audit.list(PageRequest(), "office:o1")).items
        assert [(each.action, each.before, each.after) for each in changes[:2]] == [
            ("notice_recipient.remove", {"company_id": "c1", "office_id": "o1", "address": "one@example.com"}, None),
            ("notice_recipient.add", None, {"company_id": "c1", "office_id": "o1", "address": "one@example.com"}),
        ]
        of_c1 = (await ledger.audit.list(PageRequest(), "company:c1")).items
        assert [each.action for each in of_c1] == ["notice_recipient.add", "company.create"]

    with_ledger(ledger_url, scenario)


@pytest.mark.parametrize("method", ["add", "remove"])
@pytest.mark.parametrize(
    ("company_id", "office_id", "address", "error"),
    [
        ("", "", "a@example.com", InvalidArgument),
        ("c1", "o1", "a@example.com", InvalidArgument),
        ("c1", "", "", InvalidArgument),
        ("c1", "", "nobody", InvalidArgument),
        ("c1", "", "A <a@example.com>", InvalidArgument),
        ("c1", "", "a@example.com\nBcc: b@example.com", InvalidArgument),
        ("c1", "", f"{'a' * 250}@example.com", InvalidArgument),
        ("c2", "", "a@example.com", CompanyNotFound),
        ("", "o2", "a@example.com", OfficeNotFound),
        ("", "c1", "a@example.com", OfficeNotFound),
    ],
)
def test_recipients_that_cannot_be(
    ledger_url: str, method: str, company_id: str, office_id: str, address: str, error: type[TollgateError]
) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        recipients = NoticeRecipients(ledger.database)
        with pytest.raises(error):
            await getattr(recipients, method)(
                company_id=company_id, office_id=office_id, address=address, actor=WHO, now_ms=NOW
            )
        assert await recipients.list() == ()

    with_ledger(ledger_url, scenario)


def test_what_is_not_there_cannot_be_removed(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        recipients = NoticeRecipients(ledger.database)
        await recipients.add(company_id="c1", address="a@example.com", actor=WHO, now_ms=NOW)
        with pytest.raises(NoticeRecipientNotFound):
            await recipients.remove(office_id="o1", address="a@example.com", actor=WHO, now_ms=NOW)

    with_ledger(ledger_url, scenario)

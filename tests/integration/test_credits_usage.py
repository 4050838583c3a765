"""UsageSummary, ListUsage, ExportUsage and ListTransactions over gRPC; calls explained from their records."""

import asyncio
import csv
import io
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import EOF

from gateway.api.credits.usage_records import WHY_REFUSED
from gateway.domain.usage import UsageKind, UsageState
from gateway.domain.vocabulary import Category, Reason, Role
from gateway.v1 import authorization_pb2
from gateway.v1 import credits_pb2 as pb
from tests.support.back import HEADER, OFFICE, BackUnderTest, bearer, end_of, invalid, refused, running_back
from tests.support.balances import NOON
from tests.support.servers import StoreServer
from tests.support.usage import BRITISH, call, free_call, message, record, record_unrecorded, refusal

ME = bearer()
MONTH = "2025-06"
NOT_FOUND = (StatusCode.NOT_FOUND, "CALL_NOT_FOUND")


async def write(back: BackUnderTest, *rows: dict[str, Any]) -> None:
    await record(back.back.database, *(row | {"office_id": OFFICE} for row in rows))


async def export(back: BackUnderTest, month: str = MONTH, secret: str | None = None) -> list[dict[str, str]]:
    request = pb.ExportUsageRequest(office_id=OFFICE, month=month)
    stream = back.stub.ExportUsage(request, metadata=bearer(secret) if secret else ME)
    text = b"".join([answer.chunk async for answer in stream]).decode()
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


async def explain(back: BackUnderTest, call_id: str) -> Any:
    return await back.stub.ExplainCall(pb.ExplainCallRequest(office_id=OFFICE, call_id=call_id), metadata=ME)


async def get(back: BackUnderTest, call_id: str) -> Any:
    return await back.stub.GetCall(pb.GetCallRequest(office_id=OFFICE, call_id=call_id), metadata=ME)


async def test_a_month_in_all_three_forms(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(time_zone="America/New_York")
        await write(
            back,
            call("c1", NOON),
            free_call("c2", NOON + 1_000),
            message("m1", NOON + 2_000, cost_micros=0, refunded_micros=60_000),
            refusal(message("m2", NOON + 3_000), Reason.INSUFFICIENT_FUNDS),
            call("c3", NOON + 4_000, state=UsageState.OPEN),
        )
        await record_unrecorded(back.back.database, UsageKind.CALL, NOON, 5, office_id=OFFICE)
        summary = await back.stub.UsageSummary(pb.UsageSummaryRequest(office_id=OFFICE, month=MONTH), metadata=ME)
        assert (summary.month, summary.time_zone) == (MONTH, "America/New_York")
        shown = {each.category: (each.count, each.cost_micros, each.blocked) for each in summary.totals}
        nothing = dict.fromkeys(map(int, Category), (0, 0, 0))
        assert shown == nothing | {
            authorization_pb2.CATEGORY_INTERNATIONAL: (1, 440_000, 0),
            authorization_pb2.CATEGORY_LOCAL: (1, 0, 0),
            authorization_pb2.CATEGORY_MESSAGE: (1, 0, 1),
            authorization_pb2.CATEGORY_UNSPECIFIED: (0, 0, 5),
        }

        listed = await back.stub.ListUsage(pb.ListUsageRequest(office_id=OFFICE, month=MONTH), metadata=ME)
        blocked, refunded, free, paid = listed.records
        assert (blocked.id, blocked.decision, blocked.reason) == (
            "m2", authorization_pb2.DENIED, authorization_pb2.INSUFFICIENT_FUNDS,
        )  # fmt: skip
        assert (refunded.id, refunded.refunded, refunded.cost_micros, refunded.refunded_micros) == (
            "m1",
            True,
            0,
            60_000,
        )
        assert (free.id, free.reason, free.rate_row.line) == ("c2", authorization_pb2.FREE, 2)
        assert paid == pb.UsageRecord(
            id="c1",
            category=authorization_pb2.CATEGORY_INTERNATIONAL,
            direction=authorization_pb2.OUTBOUND,
            started_at=paid.started_at,
            user_id="user-7",
            department_id="department-3",
            calling_number="+12025550123",
            called_number="+442071838750",
            duration_seconds=61,
            billed_seconds=61,
            cost_micros=440_000,
            decision=authorization_pb2.GRANTED,
            reason=authorization_pb2.FUNDED,
            rate_row=paid.rate_row,
            state=pb.CALL_STATE_ENDED,
        )
        assert paid.started_at.ToMilliseconds() == NOON
        assert (paid.rate_row.deck_version, paid.rate_row.line, paid.rate_row.prefix) == (1, 3, "44")

        exported = await export(back)
        assert [each["id"] for each in exported] == ["c1", "c2", "m1", "m2"]
        assert exported[0]["started_at"] == "2025-06-16T08:00:00-04:00"
        assert exported[0]["rate_description"] == "United Kingdom"
        assert await export(back, "2025-05") == []


async def test_pages_of_the_list(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await write(back, *(call(f"c{n}", NOON + n, user_id=f"u{n % 2}") for n in range(5)))
        request = pb.ListUsageRequest(office_id=OFFICE, month=MONTH, user_id="u0", page_size=2)
        first = await back.stub.ListUsage(request, metadata=ME)
        assert [each.id for each in first.records] == ["c4", "c2"]
        request.page_token = first.next_page_token
        rest = await back.stub.ListUsage(request, metadata=ME)
        assert ([each.id for each in rest.records], rest.next_page_token) == (["c0"], "")
        request.user_id = "u1"
        await invalid("page_token", back.stub.ListUsage(request, metadata=ME))


async def test_a_month_by_day_and_by_department(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(time_zone="America/New_York")
        await write(
            back,
            call("c1", NOON),
            free_call("c2", NOON + 1, department_id=""),
            message("m1", NOON + 2),
            refusal(call("c3", NOON), Reason.INSUFFICIENT_FUNDS),
            call("c4", NOON - 86_400_000, cost_micros=5, department_id="d2"),
            call("c5", NOON, state=UsageState.OPEN),
        )
        request = pb.UsageBreakdownRequest(office_id=OFFICE, month=MONTH)
        answer = await back.stub.UsageBreakdown(request, metadata=ME)
        assert (answer.month, answer.time_zone) == (MONTH, "America/New_York")
        # As far as the month has come.
        assert [day.date for day in answer.days] == [f"2025-06-{number:02}" for number in range(1, 17)]
        assert [(day.count, day.cost_micros) for day in answer.days] == [(0, 0)] * 14 + [(1, 5), (3, 500_000)]
        assert [(each.category, each.count, each.cost_micros) for each in answer.days[-1].categories] == [
            (authorization_pb2.CATEGORY_LOCAL, 1, 0),
            (authorization_pb2.CATEGORY_INTERNATIONAL, 1, 440_000),
            (authorization_pb2.CATEGORY_MESSAGE, 1, 60_000),
        ]
        assert list(answer.departments) == [
            pb.UsageDepartment(department_id="department-3", count=2, cost_micros=500_000),
            pb.UsageDepartment(department_id="d2", count=1, cost_micros=5),
            pb.UsageDepartment(count=1),
        ]
        request.month = "2025-05"
        before = await back.stub.UsageBreakdown(request, metadata=ME)
        assert (len(before.days), list(before.departments)) == (31, [])


@pytest.mark.parametrize(
    ("order", "ids"),
    [
        (pb.USAGE_ORDER_UNSPECIFIED, ["c3", "c2", "c1"]),
        (pb.USAGE_ORDER_OLDEST_FIRST, ["c1", "c2", "c3"]),
        (pb.USAGE_ORDER_COSTLIEST_FIRST, ["c2", "c3", "c1"]),
        (pb.USAGE_ORDER_LONGEST_FIRST, ["c3", "c1", "c2"]),
    ],
)
async def test_orders_of_the_list(
    valkey: StoreServer, tmp_path: Path, order: pb.UsageOrder.ValueType, ids: list[str]
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await write(
            back,
            call("c1", NOON, cost_micros=1, duration_seconds=20),
            call("c2", NOON + 1, cost_micros=3, duration_seconds=10),
            call("c3", NOON + 2, cost_micros=2, duration_seconds=30),
        )
        request = pb.ListUsageRequest(office_id=OFFICE, month=MONTH, order=order, page_size=2)
        first = await back.stub.ListUsage(request, metadata=ME)
        request.page_token = first.next_page_token
        rest = await back.stub.ListUsage(request, metadata=ME)
        assert [each.id for each in [*first.records, *rest.records]] == ids
        request.order = (order + 1) % 4  # type: ignore[assignment]
        await invalid("page_token", back.stub.ListUsage(request, metadata=ME))


async def test_bad_input(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(time_zone="Pacific/Kiritimati")
        for month in ("", "2025-7", "2025-13", "2025-06-01", "June", "2025-07", "9998-12", "9999-12", "\x00"):
            fields: dict[str, Any] = {"office_id": OFFICE, "month": month}
            await invalid("month", back.stub.UsageSummary(pb.UsageSummaryRequest(**fields), metadata=ME))
            await invalid("month", back.stub.UsageBreakdown(pb.UsageBreakdownRequest(**fields), metadata=ME))
            await invalid("month", back.stub.ListUsage(pb.ListUsageRequest(**fields), metadata=ME))
            await invalid("month", back.stub.ExportUsage(pb.ExportUsageRequest(**fields), metadata=ME).read())
        wrong: list[tuple[str, dict[str, Any]]] = [
            ("office_id", {"office_id": "a b"}),
            ("page_size", {"page_size": -1}),
            ("page_size", {"page_size": 1_001}),
            ("page_token", {"page_token": "x"}),
            ("page_token", {"page_token": "x" * 2_000}),
            ("category", {"category": 7}),
            ("order", {"order": 4}),
            ("order", {"order": -1}),
            ("user_id", {"user_id": "x" * 129}),
            ("department_id", {"department_id": "\n"}),
        ]
        for field, fields in wrong:
            request = pb.ListUsageRequest(**{"office_id": OFFICE, "month": MONTH} | fields)
            await invalid(field, back.stub.ListUsage(request, metadata=ME))
        for field, fields in wrong[:5]:
            asked = pb.ListTransactionsRequest(**{"office_id": OFFICE} | fields)
            await invalid(field, back.stub.ListTransactions(asked, metadata=ME))
        # The office's own July has not begun at noon of 16 June anywhere; its June begins before that of UTC.
        back.clock.move(14 * 86_400)
        fields = {"office_id": OFFICE, "month": "2025-07"}
        await back.stub.UsageSummary(pb.UsageSummaryRequest(**fields), metadata=ME)


async def test_only_some_exports_go_on_at_a_time_and_a_slow_reader_holds_up_nobody(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        # More than the buffers between here and there hold, so that the export waits for its reader.
        await write(back, *(call(f"c{n}", NOON + n, cause="x") for n in range(12_000)))
        request = pb.ExportUsageRequest(office_id=OFFICE, month=MONTH)
        streams = [back.stub.ExportUsage(request, metadata=ME) for _ in range(8)]
        try:
            for stream in streams:
                assert (await stream.read()).chunk.startswith(b"id,")
            await refused(
                StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_EXPORTS", back.stub.ExportUsage(request, metadata=ME).read()
            )
            # While they wait a writer writes and a reader reads.
            async with asyncio.timeout(30):
                await write(back, call("later", NOON + 1))
                await back.stub.UsageSummary(pb.UsageSummaryRequest(office_id=OFFICE, month=MONTH), metadata=ME)
        finally:
            for stream in streams:
                stream.cancel()
        # Those that were given up make room.
        for _ in range(100):
            stream = back.stub.ExportUsage(request, metadata=ME)
            try:
                await stream.read()
            except Exception:
                await asyncio.sleep(0)
            else:
                break
            finally:
                stream.cancel()
        else:
            raise AssertionError("no export is possible any more")


async def test_an_export_ends_when_its_token_is_revoked(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await write(back, *(call(f"c{n}", NOON + n) for n in range(12_000)))
        secret = await back.token(Role.VIEWER)
        stream = back.stub.ExportUsage(pb.ExportUsageRequest(office_id=OFFICE, month=MONTH), metadata=bearer(secret))
        assert await stream.read() is not EOF
        tokens = (await back.stub.ListTokens(pb.ListTokensRequest(), metadata=ME)).tokens
        await back.stub.RevokeToken(pb.RevokeTokenRequest(token_id=tokens[0].token_id), metadata=ME)
        await back.back.directory.refresh()
        await asyncio.sleep(1)  # The guard of a stream looks at its token twice a second, by the real clock.
        assert (await end_of(stream)).code is StatusCode.UNAUTHENTICATED


async def test_a_call_that_is_over_is_explained_from_its_record(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await refused(*NOT_FOUND, explain(back, "c1"))
        await refused(*NOT_FOUND, get(back, "c1"))
        await write(back, call("c1", NOON))
        found = await explain(back, "c1")
        assert list(found.steps) == [
            "to +442071838750: OUTBOUND, VOICE, STANDARD",
            "deck 1, row 3 (United Kingdom): VOICE matched by prefix 44, direction OUTBOUND; "
            "0.20 to connect, 0.12 per 60 s by 60 s",
            "connect fee: 0.20",
            "from 0 s: 61 s, in steps of 60 s: 120 s; at 0.12 per 60 s: 0.24",
            "price of 61 s: 0.44",
            "lasted 61 s, billed 61 s",
            "debited 0.44",
        ]
        assert (found.rate_row.line, found.record.id, found.record.cost_micros) == (3, "c1", 440_000)
        assert found.call == await get(back, "c1")
        assert (found.call.state, found.call.debited_micros, found.call.switch_id) == (
            pb.CALL_STATE_ENDED,
            440_000,
            "sw1",
        )
        assert found.call.authorized_at.ToMilliseconds() == NOON
        assert found.call.answered_at.ToMilliseconds() == NOON + 5_000
        # Another deck is in force by now: the call keeps the one that priced it.
        deck = HEADER + ",VOICE,OUTBOUND,,,44,,0,9.99,60,60,,60,dearer\n"
        await back.stub.ImportRates(pb.ImportRatesRequest(deck=deck.encode()), metadata=ME)
        await back.back.directory.refresh()
        assert await explain(back, "c1") == found


EXPLAINED = [
    (free_call("x", NOON), ["free: nothing was debited"]),
    (
        free_call("x", NOON, category=Category.EMERGENCY, reason=Reason.EMERGENCY, deck_version=0, rate_line=0),
        ["an emergency: not rated, never debited"],
    ),
    (
        call("x", NOON, duration_seconds=0, billed_seconds=0, cost_micros=0, answered_at=0),
        ["not answered or no time used yet: 0.00", "lasted 0 s, billed 0 s", "debited 0.00"],
    ),
    (
        call("x", NOON, cost_micros=400_000, written_off_micros=40_000),
        ["debited 0.40", "written off 0.04: no funds were there for it"],
    ),
    (
        call("x", NOON, state=UsageState.LAPSED),
        ["debited 0.44", "settled at what its switch confirmed; it may be heard of again"],
    ),
    (message("x", NOON), ["segments: 2 at 0.03, debited 0.06"]),
    (
        message("x", NOON, cost_micros=0, refunded_micros=60_000),
        ["segments: 2 at 0.03, debited 0.06", "refunded 0.06: the carrier did not take it"],
    ),
    (
        refusal(message("x", NOON), Reason.INSUFFICIENT_FUNDS),
        ["deck 1, row 4 (SMS): SMS matched by any number; 0.03 per segment",
         "refused, INSUFFICIENT_FUNDS: what was available did not pay for the beginning of it; nothing was debited"],
    ),
    (
        refusal(call("x", NOON), Reason.PRICE_LIMIT),
        ["refused, PRICE_LIMIT: a minute of it is dearer than the office allows; nothing was debited"],
    ),
    (
        refusal(call("x", NOON, deck_version=7, rate_line=12), Reason.SPEND_LIMIT),
        ["deck 7, row 12",
         "refused, SPEND_LIMIT: it would have passed what the office may spend in a day; nothing was debited"],
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "steps"), EXPLAINED, ids=lambda value: value[-1][:40] if isinstance(value, list) else ""
)
async def test_what_became_of_it(valkey: StoreServer, tmp_path: Path, row: dict[str, Any], steps: list[str]) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await write(back, row)
        found = await explain(back, "x")
        assert list(found.steps[-len(steps) :]) == steps
        is_call = row["kind"] is UsageKind.CALL and row["reason"] in (Reason.FUNDED, Reason.FREE, Reason.EMERGENCY)
        assert found.HasField("call") is is_call
        assert found.record.id == "x"
        if not is_call:
            await refused(*NOT_FOUND, get(back, "x"))


def test_every_refusal_can_be_explained() -> None:
    assert set(WHY_REFUSED) == {reason for reason in Reason if reason.decision.name == "DENIED"}


async def test_the_store_answers_until_the_record_is_written(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=10_000_000)
        # A refusal before the grant does not hide the live call.
        await write(back, refusal(call("c1", NOON - 9_000), Reason.INSUFFICIENT_FUNDS))
        assert (await explain(back, "c1")).record.reason == authorization_pb2.INSUFFICIENT_FUNDS
        await back.till.authorize("c1", BRITISH)
        assert (await explain(back, "c1")).call.state == pb.CALL_STATE_RINGING
        await back.till.answer("c1")
        await back.till.end(61, "c1")
        ended = await explain(back, "c1")
        assert (ended.call.state, ended.call.called_number, ended.HasField("record")) == (
            pb.CALL_STATE_ENDED,
            "",
            False,
        )
        # An earlier life of the id is not this one's record, nor is one that is still open.
        await write(back, call("c1", NOON - 5_000, duration_seconds=7), call("c1", NOON, state=UsageState.OPEN))
        assert not (await explain(back, "c1")).HasField("record")
        await write(back, call("c1", NOON + 1))
        written = await explain(back, "c1")
        assert (written.record.cost_micros, written.call.called_number) == (440_000, "+442071838750")
        assert (await get(back, "c1")) == written.call


async def test_transactions_are_what_has_moved(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=5_000_000)
        await back.adjust(-1_000_000, "k2", reason="a mistake")
        await refused(StatusCode.FAILED_PRECONDITION, "NOT_COVERED", back.adjust(-10_000_000, "k3"))
        await back.adjust(7, "k4")
        request = pb.ListTransactionsRequest(office_id=OFFICE, page_size=2)
        first = await back.stub.ListTransactions(request, metadata=ME)
        request.page_token = first.next_page_token
        rest = await back.stub.ListTransactions(request, metadata=ME)
        shown = [*first.transactions, *rest.transactions]
        assert rest.next_page_token == ""
        assert [(each.transaction_id, each.kind, each.amount_micros, each.description) for each in shown] == [
            (f"{OFFICE}/4", "adjustment", 7, "a gift"),
            (f"{OFFICE}/2", "adjustment", -1_000_000, "a mistake"),
            (f"{OFFICE}/1", "adjustment", 5_000_000, "a gift"),
        ]
        assert shown[0].at.ToMilliseconds() == NOON
        office = await back.get_office()
        assert sum(each.amount_micros for each in shown) == office.balance_micros
        await back.open_office("other")
        request.office_id = "other"
        await invalid("page_token", back.stub.ListTransactions(request, metadata=ME))

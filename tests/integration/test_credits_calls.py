"""ListCalls, GetCall and ExplainCall over gRPC."""

from pathlib import Path
from typing import Any

from grpc import StatusCode

from gateway.api.credits.arithmetic import price_steps
from gateway.domain.rate import Rate, Slot
from gateway.domain.vocabulary import Category, Direction, License, Service
from gateway.ledger.paging import PageRequest
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.keys import shard_of
from gateway.v1 import authorization_pb2
from gateway.v1 import credits_pb2 as pb
from gateway.v1.records_pb2 import Details
from tests.support.back import HEADER, OFFICE, BackUnderTest, bearer, invalid, refused, running_back
from tests.support.balances import BY_THE_SECOND, FEE_THEN_MINUTE_THEN_SECONDS, NOON
from tests.support.servers import StoreServer

ME = bearer()
NOT_FOUND = (StatusCode.NOT_FOUND, "CALL_NOT_FOUND")

# The second row of tests.support.back.DECK, as the front packs it.
BRITISH = Rate(200_000, (Slot(0, 120_000, 60, 60),))


def details(**fields: Any) -> Details:
    values: dict[str, Any] = {
        "called_number": "+442071838750",
        "calling_number": "+12025550123",
        "direction": int(Direction.OUTBOUND),
        "license": int(License.STANDARD),
        "service": int(Service.VOICE),
        "category": int(Category.INTERNATIONAL),
        "user_id": "user-7",
        "department_id": "department-3",
        "switch_label": "rack 7",
        "deck_version": 1,
        "rate_line": 3,
    }
    return Details(**values | fields)


async def get(back: BackUnderTest, call_id: str = "c1", office_id: str = OFFICE) -> Any:
    return await back.stub.GetCall(pb.GetCallRequest(office_id=office_id, call_id=call_id), metadata=ME)


async def explain(back: BackUnderTest, call_id: str = "c1") -> Any:
    return await back.stub.ExplainCall(pb.ExplainCallRequest(office_id=OFFICE, call_id=call_id), metadata=ME)


async def test_a_call_from_ringing_to_its_end(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000_000)
        await back.till.authorize("c1", BRITISH, details=details(), switch_id="sw1")
        ringing = await get(back)
        assert ringing == pb.Call(
            office_id=OFFICE,
            call_id="c1",
            state=pb.CALL_STATE_RINGING,
            reason=authorization_pb2.FUNDED,
            category=authorization_pb2.CATEGORY_INTERNATIONAL,
            direction=authorization_pb2.OUTBOUND,
            license=authorization_pb2.STANDARD,
            service=authorization_pb2.VOICE,
            calling_number="+12025550123",
            called_number="+442071838750",
            user_id="user-7",
            department_id="department-3",
            switch_id="sw1",
            authorized_at=ringing.authorized_at,
            granted_seconds=60,
            held_micros=320_000,
        )
        assert ringing.authorized_at.ToMilliseconds() == NOON
        back.clock.move(5)
        await back.till.answer("c1")
        back.clock.move(50)
        await back.till.tick(50)
        talking = await get(back)
        assert talking.state == pb.CALL_STATE_ANSWERED
        assert talking.answered_at.ToMilliseconds() == NOON + 5_000
        assert (talking.used_seconds, talking.confirmed_seconds, talking.granted_seconds) == (50, 50, 120)
        assert (talking.debited_micros, talking.held_micros, talking.final_unit) == (320_000, 120_000, False)
        await back.till.end(61)
        ended = await get(back)
        assert ended == pb.Call(
            office_id=OFFICE,
            call_id="c1",
            state=pb.CALL_STATE_ENDED,
            reason=authorization_pb2.FUNDED,
            used_seconds=61,
            confirmed_seconds=61,
            debited_micros=440_000,
            final_reason=authorization_pb2.FINAL_REASON_ENDED,
        )


async def test_a_call_at_the_end_of_its_funds(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=180_000)
        await back.till.authorize("c1", BY_THE_SECOND)
        await back.till.tick(50)
        last = await get(back)
        assert (last.final_unit, last.final_reason) == (True, authorization_pb2.FINAL_REASON_INSUFFICIENT_FUNDS)
        back.clock.move(90)
        assert (await back.till.cut()).code is Code.CUT
        assert (await get(back)).state == pb.CALL_STATE_CUT
        back.clock.move(200)
        assert (await back.till.lapse()).code is Code.LAPSED
        assert (await get(back)).state == pb.CALL_STATE_LAPSED
        assert "lapsed" in "\n".join((await explain(back)).steps)
        await back.till.end(100)
        ended = await get(back)
        assert ended.written_off_micros == 200_000 - ended.debited_micros
        steps = (await explain(back)).steps
        assert any(step.startswith("written off 0.02") for step in steps)


async def test_calls_that_are_not_there(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=180_000)
        await refused(*NOT_FOUND, get(back, "unknown"))
        await refused(*NOT_FOUND, explain(back, "unknown"))
        # An end that came before its authorization leaves a spent id: no call.
        await back.till.end(5, "early")
        await refused(*NOT_FOUND, get(back, "early"))
        for bad in ("", "x" * 129, "tab\t", "ö"):
            await invalid("call_id", get(back, bad))
            await invalid("call_id", explain(back, bad))
        await invalid("office_id", get(back, "c1", "a b"))
        await refused(StatusCode.NOT_FOUND, "OFFICE_NOT_FOUND", get(back, "c1", "nobody"))


async def listed(back: BackUnderTest, office_id: str = OFFICE, **fields: Any) -> list[str]:
    found, token = [], ""
    while True:
        request = pb.ListCallsRequest(office_id=office_id, page_token=token, **fields)
        page = await back.stub.ListCalls(request, metadata=ME)
        found += [call.call_id for call in page.calls]
        token = page.next_page_token
        if not token:
            return found


async def test_the_live_calls_of_an_office_in_pages(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=10**9)
        # Of another office of the same shard, whose name begins alike.
        other = next(f"{OFFICE}{n}" for n in range(10_000) if shard_of(f"{OFFICE}{n}") == shard_of(OFFICE))
        await back.open_office(other, balance=10**9)
        names = [f"call {n:03}" for n in range(25)] + ["with:colon", "star*[x]?"]
        for name in names:
            await back.till.authorize(name)
            await back.till.authorize(name + " of the other", office_id=other)
        await back.till.authorize_free("free")
        await back.till.authorize_emergency("emergency")
        await back.till.authorize("ended")
        await back.till.end(5, "ended")
        everything = sorted([*names, "free", "emergency"])
        assert await listed(back) == await listed(back, page_size=7) == await listed(back, page_size=1) == everything
        assert len(await listed(back, other)) == 27
        page = await back.stub.ListCalls(pb.ListCallsRequest(office_id=OFFICE, page_size=2), metadata=ME)
        assert page.calls[0] == await get(back, "call 000")
        foreign = pb.ListCallsRequest(office_id=other, page_token=page.next_page_token)
        await invalid("page_token", back.stub.ListCalls(foreign, metadata=ME))
        await invalid("page_size", listed(back, page_size=1_001))
        await refused(StatusCode.NOT_FOUND, "OFFICE_NOT_FOUND", listed(back, "nobody"))
        # A call that ends while it is listed is left out, and the list goes on behind it.
        await back.till.end(5, "call 001")
        rest = pb.ListCallsRequest(office_id=OFFICE, page_size=2, page_token=page.next_page_token)
        assert [call.call_id for call in (await back.stub.ListCalls(rest, metadata=ME)).calls] == [
            "call 002",
            "call 003",
        ]


async def test_what_a_call_costs_and_by_which_row(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000_000)
        await back.till.authorize("c1", BRITISH, details=details())
        await back.till.tick(61)
        said = await explain(back)
        assert said.call == await get(back)
        row = said.rate_row
        assert (row.deck_version, row.line, row.prefix, row.description) == (1, 3, "44", "United Kingdom")
        assert (row.connect_fee_micros, row.slots[0].price_micros) == (200_000, 120_000)
        assert list(said.steps) == [
            "to +442071838750: OUTBOUND, VOICE, STANDARD",
            f"deck 1, {row.why}",
            "connect fee: 0.20",
            "from 0 s: 61 s, in steps of 60 s: 120 s; at 0.12 per 60 s: 0.24",
            "price of 61 s: 0.44",
            "debited so far 0.44, held 0.12 more for 180 s granted",
        ]
        await back.till.end(61)
        assert list((await explain(back)).steps) == ["ended after 61 s, 61 s billed", "price 0.44, debited 0.44"]
        await back.till.authorize("c2")
        await back.till.end(0, "c2")
        assert list((await explain(back, "c2")).steps) == ["ended, not answered: 0.00"]


async def test_the_deck_kept_with_the_call_explains_it(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=10_000_000)
        await back.till.authorize("old", BRITISH, details=details())
        dearer = HEADER + ",SMS,,,,,,,0.05,,,,,SMS\n,VOICE,OUTBOUND,,,44,,0,0.99,60,60,,,dearer\n"
        await back.stub.ImportRates(pb.ImportRatesRequest(deck=dearer.encode()), metadata=ME)
        await back.back.directory.refresh()
        await back.till.authorize("new", BRITISH, details=details(deck_version=2))
        for _ in range(2):
            assert (await explain(back, "old")).rate_row.slots[0].price_micros == 120_000
            assert (await explain(back, "new")).rate_row.slots[0].price_micros == 990_000
        # A deck that SQL does not have (any more): as packed into the call.
        await back.till.authorize("gone", BRITISH, details=details(deck_version=77, rate_line=9))
        row = (await explain(back, "gone")).rate_row
        assert (row.deck_version, row.line, row.prefix) == (77, 9, "")
        assert (row.connect_fee_micros, row.tick_seconds, row.slots[0].price_micros) == (200_000, 60, 120_000)
        assert "gone" in row.why
        # A line that is a message's row prices no call.
        await back.till.authorize("odd", BRITISH, details=details(deck_version=1, rate_line=4))
        assert "gone" in (await explain(back, "odd")).rate_row.why


async def test_calls_that_cost_nothing(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await back.till.authorize_free("free", details=details(deck_version=1, rate_line=2))
        free = await explain(back, "free")
        assert free.steps[-1] == "free: nothing is held or debited"
        assert free.rate_row.line == 2
        await back.till.authorize_emergency("911", details=Details(called_number="911"))
        emergency = await explain(back, "911")
        assert list(emergency.steps) == ["an emergency call: not rated, never debited"]
        assert not emergency.HasField("rate_row")
        assert emergency.call.reason == authorization_pb2.EMERGENCY
        await back.till.end(5, "911")
        assert (await get(back, "911")).reason == authorization_pb2.REASON_UNSPECIFIED


async def test_without_a_store(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await back.back.connection.close()
        assert isinstance(back.back.connection, StoreConnection)
        for answer in (get(back), explain(back), listed(back), back.get_office()):
            await refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", answer)


def test_steps_of_a_price() -> None:
    assert list(price_steps(FEE_THEN_MINUTE_THEN_SECONDS, 72)) == [
        "connect fee: 0.20",
        "from 0 s: 60 s; at 0.10 per 60 s: 0.10",
        "from 60 s: 12 s; at 0.05 per 60 s: 0.01",
        "price of 72 s: 0.31",
    ]
    assert list(price_steps(FEE_THEN_MINUTE_THEN_SECONDS, 60))[1:] == [
        "from 0 s: 60 s; at 0.10 per 60 s: 0.10",
        "price of 60 s: 0.30",
    ]
    assert list(price_steps(Rate(0, (Slot(0, 100_000, 60, 1),)), 7)) == [
        "from 0 s: 7 s; at 0.10 per 60 s: 0.011666 and 2/3 of a micro",
        "price of 7 s: 0.011667, rounded up to the micro",
    ]
    assert list(price_steps(BY_THE_SECOND, 0)) == ["not answered or no time used yet: 0.00"]


async def test_an_operator_cuts_a_call(valkey: StoreServer, tmp_path: Path) -> None:
    def cut(back: BackUnderTest, call_id: str, reason: str = "toll fraud") -> Any:
        return back.stub.CutCall(pb.CutCallRequest(office_id=OFFICE, call_id=call_id, reason=reason), metadata=ME)

    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000_000)
        await back.till.authorize("c1", BRITISH, details=details(), switch_id="sw1")
        assert await cut(back, "c1") == pb.CutCallResponse()
        assert (await get(back)).state == pb.CALL_STATE_CUT
        assert (await get(back)).final_reason == authorization_pb2.FINAL_REASON_OPERATOR
        assert await cut(back, "c1") == pb.CutCallResponse(replayed=True)
        noted = (await back.ledger.audit.list(PageRequest(), f"call:{OFFICE}/c1")).items
        assert [(each.action, each.after) for each in noted] == [("call.cut", {"reason": "toll fraud"})] * 2

        await refused(*NOT_FOUND, cut(back, "never"))
        await back.till.end(5)
        await refused(*NOT_FOUND, cut(back, "c1"))
        await invalid("call_id", cut(back, ""))
        await invalid("reason", cut(back, "c1", "x" * 501))
        await back.till.authorize_emergency("911")
        await refused(StatusCode.FAILED_PRECONDITION, "EMERGENCY_CALL", cut(back, "911"))

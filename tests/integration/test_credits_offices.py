"""Companies and offices over gRPC: made, changed, listed, and projected into the store."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from gateway.domain.rate import Rate, Slot
from gateway.domain.vocabulary import OfficeState, RefillState, Role
from gateway.store.codes import Code
from gateway.store.faults import StoreUnavailable
from gateway.store.keys import office_keys
from gateway.v1 import credits_pb2 as pb
from tests.support.back import COMPANY, OFFICE, Fault, bearer, invalid, office, refused, running_back
from tests.support.balances import NOON
from tests.support.servers import StoreServer

ME = bearer()


def update(office_id: str = OFFICE, **fields: Any) -> pb.UpdateOfficeRequest:
    return pb.UpdateOfficeRequest(office_id=office_id, **fields)


async def test_a_company_is_made_once_per_id(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        request = pb.CreateCompanyRequest(company_id=COMPANY, name="Acme")
        made = await back.stub.CreateCompany(request, metadata=ME)
        assert (made.company_id, made.name, made.created_at.ToMilliseconds()) == (COMPANY, "Acme", NOON)
        back.clock.move(5)
        assert await back.stub.CreateCompany(request, metadata=ME) == made
        other = pb.CreateCompanyRequest(company_id=COMPANY, name="Other")
        await refused(StatusCode.ALREADY_EXISTS, "COMPANY_ALREADY_EXISTS", back.stub.CreateCompany(other, metadata=ME))
        assert [line.actor for line in await back.audit(f"company:{COMPANY}")] == ["token:settings"]


COMPANIES_THAT_CANNOT_BE = [
    ("company_id", ""),
    ("company_id", "x" * 129),
    ("company_id", "tab\t"),
    ("company_id", "é"),
    ("name", ""),
    ("name", "  "),
    ("name", "x" * 201),
    ("name", "two\nlines"),
    ("name", "bell\a"),
]


async def test_a_company_that_cannot_be(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        for field, value in COMPANIES_THAT_CANNOT_BE:
            request = pb.CreateCompanyRequest(**{"company_id": "c", "name": "n"} | {field: value})
            await invalid(field, back.stub.CreateCompany(request, metadata=ME))
        assert not (await back.stub.ListCompanies(pb.ListCompaniesRequest(), metadata=ME)).companies


async def test_companies_come_in_pages(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        for number in range(5):
            await back.stub.CreateCompany(pb.CreateCompanyRequest(company_id=f"c{number}", name="n"), metadata=ME)
        found, token, pages = [], "", 0
        while True:
            page = await back.stub.ListCompanies(pb.ListCompaniesRequest(page_size=2, page_token=token), metadata=ME)
            found += [company.company_id for company in page.companies]
            token, pages = page.next_page_token, pages + 1
            if not token:
                break
        assert (found, pages) == ([f"c{number}" for number in range(5)], 3)

        first = await back.stub.ListCompanies(pb.ListCompaniesRequest(page_size=2), metadata=ME)
        for bad in ("nonsense", "x" * 2000, first.next_page_token[:-2]):
            request = pb.ListCompaniesRequest(page_token=bad)
            await invalid("page_token", back.stub.ListCompanies(request, metadata=ME))
        offices = pb.ListOfficesRequest(page_token=first.next_page_token)
        await invalid("page_token", back.stub.ListOffices(offices, metadata=ME))
        for size in (-1, 1001, 2**31 - 1):
            await invalid("page_size", back.stub.ListCompanies(pb.ListCompaniesRequest(page_size=size), metadata=ME))


async def test_a_new_office_is_in_the_store_with_its_settings(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        made = await back.open_office(
            tariff="gold",
            time_zone="America/New_York",
            credit_limit_micros=7_000_000,
            max_concurrent_calls=3,
            max_price_per_minute_micros=2_000_000,
            daily_spend_limit_micros=9_000_000,
            payment_terms=pb.PAYMENT_TERMS_INVOICE,
            fraud_country_spend_micros=4_000_000,
            fraud_office_calls=0,
        )
        assert made == await back.get_office()
        assert made == pb.Office(
            office_id=OFFICE,
            company_id=COMPANY,
            name="Springfield",
            country="US",
            currency="USD",
            time_zone="America/New_York",
            tariff="gold",
            credit_limit_micros=7_000_000,
            max_concurrent_calls=3,
            max_price_per_minute_micros=2_000_000,
            daily_spend_limit_micros=9_000_000,
            payment_terms=pb.PAYMENT_TERMS_INVOICE,
            fraud_country_spend_micros=4_000_000,
            fraud_office_spend_micros=-1,
            fraud_country_calls=-1,
            fraud_office_calls=0,
            state=pb.OFFICE_STATE_ACTIVE,
            available_micros=7_000_000,
            refill=pb.Refill(state=pb.REFILL_STATE_OFF, threshold_micros=5_000_000, amount_micros=50_000_000),
            version=1,
            created_at=made.created_at,
        )
        assert made.created_at.ToMilliseconds() == NOON
        held = await back.till.office()
        assert held.settings.max_price_per_minute_micros == 2_000_000
        assert held.settings.daily_spend_limit_micros == 9_000_000
        assert (held.profile.country, held.profile.tariff) == ("US", "gold")
        assert (held.profile.time_zone, held.profile.company_id) == ("America/New_York", COMPANY)
        assert await back.ledger.offices.unprojected(10) == ()


async def test_an_office_is_made_once_per_id(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        made = await back.open_office(balance=5)
        assert (made.time_zone, made.payment_terms) == ("UTC", pb.PAYMENT_TERMS_CARD)
        again = await back.stub.CreateOffice(office(), metadata=ME)
        assert (again.balance_micros, again.version) == (5, 1)
        same = await back.stub.CreateOffice(office(currency="USD", time_zone="UTC"), metadata=ME)
        assert same == again
        for other in (office(name="Other"), office(credit_limit_micros=1)):
            await refused(
                StatusCode.ALREADY_EXISTS, "OFFICE_ALREADY_EXISTS", back.stub.CreateOffice(other, metadata=ME)
            )
        await refused(
            StatusCode.NOT_FOUND, "COMPANY_NOT_FOUND", back.stub.CreateOffice(office("o2", "nobody"), metadata=ME)
        )
        assert (await back.get_office()).balance_micros == 5


OFFICES_THAT_CANNOT_BE: list[tuple[str, object]] = [
    ("office_id", ""),
    ("office_id", "x" * 65),
    ("office_id", "a b"),
    ("office_id", "a:b"),
    ("office_id", "a/b"),
    ("office_id", "{a}"),
    ("office_id", "ö"),
    ("company_id", ""),
    ("company_id", "x" * 129),
    ("name", ""),
    ("name", "x" * 201),
    ("name", "\x00"),
    ("country", ""),
    ("country", "us"),
    ("country", "USA"),
    ("country", "ZZ"),
    ("currency", "EUR"),
    ("currency", "usd"),
    ("time_zone", "Springfield"),
    ("time_zone", "localtime"),
    ("time_zone", "../etc/passwd"),
    ("tariff", "x" * 65),
    ("tariff", "no spaces"),
    ("credit_limit_micros", -1),
    ("credit_limit_micros", 10**15 + 1),
    ("credit_limit_micros", 2**63 - 1),
    ("max_concurrent_calls", -1),
    ("max_concurrent_calls", 1_000_001),
    ("max_price_per_minute_micros", -1),
    ("max_price_per_minute_micros", 10**12 + 1),
    ("daily_spend_limit_micros", -1),
    ("daily_spend_limit_micros", 10**15 + 1),
    ("payment_terms", 3),
    ("payment_terms", -1),
]


async def test_an_office_that_cannot_be(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        before = await back.open_office()
        for field, value in OFFICES_THAT_CANNOT_BE:
            fields: dict[str, Any] = {"office_id": "new"} | {field: value}
            request = office(**fields)
            await invalid(field, back.stub.CreateOffice(request, metadata=ME))
            if field not in ("office_id", "company_id", "currency"):
                changed: dict[str, Any] = {field: value}
                await invalid(field, back.stub.UpdateOffice(update(**changed), metadata=ME))
        assert await back.ledger.offices.find("new") is None
        assert await back.store.read_office("new") is None
        assert await back.get_office() == before


async def test_an_update_changes_what_it_names_and_nothing_else(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        expected = await back.open_office(credit_limit_micros=9)
        changes: dict[str, Any] = {
            "name": "Shelbyville",
            "country": "CA",
            "time_zone": "America/Toronto",
            "tariff": "silver",
            "credit_limit_micros": 11,
            "max_concurrent_calls": 12,
            "max_price_per_minute_micros": 13,
            "daily_spend_limit_micros": 14,
            "payment_terms": pb.PAYMENT_TERMS_INVOICE,
        }
        for name, value in changes.items():
            changed = await back.stub.UpdateOffice(update(**{name: value}), metadata=ME)
            setattr(expected, name, value)
            expected.version += 1
            expected.available_micros = expected.credit_limit_micros
            assert changed == expected
        assert await back.get_office() == expected
        held = await back.till.office()
        assert held.settings.version == expected.version == 10
        assert (held.profile.country, held.profile.tariff) == ("CA", "silver")

        same = await back.stub.UpdateOffice(update(**changes), metadata=ME)
        nothing = await back.stub.UpdateOffice(update(), metadata=ME)
        assert same == nothing == expected
        zeros = await back.stub.UpdateOffice(
            update(tariff="", credit_limit_micros=0, max_concurrent_calls=0), metadata=ME
        )
        assert (zeros.tariff, zeros.credit_limit_micros, zeros.max_concurrent_calls) == ("", 0, 0)
        await invalid("payment_terms", back.stub.UpdateOffice(update(payment_terms=0), metadata=ME))
        await invalid("name", back.stub.UpdateOffice(update(name=""), metadata=ME))
        await refused(StatusCode.NOT_FOUND, "OFFICE_NOT_FOUND", back.stub.UpdateOffice(update("nobody"), metadata=ME))


async def test_an_office_keeps_company_and_currency(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        before = await back.open_office()
        await back.stub.CreateCompany(pb.CreateCompanyRequest(company_id="other", name="n"), metadata=ME)
        for field, value in (("company_id", "other"), ("currency", "EUR"), ("company_id", "")):
            request = update(name="New", **{field: value})
            found = await refused(
                StatusCode.FAILED_PRECONDITION, "OFFICE_FIELD_FIXED", back.stub.UpdateOffice(request, metadata=ME)
            )
            assert found.metadata["field"] == field
        assert await back.get_office() == before
        kept = await back.stub.UpdateOffice(update(company_id=COMPANY, currency="USD"), metadata=ME)
        assert kept == before


async def test_a_credit_limit_that_funds_do_not_cover_is_refused_whole(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=50_000, credit_limit_micros=200_000)
        price = Rate(0, (Slot(0, 120_000, 60, 60),))
        grant = await back.till.authorize("c1", price)
        assert (grant.code, grant.available_micros) == (Code.FUNDED, 130_000)
        for limit in (0, 69_999):
            request = update(credit_limit_micros=limit, name="New")
            found = await refused(
                StatusCode.FAILED_PRECONDITION,
                "CREDIT_LIMIT_NOT_COVERED",
                back.stub.UpdateOffice(request, metadata=ME),
            )
            assert found.metadata == {"field": "credit_limit_micros", "smallest_credit_limit_micros": "70000"}
            assert "70000" in found.message
            now = await back.get_office()
            assert (now.name, now.credit_limit_micros, now.available_micros) == ("Springfield", 200_000, 130_000)
        assert await back.ledger.offices.unprojected(10) == ()
        assert [line.action for line in await back.audit(f"office:{OFFICE}")][-2:] == ["office.update", "office.revert"]
        lowest = await back.stub.UpdateOffice(update(credit_limit_micros=70_000), metadata=ME)
        assert (lowest.credit_limit_micros, lowest.available_micros) == (70_000, 0)


async def test_money_of_an_office_as_it_stands(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000_000, time_zone="America/New_York", daily_spend_limit_micros=900_000)
        back.till._zones[OFFICE] = "America/New_York"
        await back.till.authorize("c1", Rate(0, (Slot(0, 120_000, 60, 60),)))
        await back.till.tick(50)
        now = await back.get_office()
        assert (now.balance_micros, now.reserved_micros, now.available_micros) == (880_000, 120_000, 760_000)
        assert (now.concurrent_calls, now.day_spend_micros) == (1, 120_000)
        back.clock.move(24 * 3600)
        assert (await back.get_office()).day_spend_micros == 0


async def test_suspended_and_resumed_with_a_reason(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000_000)
        stopped = await back.stub.SuspendOffice(pb.SuspendOfficeRequest(office_id=OFFICE, reason="fraud?"), metadata=ME)
        assert (stopped.state, stopped.version) == (pb.OFFICE_STATE_SUSPENDED, 2)
        assert (await back.till.office()).settings.state is OfficeState.SUSPENDED
        assert (await back.till.authorize("c1", version=2)).code is Code.OFFICE_SUSPENDED
        again = await back.stub.SuspendOffice(pb.SuspendOfficeRequest(office_id=OFFICE), metadata=ME)
        assert again == stopped
        resumed = await back.stub.ResumeOffice(pb.ResumeOfficeRequest(office_id=OFFICE), metadata=ME)
        assert (resumed.state, resumed.version) == (pb.OFFICE_STATE_ACTIVE, 3)
        assert (await back.till.authorize("c1", version=3)).code is Code.FUNDED
        log = await back.audit(f"office:{OFFICE}")
        assert [(line.action, (line.after or {}).get("reason")) for line in log] == [
            ("office.create", None),
            ("office.suspend", "fraud?"),
            ("office.resume", None),
        ]
        for rpc, request in (
            (back.stub.SuspendOffice, pb.SuspendOfficeRequest),
            (back.stub.ResumeOffice, pb.ResumeOfficeRequest),
        ):
            await invalid("office_id", rpc(request(office_id=""), metadata=ME))
            await invalid("reason", rpc(request(office_id=OFFICE, reason="x" * 501), metadata=ME))
            await invalid("reason", rpc(request(office_id=OFFICE, reason="a\nb"), metadata=ME))
            await refused(StatusCode.NOT_FOUND, "OFFICE_NOT_FOUND", rpc(request(office_id="no"), metadata=ME))


async def test_automatic_refill_is_set_and_triggers_at_once(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=6_000_000)
        armed = await back.refill()
        assert armed.refill == pb.Refill(
            state=pb.REFILL_STATE_ARMED, threshold_micros=5_000_000, amount_micros=50_000_000
        )
        pending = await back.refill(threshold_micros=7_000_000, amount_micros=8_000_000)
        assert pending.refill == pb.Refill(
            state=pb.REFILL_STATE_PENDING,
            threshold_micros=7_000_000,
            amount_micros=8_000_000,
            refill_id=f"{OFFICE}/1",
        )
        off = await back.stub.SetAutoRefill(pb.SetAutoRefillRequest(office_id=OFFICE), metadata=ME)
        assert (off.refill.state, off.refill.refill_id) == (pb.REFILL_STATE_OFF, "")
        assert (await back.refill(threshold_micros=7_000_000)).refill.refill_id == f"{OFFICE}/1"
        until = NOON + 60_000
        await back.store.fail_refill(OFFICE, 1, 1, until)
        waiting = (await back.get_office()).refill
        assert (waiting.state, waiting.refill_id, waiting.failures) == (pb.REFILL_STATE_WAITING, f"{OFFICE}/1", 1)
        assert waiting.waiting_until.ToMilliseconds() == until
        assert [kind for kind in await back.till.kinds() if kind == "refill"] == ["refill"] * 2


REFILLS_THAT_CANNOT_BE: list[tuple[str, dict[str, Any]]] = [
    ("office_id", {"office_id": ""}),
    ("office_id", {"office_id": "a b"}),
    ("threshold_micros", {"threshold_micros": -1}),
    ("threshold_micros", {"threshold_micros": 10**15 + 1, "amount_micros": 10**15}),
    ("amount_micros", {"amount_micros": -1}),
    ("amount_micros", {"amount_micros": 10**15 + 1}),
    ("amount_micros", {"amount_micros": 4_999_999}),
    ("amount_micros", {"threshold_micros": 50_000_001}),
    ("payment_method_id", {"payment_method_id": "x" * 129}),
    ("payment_method_id", {"payment_method_id": "a\nb"}),
]


async def test_a_refill_that_cannot_be(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        before = await back.open_office()
        for field, values in REFILLS_THAT_CANNOT_BE:
            fields: dict[str, Any] = {"office_id": OFFICE, "enabled": True} | values
            request = pb.SetAutoRefillRequest(**fields)
            await invalid(field, back.stub.SetAutoRefill(request, metadata=ME))
        assert await back.get_office() == before


async def test_a_refill_by_a_card_that_is_not_there(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        request = pb.SetAutoRefillRequest(office_id=OFFICE, enabled=True, payment_method_id="visa")
        await refused(StatusCode.NOT_FOUND, "PAYMENT_METHOD_NOT_FOUND", back.stub.SetAutoRefill(request, metadata=ME))


async def test_refill_defaults_are_settings(valkey: StoreServer, tmp_path: Path) -> None:
    flags: dict[str, Any] = {"refill_threshold_micros": 2_000_000, "refill_amount_micros": 20_000_000}
    async with running_back(valkey, tmp_path, **flags) as back:
        await back.open_office(balance=3_000_000)
        refill = (await back.refill()).refill
        assert (refill.threshold_micros, refill.amount_micros) == (2_000_000, 20_000_000)


async def test_offices_are_listed_in_pages_of_one_company_or_all(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        for number in range(4):
            await back.open_office(f"a{number}", company_id="a", balance=number + 1)
        await back.open_office("b0", company_id="b")

        async def listed(**fields: Any) -> list[str]:
            found, token = [], ""
            while True:
                page = await back.stub.ListOffices(pb.ListOfficesRequest(page_token=token, **fields), metadata=ME)
                found += [each.office_id for each in page.offices]
                token = page.next_page_token
                if not token:
                    return found

        assert await listed() == await listed(page_size=2) == ["a0", "a1", "a2", "a3", "b0"]
        assert await listed(company_id="a", page_size=3) == ["a0", "a1", "a2", "a3"]
        assert await listed(company_id="nobody") == []
        await invalid("company_id", back.stub.ListOffices(pb.ListOfficesRequest(company_id="\n"), metadata=ME))
        page = await back.stub.ListOffices(pb.ListOfficesRequest(company_id="a"), metadata=ME)
        assert [each.balance_micros for each in page.offices] == [1, 2, 3, 4]
        assert page.offices[1] == await back.get_office("a1")


async def test_an_office_that_the_store_lost_is_said_so_and_not_made_anew(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=5)
        await back.open_office("other", balance=6)
        await back.till.connection.ask("DEL", office_keys(OFFICE).office)
        lost = (StatusCode.UNAVAILABLE, "OFFICE_MISSING_IN_STORE")
        await refused(*lost, back.get_office())
        await refused(*lost, back.adjust(1, "k"))
        await refused(*lost, back.refill())
        await refused(*lost, back.stub.UpdateOffice(update(name="New"), metadata=ME))
        await refused(*lost, back.stub.SuspendOffice(pb.SuspendOfficeRequest(office_id=OFFICE), metadata=ME))
        assert await back.store.read_office(OFFICE) is None
        assert (await back.ledger.credits.total(OFFICE)).last_number == 1
        page = await back.stub.ListOffices(pb.ListOfficesRequest(), metadata=ME)
        assert [(each.balance_micros, each.HasField("refill")) for each in page.offices] == [(6, True), (0, False)]


@pytest.mark.parametrize("done", [False, True], ids=["before the store", "answer lost"])
@pytest.mark.parametrize("by_retry", [False, True], ids=["projector", "retry"])
async def test_what_the_store_did_not_answer_is_finished_by_the_projector_or_a_retry(
    valkey: StoreServer, tmp_path: Path, done: bool, by_retry: bool
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.stub.CreateCompany(pb.CreateCompanyRequest(company_id=COMPANY, name="Acme"), metadata=ME)

        async def interrupted(rpc: Any, request: Any) -> None:
            Fault(back.store, "put_office", done=done)
            await refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", rpc(request, metadata=ME))
            if by_retry:
                await rpc(request, metadata=ME)
            else:
                assert not await back.back.background.projector.turn()
            assert await back.ledger.offices.unprojected(10) == ()

        await interrupted(back.stub.CreateOffice, office())
        assert (await back.get_office()).version == 1
        await interrupted(back.stub.UpdateOffice, update(credit_limit_micros=5))
        assert (await back.get_office()).available_micros == 5
        await interrupted(back.stub.SetAutoRefill, pb.SetAutoRefillRequest(office_id=OFFICE, enabled=True))
        assert await back.till.refill_state() is RefillState.PENDING
        assert await back.till.kinds() == ["refill"]
        await interrupted(back.stub.SuspendOffice, pb.SuspendOfficeRequest(office_id=OFFICE))
        assert (await back.till.office()).settings.state is OfficeState.SUSPENDED


async def test_a_refused_credit_limit_that_nobody_came_to_take_back(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(credit_limit_micros=500)
        await back.spend(400)
        # The process dies between the commit and the store's refusal; then the limit is refused behind its back.
        Fault(back.store, "put_office", done=False)
        lower = update(credit_limit_micros=100, max_concurrent_calls=9)
        await refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", back.stub.UpdateOffice(lower, metadata=ME))
        await back.back.background.projector.turn()
        now = await back.get_office()
        assert (now.credit_limit_micros, now.max_concurrent_calls, now.available_micros) == (500, 9, 100)
        assert (await back.till.office()).settings.version == now.version
        last = (await back.audit(f"office:{OFFICE}"))[-1]
        assert (last.action, last.actor) == ("office.revert_credit_limit", "projector")

        # The same, met by another change before the projector comes.
        Fault(back.store, "put_office", done=False)
        await refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", back.stub.UpdateOffice(lower, metadata=ME))
        renamed = await back.stub.UpdateOffice(update(name="New"), metadata=ME)
        assert (renamed.name, renamed.credit_limit_micros) == ("New", 500)
        assert await back.ledger.offices.unprojected(10) == ()


async def test_a_crash_before_sql_knows_of_the_projection(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        offices = back.back.offices
        Fault(offices, "mark_projected", done=False, error=StoreUnavailable("crash"))
        await refused(
            StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", back.stub.UpdateOffice(update(name="New"), metadata=ME)
        )
        assert len(await back.ledger.offices.unprojected(10)) == 1
        await back.back.background.projector.turn()
        assert await back.ledger.offices.unprojected(10) == ()


async def test_many_changes_at_once_leave_the_newest_in_the_store(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=100)
        await asyncio.gather(
            *(
                back.stub.UpdateOffice(update(credit_limit_micros=number, max_concurrent_calls=number), metadata=ME)
                for number in range(1, 21)
            ),
            *(back.refill(threshold_micros=number + 1, amount_micros=10**9) for number in range(5)),
            back.back.background.projector.turn(),
        )
        now, held = await back.get_office(), await back.till.office()
        assert now.version == held.settings.version == 26
        assert now.credit_limit_micros == now.max_concurrent_calls == held.settings.credit_limit_micros
        assert len(back.back.locks) == 0


async def test_an_admin_renames_only_their_office(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        admin = bearer(await back.token(Role.OFFICE_ADMIN, COMPANY, OFFICE))
        renamed = await back.stub.UpdateOffice(update(name="New"), metadata=admin)
        assert renamed.name == "New"
        assert (await back.audit(f"office:{OFFICE}"))[-1].actor.startswith("token:")
        for fields in ({"tariff": "x"}, {"name": "N", "credit_limit_micros": 1}, {"company_id": COMPANY}):
            await refused(
                StatusCode.PERMISSION_DENIED,
                "PERMISSION_DENIED",
                back.stub.UpdateOffice(update(**fields), metadata=admin),
            )

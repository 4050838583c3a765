import asyncio
import dataclasses

import pytest

from gateway.domain.office import OfficeChanges, RefillSettings
from gateway.domain.vocabulary import OfficeState
from gateway.errors import InvalidArgument
from gateway.ledger.errors import CompanyExists, CompanyNotFound, OfficeExists, OfficeNotFound
from gateway.ledger.paging import PageRequest
from tests.support.ledger import NOW, WHO, Ledger, credit, settings, with_ledger, with_office


def test_a_company_is_made_once_per_id(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        made = await ledger.companies.create("c1", "Acme", actor=WHO, now_ms=NOW)
        assert await ledger.companies.create("c1", "Acme", actor=WHO, now_ms=NOW + 1) == made
        with pytest.raises(CompanyExists):
            await ledger.companies.create("c1", "Other", actor=WHO, now_ms=NOW)
        with pytest.raises(CompanyNotFound):
            await ledger.companies.get("c2")
        for company_id, name in [("", "Acme"), ("c\n", "Acme"), ("c2", ""), ("c2", "x" * 201)]:
            with pytest.raises(InvalidArgument):
                await ledger.companies.create(company_id, name, actor=WHO, now_ms=NOW)
        assert (await ledger.companies.list(PageRequest())).items == (made,)
        assert (await ledger.companies.list(PageRequest(), "c1")).items == (made,)
        assert (await ledger.companies.list(PageRequest(), "c2")).items == ()

    with_ledger(ledger_url, scenario)


def test_an_office_is_made_once_per_id(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await ledger.companies.create("c1", "Acme", actor=WHO, now_ms=NOW)
        made = await asyncio.gather(*(ledger.offices.create(settings(), actor=WHO, now_ms=NOW + n) for n in range(10)))
        assert len(set(made)) == 1
        office = made[0]
        assert office.settings == settings()
        assert (office.version, office.state, office.refill) == (1, OfficeState.ACTIVE, RefillSettings())
        assert await ledger.offices.get("o1") == office
        with pytest.raises(OfficeExists, match="UpdateOffice"):
            await ledger.offices.create(settings(name="Other"), actor=WHO, now_ms=NOW)
        with pytest.raises(CompanyNotFound):
            await ledger.offices.create(settings("o2", "c2"), actor=WHO, now_ms=NOW)
        with pytest.raises(InvalidArgument, match="currency"):
            await ledger.offices.create(settings("o2", currency="EUR"), actor=WHO, now_ms=NOW)
        with pytest.raises(OfficeNotFound):
            await ledger.offices.get("o2")
        assert await ledger.offices.find("o2") is None

    with_ledger(ledger_url, scenario)


def test_a_change_is_a_version_with_its_line_in_the_audit_log(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        changes = OfficeChanges(name="Shelbyville", credit_limit_micros=7)
        change = await ledger.offices.update("o1", changes, actor="token:boss", now_ms=NOW + 5)
        assert change.after.settings == settings(name="Shelbyville", credit_limit_micros=7)
        assert (change.before.version, change.after.version) == (1, 2)
        same = await ledger.offices.update("o1", changes, actor=WHO, now_ms=NOW + 6)
        assert same.before == same.after == change.after == await ledger.offices.get("o1")

        suspended = await ledger.offices.set_state("o1", OfficeState.SUSPENDED, actor=WHO, now_ms=NOW + 7)
        assert (suspended.after.state, suspended.after.version) == (OfficeState.SUSPENDED, 3)
        again = await ledger.offices.set_state("o1", OfficeState.SUSPENDED, actor=WHO, now_ms=NOW + 8)
        assert again.after.version == 3
        await ledger.offices.set_state("o1", OfficeState.ACTIVE, actor=WHO, now_ms=NOW + 9)

        log = (await ledger.audit.list(PageRequest(), "office:o1")).items
        assert [(line.action, line.actor, line.at - NOW) for line in log] == [
            ("office.resume", WHO, 9),
            ("office.suspend", WHO, 7),
            ("office.update", "token:boss", 5),
            ("office.create", WHO, 0),
        ]
        assert log[2].before == {"settings.name": "Springfield", "settings.credit_limit_micros": 0, "version": 1}
        assert log[2].after == {"settings.name": "Shelbyville", "settings.credit_limit_micros": 7, "version": 2}
        assert log[3].before is None
        assert log[3].after is not None
        assert log[3].after["settings.payment_terms"] == "CARD"

    with_ledger(ledger_url, scenario)


def test_a_wrong_change_changes_nothing(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        before = await ledger.offices.get("o1")
        for changes in (
            OfficeChanges(name="Shelbyville", credit_limit_micros=-1),
            OfficeChanges(name="Shelbyville", currency="EUR"),
            OfficeChanges(country="XX"),
            OfficeChanges(time_zone="Mars/Olympus"),
        ):
            with pytest.raises(InvalidArgument):
                await ledger.offices.update("o1", changes, actor=WHO, now_ms=NOW)
        with pytest.raises(CompanyNotFound):
            await ledger.offices.update("o1", OfficeChanges(company_id="c9"), actor=WHO, now_ms=NOW)
        with pytest.raises(OfficeNotFound):
            await ledger.offices.update("o9", OfficeChanges(name="x"), actor=WHO, now_ms=NOW)
        with pytest.raises(OfficeNotFound):
            await ledger.offices.set_state("o9", OfficeState.SUSPENDED, actor=WHO, now_ms=NOW)
        with pytest.raises(InvalidArgument):
            await ledger.offices.set_auto_refill("o1", RefillSettings(True, 5, 4), actor=WHO, now_ms=NOW)
        assert await ledger.offices.get("o1") == before
        assert len((await ledger.audit.list(PageRequest())).items) == 2

    with_ledger(ledger_url, scenario)


def test_changes_at_once_are_made_one_after_the_other(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        changes = await asyncio.gather(
            *(
                ledger.offices.update("o1", OfficeChanges(credit_limit_micros=n), actor=WHO, now_ms=NOW)
                for n in range(1, 21)
            )
        )
        assert sorted(change.after.version for change in changes) == list(range(2, 22))
        assert (await ledger.offices.get("o1")).version == 21

    with_ledger(ledger_url, scenario)


def test_every_set_auto_refill_is_a_generation(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        refill = RefillSettings(True, 10_000_000, 20_000_000, "pm_1")
        first = await ledger.offices.set_auto_refill("o1", refill, actor=WHO, now_ms=NOW)
        second = await ledger.offices.set_auto_refill("o1", refill, actor=WHO, now_ms=NOW)
        assert first.after.refill == second.after.refill == refill
        assert (first.after.refill_generation, second.after.refill_generation) == (1, 2)
        assert (first.after.version, second.after.version) == (2, 3)
        line = (await ledger.audit.list(PageRequest(1), "office:o1")).items[0]
        assert line.before == {"refill_generation": 1, "version": 2}

    with_ledger(ledger_url, scenario)


def test_an_update_that_the_store_refuses_is_taken_back_as_another_version(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await ledger.companies.create("c1", "Acme", actor=WHO, now_ms=NOW)
        await ledger.offices.create(settings(credit_limit_micros=100, tariff="gold"), actor=WHO, now_ms=NOW)
        refused = await ledger.offices.update(
            "o1", OfficeChanges(credit_limit_micros=50, tariff="tin", name="Shelbyville"), actor=WHO, now_ms=NOW
        )
        # Somebody else renames the office before the refusal arrives: that stands.
        await ledger.offices.update(
            "o1", OfficeChanges(name="Ogdenville", max_concurrent_calls=3), actor=WHO, now_ms=NOW
        )
        reverted = await ledger.offices.revert(refused, actor=WHO, now_ms=NOW)
        assert reverted.after.version == 4
        assert reverted.after.settings == settings(
            credit_limit_micros=100, tariff="gold", name="Ogdenville", max_concurrent_calls=3
        )
        again = await ledger.offices.revert(refused, actor=WHO, now_ms=NOW)
        assert again.after.version == 4

    with_ledger(ledger_url, scenario)


def test_after_a_crash_the_limit_that_the_store_holds_comes_back(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await ledger.companies.create("c1", "Acme", actor=WHO, now_ms=NOW)
        office = await ledger.offices.create(settings(credit_limit_micros=100), actor=WHO, now_ms=NOW)
        # The store holds nothing yet, so there is nothing to go back to.
        unknown = await ledger.offices.revert_credit_limit("o1", 1, actor=WHO, now_ms=NOW)
        assert unknown.after == office
        await ledger.offices.mark_projected(office)
        await ledger.offices.update("o1", OfficeChanges(credit_limit_micros=50), actor=WHO, now_ms=NOW)
        late = await ledger.offices.revert_credit_limit("o1", 1, actor=WHO, now_ms=NOW)
        assert late.before == late.after
        reverted = await ledger.offices.revert_credit_limit("o1", 2, actor=WHO, now_ms=NOW)
        assert (reverted.after.version, reverted.after.settings.credit_limit_micros) == (3, 100)
        with pytest.raises(OfficeNotFound):
            await ledger.offices.revert_credit_limit("o9", 1, actor=WHO, now_ms=NOW)

    with_ledger(ledger_url, scenario)


def test_what_the_store_does_not_hold_yet(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        for n in range(1, 6):
            await with_office(ledger, f"o{n}")
        waiting = await ledger.offices.unprojected(3)
        assert [office.office_id for office in waiting] == ["o1", "o2", "o3"]
        rest = await ledger.offices.unprojected(3, waiting[-1].office_id)
        assert [office.office_id for office in rest] == ["o4", "o5"]
        for office in waiting + rest:
            await ledger.offices.mark_projected(office)
        assert await ledger.offices.unprojected(10) == ()

        old = await ledger.offices.get("o2")
        new = (await ledger.offices.update("o2", OfficeChanges(name="x"), actor=WHO, now_ms=NOW)).after
        await ledger.offices.mark_projected(old)
        assert await ledger.offices.unprojected(10) == (new,)
        await ledger.offices.mark_projected(new)
        await ledger.offices.mark_projected(old)
        assert await ledger.offices.unprojected(10) == ()

    with_ledger(ledger_url, scenario)


def test_pages_stay_as_they_are_while_offices_are_made(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        for n in range(10, 30):
            await with_office(ledger, f"o{n}")
        seen: list[str] = []
        token = ""
        while True:
            page = await ledger.offices.list(PageRequest(6, token))
            seen += [office.office_id for office in page.items]
            token = page.next_page_token
            if not token:
                break
            await with_office(ledger, f"o0{len(seen)}")  # Before what was shown: must shift nothing.
        assert seen == [f"o{n}" for n in range(10, 30)]

    with_ledger(ledger_url, scenario)


def test_lists_are_filtered(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        for n in range(6):
            await with_office(ledger, f"o{n}", f"c{n % 2}")

        async def ids(page: PageRequest, company_id: str | None, office_ids: set[str] | None) -> list[str]:
            return [office.office_id for office in (await ledger.offices.list(page, company_id, office_ids)).items]

        assert await ids(PageRequest(), "c0", None) == ["o0", "o2", "o4"]
        assert await ids(PageRequest(), "c0", {"o1", "o2"}) == ["o2"]
        assert await ids(PageRequest(), None, {"o1", "o2", "o9"}) == ["o1", "o2"]
        assert await ids(PageRequest(), None, set()) == []
        assert await ids(PageRequest(), "c9", None) == []
        assert len(await ids(PageRequest(1_000_000), None, None)) == 6
        with pytest.raises(InvalidArgument, match="page_size"):
            await ids(PageRequest(-1), None, None)

    with_ledger(ledger_url, scenario)


def test_a_page_token_belongs_to_its_query(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        for n in range(4):
            await with_office(ledger, f"o{n}")
        token = (await ledger.offices.list(PageRequest(2), "c1")).next_page_token
        assert len((await ledger.offices.list(PageRequest(2, token), "c1")).items) == 2
        for company_id, wrong in [
            (None, token),
            ("c2", token),
            ("c1", token[:-4]),
            ("c1", "x"),
            ("c1", "é"),
            ("c1", "W10="),  # []
            ("c1", "bnVsbA=="),  # null
            ("c1", "A" * 10_000),
        ]:
            with pytest.raises(InvalidArgument, match="page_token"):
                await ledger.offices.list(PageRequest(2, wrong), company_id)
        with pytest.raises(InvalidArgument, match="page_token"):
            await ledger.companies.list(PageRequest(2, token), "c1")

    with_ledger(ledger_url, scenario)


def test_an_office_that_moves_belongs_to_the_other_company(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        await ledger.companies.create("c2", "Other", actor=WHO, now_ms=NOW)
        change = await ledger.offices.update("o1", OfficeChanges(company_id="c2"), actor=WHO, now_ms=NOW)
        assert change.after == dataclasses.replace(
            change.before, settings=settings(company_id="c2"), version=change.before.version + 1
        )
        assert (await ledger.offices.list(PageRequest(), "c1")).items == ()

    with_ledger(ledger_url, scenario)


def test_whether_the_store_ever_held_an_office(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await with_office(ledger)
        assert not await ledger.offices.was_in_store("o1")
        assert not await ledger.offices.was_in_store("nobody")
        await ledger.credits.new_credit(credit(), actor=WHO, now_ms=NOW)
        assert not await ledger.offices.was_in_store("o1")
        await ledger.credits.mark_applied("o1", 1, 50_000_000, now_ms=NOW)
        assert await ledger.offices.was_in_store("o1")
        await with_office(ledger, "o2")
        await ledger.offices.mark_projected(await ledger.offices.get("o2"))
        assert await ledger.offices.was_in_store("o2")

    with_ledger(ledger_url, scenario)


def test_loops_go_through_the_offices_in_order(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        for n in range(4):
            await with_office(ledger, f"o{n}")
        await ledger.offices.set_auto_refill("o2", RefillSettings(enabled=True), actor=WHO, now_ms=NOW)
        assert [one.office_id for one in await ledger.offices.in_order(3)] == ["o0", "o1", "o2"]
        assert [one.office_id for one in await ledger.offices.in_order(3, "o2")] == ["o3"]
        assert [one.office_id for one in await ledger.offices.in_order(3, with_refill=True)] == ["o2"]

    with_ledger(ledger_url, scenario)

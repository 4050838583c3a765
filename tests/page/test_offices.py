"""The first page: the offices that one may see, found, paged through, summed up; a name is text, whatever it says."""

import asyncio
from urllib.parse import quote, urlsplit

import pytest
from playwright.async_api import Dialog, Page, expect

from gateway.v1 import credits_pb2 as pb
from tests.page.asking import get
from tests.page.walking import assert_fine_in_every_form, sign_in
from tests.support.billing import DOLLARS
from tests.support.browser import Visitor, take_screenshots
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

PAGE_SIZE = 50


async def sign_in_as_company(scene: PageScene, page: Page, company_id: str, path: str = "/") -> None:
    await sign_in(page, await scene.create_token(pb.ROLE_COMPANY_ADMIN, company_id), path)


async def names_on(page: Page) -> list[str]:
    """The offices on the page, by their names."""
    return await page.get_by_role("rowheader").get_by_role("link").all_text_contents()


async def test_a_company_sees_all_its_offices_and_their_money(scene: PageScene, page: Page) -> None:
    company_id = await scene.create_company("Sunrise Dental Group")
    rich = await scene.create_office(company_id, name="Springfield", balance_micros=120 * DOLLARS)
    poor = await scene.create_office(company_id, name="Shelbyville", balance_micros=2 * DOLLARS + 500_000)
    owing = await scene.create_office(company_id, name="Ogdenville", credit_limit_micros=50 * DOLLARS)
    await scene.operator.stub.SuspendOffice(pb.SuspendOfficeRequest(office_id=owing))
    await scene.begin_call(rich)
    held = (await scene.operator.office(rich)).reserved_micros
    assert 0 < held < DOLLARS
    await scene.create_office(name="Of somebody else")

    await sign_in_as_company(scene, page, company_id)
    await expect(page).to_have_title("Offices · Tollgate")
    for office_id, cells in (
        (rich, [f"${120 - held / DOLLARS:.2f}", "$120.00", "1", "Off", "Active"]),
        (poor, ["$2.50", "$2.50", "0", "Off", "Active Low funds"]),
        (owing, ["$50.00", "$0.00", "0", "Off", "Suspended"]),
    ):
        row = page.get_by_role("row").filter(has_text=office_id)
        await expect(row.get_by_role("cell")).to_have_text(cells)
    total = page.get_by_role("row", name="On this page").get_by_role("cell")
    await expect(total).to_have_text([f"${172.5 - held / DOLLARS:.2f}", "$122.50", "1", "", ""])
    assert set(await names_on(page)) == {"Springfield", "Shelbyville", "Ogdenville"}
    # There is but one company, so there is no choice of companies.
    await expect(page.get_by_label("Company")).to_have_count(0)
    await assert_fine_in_every_form(page)
    await take_screenshots(page, "offices")

    await page.get_by_role("link", name="Shelbyville").click()
    await expect(page.get_by_role("heading", name="Calling Credits")).to_be_visible()
    assert urlsplit(page.url).path == f"/offices/{poor}"
    await page.get_by_role("link", name="Offices").click()
    await expect(page.get_by_role("heading", name="Offices")).to_be_visible()


@pytest.mark.parametrize("role", [pb.ROLE_COMPANY_ADMIN, pb.ROLE_OFFICE_ADMIN, pb.ROLE_VIEWER])
async def test_who_has_one_office_goes_straight_to_it(scene: PageScene, page: Page, role: "pb.Role.ValueType") -> None:
    company_id = await scene.create_company()
    office_id = await scene.create_office(company_id)
    office_ids = [] if role == pb.ROLE_COMPANY_ADMIN else [office_id]
    if office_ids:
        await scene.create_office(company_id)  # That is none of theirs.
    await sign_in(page, await scene.create_token(role, company_id, office_ids))
    await expect(page.get_by_role("heading", name="Calling Credits")).to_be_visible()
    assert urlsplit(page.url).path == f"/offices/{office_id}"


async def test_a_company_without_offices_is_told_so(scene: PageScene, page: Page) -> None:
    await sign_in_as_company(scene, page, await scene.create_company())
    await expect(page.get_by_role("heading", name="Offices")).to_be_visible()
    await expect(page.get_by_text("There is no office yet.")).to_be_visible()
    await assert_fine_in_every_form(page)


async def test_offices_are_found_by_name_and_id(scene: PageScene, page: Page) -> None:
    company_id = await scene.create_company()
    ids = {name: await scene.create_office(company_id, name=name) for name in ("Straße 5", "Bahnhof", "100% Dental")}
    await sign_in_as_company(scene, page, company_id)
    for sought, found in (
        ("bahn", ["Bahnhof"]),
        ("  BAHNHOF ", ["Bahnhof"]),
        ("STRASSE", ["Straße 5"]),
        ("%", ["100% Dental"]),
        (ids["Bahnhof"].upper(), ["Bahnhof"]),
        ("", list(ids)),
        ("_", []),
        ("no such office", []),
        ("<b>", []),
        ("'", []),
        ("\\", []),
    ):
        await page.get_by_label("Name or id").fill(sought)
        await page.get_by_role("button", name="Show").click()
        await expect(page.get_by_role("rowheader").get_by_role("link")).to_have_count(len(found))
        await expect(page.get_by_label("Name or id")).to_have_value(sought.strip())
        assert sorted(await names_on(page)) == sorted(found)
        # One that was sought is shown in the list, so that whoever was wrong can seek on.
        assert urlsplit(page.url).path == "/"
        await expect(page.get_by_text("No office is called so")).to_have_count(0 if found else 1)


async def test_many_offices_are_paged_through(scene: PageScene, page: Page) -> None:
    company_id = await scene.create_company()
    names = [f"Branch {number:03d}" for number in range(PAGE_SIZE * 2 + 3)]
    await asyncio.gather(*(scene.create_office(company_id, name=name, balance_micros=DOLLARS) for name in names))
    await sign_in_as_company(scene, page, company_id)
    seen: list[str] = []
    for count in (PAGE_SIZE, PAGE_SIZE, 3):
        await expect(page.get_by_role("rowheader").get_by_role("link")).to_have_count(count)
        await expect(page.get_by_role("row", name="On this page")).to_contain_text(f"${count}.00")
        seen += await names_on(page)
        if count == PAGE_SIZE:
            before = page.url
            await page.get_by_role("link", name="Next page").click()
            await page.wait_for_url(lambda url, before=before: url != before)  # type: ignore[misc]
    await expect(page.get_by_role("link", name="Next page")).to_have_count(0)
    assert sorted(seen) == names
    # Whoever seeks, seeks in all of them.
    await page.get_by_label("Name or id").fill("branch")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_role("rowheader").get_by_role("link")).to_have_count(len(names))


async def test_the_last_page_with_one_office_is_a_page(scene: PageScene, page: Page) -> None:
    company_id = await scene.create_company()
    await asyncio.gather(*(scene.create_office(company_id) for _ in range(PAGE_SIZE + 1)))
    await sign_in_as_company(scene, page, company_id)
    await page.get_by_role("link", name="Next page").click()
    await expect(page.get_by_role("rowheader").get_by_role("link")).to_have_count(1)
    await expect(page.get_by_role("heading", name="Offices")).to_be_visible()


async def test_an_operator_chooses_a_company(scene: PageScene, page: Page) -> None:
    first, second = await scene.create_company("Harbor & Sons"), await scene.create_company("Studio 9")
    of_first = await scene.create_office(first, name="Pier")
    of_second = [await scene.create_office(second, name=name) for name in ("Stage", "Pier")]
    await sign_in(page, await scene.create_token(pb.ROLE_OPERATOR))
    await page.get_by_label("Company").select_option(first)
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_role("rowheader").get_by_role("link")).to_have_text(["Pier"])
    await expect(page.get_by_text(of_first)).to_be_visible()
    await expect(page.get_by_label("Company").locator("option:checked")).to_have_text("Harbor & Sons")
    await page.get_by_label("Company").select_option(second)
    await page.get_by_label("Name or id").fill("pier")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_text(of_second[1])).to_be_visible()
    assert await names_on(page) == ["Pier"]
    await assert_fine_in_every_form(page)


async def test_what_nobody_offered_is_refused_with_a_cure(scene: PageScene, page: Page) -> None:
    company_id, other_id = await scene.create_company(), await scene.create_company()
    for of in (company_id, company_id, other_id):
        await scene.create_office(of)
    await sign_in_as_company(scene, page, company_id)
    for query, status in (
        (f"company={other_id}", 403),
        ("company=no-such-company", 403),
        (f"q=x&company={other_id}", 403),
        ("page=x", 400),
        (f"page={quote('<script>')}", 400),
        ("page=" + "A" * 5_000, 400),
        ("page=..%2F..", 400),
        (f"company={'x' * 500}", 400),
    ):
        answer = await get(page, f"/?{query}")
        assert (query, answer.status) == (query, status)
        assert "<script>" not in await answer.text()


NASTY = ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "'-alert(1)-'", "{{ 7 * 7 }}", "<b>&amp;</b>"]


@pytest.mark.parametrize("nasty", NASTY)
async def test_a_script_in_a_name_is_text(scene: PageScene, page: Page, visitor: Visitor, nasty: str) -> None:
    dialogs: list[Dialog] = []
    visitor.context.on("dialog", lambda dialog: dialogs.append(dialog))
    company_id = await scene.create_company(nasty)
    await scene.create_company()  # The menu of companies is there where there are two.
    office_id = await scene.create_office(company_id, name=nasty, payment_terms=pb.PAYMENT_TERMS_INVOICE)
    request = pb.AdjustBalanceRequest(
        office_id=office_id, amount_micros=50 * DOLLARS, reason=nasty, idempotency_key=office_id
    )
    await scene.operator.stub.AdjustBalance(request)
    call_id = await scene.begin_call(office_id, user_id=nasty, department_id=nasty)
    await scene.send_message(office_id, user_id=nasty, department_id=nasty, message_id=f"{nasty}-{office_id}")
    await scene.operator.wait_usage(office_id, 1)

    await sign_in(page, await scene.create_token(pb.ROLE_OPERATOR), f"/?company={company_id}")
    await expect(page.get_by_label("Company").locator("option:checked")).to_have_text(nasty)
    await expect(page.get_by_role("rowheader").get_by_role("link")).to_have_text([nasty])
    await page.goto(f"/?company={company_id}&q={quote(nasty)}")
    await expect(page.get_by_label("Name or id")).to_have_value(nasty)

    await page.get_by_role("link", name=nasty, exact=True).click()
    await expect(page).to_have_title(f"Calling Credits of {nasty} · Tollgate")
    await expect(page.get_by_role("cell", name=nasty, exact=True)).to_be_visible()
    # Live as well: the parts come anew when something has changed.
    await scene.end_call(office_id, call_id, 60)
    await scene.begin_call(office_id, user_id=f"{nasty} again")
    await expect(page.get_by_role("cell", name=f"{nasty} again", exact=True)).to_be_visible()
    await scene.operator.wait_usage(office_id, 2)

    await page.goto(f"/offices/{office_id}/transactions")
    await expect(page.get_by_role("cell", name=f"Adjustment: {nasty}", exact=True)).to_be_visible()
    await page.goto(f"/offices/{office_id}/usage?user={quote(nasty)}&department={quote(nasty)}")
    await expect(page.get_by_role("rowheader", name=nasty, exact=True)).to_be_visible()
    await expect(page.get_by_label("Team member")).to_have_value(nasty)
    await expect(page.get_by_role("textbox", name="Department")).to_have_value(nasty)
    await page.get_by_role("row").filter(has_text="Messages").get_by_role("link").click()
    await expect(page.get_by_text(f"{nasty}-{office_id}", exact=True)).to_be_visible()
    await page.goto(f"/offices/{office_id}/rates?called={quote(nasty)}&calling={quote(nasty)}")
    await expect(page.get_by_label("To number")).to_have_value(nasty)
    await page.goto(f"/offices/{office_id}/purchases/new")
    await page.get_by_role("button", name="Review").click()
    await expect(page.get_by_text(nasty, exact=True).first).to_be_visible()

    assert dialogs == []
    assert await page.locator("img, script:not([src])").count() == 0

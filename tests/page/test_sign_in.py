"""Signing in and out: by token and by link, back to where one was, and into nobody else's hands."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from urllib.parse import quote, urlsplit

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from playwright.async_api import Browser, BrowserContext, Page, expect

from gateway.domain.identity import hash_secret
from gateway.v1 import credits_pb2 as pb
from tests.page.asking import get, post, sign_in_by_post
from tests.page.walking import assert_fine_in_every_form, sign_in, sign_in_to, token_of
from tests.support.browser import Visitor, take_screenshots, visiting
from tests.support.operator import OPERATOR_TOKEN
from tests.support.page_scene import PageScene

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("page")]

COOKIE = "tollgate"
RECHECK_MS = 20_000.0
"""A stream is asked every 5 s whose it is."""

NOT_KNOWN = "This token is not known, was revoked or has expired"
LINK_USED = "This link was used before, or has expired"
ENDED = "Your session has ended"


async def create_token(scene: PageScene, office_id: str, **fields: object) -> pb.CreateTokenResponse:
    """A token of an admin of the office, with its id."""
    company_id = (await scene.operator.office(office_id)).company_id
    values: dict[str, object] = {"role": pb.ROLE_OFFICE_ADMIN, "company_id": company_id, "office_ids": [office_id]}
    return await scene.operator.stub.CreateToken(pb.CreateTokenRequest(**(values | fields)))  # type: ignore[arg-type]


async def revoke(scene: PageScene, token: pb.Token) -> None:
    await scene.operator.stub.RevokeToken(pb.RevokeTokenRequest(token_id=token.token_id))


async def create_link(scene: PageScene, token: pb.Token) -> str:
    request = pb.CreateSignInLinkRequest(token_id=token.token_id)
    return (await scene.operator.stub.CreateSignInLink(request)).url


async def enter(page: Page, secret: str) -> None:
    """Fill the form in and send it."""
    await page.get_by_label("Your token").fill(secret)
    await page.get_by_role("button", name="Sign in").click()


async def cookies_of(context: BrowserContext) -> list[str]:
    return [str(each.get("value")) for each in await context.cookies() if each.get("name") == COOKIE]


async def test_a_token_signs_in(scene: PageScene, page: Page, visitor: Visitor) -> None:
    office_id = await scene.create_office()
    secret = await token_of(scene, office_id)
    await page.goto("/")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page).to_have_title("Sign in · Tollgate")
    assert not await cookies_of(visitor.context)
    await assert_fine_in_every_form(page)
    await take_screenshots(page, "sign-in")

    await enter(page, secret)
    await expect(page.get_by_role("heading", name="Calling Credits")).to_be_visible()
    await expect(page.get_by_role("banner").get_by_text("Office admin")).to_be_visible()
    assert urlsplit(page.url).path == f"/offices/{office_id}"

    (cookie,) = [each for each in await visitor.context.cookies() if each.get("name") == COOKIE]
    assert cookie.get("httpOnly")
    assert cookie.get("sameSite") == "Lax"
    assert cookie.get("path") == "/"
    assert secret not in str(cookie)
    assert secret not in await page.content()
    assert secret not in page.url
    assert await page.evaluate("document.cookie") == ""
    assert secret not in await page.evaluate("JSON.stringify([localStorage, sessionStorage])")


@pytest.mark.parametrize(
    ("role", "name"),
    [
        (pb.ROLE_OPERATOR, "Operator"),
        (pb.ROLE_COMPANY_ADMIN, "Company admin"),
        (pb.ROLE_OFFICE_ADMIN, "Office admin"),
        (pb.ROLE_VIEWER, "Viewer"),
    ],
)
async def test_everybody_but_a_switch_may_sign_in(
    scene: PageScene, page: Page, role: "pb.Role.ValueType", name: str
) -> None:
    office_id = await scene.create_office()
    secret = await scene.create_token(role) if role == pb.ROLE_OPERATOR else await token_of(scene, office_id, role)
    await sign_in(page, secret, f"/offices/{office_id}")
    await expect(page.get_by_role("banner").get_by_text(name, exact=True).last).to_be_visible()


async def test_the_operator_of_the_settings_signs_in(page: Page) -> None:
    await sign_in(page, OPERATOR_TOKEN, "/operator")
    await expect(page.get_by_role("heading", name="Operator")).to_be_visible()


async def revoked(scene: PageScene, office_id: str) -> str:
    created = await create_token(scene, office_id)
    await revoke(scene, created.token)
    return created.secret


async def of_switch(scene: PageScene, office_id: str) -> str:
    return await scene.create_token(pb.ROLE_SWITCH, office_ids=[office_id], switch_id="switch-1")


@pytest.mark.parametrize("change", [lambda _: "wrong", lambda secret: secret[:-1], hash_secret])
async def test_a_token_that_is_none_is_refused(
    scene: PageScene, page: Page, visitor: Visitor, change: Callable[[str], str]
) -> None:
    secret = await token_of(scene, await scene.create_office())
    await assert_refused(page, visitor, change(secret), NOT_KNOWN)


@pytest.mark.parametrize(("make", "told"), [(revoked, NOT_KNOWN), (of_switch, "This is the token of a switch")])
async def test_a_token_that_was_revoked_or_is_a_switchs_is_refused(
    scene: PageScene, page: Page, visitor: Visitor, make: Callable[..., object], told: str
) -> None:
    secret = await make(scene, await scene.create_office())  # type: ignore[misc]
    await assert_refused(page, visitor, secret, told)


async def assert_refused(page: Page, visitor: Visitor, secret: str, told: str) -> None:
    """The form is shown again, with why, and without what was entered; nobody is signed in."""
    visitor.expect_status(401)
    await page.goto("/sign-in")
    await enter(page, secret)
    await expect(page.get_by_role("alert")).to_contain_text(told)
    await expect(page.get_by_label("Your token")).to_have_value("")
    assert not await cookies_of(visitor.context)
    await page.goto("/")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


async def test_a_token_that_expires_ends_the_page_and_signs_nobody_in_any_more(
    scene: PageScene, page: Page, visitor: Visitor
) -> None:
    office_id = await scene.create_office()
    expires_at = Timestamp()
    expires_at.FromDatetime(datetime.now(UTC) + timedelta(seconds=5))
    created = await create_token(scene, office_id, expires_at=expires_at)
    await sign_in(page, created.secret, f"/offices/{office_id}")
    await expect(page.get_by_text(ENDED)).to_be_visible(timeout=RECHECK_MS)
    await visitor.context.clear_cookies()
    await assert_refused(page, visitor, created.secret, NOT_KNOWN)


async def test_what_no_form_of_ours_sends_is_refused_too(scene: PageScene, page: Page) -> None:
    secret = await token_of(scene, await scene.create_office())
    for wrong in (
        "",
        "   ",
        secret + "x",
        secret.upper(),
        f"{secret}\x00",
        f"Bearer {secret}",
        "' OR '1'='1",
        "<script>alert(1)</script>",
        "\u043a\u043b\u044e\u0447",
        "x" * 201,
        "x" * 60_000,
        secret + "x" * 200,
    ):
        answer = await post(page, "/sign-in", {"token": wrong})
        assert (wrong, answer.status) == (wrong, 401)
        assert "set-cookie" not in answer.headers
        assert NOT_KNOWN in await answer.text()
    for form in ({}, {"secret": secret}, {"Token": secret}):
        assert (await post(page, "/sign-in", form)).status == 401
    assert (await post(page, "/sign-in", {"token": "x" * 70_000})).status == 413
    assert (await post(page, "/sign-in", {f"f{number}": "1" for number in range(51)})).status == 400
    # The same, as it is: in a form it may have spaces around it.
    assert (await post(page, "/sign-in", {"token": f" {secret} "})).status == 303


async def test_a_link_signs_in_once(scene: PageScene, page: Page, visitor: Visitor, chromium: Browser) -> None:
    office_id = await scene.create_office()
    link = await create_link(scene, (await create_token(scene, office_id)).token)
    assert link.startswith(f"{scene.url}/sign-in/")

    # What looks at links in mail asks by GET and HEAD, more than once, and follows none that is a button.
    for _ in range(3):
        assert (await page.request.get(link)).status == 200
        assert (await page.request.head(link)).status == 200
    assert not await cookies_of(visitor.context)

    await page.goto(link)
    await expect(page.get_by_text("This link signs you in once")).to_be_visible()
    await assert_fine_in_every_form(page)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("heading", name="Calling Credits")).to_be_visible()
    assert urlsplit(page.url).path == f"/offices/{office_id}"
    (cookie,) = await cookies_of(visitor.context)
    assert link.rpartition("/")[2] not in cookie

    async with visiting(chromium, scene.url) as somebody_else:
        somebody_else.expect_status(401)
        theirs = await somebody_else.context.new_page()
        await theirs.goto(link)
        await theirs.get_by_role("button", name="Sign in").click()
        await expect(theirs.get_by_role("alert")).to_contain_text(LINK_USED)
        assert not await cookies_of(somebody_else.context)
        # Whoever has a token may go on from there.
        await expect(theirs.get_by_label("Your token")).to_be_visible()
    # Who is in stays in.
    await page.reload()
    await expect(page.get_by_role("heading", name="Calling Credits")).to_be_visible()


@pytest.mark.parametrize(
    "secret", ["wrong", "%00", "%3Cimg%20src=x%20onerror=alert(1)%3E", "..%5C..%5Cetc", "x" * 2_000, "%F0%9F%98%80"]
)
async def test_a_link_of_nobody_signs_nobody_in(page: Page, visitor: Visitor, secret: str) -> None:
    visitor.expect_status(401)
    await page.goto(f"/sign-in/{secret}")
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_contain_text(LINK_USED)
    assert not await cookies_of(visitor.context)


async def test_a_link_of_a_token_that_was_revoked_signs_nobody_in(
    scene: PageScene, page: Page, visitor: Visitor
) -> None:
    created = await create_token(scene, await scene.create_office())
    link = await create_link(scene, created.token)
    await revoke(scene, created.token)
    visitor.expect_status(401)
    await page.goto(link)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("alert")).to_be_visible()
    assert not await cookies_of(visitor.context)


async def test_who_signs_out_is_out(scene: PageScene, page: Page, visitor: Visitor) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id)
    await page.get_by_role("link", name="Usage").click()
    await expect(page.get_by_role("heading", name="Usage")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert not await cookies_of(visitor.context)
    # Pages are kept nowhere: the way back leads through the sign-in.
    await page.go_back()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page.get_by_role("alert")).to_have_count(0)


async def test_a_page_leads_through_the_sign_in_and_back(scene: PageScene, page: Page) -> None:
    office_id = await scene.create_office()
    path = f"/offices/{office_id}/usage?month={datetime.now(UTC):%Y-%m}&order=oldest&user=a%26b"
    await sign_in_to(scene, page, office_id, path.removeprefix(f"/offices/{office_id}"))
    await expect(page.get_by_role("heading", name="Usage", exact=True)).to_be_visible()
    assert page.url == scene.url + path
    await expect(page.get_by_label("Order")).to_have_value("oldest")
    await expect(page.get_by_label("Team member")).to_have_value("a&b")


async def test_a_part_of_a_page_leads_back_to_the_whole(scene: PageScene, page: Page, visitor: Visitor) -> None:
    office_id = await scene.create_office()
    secret = await sign_in_to(scene, page, office_id, "/usage?order=oldest")
    await visitor.context.clear_cookies()
    await page.get_by_label("Order").select_option("Costliest first")
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await enter(page, secret)
    await expect(page.get_by_role("heading", name="Usage", exact=True)).to_be_visible()
    assert page.url == f"{scene.url}/offices/{office_id}/usage?order=oldest"


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "/\t/evil.example"])
async def test_a_sign_in_never_leads_off_the_site(scene: PageScene, page: Page, target: str) -> None:
    secret = await scene.create_token(pb.ROLE_COMPANY_ADMIN, await scene.create_company())
    await page.goto(f"/sign-in?next={quote(target, safe='')}")
    await enter(page, secret)
    await expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    assert page.url == f"{scene.url}/"


async def test_a_form_that_was_made_up_leads_off_the_site_neither(scene: PageScene, page: Page) -> None:
    secret = await scene.create_token(pb.ROLE_COMPANY_ADMIN, await scene.create_company())
    for target in (
        "///evil.example",
        "HTTP://evil.example/",
        "\\\\evil.example",
        "/\n/evil.example",
        "\t//evil.example",
        "javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "//[",
        "http://[",
        "https:evil.example",
        "evil.example",
        "/\r\nset-cookie: a=b",
        "",
    ):
        answer = await post(page, "/sign-in", {"token": secret, "next": target})
        assert (target, answer.status, answer.headers["location"]) == (target, 303, "/")
        shown = await page.request.get(f"/sign-in?next={quote(target, safe='')}")
        assert '<input type="hidden" name="next" value="/">' in await shown.text()


async def test_a_changed_cookie_is_refused(scene: PageScene, page: Page, visitor: Visitor) -> None:
    office_id = await scene.create_office()
    await sign_in_to(scene, page, office_id)
    (value,) = await cookies_of(visitor.context)
    signed, _, signature = value.rpartition(".")
    for changed in (
        # Not its last character: two of that one's six bits say nothing.
        f"{signed}.{'A' if signature[0] != 'A' else 'B'}{signature[1:]}",
        value[:9] + ("A" if value[9] != "A" else "B") + value[10:],
        signed,
        f"{signed}.",
        f"{value}AAAA",
        "0",
        "%5B%22hash%22%2C%22csrf%22%2C9999999999999%5D",
        "A" * 3_000,
    ):
        await visitor.context.add_cookies([{"name": COOKIE, "value": changed, "url": scene.url}])
        answer = await get(page, f"/offices/{office_id}")
        assert (changed, answer.status) == (changed, 303)
        assert answer.headers["location"].startswith("/sign-in?")
    await page.reload()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page.get_by_role("alert")).to_contain_text(ENDED)
    # As it was, it is good: nothing but the change was the matter.
    await visitor.context.add_cookies([{"name": COOKIE, "value": value, "url": scene.url}])
    await page.goto(f"/offices/{office_id}")
    await expect(page.get_by_role("heading", name="Calling Credits")).to_be_visible()


async def test_a_revoked_token_ends_what_is_open(scene: PageScene, page: Page, visitor: Visitor) -> None:
    office_id = await scene.create_office()
    created = await create_token(scene, office_id)
    await sign_in(page, created.secret, f"/offices/{office_id}")
    await expect(page.get_by_text(ENDED)).to_have_count(0)
    await revoke(scene, created.token)
    await expect(page.get_by_role("status").get_by_text(f"{ENDED}: sign in again.")).to_be_visible(timeout=RECHECK_MS)
    await page.get_by_role("link", name="Usage").click()
    await expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    await expect(page.get_by_role("alert")).to_contain_text(ENDED)
    assert not await cookies_of(visitor.context)


async def test_a_revoked_operator_sees_no_more_load(scene: PageScene, page: Page) -> None:
    created = await scene.operator.stub.CreateToken(pb.CreateTokenRequest(role=pb.ROLE_OPERATOR))
    await sign_in(page, created.secret, "/operator")
    await revoke(scene, created.token)
    await expect(page.get_by_role("status").get_by_text(ENDED)).to_be_visible(timeout=RECHECK_MS)


async def test_a_form_of_another_site_signs_nobody_in(scene: PageScene, page: Page) -> None:
    created = await create_token(scene, await scene.create_office())
    link = urlsplit(await create_link(scene, created.token)).path
    for origin in ("https://evil.example", "null", "http://127.0.0.1", "http://127.0.0.1:1", "http://[", "", "evil"):
        for path, form in (("/sign-in", {"token": created.secret}), (link, {})):
            answer = await post(page, path, form, origin=origin)
            assert (origin, path, answer.status) == (origin, path, 403)
            assert "set-cookie" not in answer.headers
            assert "sent from another site" in await answer.text()
    # Both are as good as before, for a form of ours.
    assert (await post(page, link, {}, origin=scene.url)).status == 303
    assert (await post(page, "/sign-in", {"token": created.secret}, origin=scene.url)).status == 303


@pytest.mark.parametrize("csrf", [None, "", "wrong", "another session's"])
async def test_a_form_that_no_page_of_the_session_made_does_nothing(
    scene: PageScene, page: Page, chromium: Browser, csrf: str | None
) -> None:
    office_id = await scene.create_office()
    secret = await sign_in_to(scene, page, office_id)
    if csrf == "another session's":
        async with visiting(chromium, scene.url) as again:
            csrf = await sign_in_by_post(await again.context.new_page(), secret)
    form = {} if csrf is None else {"csrf": csrf}
    refill = {"enabled": "1", "threshold": "5", "amount": "50"}
    for path, fields in (("/sign-out", form), (f"/offices/{office_id}/refill", form | refill)):
        answer = await post(page, path, fields)
        assert answer.status == 403
        assert "Nothing was done" in await answer.text()
    assert (await scene.operator.office(office_id)).refill.state == pb.REFILL_STATE_OFF
    await page.reload()
    await expect(page.get_by_role("heading", name="Calling Credits")).to_be_visible()


POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}

PAGES = [
    ("/", 200),
    ("/?q=nothing-is-called-so", 200),
    ("/operator", 200),
    ("/offices/{office}", 200),
    ("/offices/{office}/usage", 200),
    ("/offices/{office}/usage?month=2999-01", 400),
    ("/offices/{office}/usage/records", 200),
    ("/offices/{office}/usage/export", 200),
    ("/offices/{office}/usage/record?id=none", 404),
    ("/offices/{office}/rates", 200),
    ("/offices/{office}/rates?called=%2B442079460958", 200),
    ("/offices/{office}/rates?called=%2B442079460958&minutes=x", 400),
    ("/offices/{office}/transactions", 200),
    ("/offices/{office}/cards", 200),
    ("/offices/{office}/refill", 200),
    ("/offices/{office}/purchases/new", 200),
    ("/offices/no-such-office", 404),
    ("/offices/%3Cscript%3E", 400),
    ("/no-such-page", 404),
    ("/sign-out", 405),
    ("/sign-in", 200),
    ("/sign-in/a-link", 200),
]


def unsafe_in(html: str) -> list[str]:
    """The places of a page that the policy forbids, or that would lead out of it; text of a name is none."""
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            given = {name: value or "" for name, value in attrs}
            addresses = [given.get(name, "") for name in ("src", "href", "action", "formaction")]
            if (
                tag == "style"
                or (tag == "script" and "src" not in given)
                or any(name == "style" or name.startswith("on") for name in given)
                or any(re.match(r"\s*(javascript:|data:|(https?:)?//)", each, re.IGNORECASE) for each in addresses)
            ):
                found.append(self.get_starttag_text() or tag)

    Reader().feed(html)
    return found


def test_what_is_unsafe_is_found() -> None:
    unsafe = [
        "<style>",
        "<script>",
        '<p style="color: red">',
        "<img src=x onerror=alert(1)>",
        '<a href="javascript:alert(1)">',
        '<form action="//evil.example">',
        '<script src="https://evil.example/x.js">',
    ]
    for tag in unsafe:
        assert unsafe_in(f"<p>{tag}") == [tag]
    assert unsafe_in('<a href="/x">&#34;&gt;&lt;img src=x onerror=alert(1)&gt;</a><script src="/static/x.js">') == []


@pytest.mark.parametrize("signed_in", [True, False])
async def test_every_page_has_the_headers_that_keep_it_safe(scene: PageScene, page: Page, signed_in: bool) -> None:
    office_id = await scene.create_office()
    if signed_in:
        await sign_in(page, await scene.create_token(pb.ROLE_OPERATOR))
    for path, status in PAGES:
        answer = await get(page, path.format(office=office_id))
        is_open = path.startswith("/sign-in") or status == 405 or path == "/no-such-page"
        assert (path, answer.status) == (path, status if signed_in or is_open else 303)
        policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
        assert (path, policy) == (path, POLICY)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "same-origin"
        html = await answer.text()
        assert (path, unsafe_in(html)) == (path, [])

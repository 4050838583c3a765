"""Links that sign a browser in: each is good once, for a while, and for the token that it was made for."""

import asyncio
from pathlib import Path

import pytest
from sqlalchemy import select, update

from gateway.domain.identity import hash_secret
from gateway.ledger.database import open_database
from gateway.ledger.errors import LedgerBroken
from gateway.ledger.installation import page_key
from gateway.ledger.models import InstallationRow, SignInLinkRow
from gateway.ledger.paging import PageRequest
from gateway.ledger.sign_in_links import KEPT_MS, SignInLinks
from tests.support.ledger import NOW, WHO, Ledger, with_ledger

LIFE_MS = 900_000
LINK = hash_secret("a link")
TOKEN_ID, TOKEN = "0123456789ab", hash_secret("tg_somebody")


async def make(ledger: Ledger, secret_hash: str = LINK, *, now_ms: int = NOW) -> None:
    await ledger.sign_in_links.create(
        secret_hash, token_id=TOKEN_ID, token_hash=TOKEN, expires_at=now_ms + LIFE_MS, actor=WHO, now_ms=now_ms
    )


async def kept(ledger: Ledger) -> set[str]:
    async with ledger.database.read() as session:
        return set(await session.scalars(select(SignInLinkRow.secret_hash)))


def test_a_link_is_good_once(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await make(ledger)
        await make(ledger, hash_secret("another link"))
        assert await ledger.sign_in_links.redeem(LINK, now_ms=NOW + 1) == TOKEN
        assert await ledger.sign_in_links.redeem(LINK, now_ms=NOW + 1) is None
        assert await ledger.sign_in_links.redeem(LINK, now_ms=NOW + 2) is None
        log = reversed((await ledger.audit.list(PageRequest(), f"sign_in_link:{LINK[:12]}")).items)
        assert [(line.at, line.actor, line.action, line.before, line.after) for line in log] == [
            (
                NOW,
                WHO,
                "sign_in_link.create",
                None,
                {"token_id": TOKEN_ID, "expires_at": NOW + LIFE_MS, "used_at": None},
            ),
            (NOW + 1, f"token:{TOKEN_ID}", "sign_in_link.redeem", {"used_at": None}, {"used_at": NOW + 1}),
        ]

    with_ledger(ledger_url, scenario)


@pytest.mark.parametrize(
    ("secret_hash", "after_ms", "is_good"),
    [
        (LINK, 0, True),
        (LINK, LIFE_MS - 1, True),
        (LINK, LIFE_MS, False),
        (LINK, LIFE_MS + 1, False),
        (LINK, 10 * KEPT_MS, False),
        (hash_secret("no link"), 0, False),
        (TOKEN, 0, False),
        (TOKEN_ID, 0, False),
        (LINK.upper(), 0, False),
        (LINK[:-1], 0, False),
        ("a link", 0, False),
        ("%", 0, False),
        ("", 0, False),
    ],
)
def test_what_signs_in_and_what_does_not(tmp_path: Path, secret_hash: str, after_ms: int, is_good: bool) -> None:
    async def scenario(ledger: Ledger) -> None:
        await make(ledger)
        found = await ledger.sign_in_links.redeem(secret_hash, now_ms=NOW + after_ms)
        assert found == (TOKEN if is_good else None)
        assert len((await ledger.audit.list(PageRequest())).items) == 1 + is_good

    with_ledger(tmp_path, scenario)


def test_of_many_at_once_exactly_one_wins(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        # Two processes on one database: what one of them holds in memory does not help the other.
        second = await open_database(ledger_url)
        try:
            for number in range(5):
                link = hash_secret(f"link {number}")
                await make(ledger, link)
                found = await asyncio.gather(
                    *(
                        SignInLinks(database).redeem(link, now_ms=NOW)
                        for _ in range(10)
                        for database in (ledger.database, second)
                    )
                )
                assert sorted(map(str, found)) == sorted([TOKEN, *["None"] * 19])
        finally:
            await second.close()
        log = (await ledger.audit.list(PageRequest())).items
        assert [line.action for line in log].count("sign_in_link.redeem") == 5

    with_ledger(ledger_url, scenario)


def test_links_are_forgotten_a_day_after_they_expired(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        await make(ledger, "used")
        await make(ledger, "later", now_ms=NOW + 1)
        await ledger.sign_in_links.redeem("used", now_ms=NOW)
        await make(ledger, "a day before", now_ms=NOW + LIFE_MS + KEPT_MS - 1)
        assert await kept(ledger) == {"used", "later", "a day before"}
        await make(ledger, "a day after", now_ms=NOW + LIFE_MS + KEPT_MS)
        assert await kept(ledger) == {"later", "a day before", "a day after"}

    with_ledger(ledger_url, scenario)


def test_forgetting_has_a_limit(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        for number in range(103):
            await make(ledger, f"old {number}")
        await make(ledger, "new", now_ms=NOW + 2 * KEPT_MS)
        assert len(await kept(ledger)) == 4
        await make(ledger, "newer", now_ms=NOW + 2 * KEPT_MS)
        assert await kept(ledger) == {"new", "newer"}

    with_ledger(ledger_url, scenario)


def test_the_key_of_the_page_is_drawn_once_an_installation(ledger_url: str, tmp_path: Path) -> None:
    async def drawn(ledger: Ledger) -> bytes:
        async with ledger.database.read() as session:
            return await page_key(session)

    async def lose_it(ledger: Ledger) -> None:
        async with ledger.database.write() as session:
            await session.execute(update(InstallationRow).values(page_key=""))

    key = with_ledger(ledger_url, drawn)
    assert len(key) == 32
    assert with_ledger(ledger_url, drawn) == key
    (tmp_path / "another").mkdir()
    assert with_ledger(tmp_path / "another", drawn) != key
    with_ledger(ledger_url, lose_it)
    with pytest.raises(LedgerBroken):
        with_ledger(ledger_url, drawn)

import asyncio
import hashlib

import pytest

from gateway.errors import InvalidArgument
from gateway.ledger.decks import MAX_CONTENT_BYTES
from gateway.ledger.errors import DeckNotFound
from gateway.ledger.paging import PageRequest
from tests.support.ledger import NOW, WHO, Ledger, with_ledger


def test_every_version_is_kept_as_it_was(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        assert await ledger.decks.newest() is None
        contents = ["tariff,service\r\nü,VOICE\r\n", "tariff\n", "tariff,service\r\nü,VOICE\r\n"]
        for n, content in enumerate(contents, 1):
            deck = await ledger.decks.add(content, row_count=n, source="rates.csv", actor=WHO, now_ms=NOW + n)
            assert (deck.version, deck.sha256) == (n, hashlib.sha256(content.encode()).hexdigest())
            assert await ledger.decks.newest() == deck
        for n, content in enumerate(contents, 1):
            assert (await ledger.decks.content(n)).content == content
        page = await ledger.decks.list(PageRequest(2))
        rest = await ledger.decks.list(PageRequest(2, page.next_page_token))
        assert [deck.version for deck in page.items + rest.items] == [3, 2, 1]
        for version in (0, 4, -1):
            with pytest.raises(DeckNotFound):
                await ledger.decks.content(version)
        assert [line.target for line in (await ledger.audit.list(PageRequest())).items] == [
            "deck:3",
            "deck:2",
            "deck:1",
        ]

    with_ledger(ledger_url, scenario)


def test_the_same_deck_again_is_the_same_version(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        decks = await asyncio.gather(
            *(ledger.decks.add("tariff\n", row_count=0, source=f"{n}.csv", actor=WHO, now_ms=NOW) for n in range(5))
        )
        assert {deck.version for deck in decks} == {1}

    with_ledger(ledger_url, scenario)


def test_decks_at_once_get_versions_without_a_gap(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        decks = await asyncio.gather(
            *(ledger.decks.add(f"{n}\n", row_count=0, source="x", actor=WHO, now_ms=NOW) for n in range(10))
        )
        assert sorted(deck.version for deck in decks) == list(range(1, 11))

    with_ledger(ledger_url, scenario)


def test_what_is_no_deck_is_not_kept(ledger_url: str) -> None:
    async def scenario(ledger: Ledger) -> None:
        for content, source in [("x" * (MAX_CONTENT_BYTES + 1), "x"), ("x", "a\nb"), ("x", "y" * 201)]:
            with pytest.raises(InvalidArgument):
                await ledger.decks.add(content, row_count=0, source=source, actor=WHO, now_ms=NOW)
        assert await ledger.decks.newest() is None

    with_ledger(ledger_url, scenario)

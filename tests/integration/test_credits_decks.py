"""Rate decks over gRPC: validated whole, kept by version, published for every gateway."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from gateway.startup import StartupError
from gateway.store.directory import Directory, published_rates
from gateway.store.keys import rates_key
from gateway.v1 import credits_pb2 as pb
from tests.support.back import DECK, HEADER, BackUnderTest, Fault, bearer, invalid, refused, running_back
from tests.support.balances import NOON
from tests.support.servers import StoreServer

ME = bearer()
OTHER = HEADER + ",VOICE,OUTBOUND,,,33,,0,0.10,60,1,0,60,France\n,SMS,,,,,,,0.05,,,,,SMS\n"


async def send(back: BackUnderTest, deck: str | bytes, **fields: Any) -> Any:
    content = deck.encode() if isinstance(deck, str) else deck
    return await back.stub.ImportRates(pb.ImportRatesRequest(deck=content, **fields), metadata=ME)


async def listed(back: BackUnderTest) -> list[pb.RateDeck]:
    return list((await back.stub.ListRateDecks(pb.ListRateDecksRequest(), metadata=ME)).decks)


async def test_a_deck_is_kept_and_in_force_everywhere(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        front = Directory(back.till.connection, back.clock)
        await front.refresh()
        assert front.deck is not None
        assert (front.deck.version, len(front.deck)) == (1, 3)
        back.clock.move(7)
        made = await send(back, OTHER, source="autumn.csv")
        assert (made.version, made.source, made.rates, made.current) == (2, "autumn.csv", 2, True)
        assert made.sha256 == hashlib.sha256(OTHER.encode()).hexdigest()
        assert made.created_at.ToMilliseconds() == NOON + 7_000
        await front.refresh()
        assert (front.deck.version, len(front.deck)) == (2, 2)

        first, second = list(reversed(await listed(back)))
        assert second == made
        assert (first.version, first.current) == (1, False)
        assert first.source.endswith("deck.csv")
        assert (await back.ledger.decks.content(2)).content == OTHER


async def test_the_deck_in_force_sent_again_is_no_new_version(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        made = await send(back, OTHER, source="one")
        again = await send(back, OTHER, source="two")
        assert again == made
        assert len(await listed(back)) == 2
        assert (await send(back, DECK)).version == 3
        # The fourth version removes the second from the store; gateways may be reading the third.
        await send(back, OTHER)
        kept = [bool(await back.till.connection.ask("EXISTS", rates_key(version))) for version in range(1, 5)]
        assert kept == [False, False, True, True]


async def test_a_dry_run_changes_nothing(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        said = await send(back, OTHER, source="x", dry_run=True)
        assert said == pb.RateDeck(source="x", rates=2, sha256=hashlib.sha256(OTHER.encode()).hexdigest())
        assert len(await listed(back)) == 1
        await invalid("deck", send(back, OTHER + "nonsense\n", dry_run=True))


async def test_every_error_of_a_deck_with_its_line(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        bad = DECK + ",VOICE,SIDEWAYS,,,44,,0,0.12,60,60,0,60,\n,SMS,,,,,,,free,,,,,\n"
        found = await invalid("deck", send(back, bad))
        assert found.reason == "RATE_DECK_INVALID"
        assert "line 5, direction" in found.message
        assert "line 6, price" in found.message
        assert [field for field, _ in found.violations] == ["deck line 5", "deck line 6"]
        assert "SIDEWAYS" in found.violations[0][1]

        # However many there are, the answer fits into what every client takes.
        many = HEADER + ",VÖICE,SIDEWAYS,EVERY,,x,ANY,-1,a,b,c,d,e,f\n" * 5_000
        found = await invalid("deck", send(back, many))
        assert "has 50000 errors" in found.message or "errors, nothing was changed" in found.message
        assert " more" in found.message
        assert 5 < len(found.violations) <= 20
        for nonsense in (b"", b"\xff\xfe\x00", b"\x00" * 1_000, b"tariff\n", b"a,b\n1,2\n", HEADER.encode()):
            await invalid("deck", send(back, nonsense))
        for source in ("x" * 201, "two\nlines"):
            await invalid("source", send(back, OTHER, source=source))
        assert [deck.version for deck in await listed(back)] == [1]
        assert await published_rates(back.till.connection) == 1


@pytest.mark.slow
async def test_a_large_deck_is_taken_and_one_that_is_too_large_is_not(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        lines = "".join(
            f",VOICE,OUTBOUND,,,{prefix},,0,0.12,60,60,0,60,{'d' * 100}\n" for prefix in range(10**5, 160_000)
        )
        made = await send(back, HEADER + lines)
        assert made.rates == 60_000
        too_large = b"x" * (64 * 1024 * 1024 + 1)
        await invalid("deck", send(back, too_large))


async def test_imports_at_once_get_versions_of_their_own(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        made = await asyncio.gather(*(send(back, OTHER + f",SMS,,,,{n},,,0.05,,,,,\n") for n in range(1, 6)))
        assert sorted(deck.version for deck in made) == [2, 3, 4, 5, 6]
        assert await published_rates(back.till.connection) == 6
        assert [deck.version for deck in await listed(back) if deck.current] == [6]


@pytest.mark.parametrize("done", [False, True], ids=["before the store", "answer lost"])
async def test_a_deck_that_was_recorded_comes_into_force(valkey: StoreServer, tmp_path: Path, done: bool) -> None:
    async with running_back(valkey, tmp_path) as back:
        Fault(back.back.connection, "ask", done=done)
        await refused(StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", send(back, OTHER))
        await back.back.background.projector.turn()
        assert await published_rates(back.till.connection) == 2
        assert (await send(back, OTHER)).version == 2
        # The store has lost it.
        await back.till.connection.ask("DEL", rates_key(2))
        await back.back.background.projector.turn()
        front = Directory(back.till.connection, back.clock)
        await front.refresh()
        assert front.deck is not None
        assert front.deck.version == 2


async def test_which_deck_a_start_begins_with(valkey: StoreServer, tmp_path: Path) -> None:
    deck = tmp_path / "deck.csv"
    async with running_back(valkey, tmp_path, rates=None) as back:
        assert (await listed(back))[0].source.startswith("default")
        assert (await listed(back))[0].rates > 1_000
    async with running_back(valkey, tmp_path, flush=False, rates=None) as back:
        assert [each.version for each in await listed(back)] == [1]
    async with running_back(valkey, tmp_path, flush=False, rates=deck) as back:
        assert next((each.version, each.rates) for each in await listed(back)) == (2, 3)
        await send(back, OTHER)
    async with running_back(valkey, tmp_path, flush=False, rates=None) as back:
        assert [each.version for each in await listed(back)] == [3, 2, 1]
    deck.write_text(OTHER)
    async with running_back(valkey, tmp_path, flush=False, rates=deck) as back:
        assert [each.version for each in await listed(back)] == [3, 2, 1]
    deck.write_text(HEADER + "nonsense\n")
    with pytest.raises(StartupError, match=r"TOLLGATE_RATES.*line 2"):
        async with running_back(valkey, tmp_path, flush=False, rates=deck):
            pass


async def test_decks_come_in_pages(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        for number in range(4):
            await send(back, OTHER + f",SMS,,,,{number + 1},,,0.05,,,,,\n")
        first = await back.stub.ListRateDecks(pb.ListRateDecksRequest(page_size=3), metadata=ME)
        assert [deck.version for deck in first.decks] == [5, 4, 3]
        request = pb.ListRateDecksRequest(page_size=3, page_token=first.next_page_token)
        second = await back.stub.ListRateDecks(request, metadata=ME)
        assert ([deck.version for deck in second.decks], second.next_page_token) == ([2, 1], "")
        assert not any(deck.current for deck in second.decks)
        await invalid("page_size", back.stub.ListRateDecks(pb.ListRateDecksRequest(page_size=-1), metadata=ME))

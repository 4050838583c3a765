"""The due loop on a real store: how many of the calls that are due it looks at at a time, in which order, and what it
does about those that it cannot look at. What becomes of the calls is in tests/lua and tests/simulation."""

from typing import Any

import pytest

from gateway.background.due import AT_LEAST, ENTRIES_A_TURN, TRIPS_A_TURN, DueLoop
from gateway.store.balances import BalanceStore, CallProgress
from gateway.store.faults import StoreUnavailable
from gateway.store.offices import CachedOffice, OfficeCache
from gateway.store.switch_lists import SwitchLists
from tests.support.balances import ManualClock, Till, open_till
from tests.support.servers import StoreServer

MINUTE = 60
A_MINUTE_MICROS = 120_000


class SureClock(ManualClock):
    """Never in doubt."""

    is_sure = True


class WatchedStore(BalanceStore):
    """Ticks as ever, and keeps what was ticked, how many at once, and whom it must not answer about."""

    def __init__(self, till: Till) -> None:
        super().__init__(till.connection, till.clock, till.balances._lifetimes)
        self.looked_at: list[str] = []
        self.most_at_once = 0
        self.fails: dict[str, Exception] = {}
        self._now = 0

    async def tick_call(self, office: CachedOffice, call_id: str, *others: Any, **named: Any) -> CallProgress:
        self.looked_at.append(call_id)
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            if call_id in self.fails:
                raise self.fails[call_id]
            return await super().tick_call(office, call_id, *others, **named)
        finally:
            self._now -= 1


async def make_due(till: Till, count: int, *, offices: int = 1) -> None:
    """So many calls, each answered a second after the one before, whose next tick is due."""
    for number in range(offices):
        await till.open_office(10**9, office_id=f"o{number}")
    for number in range(count):
        office_id = f"o{number % offices}"
        await till.authorize(f"c{number:04}", office_id=office_id, by_gateway=True)
        await till.answer(f"c{number:04}", office_id=office_id)
        till.clock.move(1)
    till.clock.move(MINUTE)


def loop_of(till: Till, store: BalanceStore) -> DueLoop:
    assert isinstance(till.clock, SureClock)
    return DueLoop(till.connection, store, OfficeCache(till.connection), till.clock, SwitchLists(till.connection))


@pytest.mark.parametrize(("count", "offices"), [(3, 1), (40, 7), (400, 20)])
async def test_a_twentieth_at_a_time_and_the_longest_due_first(valkey: StoreServer, count: int, offices: int) -> None:
    async with open_till(valkey.url, clock=SureClock()) as till:
        await make_due(till, count, offices=offices)
        store = WatchedStore(till)
        assert await loop_of(till, store).turn() <= ENTRIES_A_TURN
        assert store.looked_at == [f"c{number:04}" for number in range(count)]
        assert store.most_at_once == min(count, max(AT_LEAST, count // TRIPS_A_TURN))
        assert await loop_of(till, store).turn() == 0


async def test_who_gets_no_answer_keeps_nobody_waiting_and_is_told_of(valkey: StoreServer) -> None:
    async with open_till(valkey.url, clock=SureClock()) as till:
        await make_due(till, 60)
        store = WatchedStore(till)
        store.fails = {"c0003": StoreUnavailable("silent"), "c0005": ValueError("not understood")}
        with pytest.raises(StoreUnavailable):
            await loop_of(till, store).turn()
        assert sorted(store.looked_at) == [f"c{number:04}" for number in range(60)]
        # All that were left went at once: who is silent would have each of them wait for its time-out.
        assert store.most_at_once > 2 * AT_LEAST
        store.fails, store.looked_at = {"c0005": ValueError("not understood")}, []
        await loop_of(till, store).turn()
        assert sorted(store.looked_at) == ["c0003", "c0005"]

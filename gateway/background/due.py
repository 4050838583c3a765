"""The due loop: looks at live calls when their time has come, shard by shard.

It only reads the due sets, which hold one entry a live call, and sends the ordinary scripts, which check everything
again: two loops on one shard do no harm, and neither does one that stopped in the middle. A call that the switch ticks
comes up when its last grant is over (the look before the cut) or when it may have lapsed.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

import structlog

from gateway import metrics
from gateway.domain.vocabulary import FinalReason
from gateway.store.balances import BY_CLOCK, BalanceStore, CallProgress
from gateway.store.clock import Clock
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.faults import StoreFault, StoreFull, StoreUnavailable
from gateway.store.keys import SHARDS, due_key
from gateway.store.offices import CachedOffice, OfficeCache
from gateway.store.switch_lists import SwitchLists

log = structlog.get_logger(__name__)

TURN_EVERY_SECONDS: Final = 0.2
PATIENCE_MS: Final = 400
ENTRIES_A_TURN: Final = 200
"""Read of each shard in one turn; what is left comes up in the next."""

AT_LEAST: Final = 8
TRIPS_A_TURN: Final = 20
"""Of the calls of a turn a twentieth are looked at at the same time, but not fewer than eight: an authorization finds
no more of their scripts than that ahead of it in the store, while of a backlog hundreds are looked at at a time."""


class SureClock(Clock, Protocol):
    """A clock that says whether it may be acted upon."""

    @property
    def is_sure(self) -> bool:
        """False after a jump, until measurements agree again."""
        ...


class DueLoop:
    """Ticks, cuts and lapses calls by the store's clock.

    Args:
        connection: To read the due sets.
        store: To run the scripts.
        offices: The offices this process knows.
        clock: The store's; while it is not sure nobody is ticked or cut.
        lists: When the switches last listed their calls.
        live_calls_ms: How often a switch lists them.
        shards: Those that are this process's to look at, asked anew each turn.
        patience_ms: How much overdue a call of another's shard is when it is looked at all the same: whoever it was
            left to may have died a moment ago.
    """

    def __init__(
        self,
        connection: StoreConnection,
        store: BalanceStore,
        offices: OfficeCache,
        clock: SureClock,
        lists: SwitchLists,
        *,
        live_calls_ms: int = 30_000,
        shards: Callable[[], Iterable[int]] = lambda: range(SHARDS),
        patience_ms: int = PATIENCE_MS,
    ) -> None:
        self._connection = connection
        self._store = store
        self._offices = offices
        self._clock = clock
        self._lists = lists
        self._live_calls_ms = live_calls_ms
        self._shards = shards
        self._patience_ms = patience_ms

    async def run(self) -> None:
        """Take turns for ever."""
        while True:
            await self._connection.wait_connected()
            busy = False
            try:
                busy = await self.turn() >= ENTRIES_A_TURN
            except (StoreUnavailable, StoreFault) as error:
                log.warning("due calls were not looked at", error=str(error))
            if not busy:
                await asyncio.sleep(TURN_EVERY_SECONDS)

    async def turn(self) -> int:
        """Look once at every call that is due; returns how many there were in the fullest shard.

        Raises:
            StoreUnavailable: The store did not answer; the calls stay due.
        """
        if not self._clock.is_sure:
            return 0
        now_ms = self._clock.now_ms()
        mine = set(self._shards())
        due = await self._connection.ask_each(
            (
                "ZRANGE", due_key(shard), 0, now_ms if shard in mine else now_ms - self._patience_ms,
                "BYSCORE", "LIMIT", 0, ENTRIES_A_TURN, "WITHSCORES",
            )
            for shard in range(SHARDS)
        )  # fmt: skip
        # Where one server does not answer, the calls of the others are looked at all the same.
        unanswered = [entries for entries in due if isinstance(entries, Exception)]
        due = [entries for entries in due if not isinstance(entries, Exception)]
        calls = sorted((score, member) for entries in due for member, score in _pairs(entries))
        for score, _ in calls:
            metrics.DUE_LAG_SECONDS.observe(max(0.0, (now_ms - score) / 1000))
        longest_due_first = (member for _, member in calls)
        at_once = max(AT_LEAST, len(calls) // TRIPS_A_TURN)
        looks = [self._look_at_some(longest_due_first, unanswered) for _ in range(at_once)]
        await asyncio.gather(*looks)
        if unanswered:
            raise unanswered[0]
        return max((len(entries) // 2 for entries in due), default=0)

    async def _look_at_some(self, members: Iterator[str], unanswered: list[Exception]) -> None:
        """Look at one call after the other that nobody has begun with; the store's silence goes to `unanswered`."""
        for member in members:
            try:
                await self._look(member)
            except StoreUnavailable as error:
                unanswered.append(error)
                # All others at once: each that the silent server has takes a time-out, and the rest is not to wait.
                await asyncio.gather(*[self._look_at_some(iter((each,)), unanswered) for each in members])
            except Exception as error:
                # One record that cannot be handled must not keep all others waiting.
                log.error("a due call could not be looked at", member=member, error=repr(error))

    async def _look(self, member: str) -> None:
        office_id, _, call_id = member.partition(":")
        office = await self._offices.get(office_id) or self._offices.lost(office_id)
        try:
            tick = await self._store.tick_call(office, call_id, BY_CLOCK)
        except StoreFull:
            # It sells no more time, but it cuts and settles, which is also what makes room again.
            if await self._cut(office, call_id) in (Code.LAPSE_DUE, Code.NOT_DUE):
                await self._lapse(office, call_id, 0)
            return
        missing_since_ms = self._missing_since(tick)
        if tick.code is Code.CUT_DUE and not missing_since_ms:
            if await self._cut(office, call_id) is Code.LAPSE_DUE:
                await self._lapse(office, call_id, 0)
        elif tick.code is not Code.OK or missing_since_ms:
            await self._lapse(office, call_id, missing_since_ms)

    async def _cut(self, office: CachedOffice, call_id: str) -> Code:
        cut = await self._store.cut_call(office, call_id)
        if cut.code is Code.CUT:
            metrics.CUTS.labels(FinalReason(cut.final).name).inc()
            metrics.CUT_LATE_SECONDS.observe(cut.late_ms / 1000)
            log.info("call cut", call_id=call_id, reason=FinalReason(cut.final).name)
        return cut.code

    async def _lapse(self, office: CachedOffice, call_id: str, missing_since_ms: int) -> None:
        lapse = await self._store.lapse_call(office, call_id, missing_since_ms=missing_since_ms)
        if lapse.code is Code.LAPSED:
            metrics.LAPSES.inc()

    def _missing_since(self, tick: CallProgress) -> int:
        """Since when the call is missing in its switch's lists; 0: it is not.

        The last two lists must both be younger than the call's last sign of life, and that as old as two lists are
        apart: several workers of one switch may each list what is theirs.
        """
        missing_since_ms = self._lists.missing_since(tick.switch_id) if tick.switch_id else 0
        listed_before_ms = min(missing_since_ms, self._clock.now_ms() - 2 * self._live_calls_ms)
        return missing_since_ms if 0 < tick.heard_ms < listed_before_ms else 0


def _pairs(entries: list[bytes]) -> list[tuple[str, float]]:
    return [(member.decode(), float(score)) for member, score in zip(entries[::2], entries[1::2], strict=True)]

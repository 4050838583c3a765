"""The refill waker: an office whose refill failed asks again when its waiting time is over, though nobody calls.

An office that is in use needs no waking: every operation looks. What the waker alone sees is an office that still asks
for a refill which is over here: the store has lost, in a failover, that it was told so.
"""

import asyncio
from collections.abc import Collection
from typing import Final

import structlog

from gateway.domain.vocabulary import RefillState
from gateway.ledger.auto_refills import AutoRefills
from gateway.ledger.offices import Offices
from gateway.store.balances import BalanceStore
from gateway.store.clock import Clock
from gateway.store.records import OfficeRecord

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 5.0
A_TURN: Final = 200
PATIENCE_MS: Final = 30_000
"""How long a refill is asked for before it is found to be over here: its trigger may be on its way still."""


class RefillWaker:
    """Looks at the offices whose automatic refill is on, a slice a turn, and remembers those that wait."""

    def __init__(self, offices: Offices, refills: AutoRefills, store: BalanceStore, clock: Clock) -> None:
        self._offices = offices
        self._refills = refills
        self._store = store
        self._clock = clock
        self._after = ""
        self._until: dict[str, int] = {}
        self._asking: dict[str, tuple[int, int]] = {}

    async def turn(self) -> bool:
        """Wake those whose time has come, and look at the next slice.

        Raises:
            StoreUnavailable, DatabaseError: The rest comes in the next turn.
        """
        offices = await self._offices.in_order(A_TURN, self._after, with_refill=True)
        records = await asyncio.gather(*(self._store.read_office(office.office_id) for office in offices))
        long_asked = []
        for office, record in zip(offices, records, strict=True):
            if record is not None and record.refill_state is RefillState.WAITING:
                self._until[office.office_id] = record.refill_until_ms
            else:
                self._until.pop(office.office_id, None)
            refill_id = self._long_asked_for(office.office_id, record)
            if refill_id is not None:
                long_asked.append(refill_id)
        await self._ask_again(long_asked)
        self._after = offices[-1].office_id if len(offices) == A_TURN else ""
        now_ms = self._clock.now_ms()
        for office_id in [office_id for office_id, until in self._until.items() if until <= now_ms]:
            # The script decides: the office may wait longer by now, or need nothing any more.
            await self._store.judge_refill(office_id)
            del self._until[office_id]
        return False

    def _long_asked_for(self, office_id: str, record: OfficeRecord | None) -> str | None:
        """The refill that the store has asked for longer than it may take, if there is one."""
        if record is None or record.refill_state is not RefillState.PENDING:
            self._asking.pop(office_id, None)
            return None
        number, now_ms = record.refill_number + 1, self._clock.now_ms()
        asked, since_ms = self._asking.setdefault(office_id, (number, now_ms))
        if asked != number:
            self._asking[office_id] = (number, now_ms)
            return None
        return f"{office_id}/{number}" if now_ms - since_ms >= PATIENCE_MS else None

    async def _ask_again(self, long_asked: Collection[str]) -> None:
        """Ask again for those refills that are over in SQL; most are somebody's outside, who takes his time."""
        if not long_asked:
            return
        for refill_id in await self._refills.over(long_asked):
            if await self._refills.ask_again(refill_id):
                log.warning("refill_asked_for_again", refill_id=refill_id)
                del self._asking[refill_id.rpartition("/")[0]]

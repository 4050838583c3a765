"""The refill waker: an office whose refill failed asks again when its waiting time is over, though nobody calls.

An office that is in use needs no waking: every operation looks.
"""

import asyncio
from typing import Final

from gateway.domain.vocabulary import RefillState
from gateway.ledger.offices import Offices
from gateway.store.balances import BalanceStore
from gateway.store.clock import Clock

EVERY_SECONDS: Final = 5.0
A_TURN: Final = 200


class RefillWaker:
    """Looks at the offices whose automatic refill is on, a slice a turn, and remembers those that wait."""

    def __init__(self, offices: Offices, store: BalanceStore, clock: Clock) -> None:
        self._offices = offices
        self._store = store
        self._clock = clock
        self._after = ""
        self._until: dict[str, int] = {}

    async def turn(self) -> bool:
        """Wake those whose time has come, and look at the next slice.

        Raises:
            StoreUnavailable, DatabaseError: The rest comes in the next turn.
        """
        offices = await self._offices.in_order(A_TURN, self._after, with_refill=True)
        records = await asyncio.gather(*(self._store.read_office(office.office_id) for office in offices))
        for office, record in zip(offices, records, strict=True):
            if record is not None and record.refill_state is RefillState.WAITING:
                self._until[office.office_id] = record.refill_until_ms
            else:
                self._until.pop(office.office_id, None)
        self._after = offices[-1].office_id if len(offices) == A_TURN else ""
        now_ms = self._clock.now_ms()
        for office_id in [office_id for office_id, until in self._until.items() if until <= now_ms]:
            # The script decides: the office may wait longer by now, or need nothing any more.
            await self._store.judge_refill(office_id)
            del self._until[office_id]
        return False

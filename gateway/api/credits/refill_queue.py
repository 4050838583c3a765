"""The refill queue: the refills that are not closed, as the ledger and the store have them together."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.domain.identity import Identity
from gateway.domain.vocabulary import RefillState
from gateway.ledger.open_refills import MAX_OPEN, OpenRefill, OpenRefills, RefillStage
from gateway.store.balances import BalanceStore
from gateway.store.records import OfficeRecord

_MOVING: Final = frozenset({RefillStage.ASKED, RefillStage.INTENDED, RefillStage.CHARGING})
"""The ledger itself goes on with these, whatever the store says."""


@dataclass(frozen=True, slots=True)
class QueuedRefill:
    """A refill that is not closed.

    Attributes:
        refill: As the ledger has it.
        state: As the store has it: PENDING, WAITING, or OFF after failures; None: the store has lost the office.
        next_attempt_at: While WAITING, in Unix milliseconds; None: at once, or never by itself.
    """

    refill: OpenRefill
    state: RefillState | None
    next_attempt_at: int | None


class RefillQueue:
    """Lists what is yet to be refilled.

    Args:
        refills: The ledger's side.
        store: Says whether a refill is still asked for, and when it is tried again.
    """

    def __init__(self, refills: OpenRefills, store: BalanceStore) -> None:
        self._refills = refills
        self._store = store

    async def list(self, identity: Identity, limit: int = MAX_OPEN) -> Sequence[QueuedRefill]:
        """The refills that are not closed of the offices that somebody may read, the newest first.

        Args:
            identity: Who asks.
            limit: How many at most, up to MAX_OPEN.

        Raises:
            PermissionDenied: The bearer may read no office.
            StoreUnavailable, DatabaseError: Either did not answer.
        """
        company_id, office_ids = identity.readable_company_id(), identity.readable_office_ids()
        refills = await self._refills.newest(limit, company_id=company_id, office_ids=office_ids)
        offices = await asyncio.gather(*(self._store.read_office(refill.office_id) for refill in refills))
        return [
            _queued(refill, office)
            for refill, office in zip(refills, offices, strict=True)
            if _is_asked_for(refill, office)
        ]


def _is_asked_for(refill: OpenRefill, office: OfficeRecord | None) -> bool:
    if office is None or refill.stage in _MOVING:
        return True
    if office.refill_number + 1 != refill.number:
        return False
    if office.refill_state is RefillState.OFF:
        return refill.stage is RefillStage.FAILED  # It waits for a person.
    return office.refill_state is not RefillState.ARMED


def _queued(refill: OpenRefill, office: OfficeRecord | None) -> QueuedRefill:
    if office is None:
        return QueuedRefill(refill, None, None)
    is_waiting = office.refill_state is RefillState.WAITING
    return QueuedRefill(refill, office.refill_state, office.refill_until_ms if is_waiting else None)

"""The reconciler: after every new connection, looks whether the store still holds what it had confirmed.

A store that restarted or was failed over may have lost its last seconds: settings, tokens and credits that SQL believes
to be there. One look at every office finds them; whatever is behind is sent again.
"""

import asyncio
from typing import Final

import structlog

from gateway.background.credit_applier import CreditApplier
from gateway.background.missing import MissingOffices
from gateway.ledger.credits import Credits
from gateway.ledger.offices import Office, Offices
from gateway.projection.locks import OfficeLocks
from gateway.projection.offices import OfficeLost, OfficeProjection
from gateway.projection.tokens import TokenProjection
from gateway.store.balances import BalanceStore

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 1.0
A_TURN: Final = 200
ACTOR: Final = "reconciler"


class Reconciler:
    """Goes through all offices once each time it is asked to, a slice a turn."""

    def __init__(
        self,
        offices: Offices,
        ledger: Credits,
        store: BalanceStore,
        office_projection: OfficeProjection,
        token_projection: TokenProjection,
        applier: CreditApplier,
        locks: OfficeLocks,
        missing: MissingOffices,
    ) -> None:
        self._offices = offices
        self._credits = ledger
        self._store = store
        self._office_projection = office_projection
        self._token_projection = token_projection
        self._applier = applier
        self._locks = locks
        self._missing = missing
        self._asked = True
        self._after: str | None = None

    def ask(self) -> None:
        """Begin anew with the next turn: the store may be another one now."""
        self._asked = True

    async def turn(self) -> bool:
        """Look at the next slice of offices; True if there are more to look at.

        Raises:
            StoreUnavailable, DatabaseError: The slice comes again.
        """
        if self._asked:
            self._after, self._asked = "", False
            try:
                await self._token_projection.project_all()
            except BaseException:
                self._asked = True
                raise
        if self._after is None:
            return False
        offices = await self._offices.in_order(A_TURN, self._after)
        records = await asyncio.gather(*(self._store.read_office(office.office_id) for office in offices))
        numbers = await self._credits.last_numbers([office.office_id for office in offices])
        for office, record in zip(offices, records, strict=True):
            if record is None and not await self._restore(office):
                continue
            self._missing.discard(office.office_id)
            if record is not None and record.settings.version < office.version:
                await self._restore(office)
            held, last = record.credit_number if record is not None else 0, numbers.get(office.office_id, 0)
            if held < last:
                log.info("credits_behind", office_id=office.office_id, store=held, ledger=last)
                await self._applier.apply_through(office.office_id, last)
        self._after = offices[-1].office_id if len(offices) == A_TURN else None
        return self._after is not None or self._asked

    async def _restore(self, office: Office) -> bool:
        """Make the store hold an office as SQL has it; False: it is lost, and more than its settings with it."""
        try:
            async with self._locks.hold(office.office_id):
                await self._office_projection.settle(await self._offices.get(office.office_id), actor=ACTOR)
        except OfficeLost:
            self._missing.add(office.office_id)
            return False
        return True

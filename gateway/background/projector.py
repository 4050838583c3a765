"""The projector: carries into the store what SQL has and the store is not known to hold."""

from typing import Final

import structlog

from gateway.background.missing import MissingOffices
from gateway.ledger.offices import Offices
from gateway.ledger.tokens import Tokens
from gateway.projection.locks import OfficeLocks
from gateway.projection.offices import OfficeLost, OfficeProjection
from gateway.projection.rates import RateProjection
from gateway.projection.switches import SwitchProjection
from gateway.projection.tokens import TokenProjection

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 2.0
A_TURN: Final = 100
ACTOR: Final = "projector"


class Projector:
    """Finishes what an rpc could not: offices, tokens, switches and the deck in force, from SQL into the store."""

    def __init__(
        self,
        offices: Offices,
        tokens: Tokens,
        office_projection: OfficeProjection,
        token_projection: TokenProjection,
        rate_projection: RateProjection,
        switch_projection: SwitchProjection,
        locks: OfficeLocks,
        missing: MissingOffices,
    ) -> None:
        self._offices = offices
        self._tokens = tokens
        self._office_projection = office_projection
        self._token_projection = token_projection
        self._rate_projection = rate_projection
        self._switch_projection = switch_projection
        self._locks = locks
        self._missing = missing
        self._after_office = ""
        self._after_token = ""

    async def turn(self) -> bool:
        """Project the next ones that are waiting; True if there are more.

        Raises:
            StoreUnavailable, DatabaseError: What is not done is there in the next turn.
        """
        await self._rate_projection.project()
        await self._switch_projection.project()
        more_tokens = await self._project_tokens()
        return await self._project_offices() or more_tokens

    async def _project_offices(self) -> bool:
        # From where the last turn stopped, so that an office that cannot be projected hides no other.
        waiting = await self._offices.unprojected(A_TURN, self._after_office)
        for office in waiting:
            async with self._locks.hold(office.office_id):
                try:
                    # Read again: an rpc that held the lock may have projected it, or changed it once more.
                    now = await self._offices.get(office.office_id)
                    settled = await self._office_projection.settle(now, actor=ACTOR)
                except OfficeLost:
                    self._missing.add(office.office_id)
                    continue
            if settled.version != now.version:
                log.warning("credit_limit_taken_back", office_id=office.office_id, version=settled.version)
        self._after_office = waiting[-1].office_id if len(waiting) == A_TURN else ""
        return bool(self._after_office)

    async def _project_tokens(self) -> bool:
        waiting = await self._tokens.unprojected(A_TURN, self._after_token)
        for hashed in waiting:
            await self._token_projection.project(hashed)
        self._after_token = waiting[-1].token.token_id if len(waiting) == A_TURN else ""
        return bool(self._after_token)

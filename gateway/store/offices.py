"""The offices that this process knows, as it knows them: settings with a version, never a balance."""

from collections import OrderedDict
from typing import Final, NamedTuple

from gateway.domain.calendar import day_number
from gateway.domain.vocabulary import OfficeState
from gateway.store.connection import StoreConnection
from gateway.store.keys import OfficeKeys, office_keys
from gateway.store.records import OfficeRecord

CACHED_OFFICES: Final = 200_000
"""Some 500 bytes each."""


class CachedOffice(NamedTuple):
    """What is needed to rate a request of an office and to address it in the store.

    A stale one does no harm: scripts get its version and answer with the new settings when they hold another.
    """

    office_id: str
    keys: OfficeKeys
    version: int
    country: str
    tariff: str
    time_zone: str
    company_id: str
    is_suspended: bool
    guards: tuple[tuple[str, int], ...] = ()
    """Fraud guards that have tripped: country, and when it ends (Unix milliseconds); mostly none."""

    def day(self, now_ms: int) -> int:
        """The ordinal of the office's calendar date."""
        return day_number(now_ms, self.time_zone)


class OfficeCache:
    """Least recently used offices, read from the store where they are missing."""

    def __init__(self, connection: StoreConnection, *, size: int = CACHED_OFFICES) -> None:
        self._connection = connection
        self._size = size
        self._offices: OrderedDict[str, CachedOffice] = OrderedDict()

    def cached(self, office_id: str) -> CachedOffice | None:
        """Return the office if it is here; never waits."""
        office = self._offices.get(office_id)
        if office is not None:
            self._offices.move_to_end(office_id)
        return office

    async def get(self, office_id: str) -> CachedOffice | None:
        """Return the office, from the store where it is not cached; None: the store does not know it.

        Raises:
            StoreUnavailable: Not cached, and the store did not answer.
        """
        office = self.cached(office_id)
        if office is not None:
            return office
        packed = await self._connection.ask("GET", office_keys(office_id).office)
        return None if packed is None else self.remember(office_id, packed)

    def lost(self, office_id: str) -> CachedOffice:
        """Stand in for an office that the store does not know, to clean up what is left of its calls."""
        return CachedOffice(office_id, office_keys(office_id), 0, "", "", "UTC", "", is_suspended=True)

    def remember(self, office_id: str, packed: bytes) -> CachedOffice:
        """Take an office's value as a script returned it."""
        record = OfficeRecord.unpack(packed)
        profile = record.profile
        office = CachedOffice(
            office_id,
            office_keys(office_id),
            record.settings.version,
            profile.country,
            profile.tariff,
            profile.time_zone or "UTC",
            profile.company_id,
            record.settings.state is OfficeState.SUSPENDED,
            tuple((guard.country, guard.ends_at_ms) for guard in profile.guards),
        )
        self._offices[office_id] = office
        self._offices.move_to_end(office_id)
        if len(self._offices) > self._size:
            self._offices.popitem(last=False)
        return office

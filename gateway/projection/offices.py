"""Offices from SQL into the store, by version."""

from dataclasses import dataclass
from typing import Final

from gateway.errors import Unavailable
from gateway.ledger.offices import Office, Offices
from gateway.store.balances import BalanceStore
from gateway.store.clock import Clock
from gateway.store.codes import Code
from gateway.store.records import OfficeRecord, OfficeSettingsRecord
from gateway.v1.records_pb2 import OfficeProfile, TrippedGuard

_ATTEMPTS: Final = 5


class OfficeLost(Unavailable):
    """The store had this office and has it no longer: it lost its data, and only `tollgate rebuild` knows the balance.

    It is never made anew here, with a balance of nothing.
    """

    reason = "OFFICE_MISSING_IN_STORE"

    def __init__(self, office_id: str) -> None:
        super().__init__(
            "The balance store has lost this office; an operator has to restore it from the ledger.",
            metadata={"office_id": office_id},
        )


@dataclass(frozen=True, slots=True)
class NotCovered:
    """The store refuses a credit limit that what is reserved or spent already exceeds."""

    smallest_credit_limit_micros: int


class OfficeProjection:
    """Carries offices into the store. The caller holds the office's lock."""

    def __init__(self, offices: Offices, store: BalanceStore, clock: Clock) -> None:
        self._offices = offices
        self._store = store
        self._clock = clock

    async def settle(self, office: Office, *, actor: str) -> Office:
        """Project an office; a credit limit that the store refuses goes back to the one that it holds.

        Returns:
            The office as the store and SQL have it now.

        Raises:
            OfficeLost, StoreUnavailable, DatabaseError: As `project`.
            Unavailable: Others keep changing it.
        """
        for _ in range(_ATTEMPTS):
            if await self.project(office) is None:
                return office
            change = await self._offices.revert_credit_limit(
                office.office_id, office.version, actor=actor, now_ms=self._clock.now_ms()
            )
            office = change.after
        raise Unavailable("The office's settings keep changing; retry.", reason="OFFICE_CHANGING")

    async def record_of(self, office_id: str, *, actor: str) -> OfficeRecord:
        """What the store has of an office, which is projected first if it has nothing.

        Raises:
            OfficeNotFound: There is no office of this id.
            OfficeLost, StoreUnavailable, DatabaseError: As `project`.
        """
        record = await self._store.read_office(office_id)
        if record is not None:
            return record
        await self.settle(await self._offices.get(office_id), actor=actor)
        record = await self._store.read_office(office_id)
        if record is None:
            raise OfficeLost(office_id)
        return record

    async def project(self, office: Office) -> NotCovered | None:
        """Make the store hold this version of an office, or a newer one; None if it does.

        Raises:
            OfficeLost: The store had the office and lost it.
            StoreUnavailable: The store may or may not hold it; the projector sees to it.
            DatabaseError: The store holds it, but SQL does not know; the projector sees to it.
        """
        packed = packed_settings(office)
        enabled = office.refill.enabled
        put = await self._store.put_office(office.office_id, packed, refill_enabled=enabled, create=False)
        if put.code is Code.UNKNOWN_OFFICE:
            # Only an office that no credit ever reached may begin with nothing.
            if await self._offices.was_in_store(office.office_id):
                raise OfficeLost(office.office_id)
            put = await self._store.put_office(office.office_id, packed, refill_enabled=enabled, create=True)
        if put.code is Code.NOT_COVERED:
            return NotCovered(put.smallest_credit_limit_micros)
        await self._offices.mark_projected(office)
        return None


def packed_settings(office: Office) -> bytes:
    """The settings of an office as put_office.lua takes them."""
    record, profile = stored_settings(office)
    return record.pack(profile)


def stored_settings(office: Office) -> tuple[OfficeSettingsRecord, OfficeProfile]:
    """The settings of an office as the store has them: what scripts enforce, and what prices a request."""
    settings, refill = office.settings, office.refill
    record = OfficeSettingsRecord(
        version=office.version,
        state=office.state,
        credit_limit_micros=settings.credit_limit_micros,
        max_concurrent_calls=settings.max_concurrent_calls,
        max_price_per_minute_micros=settings.max_price_per_minute_micros,
        daily_spend_limit_micros=settings.daily_spend_limit_micros,
        refill_threshold_micros=refill.threshold_micros,
        refill_amount_micros=refill.amount_micros,
        refill_generation=office.refill_generation,
    )
    profile = OfficeProfile(
        country=settings.country,
        tariff=settings.tariff,
        time_zone=settings.time_zone,
        company_id=settings.company_id,
        guards=[TrippedGuard(country=guard.country, ends_at_ms=guard.ends_at) for guard in office.guards],
    )
    return record, profile

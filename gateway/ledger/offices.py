"""The offices: their settings, state and refill, and how far the store has followed.

A change is committed here first, with the next version, and then projected into the store. The store alone knows what
an office has reserved, so it may refuse a lower credit limit; the service then takes the change back with another
version (`revert`), or, when nobody remembers the change after a crash, `revert_credit_limit`.
"""

import dataclasses
from collections.abc import Callable, Collection
from dataclasses import dataclass

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.fraud_guard import Guard, GuardKind
from gateway.domain.office import OfficeChanges, OfficeSettings, RefillSettings, validate_currency
from gateway.domain.vocabulary import OfficeState
from gateway.ledger import audit
from gateway.ledger.database import Database
from gateway.ledger.errors import CompanyNotFound, OfficeExists, OfficeNotFound
from gateway.ledger.models import CompanyRow, CreditRow, OfficeRow
from gateway.ledger.paging import Page, PageRequest

_SETTINGS = tuple(field.name for field in dataclasses.fields(OfficeSettings))


@dataclass(frozen=True, slots=True)
class Office:
    """An office as it is in SQL; the balance is the store's.

    `refill_generation` grows with every SetAutoRefill, also one that changes nothing: it asks for the refill to be
    armed anew, for example after three failures, and the store does that once per generation. `guards` are the fraud
    guards that have tripped, also those that are over since.
    """

    settings: OfficeSettings
    state: OfficeState
    refill: RefillSettings
    refill_generation: int
    version: int
    created_at: int
    guards: tuple[Guard, ...] = ()

    @property
    def guarded_until(self) -> int:
        """When the last of its fraud guards ends, in Unix milliseconds; 0: none has tripped, or they were lifted."""
        return max((guard.ends_at for guard in self.guards), default=0)

    @property
    def office_id(self) -> str:
        """The id of the office."""
        return self.settings.office_id

    @property
    def company_id(self) -> str:
        """The company that it belongs to."""
        return self.settings.company_id


@dataclass(frozen=True, slots=True)
class OfficeChange:
    """An office before and after a change; the two are equal where there was nothing to change."""

    before: Office
    after: Office


class Offices:
    """The repository of offices."""

    def __init__(self, database: Database, currency: str) -> None:
        """Take the database, and the one currency of this installation.

        Raises:
            InvalidArgument: It is no currency.
        """
        self._database = database
        validate_currency(currency)
        self._currency = currency

    async def create(self, settings: OfficeSettings, *, actor: str, now_ms: int) -> Office:
        """Record an office as version 1, once per id; a repeat with the same settings gets the office that there is.

        Raises:
            InvalidArgument: A value is out of its range.
            CompanyNotFound: The company does not exist.
            OfficeExists: The id is taken by an office of other settings.
        """
        settings.validate(self._currency)

        async def insert(session: AsyncSession) -> Office:
            row = await session.get(OfficeRow, settings.office_id)
            if row is not None:
                office = office_of(row)
                if office.settings != settings:
                    raise OfficeExists(settings.office_id)
                return office
            await _require_company(session, settings.company_id)
            office = Office(settings, OfficeState.ACTIVE, RefillSettings(), 0, 1, now_ms)
            row = OfficeRow(created_at=now_ms, projected_version=0, projected_credit_limit_micros=0)
            _write(row, office)
            session.add(row)
            _record(session, now_ms, actor, "office.create", None, office)
            return office

        return await self._database.transact(insert)

    async def find(self, office_id: str) -> Office | None:
        """One office, or None: for whom must not learn whether it exists before their rights are known."""
        async with self._database.read() as session:
            row = await session.get(OfficeRow, office_id)
        return None if row is None else office_of(row)

    async def get(self, office_id: str) -> Office:
        """One office.

        Raises:
            OfficeNotFound: There is none of this id.
        """
        office = await self.find(office_id)
        if office is None:
            raise OfficeNotFound(office_id)
        return office

    async def list(
        self, page: PageRequest, company_id: str | None = None, office_ids: Collection[str] | None = None
    ) -> Page[Office]:
        """The offices in the order of their ids.

        Args:
            page: Which part.
            company_id: Only those of this company.
            office_ids: Only these (`Identity.readable_office_ids`).

        Raises:
            InvalidArgument: The page is not one of this list.
        """
        of = ("offices", company_id, None if office_ids is None else sorted(office_ids))
        after = page.after((str,), *of)
        query = select(OfficeRow).order_by(OfficeRow.office_id).limit(page.limit + 1)
        if company_id is not None:
            query = query.where(OfficeRow.company_id == company_id)
        if office_ids is not None:
            query = query.where(OfficeRow.office_id.in_(office_ids))
        if after is not None:
            query = query.where(OfficeRow.office_id > after[0])
        async with self._database.read() as session:
            offices = [office_of(row) for row in await session.scalars(query)]
        return page.page(offices, lambda office: (office.office_id,), *of)

    async def update(self, office_id: str, changes: OfficeChanges, *, actor: str, now_ms: int) -> OfficeChange:
        """Change the given fields together, or none of them.

        Raises:
            InvalidArgument: A value is out of its range.
            CompanyNotFound: The office is to go to a company that does not exist.
            OfficeNotFound: There is no office of this id.
        """

        def changed(office: Office) -> Office:
            settings = changes.applied_to(office.settings)
            settings.validate(self._currency)
            return dataclasses.replace(office, settings=settings)

        return await self._change(office_id, "office.update", changed, actor, now_ms)

    async def set_state(
        self, office_id: str, state: OfficeState, *, actor: str, now_ms: int, reason: str = ""
    ) -> OfficeChange:
        """Suspend or resume an office; the reason is for the audit log.

        Raises:
            OfficeNotFound: There is no office of this id.
        """

        def changed(office: Office) -> Office:
            return dataclasses.replace(office, state=state)

        action = "office.suspend" if state is OfficeState.SUSPENDED else "office.resume"
        return await self._change(office_id, action, changed, actor, now_ms, reason)

    async def set_auto_refill(self, office_id: str, refill: RefillSettings, *, actor: str, now_ms: int) -> OfficeChange:
        """Replace the refill settings, as the next generation even if they are the same.

        Raises:
            InvalidArgument: A value is out of its range.
            OfficeNotFound: There is no office of this id.
        """
        refill.validate()

        def changed(office: Office) -> Office:
            return dataclasses.replace(office, refill=refill, refill_generation=office.refill_generation + 1)

        return await self._change(office_id, "office.set_auto_refill", changed, actor, now_ms)

    async def revert(self, change: OfficeChange, *, actor: str, now_ms: int) -> OfficeChange:
        """Take an update back that the store refused, as another version.

        Only what this update changed, and only where it still is as the update left it: a later change stands.

        Raises:
            OfficeNotFound: There is no office of this id.
        """
        before, after = change.before.settings, change.after.settings

        def changed(office: Office) -> Office:
            old = {
                name: getattr(before, name)
                for name in _SETTINGS
                if getattr(before, name) != getattr(after, name) == getattr(office.settings, name)
            }
            return dataclasses.replace(office, settings=dataclasses.replace(office.settings, **old))

        return await self._change(change.after.office_id, "office.revert", changed, actor, now_ms)

    async def revert_credit_limit(
        self, office_id: str, refused_version: int, *, actor: str, now_ms: int
    ) -> OfficeChange:
        """Give an office the credit limit that the store holds, if the version that it refused is still the newest.

        For the loop that finds an unprojected office after a crash, when the change itself is forgotten.

        Raises:
            OfficeNotFound: There is no office of this id.
        """
        async with self._database.write() as session:
            row = await _locked(session, office_id)
            before = office_of(row)
            if before.version != refused_version or row.projected_version == 0:
                return OfficeChange(before, before)
            settings = dataclasses.replace(before.settings, credit_limit_micros=row.projected_credit_limit_micros)
            after = dataclasses.replace(before, settings=settings, version=before.version + 1)
            _write(row, after)
            _record(session, now_ms, actor, "office.revert_credit_limit", before, after)
            return OfficeChange(before, after)

    async def unprojected(self, limit: int, after_office_id: str = "") -> tuple[Office, ...]:
        """Offices that the store is not known to hold as they are, by id from `after_office_id` on."""
        query = (
            select(OfficeRow)
            .where(OfficeRow.projected_version < OfficeRow.version, OfficeRow.office_id > after_office_id)
            .order_by(OfficeRow.office_id)
            .limit(limit)
        )
        async with self._database.read() as session:
            return tuple(office_of(row) for row in await session.scalars(query))

    async def mark_projected(self, office: Office) -> None:
        """Note that the store holds this version of an office; older news than what is known changes nothing."""
        async with self._database.write() as session:
            await session.execute(
                update(OfficeRow)
                .where(OfficeRow.office_id == office.office_id, OfficeRow.projected_version < office.version)
                .values(
                    projected_version=office.version,
                    projected_credit_limit_micros=office.settings.credit_limit_micros,
                )
            )

    async def was_in_store(self, office_id: str) -> bool:
        """Whether the store is known to have held an office: it said so, or has confirmed one of its credits."""
        query = select(OfficeRow.projected_version).where(OfficeRow.office_id == office_id)
        confirmed = select(CreditRow.number).where(CreditRow.office_id == office_id, CreditRow.applied_at.is_not(None))
        async with self._database.read() as session:
            return bool(await session.scalar(query)) or await session.scalar(confirmed.limit(1)) is not None

    async def in_order(self, limit: int, after_office_id: str = "", *, with_refill: bool = False) -> tuple[Office, ...]:
        """Offices by id from `after_office_id` on, all or those whose automatic refill is on: for loops over them."""
        query = select(OfficeRow).where(OfficeRow.office_id > after_office_id)
        if with_refill:
            query = query.where(OfficeRow.refill_enabled)
        async with self._database.read() as session:
            rows = await session.scalars(query.order_by(OfficeRow.office_id).limit(limit))
            return tuple(office_of(row) for row in rows)

    async def _change(
        self,
        office_id: str,
        action: str,
        changed: Callable[[Office], Office],
        actor: str,
        now_ms: int,
        reason: str = "",
    ) -> OfficeChange:
        async with self._database.write() as session:
            return await change(session, office_id, action, changed, actor=actor, now_ms=now_ms, reason=reason)


async def change(
    session: AsyncSession,
    office_id: str,
    action: str,
    changed: Callable[[Office], Office],
    *,
    actor: str,
    now_ms: int,
    reason: str = "",
) -> OfficeChange:
    """Change an office in the transaction of what makes it change (a chargeback, say), as its next version.

    Args:
        session: The transaction.
        office_id: Which office.
        action: For the audit log.
        changed: Makes the new one of the old; what it leaves equal changes nothing.
        actor: Who.
        now_ms: When.
        reason: For the audit log.

    Raises:
        OfficeNotFound: There is no office of this id.
        CompanyNotFound: It is to go to a company that does not exist.
    """
    row = await _locked(session, office_id)
    before = office_of(row)
    after = changed(before)
    if after == before:
        return OfficeChange(before, before)
    after = dataclasses.replace(after, version=before.version + 1)
    if after.company_id != before.company_id:
        await _require_company(session, after.company_id)
    _write(row, after)
    _record(session, now_ms, actor, action, before, after, reason)
    return OfficeChange(before, after)


async def _locked(session: AsyncSession, office_id: str) -> OfficeRow:
    row = await session.get(OfficeRow, office_id, with_for_update=True)
    if row is None:
        raise OfficeNotFound(office_id)
    return row


async def _require_company(session: AsyncSession, company_id: str) -> None:
    if await session.get(CompanyRow, company_id) is None:
        raise CompanyNotFound(company_id)


def _record(
    session: AsyncSession,
    now_ms: int,
    actor: str,
    action: str,
    before: Office | None,
    after: Office,
    reason: str = "",
) -> None:
    audit.record(
        session,
        now_ms=now_ms,
        actor=actor,
        action=action,
        target=f"office:{after.office_id}",
        before=before,
        after=after,
        reason=reason,
    )


def office_of(row: OfficeRow) -> Office:
    """An office as its row has it."""
    return Office(
        settings=OfficeSettings(**{name: getattr(row, name) for name in _SETTINGS}),
        state=row.state,
        refill=RefillSettings(
            row.refill_enabled, row.refill_threshold_micros, row.refill_amount_micros, row.refill_payment_method_id
        ),
        refill_generation=row.refill_generation,
        version=row.version,
        created_at=row.created_at,
        guards=tuple(Guard(**guard | {"kind": GuardKind(guard["kind"])}) for guard in row.guards),
    )


def _write(row: OfficeRow, office: Office) -> None:
    for name in _SETTINGS:
        setattr(row, name, getattr(office.settings, name))
    row.state = office.state
    row.guards = [dataclasses.asdict(guard) for guard in office.guards]
    row.guarded_until = office.guarded_until
    row.refill_enabled = office.refill.enabled
    row.refill_threshold_micros = office.refill.threshold_micros
    row.refill_amount_micros = office.refill.amount_micros
    row.refill_payment_method_id = office.refill.payment_method_id
    row.refill_generation = office.refill_generation
    row.version = office.version

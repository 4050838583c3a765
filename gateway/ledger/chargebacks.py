"""Chargebacks, and the webhooks that tell of them: money that a cardholder's bank has taken back already."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain import notice
from gateway.domain.credit import OWN_KEY_PREFIX, CreditKind, CreditRequest
from gateway.domain.vocabulary import OfficeState
from gateway.ledger import audit, charges, notices, offices
from gateway.ledger.charges import Charge
from gateway.ledger.credits import Credit, is_key_used, number_credit
from gateway.ledger.database import Database
from gateway.ledger.errors import LedgerBroken
from gateway.ledger.models import ChargebackRow, ProviderEventRow
from gateway.ledger.offices import Office


@dataclass(frozen=True, slots=True)
class Chargeback:
    """A charge that was taken back. `taken_micros` is None until it is known what the office could give for it."""

    chargeback_id: str
    charge_key: str
    office_id: str
    amount_micros: int
    taken_micros: int | None
    at: int

    @property
    def owed_micros(self) -> int:
        """What the office owes for it."""
        return self.amount_micros - (self.taken_micros or 0)

    def credit(self, attempt: int, amount_micros: int) -> CreditRequest:
        """The negative credit by which an amount is taken for it.

        An attempt that the store refuses, since calls were faster, keeps its key for ever: the next has another.
        """
        # A provider's own ids may be longer than a key.
        name = hashlib.sha256(self.chargeback_id.encode()).hexdigest()[:32]
        return CreditRequest(
            office_id=self.office_id,
            amount_micros=-amount_micros,
            kind=CreditKind.CHARGEBACK,
            reason=f"chargeback of {self.charge_key}",
            idempotency_key=f"{OWN_KEY_PREFIX}chargeback:{name}/{attempt}",
        )


class Chargebacks:
    """The repository of chargebacks."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self, chargeback_id: str, charge: Charge, amount_micros: int, *, now_ms: int
    ) -> tuple[Chargeback, Office]:
        """Note a chargeback, suspend the office and turn its automatic refill off, in one transaction and once.

        Args:
            chargeback_id: The provider's name of it.
            charge: What was taken back.
            amount_micros: How much of it.
            now_ms: When.

        Returns:
            The chargeback and the office, both as they are now.
        """

        async def insert(session: AsyncSession) -> tuple[Chargeback, Office]:
            row = await session.get(ChargebackRow, chargeback_id)
            stops = row is None
            change = await offices.change(
                session,
                charge.office_id,
                "office.charge_back",
                _stopped if stops else _unchanged,
                actor=charges.ACTOR,
                now_ms=now_ms,
                reason=f"chargeback of {charge.charge_key}",
            )
            if row is None:
                row = ChargebackRow(
                    chargeback_id=chargeback_id,
                    charge_key=charge.charge_key,
                    office_id=charge.office_id,
                    amount_micros=amount_micros,
                    taken_micros=None,
                    at=now_ms,
                )
                session.add(row)
                _record(session, now_ms, "chargeback.create", None, _chargeback(row))
            return _chargeback(row), change.after

        return await self._database.transact(insert)

    async def number(self, chargeback: Chargeback, attempt: int, amount_micros: int, *, now_ms: int) -> Credit | None:
        """Number the credit by which an amount is taken, once per attempt; None: what was taken is known already.

        Raises:
            IdempotencyKeyReused: Another gateway has numbered this attempt, with another amount.
        """

        async def insert(session: AsyncSession) -> Credit | None:
            row = await _locked(session, chargeback.chargeback_id)
            if row.taken_micros is not None:
                return None
            request = chargeback.credit(attempt, amount_micros)
            return (await number_credit(session, request, actor=charges.ACTOR, now_ms=now_ms)).credit

        return await self._database.transact(insert)

    async def mark_taken(self, chargeback_id: str, taken_micros: int, attempt: int, *, now_ms: int) -> Chargeback:
        """Note what the office could give for it, and tell its people; a repeat changes nothing.

        Nothing is noted as nothing taken while the attempt has a credit: another gateway is taking it just now.
        """

        async def update(session: AsyncSession) -> Chargeback:
            row = await _locked(session, chargeback_id)
            before = _chargeback(row)
            if before.taken_micros is not None:
                return before
            if not taken_micros and await is_key_used(
                session, row.office_id, before.credit(attempt, row.amount_micros).idempotency_key
            ):
                return before
            row.taken_micros = taken_micros
            after = _chargeback(row)
            _record(session, now_ms, "chargeback.take", before, after)
            told = notice.chargeback(
                row.office_id,
                chargeback_id,
                amount_micros=row.amount_micros,
                taken_micros=taken_micros,
                owed_micros=after.owed_micros,
            )
            await notices.record(session, told, now_ms=now_ms)
            return after

        return await self._database.transact(update)

    async def untaken(self, limit: int, after: str = "") -> Sequence[Chargeback]:
        """Chargebacks for which nothing was taken yet, by id from `after` on."""
        query = (
            select(ChargebackRow)
            .where(ChargebackRow.taken_micros.is_(None), ChargebackRow.chargeback_id > after)
            .order_by(ChargebackRow.chargeback_id)
            .limit(limit)
        )
        async with self._database.read() as session:
            return [_chargeback(row) for row in await session.scalars(query)]

    async def owed_micros(self, office_id: str) -> int:
        """What an office owes for all its chargebacks."""
        query = select(
            func.coalesce(func.sum(ChargebackRow.amount_micros - func.coalesce(ChargebackRow.taken_micros, 0)), 0)
        ).where(ChargebackRow.office_id == office_id)
        async with self._database.read() as session:
            return int(await session.scalar(query) or 0)


class ProviderEvents:
    """The webhooks that were handled: the provider sends each at least once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_known(self, event_id: str) -> bool:
        """Whether it was handled."""
        async with self._database.read() as session:
            return await session.get(ProviderEventRow, event_id) is not None

    async def mark_handled(self, event_id: str, kind: str, *, now_ms: int) -> None:
        """Note that it was handled; a repeat changes nothing."""

        async def insert(session: AsyncSession) -> None:
            if await session.get(ProviderEventRow, event_id) is None:
                session.add(ProviderEventRow(event_id=event_id, kind=kind, received_at=now_ms))

        await self._database.transact(insert)


async def _locked(session: AsyncSession, chargeback_id: str) -> ChargebackRow:
    row = await session.get(ChargebackRow, chargeback_id, with_for_update=True)
    if row is None:
        raise LedgerBroken(f"There is no chargeback {chargeback_id!r}.")
    return row


def _stopped(office: Office) -> Office:
    if not office.refill.enabled:
        return dataclasses.replace(office, state=OfficeState.SUSPENDED)
    # Another generation, so that the store turns the refill off too.
    return dataclasses.replace(
        office,
        state=OfficeState.SUSPENDED,
        refill=dataclasses.replace(office.refill, enabled=False),
        refill_generation=office.refill_generation + 1,
    )


def _unchanged(office: Office) -> Office:
    """A chargeback that is known stops nothing anew: an operator may have resumed the office meanwhile."""
    return office


def _record(session: AsyncSession, now_ms: int, action: str, before: Chargeback | None, after: Chargeback) -> None:
    target = f"office:{after.office_id}"
    audit.record(session, now_ms=now_ms, actor=charges.ACTOR, action=action, target=target, before=before, after=after)


def _chargeback(row: ChargebackRow) -> Chargeback:
    return Chargeback(row.chargeback_id, row.charge_key, row.office_id, row.amount_micros, row.taken_micros, row.at)

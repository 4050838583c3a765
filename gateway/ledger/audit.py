"""The audit log: every change recorded with who, when, from what to what, in the transaction of the change."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.ledger.database import Database
from gateway.ledger.models import AuditRow
from gateway.ledger.paging import Page, PageRequest


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    `before` and `after` have only the fields that differ (those of a part as `refill.enabled`); `before` is None when
    something began.
    """

    seq: int
    at: int
    actor: str
    action: str
    target: str
    before: Mapping[str, object] | None
    after: Mapping[str, object] | None


def record(
    session: AsyncSession,
    *,
    now_ms: int,
    actor: str,
    action: str,
    target: str,
    before: object,
    after: object,
    reason: str = "",
) -> None:
    """Add a change to the transaction of the session.

    Args:
        session: The transaction that makes the change.
        now_ms: When.
        actor: Who, as `Identity.actor` has it, or the name of a loop.
        action: What was done, `<noun>.<verb>`.
        target: To what, `<noun>:<id>`.
        before: A dataclass as it was, or None.
        after: A dataclass as it is, or None.
        reason: What whoever did it said for it; it stands beside the fields of `after`.
    """
    old, new = _values(before), _values(after)
    if old is not None and new is not None:
        same = {name for name in old.keys() & new.keys() if old[name] == new[name]}
        old = {name: value for name, value in old.items() if name not in same}
        new = {name: value for name, value in new.items() if name not in same}
    if reason:
        new = (new or {}) | {"reason": reason}
    session.add(AuditRow(at=now_ms, actor=actor, action=action, target=target, before=old, after=new))


class AuditLog:
    """Reads the audit log, and writes what is done outside SQL; all else is `record`'s, within its transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def write(self, *, now_ms: int, actor: str, action: str, target: str, reason: str) -> None:
        """Note what is about to be done to something that lives in the store.

        Raises:
            DatabaseError: It is not noted, or it is not known whether it is.
        """

        async def insert(session: AsyncSession) -> None:
            record(
                session,
                now_ms=now_ms,
                actor=actor,
                action=action,
                target=target,
                before=None,
                after=None,
                reason=reason,
            )

        await self._database.transact(insert)

    async def list(self, page: PageRequest, target: str | None = None) -> Page[Change]:
        """The changes, newest first, of everything or of one target.

        Raises:
            InvalidArgument: The page is not one of this list.
        """
        after = page.after((int,), "audit", target)
        query = select(AuditRow).order_by(AuditRow.seq.desc()).limit(page.limit + 1)
        if target is not None:
            query = query.where(AuditRow.target == target)
        if after is not None:
            query = query.where(AuditRow.seq < after[0])
        async with self._database.read() as session:
            changes = [_change(row) for row in await session.scalars(query)]
        return page.page(changes, lambda change: (change.seq,), "audit", target)


def _change(row: AuditRow) -> Change:
    return Change(row.seq, row.at, row.actor, row.action, row.target, row.before, row.after)


def _values(thing: object, prefix: str = "") -> dict[str, object] | None:
    if thing is None:
        return None
    if not dataclasses.is_dataclass(thing):
        raise TypeError(f"the audit log takes dataclasses, not {thing!r}")
    values: dict[str, object] = {}
    for field in dataclasses.fields(thing):
        value = getattr(thing, field.name)
        if dataclasses.is_dataclass(value):
            values |= _values(value, f"{prefix}{field.name}.") or {}
        else:
            values[prefix + field.name] = _plain(value)
    return values


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, tuple):
        return [_values(each) if dataclasses.is_dataclass(each) else _plain(each) for each in value]
    return value

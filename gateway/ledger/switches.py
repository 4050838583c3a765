"""The switches that hold no Session: where their commands are posted, and with which secret."""

import secrets
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.switch import Switch, validate_switch
from gateway.ledger import audit
from gateway.ledger.database import Database
from gateway.ledger.models import SequenceRow, SwitchRow
from gateway.ledger.paging import Page, PageRequest
from gateway.ledger.sequence import SWITCHES, hold

SECRET_PREFIX = "tgcb_"  # noqa: S105  It marks a secret, for scanners of leaked ones; it is none.


class Switches:
    """The repository of switches."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def register(
        self, switch_id: str, callback_url: str, *, rotate_secret: bool, actor: str, now_ms: int
    ) -> Switch:
        """Record a switch, or give it another callback; a repeat changes nothing but a secret that is to be rotated.

        The secret stays while there is a callback, so that its URL can change without the switch being told.

        Raises:
            InvalidArgument: A value is out of its range.
        """
        validate_switch(switch_id, callback_url)

        async def write(session: AsyncSession) -> Switch:
            # Held until the commit, so that the changes have the order of their numbers.
            sequence = await hold(session, SWITCHES)
            row = await session.get(SwitchRow, switch_id)
            before = None if row is None else _switch(row)
            secret = before.callback_secret if before is not None and not rotate_secret else ""
            after = Switch(switch_id, callback_url, (secret or _new_secret()) if callback_url else "")
            if before == after:
                return after
            if row is None:
                row = SwitchRow(switch_id=switch_id, created_by=actor, created_at=now_ms)
                session.add(row)
            row.callback_url, row.callback_secret = after.callback_url, after.callback_secret
            sequence.value += 1
            is_same_url = before is not None and before.callback_url == callback_url
            action = "switch.rotate_secret" if is_same_url else "switch.register"
            audit.record(
                session, now_ms=now_ms, actor=actor, action=action, target=f"switch:{switch_id}",
                before=None if before is None else _public(before), after=_public(after),
            )  # fmt: skip
            return after

        return await self._database.transact(write)

    async def list(self, page: PageRequest) -> Page[Switch]:
        """The switches in the order of their ids.

        Raises:
            InvalidArgument: The page is not one of this list.
        """
        after = page.after((str,), "switches")
        query = select(SwitchRow).order_by(SwitchRow.switch_id).limit(page.limit + 1)
        if after is not None:
            query = query.where(SwitchRow.switch_id > after[0])
        async with self._database.read() as session:
            switches = [_switch(row) for row in await session.scalars(query)]
        return page.page(switches, lambda switch: (switch.switch_id,), "switches")

    async def version(self) -> int:
        """How often switches were changed: names what `with_callback` gives."""
        async with self._database.read() as session:
            return await session.scalar(select(SequenceRow.value).where(SequenceRow.name == SWITCHES)) or 0

    async def with_callback(self) -> tuple[int, tuple[Switch, ...]]:
        """The switches that have a callback, and the version that they are of."""
        query = select(SwitchRow).where(SwitchRow.callback_url != "").order_by(SwitchRow.switch_id)
        async with self._database.read() as session:
            version = await session.scalar(select(SequenceRow.value).where(SequenceRow.name == SWITCHES)) or 0
            return version, tuple(_switch(row) for row in await session.scalars(query))


def _new_secret() -> str:
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def _switch(row: SwitchRow) -> Switch:
    return Switch(row.switch_id, row.callback_url, row.callback_secret)


def _public(switch: Switch) -> Switch:
    """As the audit log may have it."""
    return replace(switch, callback_secret="")

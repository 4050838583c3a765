"""What this installation drew once: the name before every key of a payment provider, and the key of the page."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute

from gateway.ledger.errors import LedgerBroken
from gateway.ledger.models import InstallationRow


async def provider_key(session: AsyncSession, *parts: str | int) -> str:
    """A key for the payment provider: the installation's name, then what the key is for, with slashes between.

    Raises:
        LedgerBroken: The migrations drew the name, and it is gone.
    """
    name = await _drawn(session, InstallationRow.installation_id, "name of the installation")
    return "/".join((name, *map(str, parts)))


async def page_key(session: AsyncSession) -> bytes:
    """The key that signs the page's cookies: 32 random bytes, the same for every back process of the installation.

    Raises:
        LedgerBroken: The migrations drew the key, and it is gone.
    """
    return bytes.fromhex(await _drawn(session, InstallationRow.page_key, "key of the page"))


async def _drawn(session: AsyncSession, column: InstrumentedAttribute[str], what: str) -> str:
    value: str | None = await session.scalar(select(column))
    if not value:
        raise LedgerBroken(f"The {what} is gone from the database.")
    return value

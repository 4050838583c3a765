"""The name of this installation, which stands before every key that a payment provider is given."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.ledger.errors import LedgerBroken
from gateway.ledger.models import InstallationRow


async def provider_key(session: AsyncSession, *parts: str | int) -> str:
    """A key for the payment provider: the installation's name, then what the key is for, with slashes between.

    Raises:
        LedgerBroken: The migrations drew the name, and it is gone.
    """
    name = await session.scalar(select(InstallationRow.installation_id))
    if name is None:
        raise LedgerBroken("The name of the installation is gone from the database.")
    return "/".join((name, *map(str, parts)))

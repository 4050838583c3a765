"""A store that loses everything, and is made again from the ledger."""

from gateway.rebuilding import RebuildReport, rebuild
from gateway.store.balances import Lifetimes
from tests.support.back import BackUnderTest
from tests.support.servers import StoreServer


async def lose_and_rebuild(back: BackUnderTest, server: StoreServer) -> RebuildReport:
    """Everything is gone, and back as far as the ledger knows; then the gateway starts as it ordinarily does."""
    server.flush()
    report = await rebuild(back.back.database, back.back.connection, back.clock, Lifetimes())
    await back.back.prepare_store()
    return report

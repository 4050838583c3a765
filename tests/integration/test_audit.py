"""The audit on a real store and a real ledger."""

from pathlib import Path

from gateway.auditing import audit
from tests.support.back import running_back
from tests.support.balances import BY_THE_SECOND
from tests.support.servers import StoreServer


async def test_an_installation_that_works_is_clean(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        journaler = back.back.background.journaler
        await back.open_office(balance=500_000)
        await back.till.authorize("c1")
        await back.till.tick(50)
        await back.till.authorize("c2", BY_THE_SECOND)
        await back.spend(30_000)
        for _ in range(2):
            report = await audit(back.back.database, back.back.connection)
            print(report)
            assert report.is_clean, [str(each) for each in report.differences]
            await journaler.turn()

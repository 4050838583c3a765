"""The database is held by somebody else for a night: calls go on, and the outbox holds it all."""

import sqlite3
from pathlib import Path

import pytest

from gateway.ledger.errors import DatabaseError
from gateway.store.codes import Code
from tests.support.audits import assert_clean
from tests.support.back import OFFICE, running_back
from tests.support.servers import StoreServer

HOURS = 9
PRICE_MICROS = 240_000
"""Of 61 seconds by the minute."""


async def test_nine_hours_without_sql(valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.ledger.sqlite._BUSY_TIMEOUT_MS", 20)
    async with running_back(valkey, tmp_path) as back:
        journaler = back.journaler
        opening = 5_000_000 + HOURS * PRICE_MICROS - 1
        await back.open_office(balance=opening)
        await back.refill()
        await journaler.turn()
        version = (await back.till.office()).settings.version
        other = sqlite3.connect(back.settings.data_dir / "tollgate.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            for hour in range(HOURS):
                granted = await back.till.authorize(f"c{hour}", version=version)
                assert granted.code is Code.FUNDED
                await back.till.answer(f"c{hour}")
                back.clock.move(50)
                await back.till.tick(50, f"c{hour}")
                back.clock.move(11)
                assert (await back.till.end(61, f"c{hour}")).debited_micros == PRICE_MICROS
                with pytest.raises(DatabaseError):
                    await journaler.turn()
                back.clock.move(3_600)
        finally:
            other.execute("ROLLBACK")
            other.close()
        assert len(await back.till.outbox()) >= 2 * HOURS
        while await journaler.turn():
            pass
        assert await back.till.outbox() == []
        assert (await back.till.office()).balance_micros == opening - HOURS * PRICE_MICROS
        # It dipped with the last call, and asked for a refill once.
        assert [each.trigger.refill_id for each in await back.ledger.refills.after(0, 10)] == [f"{OFFICE}/1"]
        await assert_clean(back)

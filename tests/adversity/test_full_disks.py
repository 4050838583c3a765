"""Disks that are full under load: SQLite's holds up nobody who calls, and the store's no emergency and no free call."""

import asyncio
from pathlib import Path

import pytest

from tests.adversity.test_workers import events, until
from tests.support.billing import DOLLARS
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.operator import OPERATOR_TOKEN, Operator, assert_audit_is_clean
from tests.support.plain_switch import PlainSwitch
from tests.support.small_disk import SmallDisk, small_disk
from tests.support.switch_books import LONDON, SwitchBooks, patient_client

pytestmark = [pytest.mark.slow, pytest.mark.servers]

OPENING_MICROS = 1_000 * DOLLARS
OFFICES = 3


def test_full_disks(tmp_path: Path) -> None:
    with small_disk(tmp_path / "data", 24) as store_disk, small_disk(tmp_path / "ledger", 24) as ledger_disk:
        url = f"sqlite:///{ledger_disk.path / 'ledger.db'}"
        settings = {"TOLLGATE_OPERATOR_TOKEN": OPERATOR_TOKEN, "TOLLGATE_DATABASE_URL": url}
        with running_gateway(tmp_path, **settings) as gateway:
            asyncio.run(play(gateway, store_disk, ledger_disk))
            assert events(gateway, "child_died") == []
            assert_audit_is_clean(gateway.data_dir, TOLLGATE_DATABASE_URL=url)


async def play(gateway: GatewayProcess, store_disk: SmallDisk, ledger_disk: SmallDisk) -> None:
    """Fill one disk after the other while calls are placed; in the end each was paid for, and once."""
    async with (
        Operator.of(gateway.admin_server) as operator,
        patient_client(gateway.server) as client,
    ):
        offices = [await operator.create_office(OPENING_MICROS) for _ in range(OFFICES)]
        books = SwitchBooks(offices)
        async with PlainSwitch.of(gateway.server, offices[0]) as plain, books.working(client):
            await books.more(50)
            assert await plain.reasons() == ("EMERGENCY", "FREE", "FUNDED")
            await without_a_ledger(gateway, books, ledger_disk)
            await without_a_store(plain, store_disk)
            await books.more(50)
            await plain.hang_up()
        spent = books.spent()
        for office_id in offices:
            assert (await operator.wait_settled(office_id)).balance_micros == OPENING_MICROS - spent[office_id]


async def without_a_ledger(gateway: GatewayProcess, books: SwitchBooks, disk: SmallDisk) -> None:
    """Whoever calls notices nothing; the outboxes hold what the ledger cannot take, and what is watched says so."""
    await asyncio.to_thread(disk.fill)
    await until(lambda: any(each["loop"] == "journaler" for each in events(gateway, "loop_waits")))
    waiting = gateway.metric("tollgate_outbox_entries")
    await books.more(100)
    await until(lambda: gateway.metric("tollgate_outbox_entries") > waiting + 50)
    await until(lambda: gateway.metric("tollgate_journal_lag_seconds") > 3)
    disk.make_room()
    # The load goes on, so that there is always something on its way; what had waited is gone.
    await until(lambda: gateway.metric("tollgate_journal_lag_seconds") < 3)


async def without_a_store(plain: PlainSwitch, disk: SmallDisk) -> None:
    """Nothing is sold; emergencies and what is free are granted; with room again all goes on by itself."""
    await asyncio.to_thread(disk.fill)
    async with asyncio.timeout(30):
        while await plain.reason(LONDON) == "FUNDED":
            pass
    assert await plain.reasons() == ("EMERGENCY", "FREE", "UNAVAILABLE")
    disk.make_room()

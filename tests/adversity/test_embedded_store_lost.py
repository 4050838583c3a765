"""The embedded store killed, and robbed of its last seconds, under load: what is gone, and who says so."""

import asyncio
import json
import signal
import time
from pathlib import Path

import pytest

from tests.adversity.test_workers import events
from tests.support.billing import DOLLARS
from tests.support.commands import run_command
from tests.support.embedded_files import EmbeddedFiles
from tests.support.fault_scene import FAULT_SETTINGS, FaultScene
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.operator import OPERATOR_TOKEN, Operator, assert_audit_is_clean
from tests.support.page_scene import PageScene
from tests.support.switch_books import Paid, patient_client

pytestmark = pytest.mark.slow

BOUGHT_MICROS = 20 * DOLLARS
NEW_OFFICE = "made-in-the-last-seconds"
UNSYNCED_SECONDS = 1.5
SETTINGS = {"TOLLGATE_OPERATOR_TOKEN": OPERATOR_TOKEN, **FAULT_SETTINGS}


def test_a_kill_loses_nothing_and_a_loss_of_power_what_was_not_synced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data_dir = tmp_path / "data"
    with running_gateway(tmp_path, **SETTINGS) as gateway:
        scene, synced_at = asyncio.run(work_until_power_is_lost(gateway))
    # The ledger knows of no debit that is gone, so it and the store agree; of offices and credits it knows all.
    report = json.loads(run_command(capsys, "audit", "--json", "--data-dir", str(data_dir)).out)
    assert {(each["check"], each["office_id"]) for each in report["differences"]} == {
        ("CREDIT_NUMBER", scene.refilled),
        ("OFFICE_MISSING", NEW_OFFICE),
    }, report
    with running_gateway(tmp_path, **SETTINGS) as gateway:
        lost = asyncio.run(come_back(gateway, scene))
        assert {each["office_id"] for each in events(gateway, "office_lost_by_the_store")} == {NEW_OFFICE}
        lost_credits = {each["office_id"] for each in events(gateway, "credit_lost_by_the_store")}
        assert lost_credits == {scene.refilled, NEW_OFFICE}
    assert lost, "nothing was lost, so nothing was shown"
    assert all(paid.at > synced_at for paid in lost), "more was lost than what was not synced"
    assert_audit_is_clean(data_dir)


async def work_until_power_is_lost(gateway: GatewayProcess) -> tuple[FaultScene, float]:
    """Kill the store, then all of the machine; the scene, and since when nothing was synced."""
    store = EmbeddedFiles(gateway.data_dir)
    scene = await FaultScene.create(gateway, offices=3)
    async with patient_client(gateway.server) as client:
        async with scene.books.working(client):
            await scene.books.more(100)
            first = store.pid
            store.kill()
            await scene.books.more(100)
            assert store.pid != first
        assert await scene.lost_by(gateway) == []
        async with scene.books.working(client, is_cut_off=True):
            await scene.books.more(50)
            synced_bytes = await asyncio.to_thread(store.sync_no_more)
            synced_at = time.monotonic()
            await asyncio.sleep(UNSYNCED_SECONDS)
            async with PageScene.of(gateway) as buyer:
                await buyer.buy(scene.refilled, BOUGHT_MICROS, scene.card_id)
                await buyer.operator.create_office(BOUGHT_MICROS, NEW_OFFICE)
            # A machine goes down with all that is on it: nobody starts the store again before the loss.
            gateway.process.send_signal(signal.SIGSTOP)
            store.kill()
            assert store.lose(synced_bytes) > 0
            gateway.process.kill()
            gateway.process.wait()
    return scene, synced_at


async def come_back(gateway: GatewayProcess, scene: FaultScene) -> list[Paid]:
    """Find out what is gone, have it settled anew, and go on; what was gone."""
    async with patient_client(gateway.server) as client:
        await scene.books.finish(client)
        lost = await scene.lost_by(gateway)
        async with scene.books.working(client):
            await scene.books.more(50)
        await scene.is_exact(gateway)
    async with Operator.of(gateway.admin_server) as operator:
        assert await operator.balance(NEW_OFFICE) == BOUGHT_MICROS
    return lost

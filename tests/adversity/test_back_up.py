"""docs/operating/back-up.md, done: a copy is taken at work, the machine is lost, another goes on from the copy."""

import asyncio
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.v1 import credits_pb2 as pb
from tests.support.billing import DOLLARS
from tests.support.commands import run_command
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.operator import OPERATOR_TOKEN, assert_audit_is_clean
from tests.support.page_scene import PageScene

PAGE = Path(__file__).parents[2] / "docs/operating/back-up.md"
MINUTE_MICROS = 20_000
"""Of a call to London by the default deck."""

pytestmark = pytest.mark.slow


def back_up(data_dir: Path, target: Path) -> None:
    """What the page says to type, on these paths."""
    found = re.search(r"python3 - <<'END'\n(.*?)\n    END", PAGE.read_text(), re.DOTALL)
    assert found is not None
    script = re.sub(r"(?m)^    ", "", found[1])
    script = script.replace("/var/lib/tollgate/tollgate.db", str(data_dir / "tollgate.db"))
    script = script.replace("/backup/tollgate.db", str(target))
    subprocess.run([sys.executable, "-"], input=script, text=True, check=True, timeout=60)


def test_another_machine_goes_on_from_a_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy.db"
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    (after / "data").mkdir(parents=True, mode=0o700)
    with running_gateway(before, TOLLGATE_OPERATOR_TOKEN=OPERATOR_TOKEN) as gateway:
        office_id, live_call, token = asyncio.run(work_and_back_up(gateway, copy))
        gateway.process.kill()
        gateway.process.wait()
        # A store outlives its gateway, but not the machine.
        os.kill(int((gateway.data_dir / "store.pid").read_text()), signal.SIGKILL)
    shutil.rmtree(before / "data")

    shutil.copy(copy, after / "data/tollgate.db")
    (after / "data/tollgate.db").chmod(0o600)
    assert run_command(capsys, "rebuild", "--data-dir", str(after / "data")).code == 0
    assert_audit_is_clean(after / "data")
    with running_gateway(after, TOLLGATE_OPERATOR_TOKEN=OPERATOR_TOKEN) as gateway:
        asyncio.run(go_on(gateway, office_id, live_call, token))
    assert_audit_is_clean(after / "data")


async def work_and_back_up(gateway: GatewayProcess, copy: Path) -> tuple[str, str, str]:
    """Buy, call and copy, then spend more; the office, a call that lives on, and a switch's token."""
    async with PageScene.of(gateway) as scene:
        office_id = await scene.create_office()
        await scene.buy(office_id, 20 * DOLLARS, await scene.add_confirmed_card(office_id))
        await scene.place_call(office_id, talk_seconds=60)
        live_call = await scene.begin_call(office_id)
        assert (await scene.tick_call(office_id, live_call, 60)).debited_micros == MINUTE_MICROS
        token = await scene.create_token(pb.ROLE_SWITCH, switch_id="sw1")
        await scene.operator.wait_usage(office_id, 1)
        await wait_journaled(scene, office_id, 2 * MINUTE_MICROS)

        async def others() -> None:
            while True:
                await scene.place_call(other, talk_seconds=60)

        other = await scene.create_office(balance_micros=1_000 * DOLLARS)
        working = asyncio.create_task(others())
        await asyncio.to_thread(back_up, gateway.data_dir, copy)
        working.cancel()
        # What comes later than the copy never happened.
        await scene.place_call(office_id, talk_seconds=600)
        return office_id, live_call, token


async def wait_journaled(scene: PageScene, office_id: str, spent_micros: int) -> None:
    """Wait until the ledger has all that an office spent."""
    deadline = asyncio.get_running_loop().time() + 15
    file = scene.gateway.data_dir / "tollgate.db"
    while True:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
            (found,) = database.execute(
                "SELECT coalesce(sum(cost_micros), 0) FROM usage_record WHERE office_id = ?", (office_id,)
            ).fetchone()
        if found == spent_micros:
            return
        assert asyncio.get_running_loop().time() < deadline, f"the ledger has {found} of {spent_micros}"
        await asyncio.sleep(0.1)


async def go_on(gateway: GatewayProcess, office_id: str, live_call: str, token: str) -> None:
    async with PageScene.of(gateway) as scene:
        assert await scene.operator.balance(office_id) == 20 * DOLLARS - 2 * MINUTE_MICROS
        # The call that was live at the copy ends as it would have: its second minute is all that is new.
        ended = await scene.end_call(office_id, live_call, 120)
        assert ended.debited_micros == 2 * MINUTE_MICROS
        assert await scene.operator.balance(office_id) == 20 * DOLLARS - 3 * MINUTE_MICROS
        # The card is there, and is charged for what is bought now.
        listed = await scene.operator.stub.ListPaymentMethods(pb.ListPaymentMethodsRequest(office_id=office_id))
        (card,) = listed.payment_methods
        assert card.confirmed
        tokens = await scene.operator.stub.ListTokens(pb.ListTokensRequest())
        assert token not in str(tokens)
        assert "sw1" in {each.switch_id for each in tokens.tokens}
        await scene.place_call(office_id, talk_seconds=60)
        await scene.operator.wait_usage(office_id, 3)

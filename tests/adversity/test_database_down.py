"""PostgreSQL stopped under load: nobody who calls notices, the outboxes hold, and the ledger catches up by itself."""

import asyncio
import os
import signal
from pathlib import Path

import grpc
import grpc.aio
import pytest

from tests.adversity.test_workers import events, until
from tests.support.billing import DOLLARS
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.operator import OPERATOR_TOKEN, Operator, assert_audit_is_clean
from tests.support.postgres import StoppablePostgres, stoppable_postgres
from tests.support.switch_books import SwitchBooks, patient_client

pytestmark = [pytest.mark.slow, pytest.mark.servers]

OPENING_MICROS = 1_000 * DOLLARS


def test_postgresql_is_stopped(tmp_path: Path) -> None:
    with stoppable_postgres() as postgres:
        postgres.server.create("tollgate")
        url = postgres.server.url("tollgate")
        with running_gateway(tmp_path, TOLLGATE_OPERATOR_TOKEN=OPERATOR_TOKEN, TOLLGATE_DATABASE_URL=url) as gateway:
            asyncio.run(play(gateway, postgres))
            assert_audit_is_clean(gateway.data_dir, TOLLGATE_DATABASE_URL=url)


async def play(gateway: GatewayProcess, postgres: StoppablePostgres) -> None:
    """Stop the database under load, kill back and journaler meanwhile, too, and start the database again."""
    async with Operator.of(gateway.admin_server) as operator, patient_client(gateway.server) as client:
        office_id = await operator.create_office(OPENING_MICROS)
        books = SwitchBooks([office_id])
        async with books.working(client):
            await books.more(50)
            await asyncio.to_thread(postgres.stop)
            await until(lambda: any(each["loop"] == "journaler" for each in events(gateway, "loop_waits")))
            await books.more(100)
            # What TollgateJournalBehind and TollgateOutboxLarge look at.
            await until(lambda: gateway.metric("tollgate_journal_lag_seconds") > 3)
            assert gateway.metric("tollgate_outbox_entries") > 50
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await operator.create_office(0)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            assert events(gateway, "child_died") == []

            with_sql = ("back", "journaler")
            for name in with_sql:
                (pid,) = [each["pid"] for each in events(gateway, "child_started") if each["child"] == name]
                os.kill(pid, signal.SIGKILL)
            # The second time of one that found no database.
            await until(lambda: all(times(gateway, "child_died", name) > 1 for name in with_sql))
            await books.more(50)
            postgres.start()
            await until(lambda: all(times(gateway, "child_ready", name) > 1 for name in with_sql))
            await until(lambda: gateway.metric("tollgate_journal_lag_seconds") < 3)
        assert (await operator.wait_settled(office_id)).balance_micros == OPENING_MICROS - books.spent()[office_id]


def times(gateway: GatewayProcess, event: str, child: str) -> int:
    """How often something was said of a child."""
    return sum(each["child"] == child for each in events(gateway, event))

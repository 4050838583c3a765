"""The back as a process runs it: its loops going, its own clock, listeners, health, metrics, and a stop in order."""

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.back import run_back
from gateway.journaler import open_journaler
from gateway.payments.sandbox import FILE_NAME
from gateway.settings import Settings, load_settings
from gateway.startup import StartupError
from gateway.store.clock import StoreClock
from gateway.v1 import credits_pb2 as pb
from gateway.v1.credits_pb2_grpc import CreditsStub
from tests.support.back import COMPANY, DECK, OFFICE, OPERATOR, bearer, end_of, office, refused
from tests.support.http import ask
from tests.support.proxy import FaultProxy
from tests.support.servers import StartStore, StoreServer, free_port

ME = bearer()


@dataclass
class Running:
    """A back that runs, and how to stop it."""

    channel: grpc.aio.Channel
    stub: Any
    settings: Settings
    stop: asyncio.Event
    task: "asyncio.Task[bool]"

    def fetch(self, path: str) -> tuple[int, str]:
        """A page of the metrics' server."""
        try:
            with urllib.request.urlopen(f"http://{self.settings.metrics_listen}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()


def settings_for(folder: Path, url: str | None, **flags: Any) -> Settings:
    (folder / "deck.csv").write_text(DECK)
    values: dict[str, Any] = {
        "redis_url": url,
        "data_dir": folder,
        "rates": folder / "deck.csv",
        "operator_token": OPERATOR,
        "admin_listen": f"127.0.0.1:{free_port()}",
        "metrics_listen": f"127.0.0.1:{free_port()}",
        "http_listen": f"127.0.0.1:{free_port()}",
    }
    return load_settings(**values | flags)


@asynccontextmanager
async def back_process(folder: Path, url: str, **flags: Any) -> AsyncIterator[Running]:
    settings = settings_for(folder, url, **flags)
    ready, stop = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(run_back(settings, ready=ready.set, stop=stop))
    waiting = asyncio.create_task(ready.wait())
    await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    async with grpc.aio.insecure_channel(str(settings.admin_listen)) as channel:
        stub: Any = CreditsStub(channel)
        try:
            yield Running(channel, stub, settings, stop, task)
        finally:
            stop.set()
            await task


async def make_office(back: Running) -> None:
    await back.stub.CreateCompany(pb.CreateCompanyRequest(company_id=COMPANY, name="Acme"), metadata=ME)
    await back.stub.CreateOffice(office(), metadata=ME)
    request = pb.AdjustBalanceRequest(office_id=OFFICE, amount_micros=1_000, reason="r", idempotency_key="k")
    await back.stub.AdjustBalance(request, metadata=ME)


async def test_everything_runs_by_itself(valkey: StoreServer, tmp_path: Path) -> None:
    valkey.flush()
    async with back_process(tmp_path, valkey.url) as back:
        await make_office(back)
        refills = back.stub.WatchRefills(pb.WatchRefillsRequest(), metadata=ME)
        balances = back.stub.WatchBalance(pb.WatchBalanceRequest(office_id=OFFICE), metadata=ME)
        assert (await balances.read()).refill_state == pb.REFILL_STATE_OFF
        await refills.initial_metadata()
        refill = pb.SetAutoRefillRequest(office_id=OFFICE, enabled=True)
        await back.stub.SetAutoRefill(refill, metadata=ME)
        quick = await refills.read()
        assert quick.refill_id == f"{OFFICE}/1"
        assert (await balances.read()).refill_state == pb.REFILL_STATE_PENDING
        # The journaler makes it durable.
        async with AsyncExitStack() as stack:
            parts = await open_journaler(back.settings, stack)
            await parts.connection.wait_connected()
            await parts.journaler.turn()
        while not (again := await back.stub.WatchRefills(pb.WatchRefillsRequest(), metadata=ME).read()).cursor > "0":
            pass
        assert again.refill_id == quick.refill_id

        health = health_pb2_grpc.HealthStub(back.channel)
        for service in ("", "gateway.v1.Credits"):
            said = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert said.status == health_pb2.HealthCheckResponse.SERVING
        assert await asyncio.to_thread(back.fetch, "/healthz") == (200, "ok\n")
        status, page = await asyncio.to_thread(back.fetch, "/metrics")
        assert status == 200
        assert "tollgate_refill_watchers" in page
        assert 'tollgate_rpcs_total{code="OK",rpc="CreateOffice"}' in page
        assert (await asyncio.to_thread(back.fetch, "/secrets"))[0] == 404

        http = back.settings.http_listen.port
        assert (await ask(http, "/health/ready")).json() == {"status": "ready"}
        assert (await ask(http, "/payments/return")).status == 200
        unsigned = await ask(http, "/payments/webhook", method="POST", body=b"{}")
        assert (unsigned.status, unsigned.json()["error"]["reason"]) == (400, "WEBHOOK_SIGNATURE_INVALID")
        assert (await ask(http, "/payments/sandbox/confirm?charge=ch_none")).status == 404

        reflection = reflection_pb2_grpc.ServerReflectionStub(back.channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        [listed] = [answer async for answer in reflection.ServerReflectionInfo(iter([asked]))]
        names = {each.name for each in listed.list_services_response.service}
        assert {"gateway.v1.Credits", "grpc.health.v1.Health"} <= names

        watching = health.Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING

        # A stop does not wait for the streams that are open.
        began = monotonic()
        back.stop.set()
        assert await back.task
        assert monotonic() - began < 10
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        for stream in (refills, balances):
            assert (await end_of(stream)).reason == "STOPPING"
    with pytest.raises(urllib.error.URLError):
        await asyncio.to_thread(back.fetch, "/healthz")
    with pytest.raises(ConnectionRefusedError):
        await ask(http, "/health/live")


async def test_a_store_that_goes_away_and_comes_back(valkey: StoreServer, tmp_path: Path) -> None:
    valkey.flush()
    async with (
        FaultProxy((valkey.host, valkey.port)) as proxy,
        back_process(tmp_path, proxy.url, store_timeout_ms=200) as back,
    ):
        await make_office(back)
        proxy.refuse()
        add = pb.AdjustBalanceRequest(office_id=OFFICE, amount_micros=7, reason="r", idempotency_key="k2")
        await refused(grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE", back.stub.AdjustBalance(add, metadata=ME))
        assert (await asyncio.to_thread(back.fetch, "/healthz"))[0] == 503
        http = back.settings.http_listen.port
        assert [(await ask(http, f"/health/{what}")).status for what in ("ready", "live")] == [503, 200]
        # What needs SQL alone goes on.
        listed = await back.stub.ListCompanies(pb.ListCompaniesRequest(), metadata=ME)
        assert len(listed.companies) == 1
        proxy.refuse(False)
        answer = None
        while answer is None:
            with suppress(grpc.aio.AioRpcError):
                answer = await back.stub.AdjustBalance(add, metadata=ME)
        assert answer.balance_micros == 1_007
        assert not back.task.done()


async def test_a_store_that_is_not_there_at_the_start_is_waited_for(tmp_path: Path) -> None:
    settings = settings_for(tmp_path, f"redis://127.0.0.1:{free_port()}/0")
    stop = asyncio.Event()
    task = asyncio.create_task(run_back(settings, ready=lambda: None, stop=stop))
    done, _ = await asyncio.wait([task], timeout=0.3)
    assert not done
    stop.set()
    assert await task


async def start_fails(settings: Settings, match: str) -> None:
    with pytest.raises(StartupError, match=match):
        await run_back(settings, ready=lambda: None, stop=asyncio.Event())


async def test_what_keeps_a_back_from_starting(valkey: StoreServer, tmp_path: Path, start_store: StartStore) -> None:
    valkey.flush()
    async with back_process(tmp_path, valkey.url) as back:
        taken = back.settings
        other = tmp_path / "other"
        other.mkdir()
        await start_fails(
            settings_for(other, valkey.url, admin_listen=str(taken.admin_listen)), "TOLLGATE_ADMIN_LISTEN.*another"
        )
        await start_fails(
            settings_for(other, valkey.url, metrics_listen=str(taken.metrics_listen)), "TOLLGATE_METRICS_LISTEN"
        )
        await start_fails(
            settings_for(other, valkey.url, http_listen=str(taken.http_listen)), "TOLLGATE_HTTP_LISTEN.*taken"
        )
    await start_fails(settings_for(tmp_path, None), "TOLLGATE_REDIS_URL")
    nowhere = f"sqlite:///{tmp_path}/no/such/folder/x.db"
    await start_fails(settings_for(tmp_path, valkey.url, database_url=nowhere), "TOLLGATE_DATABASE_URL.*directory")
    await start_fails(settings_for(tmp_path, valkey.url, currency="XXX"), "TOLLGATE_CURRENCY.*ISO 4217")
    odd = settings_for(tmp_path, valkey.url, refill_amount_micros=50_000_001)
    await start_fails(odd, "TOLLGATE_REFILL_AMOUNT_MICROS.*10000")
    (other / FILE_NAME).write_bytes(b"no sandbox " * 100)
    await start_fails(settings_for(other, valkey.url), f"TOLLGATE_PAYMENT_PROVIDER.*{FILE_NAME}")
    unsafe = start_store(appendonly="no")
    await start_fails(settings_for(tmp_path, unsafe.url), "appendonly")
    with valkey.client() as client:
        client.set("tg:shards", 32)
    await start_fails(settings_for(tmp_path, valkey.url), "32")
    with valkey.client() as client:
        assert client.get("tg:shards") == b"32"
    valkey.flush()


async def test_a_loop_that_dies_ends_the_process(
    valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    valkey.flush()
    broken = asyncio.Event()

    async def follow(self: StoreClock, connection: object) -> None:
        await broken.wait()
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(StoreClock, "follow", follow)
    async with back_process(tmp_path, valkey.url) as back:
        await make_office(back)
        stream = back.stub.WatchRefills(pb.WatchRefillsRequest(), metadata=ME)
        await stream.initial_metadata()
        began = monotonic()
        broken.set()
        assert not await back.task
        assert monotonic() - began < 10

"""The fault proxy itself: each fault does what it says, to a real store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from gateway.store.embedded import EmbeddedStore
from tests.support.proxy import FaultProxy
from tests.support.servers import StoreServer


@asynccontextmanager
async def connected(proxy: FaultProxy) -> AsyncIterator["redis.asyncio.Redis"]:
    """A client that neither repeats anything nor says anything of its own accord after connecting."""
    client = redis.asyncio.Redis.from_url(proxy.url, retry=Retry(NoBackoff(), 0), socket_timeout=5)
    try:
        await client.ping()
        yield client
    finally:
        await client.aclose()


def value(server: StoreServer) -> int:
    with server.client() as client:
        return int(client.get("n") or 0)


@pytest.fixture
def target(valkey: StoreServer) -> tuple[str, int]:
    valkey.flush()
    return (valkey.host, valkey.port)


async def test_it_passes_on(target: tuple[str, int], valkey: StoreServer) -> None:
    async with FaultProxy(target) as proxy, connected(proxy) as client:
        assert await client.incr("n") == 1
        await client.set("long", "x" * 1_000_000)
        assert await client.strlen("long") == 1_000_000
        assert (proxy.faults, proxy.connections) == (0, 1)
    assert value(valkey) == 1


async def test_a_cut_before_the_send_keeps_the_request_from_the_server(
    target: tuple[str, int], valkey: StoreServer
) -> None:
    async with FaultProxy(target) as proxy, connected(proxy) as client:
        proxy.cut_before_send()
        with pytest.raises(redis.ConnectionError):
            await client.incr("n")
        await proxy.fault_happened()
        assert value(valkey) == 0
        assert await client.incr("n") == 1


async def test_a_cut_after_the_send_loses_only_the_reply(target: tuple[str, int], valkey: StoreServer) -> None:
    async with FaultProxy(target) as proxy, connected(proxy) as client:
        proxy.cut_after_send(skip=1)
        assert await client.incr("n") == 1
        with pytest.raises(redis.ConnectionError):
            await client.incr("n")
        await proxy.fault_happened()
        assert value(valkey) == 2


async def test_a_stall_holds_until_it_is_resumed(target: tuple[str, int], valkey: StoreServer) -> None:
    async with FaultProxy(target) as proxy, connected(proxy) as client:
        proxy.stall()
        answer = asyncio.ensure_future(client.incr("n"))
        await proxy.fault_happened()
        assert value(valkey) == 0
        assert not answer.done()
        proxy.resume()
        assert await answer == 1


async def test_a_partition_holds_both_ways_and_tells_nobody_until_it_is_mended(
    target: tuple[str, int], valkey: StoreServer
) -> None:
    async with FaultProxy(target) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"SUBSCRIBE news\r\n")
        await reader.readuntil(b":1\r\n")
        proxy.partition()
        assert published(valkey) == 1
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.05)
        proxy.mend()
        await reader.readuntil(b"told\r\n")

        proxy.partition()
        writer.write(b"SUBSCRIBE more\r\n")
        writer.close()
        await writer.wait_closed()
        assert published(valkey) == 1, "the server was told that its client has gone"
        proxy.mend()
        async with asyncio.timeout(5):
            while published(valkey):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.01)


def published(server: StoreServer) -> int:
    """Tell whoever listens; to how many the server has sent it."""
    with server.client() as client:
        return int(client.publish("news", "told"))


async def test_a_delay_passes_on_late(target: tuple[str, int]) -> None:
    loop = asyncio.get_running_loop()
    async with FaultProxy(target) as proxy, connected(proxy) as client:
        proxy.delay(50, times=1)
        begin = loop.time()
        await client.incr("n")
        assert loop.time() - begin >= 0.05
        assert proxy.faults == 1


async def test_refusing_and_cutting_all(target: tuple[str, int]) -> None:
    async with FaultProxy(target) as proxy, connected(proxy) as client:
        proxy.refuse()
        with pytest.raises(redis.ConnectionError):
            await client.ping()
        proxy.refuse(False)
        assert await client.ping()


async def test_from_unix_socket_to_unix_socket(tmp_path: Path) -> None:
    store = EmbeddedStore(tmp_path / "data")
    address = await store.start()
    try:
        async with FaultProxy(address.socket_path, tmp_path / "proxy.sock") as proxy, connected(proxy) as client:
            assert await client.incr("n") == 1
            proxy.cut_after_send()
            with pytest.raises(redis.ConnectionError):
                await client.incr("n")
            assert await client.get("n") == b"2"
    finally:
        await store.stop()


async def test_a_server_that_is_down_looks_like_one(tmp_path: Path) -> None:
    async with FaultProxy(tmp_path / "nobody.sock") as proxy:
        with pytest.raises(redis.ConnectionError):
            async with connected(proxy):
                pass

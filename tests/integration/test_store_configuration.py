"""Which stores `serve` trusts with money; on both engines."""

import pytest
import redis.asyncio

from gateway.store.configuration import StoreConfigurationError, check_store_configuration, find_misconfigurations
from tests.support.servers import StartStore, StoreServer, wait_until


async def faults(server: StoreServer, decode: bool = False) -> list[str]:
    async with redis.asyncio.Redis(host=server.host, port=server.port, decode_responses=decode) as client:
        try:
            await check_store_configuration(client)
        except StoreConfigurationError as error:
            return str(error).splitlines()
    return []


@pytest.mark.parametrize("decode", [True, False])
async def test_a_store_as_it_must_be_passes(standalone_server: StoreServer, decode: bool) -> None:
    assert await faults(standalone_server, decode=decode) == []


async def test_a_cluster_node_passes(store_server: StoreServer) -> None:
    assert await faults(store_server) == []


async def test_a_store_that_forgets_is_refused_with_the_cure(start_store: StartStore, store_engine: str) -> None:
    server = start_store(store_engine, appendonly="no", maxmemory_policy="volatile-lru")
    eviction, file = await faults(server)
    assert eviction.startswith("TOLLGATE_REDIS_URL: maxmemory-policy is volatile-lru")
    assert "CONFIG SET maxmemory-policy noeviction" in eviction
    assert file.startswith("TOLLGATE_REDIS_URL: appendonly is off")
    assert "CONFIG SET appendonly yes" in file


async def test_replicas_must_be_waited_for(start_store: StartStore, store_engine: str) -> None:
    primary = start_store(store_engine)
    replica = start_store(store_engine, replicaof=f"{primary.host} {primary.port}")

    def replicates() -> bool:
        with primary.client() as client:
            return bool(client.info("replication")["connected_slaves"] == 1)

    assert wait_until(replicates)
    (fault,) = await faults(primary)
    assert "CONFIG SET min-replicas-to-write 1" in fault
    with primary.client() as client:
        client.config_set("min-replicas-to-write", 1)
    assert await faults(primary) == []
    (role,) = await faults(replica)
    assert "it is a replica, which takes no writes; name the primary" in role


async def test_a_store_that_is_down_is_no_verdict() -> None:
    async with redis.asyncio.Redis(host="127.0.0.1", port=1) as client:
        with pytest.raises(redis.ConnectionError):
            await check_store_configuration(client)


@pytest.mark.parametrize(("version", "is_refused"), [("6.2.14", True), ("", True), ("7.0.0", False), ("8.2", False)])
def test_a_redis_without_functions_is_refused(version: str, is_refused: bool) -> None:
    told = {"redis_version": version, "role": "master", "maxmemory_policy": "noeviction", "aof_enabled": 1}
    faults = list(find_misconfigurations(told))
    assert [fault.cure for fault in faults] == ["use Redis 7.0 or newer, or Valkey"] * is_refused

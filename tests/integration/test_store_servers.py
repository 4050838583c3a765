"""The fixtures themselves: each engine answers in each form, with the options that the gateway asks for."""

import pytest
import redis

from tests.support.servers import StartStore, StoreServer


def test_the_cluster_has_all_slots_and_refuses_a_foreign_slot(store_server: StoreServer) -> None:
    with store_server.client() as client:
        assert client.execute_command("CLUSTER INFO")["cluster_slots_ok"] == "16384"
        with pytest.raises(redis.ResponseError, match="same slot"):
            client.execute_command("MSET", "{1}a", 1, "{2}b", 2)


def test_a_flush_leaves_nothing_behind(standalone_server: StoreServer) -> None:
    with standalone_server.client() as client:
        client.set("left", 1)
        standalone_server.flush()
        assert client.dbsize() == 0


def test_the_standalone_server_runs_as_the_gateway_demands(standalone_server: StoreServer) -> None:
    with standalone_server.client() as client:
        info = client.info()
    assert info["process_id"] == standalone_server.pid
    assert (info["aof_enabled"], info["maxmemory_policy"]) == (1, "noeviction")


def test_a_test_may_start_a_server_of_its_own_with_other_options(start_store: StartStore) -> None:
    server = start_store("valkey", appendonly="no", maxmemory="5mb")
    with server.client() as client:
        info = client.info()
    assert (info["aof_enabled"], info["maxmemory"]) == (0, 5 * 1024 * 1024)
    assert server.data_dir.is_dir()

"""The store as a Cluster: slots that move under way, primaries that die, and everything that asks all of them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.durability import Durability
from gateway.store.faults import StoreUnavailable
from gateway.store.inspection import stored_offices
from gateway.store.keys import office_keys, outbox_key, shard_of
from gateway.store.location import StoreLocation
from gateway.store.members import slot_of
from gateway.store.scripts import load_library
from gateway.store.subscription import subscribed
from tests.support.balances import BY_THE_SECOND, Till, open_till
from tests.support.clusters import ClusterServers, kill_server, running_cluster

pytestmark = pytest.mark.xdist_group("cluster")

OFFICES = [f"office-{number}" for number in range(30)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    """Three primaries without replicas."""
    with running_cluster("valkey", tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


async def open_offices(till: Till) -> None:
    """Some on each primary."""
    for office_id in OFFICES:
        await till.open_office(1_000_000, office_id=office_id)


def slot_of_office(office_id: str) -> int:
    return slot_of(office_keys(office_id).office)


async def test_offices_are_on_every_primary_and_all_are_found(cluster: ClusterServers) -> None:
    async with open_till(cluster.url) as till:
        await open_offices(till)
        assert {cluster.owner_of(slot_of_office(name)).port for name in OFFICES} == {
            each.port for each in cluster.primaries
        }
        for office_id in OFFICES:
            assert (await till.authorize(rate=BY_THE_SECOND, office_id=office_id)).code == Code.FUNDED
        found = [name async for some in stored_offices(till.connection) for name in some]
        assert sorted(found) == sorted(OFFICES)
        assert sum(len(server.shards) for server in till.connection.servers().values()) == 64


async def test_a_slot_that_has_moved_costs_no_call(cluster: ClusterServers) -> None:
    async with open_till(cluster.url) as till:
        await open_offices(till)
        office_id = OFFICES[0]
        await till.authorize("before", BY_THE_SECOND, office_id=office_id)
        cluster.move(slot_of_office(office_id))
        # The map that the connection has is an old one: the server says MOVED, and the call is sent on.
        many = await asyncio.gather(
            *[till.authorize(f"c{number}", BY_THE_SECOND, office_id=office_id) for number in range(50)]
        )
        assert [each.code for each in many].count(Code.FUNDED) == 9 - 1
        assert (await till.end(10, "before", office_id=office_id)).code == Code.OK


async def test_a_slot_that_is_moving_is_asked_for_where_it_goes(cluster: ClusterServers) -> None:
    async with open_till(cluster.url) as till:
        await open_offices(till)
        office_id = OFFICES[1]
        slot = slot_of_office(office_id)
        target = cluster.begin_move(slot)
        assert await till.connection.ask("EXISTS", office_keys(office_id).office) == 1
        # A script of many keys, some of which do not exist, is carried out by neither until the move is over.
        deciding = asyncio.create_task(till.authorize("c1", BY_THE_SECOND, office_id=office_id))
        await asyncio.sleep(0.1)
        assert not deciding.done()
        await asyncio.to_thread(cluster.finish_move, slot, target)
        assert (await deciding).code == Code.FUNDED
        assert (await till.end(10, "c1", office_id=office_id)).code == Code.OK


async def test_a_batch_goes_to_every_primary_in_one_turn(cluster: ClusterServers) -> None:
    async with open_till(cluster.url) as till:
        await open_offices(till)
        with till.connection.batch():
            asked = [asyncio.ensure_future(till.money(office_id)) for office_id in OFFICES]
            await asyncio.sleep(0)
        assert await asyncio.gather(*asked) == [(1_000_000, 0, 1_000_000)] * len(OFFICES)


async def test_every_member_passes_on_what_is_published_at_any(cluster: ClusterServers) -> None:
    async with open_till(cluster.url) as till:
        listening, heard = asyncio.Event(), []

        async def listen() -> None:
            async for message in subscribed(till.connection, b"tg:test", listening.set):
                heard.append(message)
                if len(heard) == len(cluster.primaries):
                    return

        task = asyncio.create_task(listen())
        await listening.wait()
        for each in cluster.primaries:
            cluster.run(each, "PUBLISH", "tg:test", str(each.port))
        await asyncio.wait_for(task, 10)
        assert sorted(heard) == sorted(str(each.port).encode() for each in cluster.primaries)


async def test_what_was_read_is_settled_on_each_primary(cluster: ClusterServers) -> None:
    async with open_till(cluster.url) as till:
        await open_offices(till)
        durability = Durability(till.connection)
        try:
            servers = durability.servers()
            assert len(servers) == 3
            assert await durability.settle(servers) is None
            cluster.move(slot_of(outbox_key(shard_of(OFFICES[2]))))
            await till.money(OFFICES[2])  # It is told that the slot has moved.
            with pytest.raises(StoreUnavailable):
                await durability.settle(servers)
        finally:
            await durability.close()


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[StoreConnection]:
    connection = StoreConnection(StoreLocation.parse(url), load_library())
    await connection.start()
    try:
        await connection.wait_connected()
        yield connection
    finally:
        await connection.close()


async def test_a_member_that_is_not_there_is_found_out_from_the_others(cluster: ClusterServers) -> None:
    reachable = cluster.url.replace("redis+cluster://", "redis+cluster://127.0.0.1:1,")
    async with connected(reachable) as connection:
        assert len(connection.servers()) == 3


@pytest.mark.slow
async def test_a_replica_takes_over_and_the_others_never_notice(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_cluster("valkey", tmp_path_factory.mktemp("replicated"), with_replicas=True) as cluster:
        async with open_till(cluster.url) as till:
            await open_offices(till)
            by_owner = {cluster.owner_of(slot_of_office(name)).port: name for name in OFFICES}
            dead = cluster.primaries[1]
            hit, others = by_owner[dead.port], [name for port, name in by_owner.items() if port != dead.port]
            await till.authorize("before", BY_THE_SECOND, office_id=hit)
            durability = Durability(till.connection)
            servers = durability.servers()
            # What has reached the replica survives.
            assert await durability.settle(servers) is None
            kill_server(dead)

            async def decided(call_id: str, office_id: str) -> Code | None:
                try:
                    return (await till.authorize(call_id, BY_THE_SECOND, office_id=office_id)).code
                except StoreUnavailable:
                    return None

            number, waited = 0, 0
            while await decided("after", hit) is None:
                number += 1
                for name in others:
                    assert await decided(f"c{number}", name) in (Code.FUNDED, Code.INSUFFICIENT_FUNDS)
                waited += 1
                await asyncio.sleep(0.1)
                assert waited < 200, "no replica took over"
            assert waited
            assert (await till.end(10, "before", office_id=hit)).code == Code.OK
            with pytest.raises(StoreUnavailable):
                await durability.settle(servers)
            await durability.close()

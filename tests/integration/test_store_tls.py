"""A store that speaks TLS and asks for certificates: Debian's redis-server, alone, in a Cluster and by Sentinels."""

import asyncio
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.startup import StartupError
from gateway.store.codes import Code
from gateway.store.configuration import check_primaries
from gateway.store.connection import StoreConnection
from gateway.store.discovery import find_primaries
from gateway.store.durability import Durability
from gateway.store.location import StoreLocation
from gateway.store.scripts import load_library
from gateway.store.subscription import subscribed
from tests.support.balances import PATIENT_SECONDS, open_till
from tests.support.clusters import PRIMARY_NAME, running_sentinel
from tests.support.servers import free_port, running_store
from tests.support.tls import Authority, CertificateFiles

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def store(authority: Authority, tmp_path: Path) -> CertificateFiles:
    """The certificate of the store."""
    return authority.write(tmp_path / "store", "localhost", "127.0.0.1")


@pytest.fixture
def gateway(authority: Authority, tmp_path: Path) -> CertificateFiles:
    """The one that a gateway shows it."""
    return authority.write(tmp_path / "gateway", "gateway.example.com")


def tls_options(files: CertificateFiles) -> dict[str, str]:
    return {"tls-cert-file": str(files.certificate), "tls-key-file": str(files.key), "tls-ca-cert-file": str(files.ca)}


@contextmanager
def tls_store(
    directory: Path, files: CertificateFiles, *, cluster: bool = False, options: Mapping[str, str] | None = None
) -> Iterator[int]:
    """A server with a port for TLS, which is yielded, beside that of the fixture's own client."""
    directory.mkdir()
    port = free_port()
    every = {"tls-port": str(port), **tls_options(files), **(options or {})}
    with running_store("redis7", directory, cluster=cluster, options=every):
        yield port


def query(files: CertificateFiles) -> str:
    """The options of a URL that names them."""
    return f"tls_ca={files.ca}&tls_certificate={files.certificate}&tls_key={files.key}"


async def works(url: str) -> None:
    """Scripts, the wait for the disk and a subscription, each on a connection of its own."""
    async with open_till(url) as till:
        await till.open_office(1_000_000)
        assert (await till.authorize()).code is Code.FUNDED
        assert (await till.end(60)).code is Code.OK
        durability = Durability(till.connection)
        await durability.settle(durability.servers())
        await durability.close()
        listening = asyncio.Event()
        messages = subscribed(till.connection, b"tg:test", listening.set)
        hearing = asyncio.ensure_future(anext(messages))
        async with asyncio.timeout(30):
            await listening.wait()
            await till.connection.ask("PUBLISH", b"tg:test", "x")
            assert await hearing == b"x"
        await messages.aclose()


async def test_one_server(store: CertificateFiles, gateway: CertificateFiles, tmp_path: Path) -> None:
    with tls_store(tmp_path / "server", store) as port:
        url = f"rediss://localhost:{port}/0?{query(gateway)}"
        await works(url)
        await check_primaries(StoreLocation.parse(url).servers)


async def test_whom_nobody_trusts(
    store: CertificateFiles, gateway: CertificateFiles, authority: Authority, tmp_path: Path
) -> None:
    """Another authority, another name, and no certificate of one's own."""
    stranger = Authority().write(tmp_path / "stranger", "x.example.com")
    elsewhere = authority.write(tmp_path / "elsewhere", "store.example.com")
    shown = f"tls_certificate={gateway.certificate}&tls_key={gateway.key}"
    with tls_store(tmp_path / "a", store) as port, tls_store(tmp_path / "b", elsewhere) as other_port:
        for url in (
            f"rediss://localhost:{port}/0?tls_ca={stranger.ca}&{shown}",
            f"rediss://localhost:{port}/0?{shown}",
            f"rediss://localhost:{other_port}/0?{query(gateway)}",
        ):
            with pytest.raises(StartupError, match=r"is not trusted .*tls_ca"):
                await check_primaries(StoreLocation.parse(url).servers)
            assert not await connects(url)
        assert not await connects(f"rediss://localhost:{port}/0?tls_ca={gateway.ca}")


async def connects(url: str) -> bool:
    """Whether the first attempt gets through."""
    tried: list[bool] = []
    connection = StoreConnection(StoreLocation.parse(url), load_library(), timeout_seconds=PATIENT_SECONDS)
    node = connection._only
    assert node is not None
    await connection.start()
    try:
        async with asyncio.timeout(30):
            for _ in range(600):
                if node.tried:
                    break
                await asyncio.sleep(0.05)
        tried.append(connection.is_connected)
    finally:
        await connection.close()
    return tried[0]


async def test_a_certificate_that_was_renewed_is_read_with_the_next_connection(
    store: CertificateFiles, gateway: CertificateFiles, tmp_path: Path
) -> None:
    tls = StoreLocation.parse(f"rediss://localhost:1/0?{query(gateway)}").login.tls
    assert tls is not None
    assert tls.context() is tls.context()
    before = tls.context()
    shutil.copy(store.certificate, gateway.certificate)
    shutil.copy(store.key, gateway.key)
    assert tls.context() is not before


async def test_a_cluster(store: CertificateFiles, gateway: CertificateFiles, tmp_path: Path) -> None:
    with tls_store(tmp_path / "node", store, cluster=True, options={"tls-cluster": "yes"}) as port:
        url = f"rediss+cluster://localhost:{port}?{query(gateway)}"
        await works(url)
        await check_primaries(await find_primaries(StoreLocation.parse(url)))


async def test_sentinels(store: CertificateFiles, gateway: CertificateFiles, tmp_path: Path) -> None:
    with tls_store(tmp_path / "server", store) as port:
        own = free_port()
        files = [f"{name} {path}" for name, path in tls_options(store).items()]
        listening = ["port 0", f"tls-port {own}", "tls-replication yes", *files]
        with running_sentinel("redis7", tmp_path / "sentinel", port, listening, quorum=1):
            url = f"rediss+sentinel://127.0.0.1:{own}/{PRIMARY_NAME}?{query(gateway)}"
            await works(url)

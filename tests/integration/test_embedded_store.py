"""The embedded store's life: one store a directory, whatever is killed, and nothing acknowledged is lost."""

# ruff: noqa: ASYNC240 - a test blocks nobody but itself

import asyncio
import functools
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.startup import StartupError
from gateway.store.embedded import EmbeddedStore, EmbeddedStoreError
from gateway.store.embedded.address import MAX_SOCKET_PATH_BYTES
from gateway.store.embedded.binary import find_jemalloc
from gateway.store.embedded.directory import STORE_LOCK, DataDirectoryError, DirectoryHeldError, try_lock
from gateway.store.embedded.launch import LOG_MAX_BYTES
from tests.support.servers import ENGINE_PARAMETERS, server_binary, wait_until

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=ENGINE_PARAMETERS)
def binary(request: pytest.FixtureRequest) -> Path:
    return server_binary(request.param)


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / "data"
    yield directory
    end_store(directory)


def end_store(directory: Path) -> None:
    """Kill a store that a test has left on a directory."""
    if not store_lives(directory):
        return
    with suppress(ProcessLookupError):
        os.kill(store_pid(directory), signal.SIGKILL)
    assert wait_until(lambda: not store_lives(directory))


def store_lives(directory: Path) -> bool:
    """Whether any process holds the store lock of the directory."""
    if not (directory / STORE_LOCK).exists():
        return False
    descriptor = try_lock(directory / STORE_LOCK)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def store_pid(directory: Path) -> int:
    return int((directory / "store.pid").read_text())


def connect(url: str) -> "redis.Redis":
    # Without retries, which redis-py would make of its own accord while the store is loading.
    return redis.Redis.from_url(url, decode_responses=True, socket_timeout=5, retry=Retry(NoBackoff(), 0))


class Holder:
    """A process that holds the directory."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.word = ""
        self.said = ""

    def wait_until_it_speaks(self) -> None:
        """Read its one line: `ready` and the URL of the store, or `refused` and why."""
        assert self.process.stdout is not None
        self.word, _, self.said = self.process.stdout.readline().strip().partition(" ")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def finish(self) -> None:
        """Let it stop its store in order."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(timeout=20) == 0


class HoldDirectory:
    """Starts holders; `started` has them all."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.started: list[Holder] = []

    def __call__(self, directory: Path, binary: Path | None = None, *, wait: bool = True) -> Holder:
        arguments = [sys.executable, "-m", "tests.support.embedded_holder", str(directory)]
        process = subprocess.Popen(
            arguments + ([str(binary)] if binary else []),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._stack.enter_context(process)
        self._stack.callback(process.kill)
        holder = Holder(process)
        self.started.append(holder)
        if wait:
            holder.wait_until_it_speaks()
        return holder


@pytest.fixture
def hold() -> Iterator[HoldDirectory]:
    """Start processes that hold a data directory; all are killed with the test, their stores with `data_dir`."""
    with ExitStack() as stack:
        yield HoldDirectory(stack)


async def test_it_starts_as_the_gateway_needs_it(data_dir: Path, binary: Path) -> None:
    store = EmbeddedStore(data_dir, binary=binary)
    address = await store.start()
    try:
        with connect(address.url) as client:
            options = client.config_get("*")
            assert options["appendonly"] == "yes"
            assert options["appendfsync"] == "everysec"
            assert options["hash-max-listpack-value"] == "256"
            assert options["maxmemory-policy"] == "noeviction"
            assert (options["save"], options["port"]) == ("", "0")
            assert client.info("server")["tcp_port"] == 0
            pid = client.info("server")["process_id"]
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE(address.socket_path.stat().st_mode) == 0o700
        assert os.getpgid(pid) == pid, "Ctrl-C must not reach it"
        assert os.getsid(pid) == os.getsid(0), "in a session of its own it would have processors of its own"
        assert store_pid(data_dir) == pid
        aof = next((data_dir / "appendonlydir").glob("*.incr.aof"))
        assert stat.S_IMODE(aof.stat().st_mode) & 0o077 == 0
        if find_jemalloc():
            assert "libjemalloc" in Path(f"/proc/{pid}/maps").read_text()
    finally:
        await store.stop()
    assert not store_lives(data_dir)
    assert not address.socket_path.exists()


async def test_secrets_stay_out_of_its_environment(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLGATE_OPERATOR_TOKEN", "s3cr3t")
    store = EmbeddedStore(data_dir)
    await store.start()
    try:
        assert "s3cr3t" not in Path(f"/proc/{store_pid(data_dir)}/environ").read_text()
    finally:
        await store.stop()


async def test_all_is_there_again_after_a_stop_and_a_start(data_dir: Path, binary: Path) -> None:
    for round_number in range(3):
        store = EmbeddedStore(data_dir, binary=binary)
        address = await store.start()
        with connect(address.url) as client:
            assert client.incr("rounds") == round_number + 1
        await store.stop()


def test_the_store_outlives_a_killed_gateway_and_is_adopted(data_dir: Path, binary: Path, hold: HoldDirectory) -> None:
    first = hold(data_dir, binary)
    assert first.word == "ready", first.said
    pid = store_pid(data_dir)
    with connect(first.said) as client:
        client.set("balance", "42")
        first.kill()
        # Written while no gateway lives, and with an option turned off by hand.
        client.incr("balance")
        client.config_set("appendonly", "no")
    second = hold(data_dir, binary)
    assert (second.word, second.said) == ("ready", first.said)
    assert store_pid(data_dir) == pid
    with connect(second.said) as client:
        assert client.get("balance") == "43"
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    second.finish()
    assert not store_lives(data_dir)


@pytest.mark.slow
def test_ten_kills_of_the_gateway_leave_one_store_and_every_write(data_dir: Path, hold: HoldDirectory) -> None:
    pids = set()
    for number in range(1, 11):
        holder = hold(data_dir)
        assert holder.word == "ready", holder.said
        pids.add(store_pid(data_dir))
        with connect(holder.said) as client:
            assert client.incr("writes") == number
        holder.kill()
    assert len(pids) == 1


def test_a_second_gateway_is_refused_and_told_who_holds_the_directory(data_dir: Path, hold: HoldDirectory) -> None:
    first = hold(data_dir)
    second = hold(data_dir)
    assert second.word == "refused"
    assert f"{data_dir} is held by another gateway (pid {first.process.pid} on host " in second.said
    assert "Z); stop that one, or give this one a data directory of its own" in second.said
    with connect(first.said) as client:
        assert client.ping()


async def test_a_gateway_that_may_not_have_the_directory_stops_nothing(data_dir: Path, hold: HoldDirectory) -> None:
    first = hold(data_dir)
    second = EmbeddedStore(data_dir)
    with pytest.raises(DirectoryHeldError):
        await second.start()
    await second.stop()
    with connect(first.said) as client:
        assert client.ping()


async def test_a_killed_store_is_started_again_with_its_data(data_dir: Path, binary: Path) -> None:
    store = EmbeddedStore(data_dir, binary=binary)
    address = await store.start()
    watch = asyncio.create_task(store.supervise())
    try:
        for number in range(1, 4):
            pid = store_pid(data_dir)
            with connect(address.url) as client:
                assert client.incr("kills") == number
            os.kill(pid, signal.SIGKILL)
            assert await asyncio.to_thread(wait_until, functools.partial(answers_as_another, address.url, pid))
    finally:
        await cancel(watch)
        await store.stop()
    assert not store_lives(data_dir)


async def test_a_closed_connection_alone_starts_no_second_store(data_dir: Path) -> None:
    store = EmbeddedStore(data_dir)
    address = await store.start()
    watch = asyncio.create_task(store.supervise())
    try:
        pid = store_pid(data_dir)
        with connect(address.url) as client:
            client.client_kill_filter(_type="normal", skipme=True)
            assert await asyncio.to_thread(wait_until, lambda: len(client.client_list()) == 2)
            assert client.info("server")["process_id"] == pid
    finally:
        await cancel(watch)
        await store.stop()


def answers_as_another(url: str, pid: int) -> bool:
    try:
        with connect(url) as client:
            return bool(client.info("server")["process_id"] != pid)
    except redis.RedisError:
        return False


async def cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_a_store_that_is_still_ending_is_waited_for(data_dir: Path, hold: HoldDirectory) -> None:
    """While the old process lives no second one starts, even when it answers nothing."""
    hold(data_dir).kill()
    pid = store_pid(data_dir)
    os.kill(pid, signal.SIGSTOP)
    store = EmbeddedStore(data_dir)
    starting = asyncio.create_task(store.start())
    done, _ = await asyncio.wait([starting], timeout=0.3)
    assert not done
    os.kill(pid, signal.SIGTERM)
    os.kill(pid, signal.SIGCONT)
    await starting
    assert store_pid(data_dir) != pid
    await store.stop()


async def test_a_store_that_never_answers_is_reported_and_left_alone(data_dir: Path, hold: HoldDirectory) -> None:
    hold(data_dir).kill()
    pid = store_pid(data_dir)
    os.kill(pid, signal.SIGSTOP)
    try:
        with pytest.raises(EmbeddedStoreError, match=rf"pid {pid}\) runs but does not answer"):
            await EmbeddedStore(data_dir, silence_seconds=0.1).start()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert store_lives(data_dir)


@pytest.mark.slow
async def test_a_store_that_is_loading_is_adopted_when_it_has_loaded(
    data_dir: Path, binary: Path, hold: HoldDirectory, tmp_path: Path
) -> None:
    first = hold(data_dir, binary)
    with connect(first.said) as client, client.pipeline(transaction=False) as pipeline:
        for number in range(KEYS_TO_LOAD):
            pipeline.set(f"key{number}", number)
        pipeline.execute()
    first.finish()
    hold(data_dir, slow_to_load(binary, tmp_path), wait=False)
    assert await asyncio.to_thread(wait_until, lambda: is_loading(data_dir))
    pid = store_pid(data_dir)
    for holder in hold.started:
        holder.kill()
    store = EmbeddedStore(data_dir, silence_seconds=1.0)
    assert is_loading(data_dir)
    address = await store.start()
    with connect(address.url) as client:
        assert client.dbsize() == KEYS_TO_LOAD
    assert store_pid(data_dir) == pid
    await store.stop()


KEYS_TO_LOAD = 20_000


def slow_to_load(binary: Path, directory: Path) -> Path:
    """The same server, taking 50 us more for each key it loads and answering LOADING meanwhile."""
    script = directory / "slow-server"
    script.write_text(f'#!/bin/sh\nexec {binary} "$@" --key-load-delay 50\n')
    script.chmod(0o700)
    return script


def is_loading(directory: Path) -> bool:
    """One question only: a store that is loading answers once in 1,024 keys, and clients ask several at first."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        try:
            connection.connect(str(directory / "store.sock"))
            connection.sendall(b"PING\r\n")
            return connection.recv(100).startswith(b"-LOADING")
        except OSError:
            return False


async def test_a_broken_file_is_told_with_the_end_of_the_log(data_dir: Path, binary: Path) -> None:
    store = EmbeddedStore(data_dir, binary=binary)
    address = await store.start()
    with connect(address.url) as client:
        client.set("a", 1)
    await store.stop()
    aof = next((data_dir / "appendonlydir").glob("*.incr.aof"))
    aof.write_bytes(b"garbage" * 100)
    with pytest.raises(EmbeddedStoreError, match=r"(?s)ended at once \(exit code 1\).*Bad file format"):
        await EmbeddedStore(data_dir, binary=binary).start()
    assert not store_lives(data_dir)


async def test_half_an_entry_at_the_end_does_not_keep_it_down(data_dir: Path, binary: Path) -> None:
    store = EmbeddedStore(data_dir, binary=binary)
    address = await store.start()
    with connect(address.url) as client:
        client.set("whole", 1)
    await store.stop()
    aof = next((data_dir / "appendonlydir").glob("*.incr.aof"))
    with aof.open("ab") as file:
        file.write(b"*3\r\n$3\r\nSET\r\n$4\r\nha")
    store = EmbeddedStore(data_dir, binary=binary)
    address = await store.start()
    with connect(address.url) as client:
        assert client.get("whole") == "1"
    await store.stop()


def long_directory(tmp_path: Path) -> Path:
    return tmp_path / ("d" * 60) / ("e" * 60) / "with blanks and a #%?"


async def test_a_long_path_gets_its_socket_elsewhere(
    tmp_path: Path, binary: Path, monkeypatch: pytest.MonkeyPatch, hold: HoldDirectory
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    directory = long_directory(tmp_path)
    first = hold(directory, binary)
    try:
        assert first.word == "ready", first.said
        socket_path = (directory / "store.sock").readlink()
        assert len(os.fsencode(socket_path)) <= MAX_SOCKET_PATH_BYTES
        assert stat.S_IMODE(socket_path.parent.stat().st_mode) == 0o700
        with connect(first.said) as client:
            client.set("a", 1)
        first.kill()
        # The next one has another run-time directory and finds the store all the same.
        runtime = tmp_path / "run"
        runtime.mkdir(mode=0o700)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
        second = hold(directory, binary)
        assert (second.word, second.said) == ("ready", first.said)
        second.finish()
        assert not socket_path.parent.exists()
        assert not (directory / "store.sock").is_symlink()
    finally:
        end_store(directory)


async def test_a_path_with_blanks_and_signs_works(tmp_path: Path, binary: Path) -> None:
    store = EmbeddedStore(tmp_path / "a b#%?'\"ü", binary=binary)
    address = await store.start()
    try:
        with connect(address.url) as client:
            assert client.ping()
    finally:
        await store.stop()


async def test_a_link_is_the_directory_it_points_to(tmp_path: Path, data_dir: Path, hold: HoldDirectory) -> None:
    hold(data_dir)
    link = tmp_path / "link"
    link.symlink_to(data_dir)
    with pytest.raises(DirectoryHeldError):
        await EmbeddedStore(link).start()


async def test_a_directory_that_was_open_is_closed(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o755)
    store = EmbeddedStore(data_dir)
    await store.claim()
    store.release()
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700


async def test_a_directory_with_files_of_others_is_not_closed(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o755)
    (data_dir / "letter.txt").touch()
    with pytest.raises(DataDirectoryError, match="chmod 700"):
        await EmbeddedStore(data_dir).claim()
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o755


async def test_a_directory_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataDirectoryError, match=r"TOLLGATE_DATA_DIR: .* cannot be used \(not a directory\)"):
        await EmbeddedStore(tmp_path / "file/data").claim()


async def test_a_missing_binary_is_told(data_dir: Path) -> None:
    with pytest.raises(StartupError, match="cannot be started"):
        await EmbeddedStore(data_dir, binary=Path("/nowhere/valkey-server")).start()
    assert json.loads((data_dir / "gateway.lock").read_text())["pid"] == os.getpid()
    assert not store_lives(data_dir)


async def test_a_long_log_is_set_aside_at_the_next_start(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700)
    (data_dir / "store.log").write_bytes(b"x" * (LOG_MAX_BYTES + 1))
    store = EmbeddedStore(data_dir)
    await store.start()
    await store.stop()
    assert (data_dir / "store.log").stat().st_size < LOG_MAX_BYTES
    assert (data_dir / "store.log.1").stat().st_size == LOG_MAX_BYTES + 1

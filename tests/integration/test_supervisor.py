"""The supervisor with children that only keep, or break, their side of the contract."""

import fcntl
import json
import os
import select
import signal
import socket
import stat
import subprocess
import sys
import termios
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from gateway.parent_watch import EXIT_GIVE_UP
from tests.integration.test_embedded_store import end_store, store_lives, store_pid
from tests.support.servers import StartStore, StoreServer, free_port, wait_until

ROOT = Path(__file__).parents[2]
TOKEN = "s3cr3t-of-the-operator"


def fake(name: str, behaviour: str, argument: object = "") -> list[str]:
    return [sys.executable, "-m", "tests.support.fake_child", name, behaviour, str(argument)]


def children(back: str = "ready", front: str = "ready", argument: object = "") -> dict[str, list[str]]:
    return {"back": fake("back", back, argument), "front": fake("front", front, argument)}


class Gateway:
    """A supervisor in a process of its own, and what it has logged."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def output(self) -> str:
        return self._log.read_text()

    def events(self, name: str, **fields: object) -> list[dict[str, Any]]:
        """The log lines of one event, complete lines only."""
        found = []
        for line in self.output.splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                event = json.loads(line)
                if event["event"] == name and fields.items() <= event.items():
                    found.append(event)
        return found

    def wait_for(self, name: str, times: int = 1, **fields: object) -> list[dict[str, Any]]:
        assert wait_until(lambda: len(self.events(name, **fields)) >= times, 20), f"no {name}:\n{self.output}"
        return self.events(name, **fields)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)


StartGateway = Callable[..., Gateway]


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def start_gateway(data_dir: Path, tmp_path: Path) -> Iterator[StartGateway]:
    """Start supervisors on free ports; each is killed with the test, and with it its children."""
    with ExitStack() as stack:
        stack.callback(end_store, data_dir)
        count = 0

        def start(commands: dict[str, list[str]], terminal: int | None = None, **settings: object) -> Gateway:
            nonlocal count
            count += 1
            log = tmp_path / f"gateway-{count}.log"
            given = {
                "listen": f"127.0.0.1:{free_port()}",
                "admin_listen": f"127.0.0.1:{free_port()}",
                "metrics_listen": "127.0.0.1:0",
                "http_listen": "127.0.0.1:0",
                "data_dir": data_dir,
                **settings,
            }
            environment = {name: value for name, value in os.environ.items() if not name.startswith("TOLLGATE_")}
            environment |= {f"TOLLGATE_{name.upper()}": str(value) for name, value in given.items()}
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.support.fake_gateway", json.dumps(commands)],
                    cwd=ROOT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output if terminal is None else terminal,
                    stderr=output if terminal is None else terminal,
                    start_new_session=True,
                    preexec_fn=None if terminal is None else partial(fcntl.ioctl, 1, termios.TIOCSCTTY, 0),
                )
            stack.enter_context(process)
            stack.callback(process.kill)
            return Gateway(process, log)

        yield start


def is_gone(pid: int) -> bool:
    """Whether no process with this pid does anything any more; one that nobody has collected yet is gone, too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_back_then_front_then_a_clean_drain(start_gateway: StartGateway, data_dir: Path) -> None:
    gateway = start_gateway(children())
    gateway.wait_for("gateway_ready")
    (back,) = gateway.events("child_ready", child="back")
    (front,) = gateway.events("child_started", child="front")
    assert back["timestamp"] < front["timestamp"]
    assert back["listen"] == "127.0.0.1:4711"
    assert store_lives(data_dir)
    assert gateway.end() == 0
    assert not store_lives(data_dir)
    (ended,) = gateway.events("gateway_ended")
    assert ended["exit_codes"] == {"back": 0, "front": 0}


def test_ctrl_c_drains_as_well(start_gateway: StartGateway) -> None:
    gateway = start_gateway(children())
    gateway.wait_for("gateway_ready")
    for started in gateway.events("child_started"):
        assert os.getpgid(started["pid"]) == started["pid"], "Ctrl-C must not reach it"
        assert os.getsid(started["pid"]) == gateway.process.pid, "another session's processes would not make way for it"
    os.killpg(gateway.process.pid, signal.SIGINT)
    assert gateway.process.wait(timeout=20) == 0


def test_a_terminal_that_stops_what_writes_in_the_background_stops_no_child(start_gateway: StartGateway) -> None:
    controller, terminal = os.openpty()
    try:
        attributes = termios.tcgetattr(terminal)
        attributes[3] |= termios.TOSTOP
        termios.tcsetattr(terminal, termios.TCSANOW, attributes)
        gateway = start_gateway(children(back="loud", front="loud"), terminal=terminal)
        said = b""
        while b"gateway_ready" not in said:
            assert select.select([controller], [], [], 20)[0], said
            said += os.read(controller, 65_536)
        assert b"back is loud" in said
        assert b"front is loud" in said
        # What it says in ending has room in the terminal, which nobody reads any more.
        assert gateway.end() == 0
    finally:
        os.close(controller)
        os.close(terminal)


def test_front_waits_until_back_is_ready(start_gateway: StartGateway) -> None:
    gateway = start_gateway(children(back="silent"))
    gateway.wait_for("child_started", child="back")
    assert gateway.end() == 0
    assert not gateway.events("child_started", child="front")
    assert not gateway.events("gateway_ready")


def test_a_crashed_child_is_started_again_alone(start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = start_gateway(children(front="crash-once", argument=tmp_path / "crashed"))
    gateway.wait_for("child_ready", times=2, child="front")
    (died,) = gateway.events("child_died")
    assert (died["child"], died["exit_code"]) == ("front", -signal.SIGKILL)
    assert len(gateway.events("child_started", child="back")) == 1
    assert gateway.end() == 0


def test_a_child_that_crashes_again_and_again_is_started_ever_more_slowly(start_gateway: StartGateway) -> None:
    gateway = start_gateway(children(front="crash"))
    restarts = gateway.wait_for("child_restarts", times=4)
    assert [restart["delay_seconds"] for restart in restarts[:4]] == [0.1, 0.2, 0.4, 0.8]
    gateway.end()


def test_a_child_that_gives_up_ends_the_gateway(start_gateway: StartGateway, data_dir: Path) -> None:
    gateway = start_gateway(children(front="give-up"))
    assert gateway.process.wait(timeout=20) == 2
    assert "the front process cannot run as the gateway is set up; its log says why" in gateway.output
    (ended,) = gateway.events("gateway_ended")
    assert ended["exit_codes"] == {"back": 0}
    assert not store_lives(data_dir)


def test_a_child_that_has_run_and_gives_up_is_started_again(start_gateway: StartGateway, tmp_path: Path) -> None:
    """A back whose database is away when it starts again does not take the fronts with it."""
    gateway = start_gateway(children(back="give-up-later", argument=tmp_path / "starts"))
    gateway.wait_for("child_ready", times=2, child="back")
    assert [each["exit_code"] for each in gateway.events("child_died")] == [9, EXIT_GIVE_UP]
    assert not gateway.events("child_died", child="front")
    assert gateway.end() == 0


def test_a_program_that_is_missing_ends_the_gateway(start_gateway: StartGateway, data_dir: Path) -> None:
    gateway = start_gateway({"back": ["/nowhere/python"]})
    assert gateway.process.wait(timeout=20) != 0
    assert not store_lives(data_dir)


def test_a_child_that_does_not_drain_in_time_is_killed(start_gateway: StartGateway) -> None:
    gateway = start_gateway(children(front="stubborn"), drain_seconds=1)
    gateway.wait_for("gateway_ready")
    assert gateway.end() == 1
    (killed,) = gateway.events("child_killed")
    assert (killed["child"], killed["hurried"]) == ("front", False)


def test_a_second_signal_ends_the_drain(start_gateway: StartGateway, data_dir: Path) -> None:
    gateway = start_gateway(children(front="stubborn"), drain_seconds=600)
    gateway.wait_for("gateway_ready")
    gateway.process.send_signal(signal.SIGTERM)
    gateway.wait_for("gateway_drains")
    assert gateway.end(signal.SIGINT) == 1
    assert gateway.events("child_killed", child="front", hurried=True)
    assert not store_lives(data_dir)


def test_a_child_that_ends_badly_is_told_by_the_exit_code(start_gateway: StartGateway) -> None:
    gateway = start_gateway(children(back="dirty"))
    gateway.wait_for("gateway_ready")
    assert gateway.end() == 1


def test_children_end_with_a_killed_supervisor_and_the_store_goes_on(
    start_gateway: StartGateway, data_dir: Path
) -> None:
    gateway = start_gateway(children(front="stubborn"))
    gateway.wait_for("gateway_ready")
    pids = [event["pid"] for event in gateway.events("child_started")]
    store = store_pid(data_dir)
    assert gateway.end(signal.SIGKILL) == -signal.SIGKILL
    assert wait_until(lambda: all(is_gone(pid) for pid in pids))
    second = start_gateway(children())
    second.wait_for("gateway_ready")
    assert second.wait_for("store_adopted")[0]["pid"] == store
    assert second.end() == 0
    assert not store_lives(data_dir)


def test_the_killed_store_comes_back_under_running_children(start_gateway: StartGateway, data_dir: Path) -> None:
    gateway = start_gateway(children())
    gateway.wait_for("gateway_ready")
    os.kill(store_pid(data_dir), signal.SIGKILL)
    gateway.wait_for("store_started", times=2)
    assert len(gateway.events("child_started")) == 2
    assert gateway.end() == 0


def test_children_get_settings_and_token_by_their_environment_alone(
    start_gateway: StartGateway, data_dir: Path, tmp_path: Path
) -> None:
    config = tmp_path / "tollgate.toml"
    config.write_text("grace_seconds = 7")
    gateway = start_gateway(
        {"back": fake("back", "environment", tmp_path / "seen.json")}, operator_token=TOKEN, config=config
    )
    gateway.wait_for("gateway_ready")
    seen = json.loads((tmp_path / "seen.json").read_text())
    environment = seen["environment"]
    assert environment["TOLLGATE_OPERATOR_TOKEN"] == TOKEN
    assert environment["TOLLGATE_GRACE_SECONDS"] == "7"
    assert "TOLLGATE_CONFIG" not in environment
    with redis.Redis.from_url(environment["TOLLGATE_REDIS_URL"]) as client:
        assert client.info("server")["process_id"] == store_pid(data_dir)
    assert TOKEN not in " ".join(seen["command"])
    assert gateway.end() == 0
    assert TOKEN not in gateway.output


@pytest.mark.slow
@pytest.mark.parametrize("setting", ["listen", "admin_listen", "http_listen", "metrics_listen"])
def test_a_taken_port_is_told_with_its_setting(start_gateway: StartGateway, data_dir: Path, setting: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        gateway = start_gateway(children(), **{setting: address})
        assert gateway.process.wait(timeout=20) == 2
    assert f"TOLLGATE_{setting.upper()}: {address} is taken by another process; stop that one" in gateway.output
    assert not gateway.events("child_started")
    assert not store_lives(data_dir)


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("192.0.2.1:50051", "TOLLGATE_LISTEN: 192.0.2.1 is no address of this machine"),
        ("no-such-host.invalid:50051", "TOLLGATE_LISTEN: the host of no-such-host.invalid:50051 is unknown"),
    ],
)
def test_an_address_of_somewhere_else_is_told(start_gateway: StartGateway, address: str, words: str) -> None:
    gateway = start_gateway(children(), listen=address)
    assert gateway.process.wait(timeout=20) == 2
    assert words in gateway.output


@pytest.mark.slow
def test_two_listeners_that_collide_by_a_wildcard_are_told(start_gateway: StartGateway) -> None:
    port = free_port()
    gateway = start_gateway(children(), listen=f"127.0.0.1:{port}", admin_listen=f"0.0.0.0:{port}")
    assert gateway.process.wait(timeout=20) == 2
    assert f"TOLLGATE_ADMIN_LISTEN: 0.0.0.0:{port} is taken" in gateway.output


@pytest.mark.slow
def test_a_second_gateway_hears_who_holds_the_directory(start_gateway: StartGateway) -> None:
    first = start_gateway(children())
    first.wait_for("gateway_ready")
    second = start_gateway(children())
    assert second.process.wait(timeout=20) == 2
    assert f"is held by another gateway (pid {first.process.pid} on host " in second.output
    assert first.end() == 0


def test_a_store_elsewhere_is_used_and_left_running(
    start_gateway: StartGateway, valkey: StoreServer, data_dir: Path
) -> None:
    gateway = start_gateway(children(), redis_url=valkey.url)
    gateway.wait_for("gateway_ready")
    assert gateway.end() == 0
    assert not store_lives(data_dir)
    assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700, "SQLite lives there"
    with valkey.client() as client:
        assert client.ping()


def test_a_store_that_may_forget_is_refused(start_gateway: StartGateway, start_store: StartStore) -> None:
    server = start_store("valkey", appendonly="no", maxmemory_policy="allkeys-lru")
    gateway = start_gateway(children(), redis_url=server.url)
    assert gateway.process.wait(timeout=20) == 2
    assert "TOLLGATE_REDIS_URL: maxmemory-policy is allkeys-lru" in gateway.output
    assert "TOLLGATE_REDIS_URL: appendonly is off" in gateway.output
    assert not gateway.events("child_started")


def test_a_store_that_is_down_is_waited_for_by_the_children(start_gateway: StartGateway) -> None:
    gateway = start_gateway(children(), redis_url=f"redis://127.0.0.1:{free_port()}/0")
    gateway.wait_for("gateway_ready")
    assert gateway.events("store_not_checked")
    assert gateway.end() == 0


def test_workers_start_together_and_are_kept_each_by_itself(start_gateway: StartGateway, tmp_path: Path) -> None:
    gateway = start_gateway(children(front="crash-once", argument=tmp_path / "crashed"), workers=3)

    def counted(event: str) -> Counter[str]:
        return Counter(each["child"] for each in gateway.events(event))

    gateway.wait_for("child_died")
    each = Counter(["back", "front-1", "front-2", "front-3"])
    assert wait_until(lambda: counted("child_started") - counted("child_died") == each, 20), gateway.output
    # Who died was started again, and nobody else.
    assert counted("child_restarts") == counted("child_died")
    assert gateway.end() == 0


def test_children_are_replaced_one_after_the_other(start_gateway: StartGateway) -> None:
    gateway = start_gateway(children(), workers=2)
    gateway.wait_for("gateway_ready")
    gateway.process.send_signal(signal.SIGUSR1)
    gateway.wait_for("gateway_replaced")
    happened = [
        (event["event"], event["child"])
        for event in map(json.loads, gateway.output.splitlines())
        if event["event"] in ("child_replaced", "child_ready")
    ][3:]
    assert happened == [
        (event, child) for child in ("back", "front-1", "front-2") for event in ("child_replaced", "child_ready")
    ]
    assert not gateway.events("child_died")
    assert not gateway.events("child_restarts")
    assert gateway.end() == 0


@pytest.mark.slow
def test_a_child_that_will_not_go_is_killed_and_replaced(start_gateway: StartGateway) -> None:
    gateway = start_gateway(children(front="stubborn"), workers=2, drain_seconds=0)
    gateway.wait_for("gateway_ready")
    gateway.process.send_signal(signal.SIGUSR1)
    gateway.wait_for("gateway_replaced")
    assert [event["child"] for event in gateway.events("child_killed")] == ["front-1", "front-2"]
    gateway.process.kill()

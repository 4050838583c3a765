"""The access list of deploy/store, on both engines: the gateway does all it does, and may do nothing else."""

import hashlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from gateway.cli.doctor.findings import Findings, Verdict
from gateway.cli.doctor.primary import examine_primary
from gateway.store.address import StoreAddress
from gateway.store.codes import Code
from gateway.store.configuration import StoreConfigurationError, check_primaries
from gateway.store.permissions import PROBES, command_of
from gateway.v1 import authorization_pb2 as pb
from gateway.v1 import credits_pb2 as credits_pb
from tests.support.audits import assert_clean
from tests.support.back import OFFICE, bearer, running_back
from tests.support.front import metadata, running_front
from tests.support.rebuilds import lose_and_rebuild
from tests.support.refills import dip, pay, with_refill
from tests.support.servers import Login, StoreServer, running_store

ROOT = Path(__file__).parents[2]
USERS = ROOT / "deploy/store/users.acl"
ADMIN = Login("admin", "secret-of-the-admin")
GATEWAY = Login("gateway", "secret-of-the-gateway")
MONITOR = Login("monitor", "secret-of-the-monitor")

NEVER_SEEN = {
    # Signing in and leaving, which a server refuses nobody; and other databases.
    "auth", "hello", "quit", "reset", "select",
    # Only in a Cluster.
    "asking", "cluster|info", "cluster|slots",
    # Redis 7.0 has none; and a server that has replicas is asked by WAIT.
    "waitaof", "wait",
}  # fmt: skip
"""What the gateway may do and the test below does not make it do."""


def with_passwords(text: str, *logins: Login) -> str:
    """The file as an operator has filled it in."""
    for login in logins:
        digest = hashlib.sha256(login.password.encode()).hexdigest()
        text, found = re.subn(rf"^(user {login.username} on resetpass)", rf"\1 #{digest}", text, flags=re.MULTILINE)
        assert found == 1
    return text


def test_the_commands_of_the_how_to_fill_in_the_file(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/secure-the-store.md").read_text()
    (loop,) = re.findall(r"^    for user in .*?^    done$", page, re.MULTILINE | re.DOTALL)
    file = tmp_path / "users.acl"
    file.write_text(USERS.read_text())
    made = subprocess.run(
        ["bash", "-e", "-c", loop.replace("/etc/redis/users.acl", str(file))],
        check=True,
        capture_output=True,
        text=True,
    )
    logins = [Login(*line.split()) for line in made.stdout.splitlines()]
    assert [login.username for login in logins] == ["admin", "gateway", "monitor"]
    assert file.read_text() == with_passwords(USERS.read_text(), *logins)


@pytest.fixture(scope="module")
def server(store_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreServer]:
    directory = tmp_path_factory.mktemp(f"{store_engine}-users")
    file = directory / "users.acl"
    file.write_text(with_passwords(USERS.read_text(), ADMIN, GATEWAY, MONITOR))
    with running_store(store_engine, directory, options={"aclfile": str(file)}, login=ADMIN) as running:
        yield running


def url_of(server: StoreServer, login: Login = GATEWAY) -> str:
    return f"redis://{login.username}:{login.password}@{server.host}:{server.port}/0"


async def test_a_gateway_does_all_that_it_does(server: StoreServer, tmp_path: Path) -> None:
    """Calls, messages, refill, journal, audit, rebuild: nothing is refused, and everything that is allowed is used."""
    url = url_of(server)
    with server.client() as client:
        client.config_resetstat()
        client.execute_command("ACL LOG", "RESET")
    async with running_back(server, tmp_path, redis_url=url) as back:
        await with_refill(back)
        await dip(back)
        await pay(back)
        register = credits_pb.RegisterSwitchRequest(switch_id="sw1", callback_url="http://127.0.0.1:1/")
        await back.stub.RegisterSwitch(register, metadata=bearer())
        await back.stub.ListCalls(credits_pb.ListCallsRequest(office_id=OFFICE), metadata=bearer())
        version = (await back.till.office()).settings.version
        assert (await back.till.authorize(version=version)).code is Code.FUNDED
        assert (await back.till.answer()).code is Code.OK
        for turns in (back.back.background.sampler, back.back.background.outbox_gauge, back.journaler):
            await turns.turn()
        assert (await back.till.end(60)).code is Code.OK
        while await back.journaler.turn():
            pass
        await assert_clean(back)
        await lose_and_rebuild(back, server)
        await assert_clean(back)
    async with running_front(url, flush=False) as front:
        await front.add_office("a", 1_000_000)
        request = pb.AuthorizeCallRequest(
            office_id="a", call_id="c1", direction=pb.OUTBOUND, license=pb.STANDARD, service=pb.VOICE,
            calling_number="+12125550142", called_number="+442079460958",
        )  # fmt: skip
        assert (await front.stub.AuthorizeCall(request, metadata=metadata())).reason == pb.FUNDED
    with server.client() as client:
        denied = [entry["object"] for entry in client.acl_log()]
        used = {name.removeprefix("cmdstat_") for name in client.info("commandstats")}
        assert denied == []
        assert may_do(client, GATEWAY.username) - NEVER_SEEN - used == set()


def may_do(client: Any, username: str) -> set[str]:
    """Every command, and every part of one, that an access list lets a user have."""
    found = set()
    for name in client.execute_command("COMMAND LIST"):
        command = name.decode() if isinstance(name, bytes) else name
        if not refused(client, username, *command.split("|")):
            found.add(command)
    return {each for each in found if "|" in each or not any(other.startswith(f"{each}|") for other in found)}


def refused(client: Any, username: str, *command: str) -> bool:
    """Whether the command itself is; its arguments may be as wrong as they like, but not too few."""
    for arguments in range(9):
        told = tried(client, username, *command, *["tg:{0}:x"] * arguments)
        if "wrong number of arguments" not in told:
            # A command that is nothing without its second word is not found.
            return "has no permissions to run" in told or "not found" in told
    raise AssertionError(f"{command} takes more arguments than were tried")


def tried(client: Any, username: str, *command: str) -> str:
    """What the server says of a command that it does not run."""
    try:
        told = client.execute_command("ACL DRYRUN", username, *command)
    except redis.ResponseError as error:
        return str(error)
    return told.decode() if isinstance(told, bytes) else str(told)


def test_the_list_is_what_is_tried_at_the_start_and_no_more(server: StoreServer) -> None:
    with server.client() as client:
        allowed = may_do(client, GATEWAY.username)
    tried = {command_of(probe) for probe in PROBES}
    assert tried - allowed == set()
    assert allowed - tried - NEVER_SEEN == {"subscribe"}


@pytest.mark.parametrize(
    "command",
    ["FLUSHALL", "FLUSHDB", "KEYS *", "CONFIG SET maxmemory 1", "CONFIG GET *", "SHUTDOWN NOSAVE",
     "ACL LIST", "EVAL return(1) 0", "FUNCTION FLUSH", "REPLICAOF NO ONE", "CLIENT LIST", "MONITOR", "SAVE",
     "DUMP tg:x", "RENAME tg:a tg:b", "GET other", "SET other 1", "PUBLISH other x"],
)  # fmt: skip
def test_the_gateway_may_not(server: StoreServer, command: str) -> None:
    with server.client(**GATEWAY._asdict()) as client, pytest.raises(redis.exceptions.NoPermissionError):
        client.execute_command(*command.split())


def test_who_watches_sees_how_it_is_and_no_balance(server: StoreServer) -> None:
    with server.client(**MONITOR._asdict()) as client:
        assert client.ping()
        assert client.info("memory")["maxmemory_policy"] == "noeviction"
        for command in ("GET tg:epoch", "SET tg:x 1", "CONFIG GET *", "SCAN 0"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())


async def test_doctor_looks_at_it_as_the_gateway(server: StoreServer) -> None:
    findings = Findings("store")
    address = StoreAddress.parse(url_of(server))
    assert await examine_primary(address, findings, timeout_ms=5_000, runs=False) is not None, list(findings)
    assert [each for each in findings if each.verdict is Verdict.FAIL] == []


def test_nobody_comes_in_without_a_password(server: StoreServer) -> None:
    alone = redis.Redis(host=server.host, port=server.port, retry=Retry(NoBackoff(), 0))
    with alone as client, pytest.raises(redis.AuthenticationError):
        client.ping()


async def test_what_is_missing_is_said_at_the_start(server: StoreServer) -> None:
    address = StoreAddress.parse(url_of(server))
    await check_primaries([address])
    with server.client() as client:
        rules = next(line for line in client.acl_list() if line.startswith("user gateway "))
        for taken, names in (("-xadd -function|load -info", "info, function|load, xadd"), ("resetchannels", "publish")):
            client.execute_command("ACL SETUSER", "gateway", *taken.split())
            with pytest.raises(StoreConfigurationError) as caught:
                await check_primaries([address])
            text = str(caught.value)
            assert f"user gateway lacks the permission for {names} on tg:*" in text
            assert "ACL SETUSER gateway ~tg:* &tg:* +" in text
            # The cure is one.
            client.execute_command("ACL SETUSER", *re.findall(r"ACL SETUSER (.*?) \(", text)[0].split())
            await check_primaries([address])
        client.execute_command("ACL SETUSER", *rules.removeprefix("user ").split())
    for login in (Login("gateway", "wrong"), Login("nobody", "x")):
        with pytest.raises(StoreConfigurationError, match="refuses user and password"):
            await check_primaries([StoreAddress.parse(url_of(server, login))])

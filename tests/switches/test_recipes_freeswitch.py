"""The Lua script of switches/freeswitch, run by Lua with a stand-in for FreeSWITCH that asks the real hooks."""

import http.client
import math
import re
import shlex
import time
import urllib.parse
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lupa.lua51
import lupa.lua52
import lupa.lua53
import lupa.lua54
import pytest

from gateway.v1 import credits_pb2 as pb
from tests.support.recipes import (
    FUNDS,
    LONDON,
    MINUTE,
    PARIS,
    SECOND,
    RecipeGateway,
    failing_way,
    nowhere,
    recipe_gateway,
)

RECIPE = Path(__file__).parents[2] / "switches/freeswitch"
SCRIPT = (RECIPE / "tollgate.lua").read_text()
UUID = "6ad1c1a4-0000-4000-8000-00000000000"
RUNTIMES = {"5.1": lupa.lua51, "5.2": lupa.lua52, "5.3": lupa.lua53, "5.4": lupa.lua54}
"""FreeSWITCH embeds one of these, depending on how it was built."""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("recipes")]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecipeGateway]:
    with recipe_gateway(tmp_path_factory.mktemp("freeswitch")) as running:
        yield running


@dataclass
class Scheduled:
    """A command that the scheduler holds."""

    seconds: int
    group: str
    command: str


@dataclass
class FreeSwitch:
    """What the script uses of FreeSWITCH: the commands of its API, and the session of the calling leg."""

    gateway: RecipeGateway
    lua: Any = lupa.lua53
    url: str = ""
    uuid: str = UUID
    up: bool = True
    variables: dict[str, str] = field(default_factory=dict)
    exported: dict[str, str] = field(default_factory=dict)
    response: str = ""
    cause: str = ""
    auto_hangup: bool = True
    tasks: list[Scheduled] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def run(self, *arguments: str) -> None:
        """Run the script, as `lua` and `luarun` do."""
        runtime = self.lua.LuaRuntime(unpack_returned_tuples=True)
        scope = runtime.globals()
        settings = {"tollgate_url": self.url or self.gateway.url, "tollgate_token": self.gateway.token}
        scope.freeswitch = runtime.table_from(
            {
                "API": lambda: runtime.table_from({"execute": lambda _, name, text: self._execute(name, text)}),
                "getGlobalVariable": settings.get,
                "consoleLog": lambda _, text: self.log.append(text),
            }
        )
        scope.session = runtime.table_from(
            {
                "getVariable": lambda _, name: {"uuid": self.uuid, **self.variables}.get(name),
                "setVariable": lambda _, name, value: self.variables.update({name: value}),
                "setAutoHangup": lambda _, on: setattr(self, "auto_hangup", on),
                "execute": lambda _, name, text: self._application(name, text),
                "hangup": lambda _, cause: setattr(self, "cause", cause),
            }
        )
        scope.argv = runtime.table_from(arguments)
        runtime.execute(SCRIPT)
        assert self.unknown == []

    def run_command(self, command: str) -> None:
        """Run what was scheduled or hooked."""
        name, script, *arguments = command.split(" ")
        assert (name, script) == ("luarun", "tollgate.lua")
        self.run(*arguments)

    def hang_up(self, **times: int) -> None:
        """The leg is gone: run its hook, expanded as FreeSWITCH does."""
        self.up = False
        values = {"hangup_cause": "NORMAL_CLEARING", "bridge_uepoch": 0, "answer_uepoch": 0, **self.variables, **times}
        self.run_command(
            re.sub(r"\$\{(\w+)\}", lambda found: str(values.get(found[1], "")), self.variables["api_hangup_hook"])
        )

    def _application(self, name: str, text: str) -> None:
        if name == "export":
            variable, _, value = text.removeprefix("nolocal:").partition("=")
            self.exported[variable] = value
        elif name == "respond":
            self.response = text
        else:
            self.unknown.append(name)

    def _execute(self, name: str, text: str) -> str:
        commands: dict[str, Callable[[str], str]] = {
            "curl": self._curl,
            "sched_api": self._sched_api,
            "sched_del": self._sched_del,
            "uuid_exists": lambda _: "true" if self.up else "false",
            "uuid_setvar": self._uuid_setvar,
            "uuid_kill": self._uuid_kill,
        }
        if name not in commands:
            self.unknown.append(name)
            return "-ERR"
        return commands[name](text)

    def _curl(self, text: str) -> str:
        """As mod_curl: arguments at spaces and single quotes, what is posted decoded, the body or nothing."""
        url, *arguments = shlex.split(text)
        options = dict(zip(arguments[::2], arguments[1::2], strict=True))
        assert set(options) == {"connect-timeout", "timeout", "content-type", "append_headers", "post"}
        name, _, value = options["append_headers"].partition(": ")
        where = urllib.parse.urlsplit(url)
        assert where.hostname is not None
        connection = http.client.HTTPConnection(where.hostname, where.port, timeout=float(options["timeout"]))
        body = urllib.parse.unquote_to_bytes(options["post"])
        try:
            connection.request("POST", where.path, body, {name: value, "Content-Type": options["content-type"]})
            return connection.getresponse().read().decode()
        except OSError:
            return ""
        finally:
            connection.close()

    def _sched_api(self, text: str) -> str:
        seconds, group, command = text.split(" ", 2)
        assert re.fullmatch(r"\+[1-9]\d*", seconds)
        self.tasks.append(Scheduled(int(seconds), group, command))
        return "+OK"

    def _sched_del(self, group: str) -> str:
        self.tasks = [task for task in self.tasks if task.group != group]
        return "+OK"

    def _uuid_setvar(self, text: str) -> str:
        uuid, name, value = text.split(" ", 2)
        assert uuid == self.uuid
        self.variables[name] = value
        return "+OK"

    def _uuid_kill(self, text: str) -> str:
        uuid, cause = text.split(" ")
        assert uuid == self.uuid
        self.up, self.cause = False, cause
        return "+OK"

    def cut(self) -> Scheduled:
        """The one moment at which the call will be cut."""
        (task,) = [task for task in self.tasks if task.command == f"uuid_kill {self.uuid} ALLOTTED_TIMEOUT"]
        return task

    def next_run(self) -> Scheduled:
        """Take the one run of the script that is to come."""
        (task,) = [task for task in self.tasks if task.command.startswith("luarun ")]
        self.tasks.remove(task)
        return task


@pytest.fixture
def switch(gateway: RecipeGateway) -> Callable[..., FreeSwitch]:
    """Makes the calling leg of a call to a number, paid by an office."""

    def make(office: str, called: str, *, lua: Any = lupa.lua53, url: str = "", **variables: str) -> FreeSwitch:
        known = {
            "tollgate_office": office,
            "destination_number": called,
            "caller_id_number": "+12175550100",
            **variables,
        }
        return FreeSwitch(gateway, lua=lua, url=url, variables=known)

    return make


def earlier(command: str, seconds: int) -> str:
    """A tick of a call that was answered so long before: time need not pass for it."""
    *head, answered_at, granted = command.split(" ")
    return " ".join([*head, str(int(answered_at) - seconds), granted])


@pytest.mark.parametrize("version", RUNTIMES)
def test_a_call_from_its_authorization_to_its_end(
    gateway: RecipeGateway, switch: Callable[..., FreeSwitch], version: str
) -> None:
    office = gateway.office()
    leg = switch(office, LONDON, lua=RUNTIMES[version])
    leg.run("authorize")
    assert (leg.auto_hangup, leg.response, leg.cause) == (False, "", "")
    assert gateway.books(office) == (FUNDS, MINUTE)

    answered = time.time_ns() // 1000
    leg.run_command(leg.exported["api_on_answer"])
    assert leg.cut().seconds == 60
    tick = leg.next_run()
    assert tick.seconds == 50

    leg.run_command(earlier(tick.command, 50))
    assert gateway.call(office, UUID).granted_seconds == 120
    # The cut moved to 120 s after the answer; the one at 60 s is gone.
    assert leg.cut().seconds in (69, 70)
    tick = leg.next_run()
    assert tick.seconds in (59, 60)

    leg.hang_up(answer_uepoch=answered, bridge_uepoch=answered + 1_000, end_uepoch=answered + 60_500_000)
    gateway.settled(office, FUNDS - 2 * MINUTE)
    # What is still scheduled does nothing to a leg that is gone.
    leg.run_command(tick.command)
    assert leg.log == []


def test_ticks_come_closer_where_nothing_more_is_granted(
    gateway: RecipeGateway, switch: Callable[..., FreeSwitch]
) -> None:
    office = gateway.office(funds=MINUTE)
    leg = switch(office, LONDON)
    leg.run("authorize")
    leg.run_command(leg.exported["api_on_answer"])
    cut, pauses = leg.cut(), []
    used = 50
    while any(task.command.startswith("luarun ") for task in leg.tasks):
        tick = leg.next_run()
        pauses.append(tick.seconds)
        answered_at = int(time.time()) - used
        leg.run_command(re.sub(r"\d+ (\d+)$", rf"{answered_at} \1", tick.command))
        used = min(59, used + (60 - used + 1) // 2)
    assert pauses == [50, 5, 3, 1]
    assert leg.cut() is cut
    # A call whose time is over is not left to the scheduler.
    leg.run("tick", UUID, office, str(int(time.time()) - 60), "60")
    assert (leg.up, leg.cause) == (False, "ALLOTTED_TIMEOUT")
    leg.hang_up(answer_uepoch=1_000_000, end_uepoch=61_400_000, tollgate_answered_at=1)
    gateway.settled(office, 0)


def test_a_call_that_nobody_answers(gateway: RecipeGateway, switch: Callable[..., FreeSwitch]) -> None:
    office = gateway.office()
    leg = switch(office, LONDON)
    leg.run("authorize")
    leg.hang_up(end_uepoch=time.time_ns() // 1000)
    gateway.settled(office, FUNDS)


def test_early_media_is_not_talk_time(gateway: RecipeGateway, switch: Callable[..., FreeSwitch]) -> None:
    office = gateway.office()
    leg = switch(office, PARIS)
    leg.run("authorize")
    # An announcement answered the calling leg, the two were bridged while it rang, and nobody answered.
    leg.hang_up(answer_uepoch=1_000_000, bridge_uepoch=2_000_000, end_uepoch=9_000_000)
    gateway.settled(office, FUNDS)
    # The same, and somebody answered in second 5.
    leg = switch(office, PARIS)
    leg.uuid = UUID + "1"
    leg.run("authorize")
    leg.hang_up(answer_uepoch=1_000_000, bridge_uepoch=2_000_000, end_uepoch=9_000_000, tollgate_answered_at=5)
    gateway.settled(office, FUNDS - 4 * SECOND)


def suspended(gateway: RecipeGateway) -> str:
    office = gateway.office()
    gateway.ask("SuspendOffice", pb.SuspendOfficeRequest(office_id=office))
    return office


REFUSALS: list[tuple[Callable[[RecipeGateway], str], str, str, str]] = [
    (lambda there: there.office(funds=MINUTE - 1), LONDON, "INSUFFICIENT_FUNDS", "402 Payment Required"),
    (lambda there: there.office(daily_spend_limit_micros=1), LONDON, "SPEND_LIMIT", "402 Payment Required"),
    (lambda there: there.office(max_price_per_minute_micros=1), LONDON, "PRICE_LIMIT", "403 Forbidden"),
    (suspended, LONDON, "OFFICE_SUSPENDED", "403 Forbidden"),
    (lambda _: "nowhere", LONDON, "UNKNOWN_OFFICE", "403 Forbidden"),
    (lambda there: there.office(), "+4", "INVALID_NUMBER", "404 Not Found"),
    (lambda there: there.office(), "+4930123456", "NO_RATE", "404 Not Found"),
    (lambda there: there.office(), "", "INVALID_ARGUMENT", "503 Service Unavailable"),
]


@pytest.mark.parametrize(("office", "called", "reason", "response"), REFUSALS, ids=[case[2] for case in REFUSALS])
def test_refusals(
    gateway: RecipeGateway,
    switch: Callable[..., FreeSwitch],
    office: Callable[[RecipeGateway], str],
    called: str,
    reason: str,
    response: str,
) -> None:
    leg = switch(office(gateway), called)
    leg.run("authorize")
    assert (leg.response, leg.cause, leg.variables["tollgate_reason"]) == (response, "CALL_REJECTED", reason)
    assert "api_hangup_hook" not in leg.variables


def test_without_a_gateway_only_emergencies_pass(switch: Callable[..., FreeSwitch]) -> None:
    leg = switch("springfield", LONDON, url=nowhere())
    leg.run("authorize")
    assert (leg.response, leg.variables["tollgate_reason"]) == ("503 Service Unavailable", "UNANSWERED")
    leg = switch("springfield", "911", url=nowhere())
    leg.run("authorize")
    assert (leg.response, leg.cause, leg.auto_hangup) == ("", "", False)


def test_a_call_is_cut_though_the_gateway_went_away(gateway: RecipeGateway, switch: Callable[..., FreeSwitch]) -> None:
    office = gateway.office()
    leg = switch(office, LONDON)
    leg.run("authorize")
    leg.url = nowhere()
    leg.run_command(leg.exported["api_on_answer"])
    cut = leg.cut()
    leg.run_command(earlier(leg.next_run().command, 50))
    assert leg.cut() is cut
    assert leg.next_run().seconds == 5

    # Its end is told again and again, until somebody listens.
    leg.hang_up(answer_uepoch=10, bridge_uepoch=10, end_uepoch=60_000_000, tollgate_answered_at=0)
    pauses = []
    for _ in range(14):
        again = leg.next_run()
        pauses.append(again.seconds)
        leg.run_command(again.command)
    assert pauses == [10, 20, 40, 80, 160] + [300] * 9
    assert [task for task in leg.tasks if task.command.startswith("luarun ")] == []
    leg.url = ""
    leg.run_command(again.command)
    gateway.settled(office, FUNDS - MINUTE)
    assert math.isclose(sum(pauses), 50 * 60, abs_tol=20)


def test_a_lost_answer_is_asked_for_again_with_the_same_id(
    gateway: RecipeGateway, switch: Callable[..., FreeSwitch]
) -> None:
    office = gateway.office()
    with failing_way(gateway.url, 503) as url:
        leg = switch(office, LONDON, url=url)
        leg.run("authorize")
    assert leg.response == ""
    assert gateway.books(office) == (FUNDS, MINUTE)
    with failing_way(gateway.url, 503, 503) as url:
        leg.url = url
        leg.hang_up(end_uepoch=1)
    gateway.settled(office, FUNDS)


def test_an_authorization_that_is_given_up_holds_no_money(
    gateway: RecipeGateway, switch: Callable[..., FreeSwitch]
) -> None:
    office = gateway.office()
    with failing_way(gateway.url, 503, 503) as url:
        leg = switch(office, LONDON, url=url)
        leg.run("authorize")
    assert leg.response == "503 Service Unavailable"
    assert gateway.books(office) == (FUNDS, MINUTE)
    leg.url = ""
    leg.hang_up(end_uepoch=1)
    gateway.settled(office, FUNDS)


@pytest.mark.parametrize(
    "calling",
    ['"Eve" <+12175550100>', '","calledNumber":"911', "back\\slash\\\\", "it's 'quoted'", "a b&c=d%41+e", "1" * 300],
    ids=["quotes", "break-out", "backslashes", "single-quotes", "url", "long"],
)
@pytest.mark.parametrize("version", RUNTIMES)
def test_what_callers_send_stays_in_its_place(
    gateway: RecipeGateway, switch: Callable[..., FreeSwitch], calling: str, version: str
) -> None:
    office = gateway.office()
    leg = switch(office, LONDON, lua=RUNTIMES[version], caller_id_number=calling)
    leg.run("authorize")
    assert leg.response == ""
    live = gateway.call(office, UUID)
    assert (live.calling_number, live.called_number) == (calling[:64], LONDON)


def test_what_is_not_printable_is_left_out(gateway: RecipeGateway, switch: Callable[..., FreeSwitch]) -> None:
    office = gateway.office()
    leg = switch(office, LONDON, caller_id_number="+1217\n\t\x01\x7f\u2603\xfc5550100")
    leg.run("authorize")
    assert gateway.call(office, UUID).calling_number == "+12175550100"


def test_a_called_number_with_quotes_is_refused(gateway: RecipeGateway, switch: Callable[..., FreeSwitch]) -> None:
    leg = switch(gateway.office(), '+44","calledNumber":"911')
    leg.run("authorize")
    assert (leg.response, leg.variables["tollgate_reason"]) == ("404 Not Found", "INVALID_NUMBER")


def test_the_dialplan_asks_before_it_bridges() -> None:
    actions = ElementTree.parse(RECIPE / "tollgate.xml").iter("action")
    steps = [action.attrib["application"] for action in actions]
    assert steps.index("lua") < steps.index("bridge")

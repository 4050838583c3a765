"""The AGI script of switches/asterisk, run as Asterisk runs it: by its standard streams, with the real hooks behind."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
from tests.support.servers import wait_until

SCRIPT = Path(__file__).parents[2] / "switches/asterisk/tollgate_agi.py"
DIALPLAN = SCRIPT.with_name("extensions.conf")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("recipes")]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecipeGateway]:
    with recipe_gateway(tmp_path_factory.mktemp("asterisk")) as running:
        yield running


@dataclass
class Asterisk:
    """Plays Asterisk: starts the script, answers its commands, and has a console that takes down what it is told."""

    directory: Path
    gateway: RecipeGateway
    answer: str = "-- Channel variable set"

    def __post_init__(self) -> None:
        self.console = self.directory / "console.log"
        program = self.directory / "asterisk"
        # One write a line: watchers of several calls share the file.
        program.write_text(f'#!/bin/sh\nprintf \'%s\\n\' "$2" >> {self.console}\necho "{self.answer}"\n')
        program.chmod(0o755)

    def told(self) -> list[str]:
        """What its console was told so far."""
        return self.console.read_text().splitlines() if self.console.exists() else []

    def agi(
        self, *arguments: str, url: str = "", latin: bool = False, hang_up: bool = False, **environment: str
    ) -> dict[str, str]:
        """Run the script once; returns the variables that it set."""
        config = self.directory / "tollgate.json"
        config.write_text(
            json.dumps({"url": url or self.gateway.url, "token": self.gateway.token, "settle_seconds": 3})
        )
        lines = {
            "agi_request": SCRIPT.name,
            "agi_channel": "PJSIP/carrier-00000002",
            "agi_uniqueid": "1700000000.1",
            "agi_callerid": "+12175550100",
            "agi_extension": "s",
            **environment,
            **{f"agi_arg_{n}": argument for n, argument in enumerate(arguments, 1)},
        }
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="latin-1" if latin else "utf-8",
            env={**os.environ, "PATH": f"{self.directory}:{os.environ['PATH']}", "TOLLGATE_CONFIG": str(config)},
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process:
            process.stdin.write("".join(f"{name}: {value}\n" for name, value in lines.items()) + "\n")
            process.stdin.flush()
            variables = {}
            for command in process.stdout:
                found = re.fullmatch(r'SET VARIABLE (\S+) "(.*)"\n', command)
                assert found, command
                variables[found[1]] = found[2].replace('\\"', '"').replace("\\\\", "\\")
                if hang_up:
                    process.send_signal(signal.SIGHUP)
                process.stdin.write("200 result=1\n")
                process.stdin.flush()
        assert process.wait(timeout=20) == 0
        return variables


@pytest.fixture
def asterisk(tmp_path: Path, gateway: RecipeGateway) -> Asterisk:
    return Asterisk(tmp_path, gateway)


def limits(told: list[str]) -> list[int]:
    """The seconds that the console was told to give the called channel."""
    found = [
        re.fullmatch(r"dialplan set chanvar PJSIP/carrier-00000002 TIMEOUT\(absolute\) (\d+)", line) for line in told
    ]
    return [int(each[1]) for each in found if each]


def test_a_call_from_its_authorization_to_its_end(asterisk: Asterisk, gateway: RecipeGateway) -> None:
    office = gateway.office()
    granted = asterisk.agi("authorize", office, PARIS, agi_uniqueid="1.1")
    assert granted == {"TOLLGATE_CAUSE": "0", "TOLLGATE_GRANTED": "4", "TOLLGATE_REASON": "FUNDED"}
    assert gateway.books(office) == (FUNDS, 4 * SECOND)
    # The limit is there before anybody talks, and before the gateway is asked again.
    assert asterisk.agi("answer", office, "1.1", granted["TOLLGATE_GRANTED"]) == {"TIMEOUT(absolute)": "4"}
    # It ticks by itself, and each tick that grants more moves the limit.
    assert wait_until(lambda: len(limits(asterisk.told())) >= 2)
    assert all(3 <= seconds <= 5 for seconds in limits(asterisk.told()))
    live = gateway.call(office, "1.1")
    assert live.granted_seconds > 4
    assert live.debited_micros == live.used_seconds * SECOND
    # 5,200 ms are 6 s; what ticks had debited beyond or below is put right.
    assert asterisk.agi("end", office, "1.1", "16 ANSWER", "5200") == {}
    gateway.settled(office, FUNDS - 6 * SECOND)
    # The process that ticks learns of the end by its next tick, and is no more.
    assert wait_until(lambda: asterisk.told()[-1] == "channel request hangup PJSIP/carrier-00000002")


def test_a_call_that_nobody_answers(asterisk: Asterisk, gateway: RecipeGateway) -> None:
    office = gateway.office()
    assert asterisk.agi("authorize", office, LONDON, agi_uniqueid="2.1")["TOLLGATE_GRANTED"] == "60"
    assert gateway.books(office) == (FUNDS, MINUTE)
    asterisk.agi("end", office, "2.1", "19 NOANSWER", "")
    gateway.settled(office, FUNDS)


def test_a_caller_hangs_up_while_the_script_runs(asterisk: Asterisk, gateway: RecipeGateway) -> None:
    office = gateway.office()
    granted = asterisk.agi("authorize", office, LONDON, agi_uniqueid="9.1", hang_up=True)
    assert granted == {"TOLLGATE_CAUSE": "0", "TOLLGATE_GRANTED": "60", "TOLLGATE_REASON": "FUNDED"}
    asterisk.agi("end", office, "9.1", "0 ", "")
    gateway.settled(office, FUNDS)


def test_a_call_ends_with_the_funds(asterisk: Asterisk, gateway: RecipeGateway) -> None:
    office = gateway.office(funds=5 * SECOND)
    granted = asterisk.agi("authorize", office, PARIS, agi_uniqueid="3.1")["TOLLGATE_GRANTED"]
    asterisk.agi("answer", office, "3.1", granted)
    assert wait_until(lambda: len(limits(asterisk.told())) >= 1)
    # One second more is paid for, and then nothing: the limit stays where it is, so Asterisk cuts.
    asterisk.agi("end", office, "3.1", "16 ANSWER", "5100")
    gateway.settled(office, 0)
    assert len(limits(asterisk.told())) == 1


def suspended(gateway: RecipeGateway) -> str:
    office = gateway.office()
    gateway.ask("SuspendOffice", pb.SuspendOfficeRequest(office_id=office))
    return office


REFUSALS: list[tuple[Callable[[RecipeGateway], str], str, str, int]] = [
    (lambda there: there.office(funds=MINUTE - 1), LONDON, "INSUFFICIENT_FUNDS", 21),
    (lambda there: there.office(daily_spend_limit_micros=1), LONDON, "SPEND_LIMIT", 21),
    (lambda there: there.office(max_price_per_minute_micros=1), LONDON, "PRICE_LIMIT", 21),
    (suspended, LONDON, "OFFICE_SUSPENDED", 21),
    (lambda _: "nowhere", LONDON, "UNKNOWN_OFFICE", 21),
    (lambda there: there.office(), "+4", "INVALID_NUMBER", 1),
    (lambda there: there.office(), "+4930123456", "NO_RATE", 1),
    (lambda there: there.office(), "", "UNAVAILABLE", 34),
]


@pytest.mark.parametrize(("office", "called", "reason", "cause"), REFUSALS, ids=[case[2] for case in REFUSALS])
def test_refusals(
    asterisk: Asterisk,
    gateway: RecipeGateway,
    office: Callable[[RecipeGateway], str],
    called: str,
    reason: str,
    cause: int,
) -> None:
    told = asterisk.agi("authorize", office(gateway), called)
    assert told == {"TOLLGATE_CAUSE": str(cause), "TOLLGATE_GRANTED": "0", "TOLLGATE_REASON": reason}


def test_without_a_gateway_only_emergencies_pass(asterisk: Asterisk) -> None:
    refused = asterisk.agi("authorize", "springfield", LONDON, url=nowhere())
    assert refused == {"TOLLGATE_CAUSE": "34", "TOLLGATE_GRANTED": "0", "TOLLGATE_REASON": "UNAVAILABLE"}
    passed = asterisk.agi("authorize", "springfield", "911", url=nowhere())
    assert passed == {"TOLLGATE_CAUSE": "0", "TOLLGATE_GRANTED": "0", "TOLLGATE_REASON": "EMERGENCY"}


def test_with_a_gateway_emergencies_are_in_its_books(asterisk: Asterisk, gateway: RecipeGateway) -> None:
    office = gateway.office(funds=0)
    passed = asterisk.agi("authorize", office, "911", agi_uniqueid="4.1")
    assert passed == {"TOLLGATE_CAUSE": "0", "TOLLGATE_GRANTED": "86400", "TOLLGATE_REASON": "EMERGENCY"}


def test_a_lost_answer_is_asked_for_again_with_the_same_id(asterisk: Asterisk, gateway: RecipeGateway) -> None:
    office = gateway.office()
    with failing_way(gateway.url, 503, 503) as url:
        granted = asterisk.agi("authorize", office, LONDON, url=url, agi_uniqueid="5.1")
    assert granted["TOLLGATE_CAUSE"] == "0"
    assert gateway.books(office) == (FUNDS, MINUTE)
    with failing_way(gateway.url, 503, 429, 502) as url:
        asterisk.agi("end", office, "5.1", "16 ANSWER", "61000", url=url)
        gateway.settled(office, FUNDS - 2 * MINUTE)
        assert wait_until(lambda: gateway.books(office) == (FUNDS - 2 * MINUTE, 0))


def test_an_authorization_that_is_given_up_holds_no_money(asterisk: Asterisk, gateway: RecipeGateway) -> None:
    office = gateway.office()
    with failing_way(gateway.url, *[503] * 8) as url:
        refused = asterisk.agi("authorize", office, LONDON, url=url, agi_uniqueid="6.1")
        assert refused["TOLLGATE_CAUSE"] == "34"
        gateway.settled(office, FUNDS)


@pytest.mark.parametrize(
    "calling",
    ['"Eve" <+12175550100>', '","calledNumber":"911', "back\\slash\\\\", "\u0416\u2603", "1" * 300],
    ids=["quotes", "break-out", "backslashes", "unicode", "long"],
)
def test_what_callers_send_stays_in_its_place(asterisk: Asterisk, gateway: RecipeGateway, calling: str) -> None:
    office = gateway.office()
    granted = asterisk.agi("authorize", office, LONDON, agi_callerid=calling, agi_uniqueid="7.1")
    assert granted["TOLLGATE_CAUSE"] == "0"
    live = gateway.call(office, "7.1")
    assert (live.calling_number, live.called_number) == (calling[:64], LONDON)


def test_a_name_in_another_encoding(asterisk: Asterisk, gateway: RecipeGateway) -> None:
    office = gateway.office()
    granted = asterisk.agi("authorize", office, LONDON, latin=True, agi_calleridname="M\xfcller", agi_callerid="\xfc1")
    assert granted["TOLLGATE_CAUSE"] == "0"


def test_what_is_not_printable_is_left_out(asterisk: Asterisk, gateway: RecipeGateway) -> None:
    office = gateway.office()
    granted = asterisk.agi("authorize", office, LONDON, agi_callerid="+1217\t\x01\x7f5550100", agi_uniqueid="8.1")
    assert granted["TOLLGATE_CAUSE"] == "0"
    assert gateway.call(office, "8.1").calling_number == "+12175550100"


def test_a_called_number_with_quotes_is_refused(asterisk: Asterisk, gateway: RecipeGateway) -> None:
    office = gateway.office()
    refused = asterisk.agi("authorize", office, '+44","calledNumber":"911')
    assert (refused["TOLLGATE_CAUSE"], refused["TOLLGATE_REASON"]) == ("1", "INVALID_NUMBER")


def test_the_dialplan_calls_the_script_with_what_it_takes() -> None:
    calls = re.findall(r"AGI\(tollgate_agi\.py,(\w+),(.*)\)$", DIALPLAN.read_text(), flags=re.MULTILINE)
    assert {moment: len(arguments.split(",")) for moment, arguments in calls} == {"authorize": 2, "answer": 3, "end": 4}

"""The configuration of switches/opensips, as far as it can be tried without OpenSIPS.

What it posts is read out of it, filled and posted to the real hooks; what it reads of the answers has to be there; what
it names has to exist.
"""

import http.client
import json
import re
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.v1 import authorization_pb2 as calls
from tests.support.recipes import FUNDS, LONDON, MINUTE, RecipeGateway, nowhere, recipe_gateway

RECIPE = Path(__file__).parents[2] / "switches/opensips"
TEXT = re.sub(r"^\s*#.*$", "", (RECIPE / "tollgate.cfg").read_text(), flags=re.MULTILINE)

POST = re.compile(r'rest_post\("TOLLGATE_URL(/v1/calls/\w+)", (\$\w+\(\w+\)), "application/json", (\$\w+\(\w+\)),')
CALLER: dict[str, Any] = {
    "$avp(tg_call)": "7a1c@10.0.0.1;as58f4",
    "$var(call)": "7a1c@10.0.0.1;as58f4",
    "$dlg_val(tg_call)": "7a1c@10.0.0.1;as58f4",
    "$fU": "+12175550100",
    "$rU": LONDON,
    "$var(used)": 50,
    "$var(seconds)": 61,
    "$var(cause)": "hung up",
}
"""What the variables stand for, but for the office."""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("recipes")]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecipeGateway]:
    with recipe_gateway(tmp_path_factory.mktemp("opensips")) as running:
        yield running


def posts() -> dict[str, str]:
    """Path -> name of the JSON variable that is posted to it."""
    copies = dict(re.findall(r"(\$avp\(tg_body\)) = \$json\((\w+)\);", TEXT))
    found = {path: copies.get(body, body.removeprefix("$json(").rstrip(")")) for path, body, _ in POST.findall(TEXT)}
    assert len(found) == TEXT.count("rest_post(")
    return found


def template(name: str) -> dict[str, str]:
    """Field -> expression of a JSON variable that the configuration builds."""
    start = TEXT.index(f'$json({name}) := "{{}}";')
    fields = dict(re.findall(rf"\$json\({name}/(\w+)\) = ([^;]+);", TEXT[start:]))
    assert fields, name
    return fields


def filled(name: str, office: str, **changed: Any) -> dict[str, Any]:
    """What the configuration posts for a call."""
    offices = {f"${kind}({name})": office for kind, name in (("avp", "tg_office"), ("dlg_val", "tg_office"))}
    values = {**CALLER, **offices, "$var(office)": office, **changed}
    return {
        field: expression.strip('"') if expression.startswith('"') else values[expression]
        for field, expression in template(name).items()
    }


def reads(name: str) -> set[str]:
    """The fields that the configuration reads of an answer."""
    return set(re.findall(rf"\$json\({name}/(\w+)\)", TEXT))


def post(gateway: RecipeGateway, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    where = urllib.parse.urlsplit(gateway.url)
    assert where.hostname is not None
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=10)
    try:
        headers = {"Authorization": f"Bearer {gateway.token}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    finally:
        connection.close()


def test_it_posts_every_moment_of_a_call() -> None:
    assert posts() == {
        "/v1/calls/authorize": "authorize",
        "/v1/calls/answer": "answer",
        "/v1/calls/tick": "tick",
        "/v1/calls/end": "end",
    }
    # Each post is authorized: the header is for the next one only.
    assert TEXT.count('rest_append_hf("Authorization: Bearer TOLLGATE_TOKEN");') == TEXT.count("rest_post(")


def test_what_it_posts_is_a_call(gateway: RecipeGateway) -> None:
    office = gateway.office()
    granted, decided = post(gateway, "/v1/calls/authorize", filled("authorize", office))
    assert (granted, decided["decision"], decided["grantedSeconds"]) == (200, "GRANTED", 60)
    assert reads("decided") <= set(decided)
    live = gateway.call(office, CALLER["$avp(tg_call)"])
    assert (live.calling_number, live.called_number) == ("+12175550100", LONDON)

    assert post(gateway, "/v1/calls/answer", filled("answer", office))[0] == 200
    ticked, told = post(gateway, "/v1/calls/tick", filled("tick", office))
    assert (ticked, told["ended"], told["grantedSeconds"]) == (200, False, 120)
    assert reads("ticked") == {"ended", "grantedSeconds"}
    assert post(gateway, "/v1/calls/end", filled("end", office))[1]["debitedMicros"] == str(2 * MINUTE)
    gateway.settled(office, FUNDS - 2 * MINUTE)
    assert post(gateway, "/v1/calls/tick", filled("tick", office))[1]["ended"] is True


def test_a_denial_and_a_fault_read_as_no_grant(gateway: RecipeGateway) -> None:
    office = gateway.office(funds=0)
    _, decided = post(gateway, "/v1/calls/authorize", filled("authorize", office))
    assert (decided["decision"], decided["reason"]) == ("DENIED", "INSUFFICIENT_FUNDS")
    status, fault = post(gateway, "/v1/calls/authorize", filled("authorize", office, **{"$rU": ""}))
    assert (status, reads("decided") & set(fault)) == (400, set())


def test_every_refusal_has_its_response() -> None:
    start = TEXT.index("switch ($json(decided/reason))")
    cases = TEXT[start : TEXT.index("\n\t}", start)]
    codes: dict[str, str] = {}
    waiting: list[str] = []
    for reason, code in re.findall(r'case "(\w+)":|send_reply\((\d+),', cases):
        if reason:
            waiting.append(reason)
        else:
            codes.update(dict.fromkeys(waiting, code))
            waiting = []
    assert codes == {
        "INSUFFICIENT_FUNDS": "402",
        "SPEND_LIMIT": "402",
        "PRICE_LIMIT": "403",
        "DESTINATION_BLOCKED": "403",
        "FRAUD_GUARD": "403",
        "OFFICE_SUSPENDED": "403",
        "UNKNOWN_OFFICE": "403",
        "CALL_ENDED": "403",
        "INVALID_NUMBER": "404",
        "NO_RATE": "404",
    }
    assert set(codes) <= set(calls.Reason.keys())
    assert 'default:\n\t\t\tsend_reply(503, "Service Unavailable");' in cases


def test_what_it_names_is_there() -> None:
    assert TEXT.count("{") == TEXT.count("}")
    routes = re.findall(r"^(?:failure_)?route\[(\w+)\]", TEXT, flags=re.MULTILINE)
    assert len(routes) == len(set(routes))
    used = set(re.findall(r"(?<!failure_)route\((\w+)\)", TEXT))
    used |= set(re.findall(r'(?:dlg_on_\w+|t_on_failure)\("(\w+)"\)', TEXT))
    used |= set(re.findall(r"async\(.*, (\w+)\);", TEXT))
    assert used - set(routes) == {"TOLLGATE_RELAY"}, "which is the reader's own"
    assert set(routes) - used == {"TOLLGATE"}, "which the reader calls"


GUARDS: list[tuple[str, list[str], list[str]]] = [
    (
        "$rU",
        [LONDON, "911", "02079460958"],
        ['+44","calledNumber":"911', "44\\", "+44\n", "", "+4 4", "sip:44", "4;x=y"],
    ),
    ("$avp(tg_call)", ["7a1c@10.0.0.1;as58f4", "a" * 128], ['a"b', "a\\b", "a b", "a\tb", "ä", "", "a" * 129]),
]


@pytest.mark.parametrize(("variable", "good", "bad"), GUARDS, ids=[guard[0] for guard in GUARDS])
def test_what_callers_send_is_looked_at(variable: str, good: list[str], bad: list[str]) -> None:
    found = re.search(rf'if \(!\({re.escape(variable)} =~ "([^"]+)"\)\)', TEXT)
    assert found
    # In a POSIX expression $ is the very end.
    guard = re.compile(found[1].removesuffix("$") + r"\Z")
    assert [value for value in good if not guard.match(value)] == []
    assert [value for value in bad if guard.match(value)] == []


def test_no_json_is_put_together_by_hand() -> None:
    """The json module writes what is posted, so a caller's name with quotes is a string with quotes."""
    assert [body for _, body, _ in POST.findall(TEXT) if not body.startswith("$json(")] == ["$avp(tg_body)"]
    assert re.findall(r"\$avp\(tg_body\) = (.*);", TEXT) == ["$json(authorize)"]
    assert re.findall(r'"[^"\n]*\\"', TEXT) == []


@pytest.mark.parametrize(
    "calling",
    ['"Eve"', '","calledNumber":"911', "back\\slash\\\\", "\u2603"],
    ids=["quotes", "break-out", "backslashes", "utf-8"],
)
def test_a_strange_caller_stays_in_its_place(gateway: RecipeGateway, calling: str) -> None:
    office = gateway.office()
    assert post(gateway, "/v1/calls/authorize", filled("authorize", office, **{"$fU": calling}))[0] == 200
    live = gateway.call(office, CALLER["$avp(tg_call)"])
    assert (live.calling_number, live.called_number) == (calling, LONDON)


def test_ends_that_were_missed_are_sent_again_from_the_log(gateway: RecipeGateway, tmp_path: Path) -> None:
    office = gateway.office()
    post(gateway, "/v1/calls/authorize", filled("authorize", office))
    mark = re.search(r'xlog\("L_ERR", "(TOLLGATE-UNSETTLED) \$json\(end\)\\n"\)', TEXT)
    assert mark
    end = json.dumps(filled("end", office))
    log = f"Nov 26 19:30:00 sip opensips[7]: {mark[1]} {end}\nNov 26 19:30:01 sip opensips[7]: something else\n"

    def send(url: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(RECIPE / "send_again.py"), url, gateway.token]
        return subprocess.run(command, input=log, capture_output=True, text=True, timeout=60, check=False)

    away = send(nowhere())
    assert (away.returncode, away.stdout.split()[0]) == (1, "unanswered")
    for replayed in ("false", "true"):
        sent = send(gateway.url)
        assert (sent.returncode, sent.stderr) == (0, "")
        assert sent.stdout.startswith("settled ")
        assert f'"replayed":{replayed}' in sent.stdout
    gateway.settled(office, FUNDS - 2 * MINUTE)

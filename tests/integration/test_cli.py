"""The commands against a running gateway: what an operator types on the first day, and what goes wrong then."""

import asyncio
import itertools
import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.connection import CONNECTION_FILE, Connection
from gateway.cli.errors import EXIT_DENIED, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_NOT_ALLOWED, EXIT_USAGE
from gateway.client_channel import open_channel
from gateway.domain.money import format_amount
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from tests.support.commands import Outcome, run_command
from tests.support.gateway_process import GatewayProcess, clean_environment, running_gateway
from tests.support.servers import wait_until

LONDON = "+442079460958"
NEW_YORK = "+12125550142"

pytestmark = pytest.mark.xdist_group("cli")

Tollgate = Callable[..., Outcome]

NUMBERS = itertools.count(1)

TRIPS_SECONDS = 20.0
"""A second or two, and as much again as a busy machine takes; each look is a call of its own."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with running_gateway(tmp_path_factory.mktemp("cli")) as running:
        yield running


@pytest.fixture
def tollgate(
    gateway: GatewayProcess, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Tollgate:
    """Runs a command that finds the gateway by its data directory."""
    for name in ("LISTEN", "ADMIN_LISTEN", "TOKEN", "OPERATOR_TOKEN"):
        monkeypatch.delenv(f"TOLLGATE_{name}", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "nobody"))
    monkeypatch.setenv("TOLLGATE_DATA_DIR", str(gateway.data_dir))

    def run(*arguments: str, code: int = 0) -> Outcome:
        outcome = run_command(capsys, *arguments)
        assert outcome.code == code, outcome.out + outcome.err
        return outcome

    return run


@pytest.fixture
def office(tollgate: Tollgate) -> str:
    """An office of the test's own, with 10.00."""
    office_id = f"office-{next(NUMBERS)}"
    tollgate("company", "create", "acme", "--name", "Acme")
    tollgate("office", "create", office_id, "--company", "acme", "--name", "Springfield", "--country", "us")
    tollgate("credits", "adjust", office_id, "10.00", "--reason", "opening balance")
    return office_id


def test_health_needs_no_token(tollgate: Tollgate) -> None:
    assert tollgate("health").out.count("serving") == 2


def test_a_balance_is_adjusted_once_per_key(tollgate: Tollgate, office: str) -> None:
    first = tollgate("credits", "adjust", office, "2.50", "--reason", "a gift", "--idempotency-key", "k1")
    assert (first.value("credit"), first.value("key"), first.value("balance")) == (
        f"number 2 of {office}",
        "k1",
        "12.50",
    )
    again = tollgate("credits", "adjust", office, "2.50", "--reason", "a gift", "--idempotency-key", "k1")
    assert again.value("credit") == f"number 2 of {office}, applied before"
    other = tollgate(
        *("credits", "adjust", office, "3.00", "--reason", "a gift", "--idempotency-key", "k1"), code=EXIT_FAILED
    )
    assert "ALREADY_EXISTS" in other.err
    assert tollgate("credits", "balance", office).value("balance") == "12.50 USD"


def test_money_is_taken_only_where_it_is(tollgate: Tollgate, office: str) -> None:
    assert tollgate("credits", "adjust", office, "-4.000001", "--reason", "correction").value("balance") == "5.999999"
    refused = tollgate("credits", "adjust", office, "-6.00", "--reason", "too much", code=EXIT_FAILED)
    assert "FAILED_PRECONDITION" in refused.err
    assert tollgate("credits", "balance", office).value("available") == "5.999999 USD"


def test_a_key_of_its_own_is_printed(tollgate: Tollgate, office: str) -> None:
    assert re.fullmatch(r"cli-[0-9a-f]{32}", tollgate("credits", "adjust", office, "1", "--reason", "x").value("key"))


def test_a_call_from_quote_to_end(tollgate: Tollgate, office: str) -> None:
    outcome = tollgate("call", office, LONDON, "--duration", "75", "--call-id", "c1")
    steps = [re.sub(r"\s+", " ", line) for line in outcome.out.splitlines() if not line.startswith(" ")]
    assert steps == [
        "quote GRANTED FUNDED, international: 75 s cost 0.04 (0.02 a minute) 10.00 available",
        "authorize GRANTED FUNDED, 60 s granted 9.98 available",
        "answer 60 s granted 9.98 available",
        "tick 50 s 120 s granted, 0.02 debited so far 9.96 available",
        "end 75 s billed, 0.04 debited 9.96 available",
        "balance 9.96 USD, 0.00 reserved 9.96 available",
    ]
    assert "priced by line" in re.sub(r"\s+", " ", outcome.out)
    spent = tollgate("call", office, LONDON, "--call-id", "c1", code=EXIT_DENIED)
    assert "the call was denied: CALL_ENDED" in spent.err


def test_a_call_is_cut_where_the_funds_end(tollgate: Tollgate, office: str) -> None:
    tollgate("credits", "adjust", office, "-9.97", "--reason", "nearly all")
    outcome = tollgate("call", office, LONDON, "--duration", "75")
    assert "60 s granted (the last)" in outcome.out
    assert outcome.value("cut") == "after 60 s: nothing more is granted"
    assert tollgate("credits", "balance", office).value("balance") == "0.01 USD"
    denied = tollgate("call", office, LONDON, code=EXIT_DENIED)
    assert "INSUFFICIENT_FUNDS" in denied.err


def test_a_fraud_guard_trips_within_seconds_and_is_lifted(
    tollgate: Tollgate, capsys: pytest.CaptureFixture[str], office: str
) -> None:
    limits = tollgate("office", "fraud-limits", office, "--country-spend", "0.02", "--office-calls", "500")
    assert re.search(
        r"^fraud limits +an hour to a country: 0\.02 USD, default calls; in all: default, 500 calls$",
        limits.out,
        re.MULTILINE,
    )
    tollgate("call", office, LONDON, "--duration", "30")
    assert wait_until(lambda: "FRAUD_GUARD" in run_command(capsys, "call", office, LONDON).err, TRIPS_SECONDS)
    assert re.search(
        r"^fraud guard +no new charged calls to GB until .+Z: 0\.\d\d USD in an hour, limit 0\.02 USD$",
        tollgate("office", "show", office).out,
        re.MULTILINE,
    )
    assert "GRANTED FREE" in tollgate("call", office, NEW_YORK).out
    assert "GRANTED EMERGENCY" in tollgate("call", office, "911").out
    tollgate("office", "fraud-limits", office, "--country-spend", "default")
    assert "FRAUD_GUARD" in tollgate("call", office, LONDON, code=EXIT_DENIED).err
    assert "fraud guard" not in tollgate("office", "lift-guard", office, "--reason", "it was us").out
    assert "GRANTED FUNDED" in tollgate("call", office, LONDON).out


@pytest.mark.parametrize(("option", "value"), [("--country-spend", "much"), ("--office-calls", "-2")])
def test_a_fraud_limit_that_is_none_is_refused(tollgate: Tollgate, office: str, option: str, value: str) -> None:
    assert repr(value) in tollgate("office", "fraud-limits", office, option, value, code=EXIT_USAGE).err


@pytest.mark.parametrize(
    ("number", "reason"), [("911", "EMERGENCY"), (NEW_YORK, "FREE"), ("+18005550199", "FREE")], ids=lambda value: value
)
def test_what_costs_nothing_is_not_ticked(tollgate: Tollgate, office: str, number: str, reason: str) -> None:
    outcome = tollgate("call", office, number, "--duration", "75")
    assert f"GRANTED {reason}" in outcome.out
    assert "tick" not in outcome.out
    assert tollgate("credits", "balance", office).value("balance") == "10.00 USD"


def test_nobody_answers(tollgate: Tollgate, office: str) -> None:
    outcome = tollgate("call", office, LONDON, "--duration", "0")
    assert "answer" not in outcome.out
    assert outcome.value("end").startswith("0 s billed, 0.00 debited")


def test_a_call_as_json_is_a_line_a_step(tollgate: Tollgate, office: str) -> None:
    lines = [json.loads(line) for line in tollgate("call", office, LONDON, "--json").out.splitlines()]
    assert [line["step"] for line in lines] == ["quote", "authorize", "answer", "tick 50 s", "end", "balance"]
    assert lines[-1]["answer"]["balance_micros"] == "9960000"


def test_messages(tollgate: Tollgate, office: str) -> None:
    sent = tollgate("message", office, NEW_YORK, "--segments", "2", "--message-id", "m1")
    assert "GRANTED FUNDED, 0.017 debited" in sent.out
    assert "replayed" in tollgate("message", office, NEW_YORK, "--segments", "2", "--message-id", "m1").out
    back = tollgate("message", office, NEW_YORK, "--kind", "mms", "--refund")
    assert "0.02 given back" in back.out
    assert tollgate("credits", "balance", office).value("balance") == "9.983 USD"
    tollgate("credits", "adjust", office, "-9.983", "--reason", "all")
    assert "INSUFFICIENT_FUNDS" in tollgate("message", office, NEW_YORK, code=EXIT_DENIED).err


def test_offices_are_listed_shown_suspended_and_resumed(tollgate: Tollgate, office: str) -> None:
    assert re.search(rf"^{office} +acme +US +active +10.00", tollgate("office", "list").out, re.MULTILINE)
    assert tollgate("office", "show", office).value("balance") == "10.00 USD"
    assert tollgate("office", "suspend", office, "--reason", "unpaid").value("state") == "suspended"
    assert "OFFICE_SUSPENDED" in tollgate("call", office, NEW_YORK, code=EXIT_DENIED).err
    assert tollgate("office", "resume", office).value("state") == "active"
    refill = tollgate("office", "auto-refill", office, "--on", "--threshold", "4.00", "--amount", "20").value("refill")
    assert refill == "armed, 20.00 USD below 4.00 USD"
    assert tollgate("office", "auto-refill", office, "--off").value("refill") == "off"


def test_a_switch_token_may_call_for_its_office_and_nothing_else(tollgate: Tollgate, office: str) -> None:
    created = tollgate("token", "create", "--role", "switch", "--switch", "pbx", "--office", office)
    secret = created.out.strip()
    token_id = re.findall(r"token (\S+);", created.err)[0]
    assert re.search(
        rf"^{token_id}  switch +- +{office}  pbx +- +in force", tollgate("token", "list").out, re.MULTILINE
    )

    outcome = tollgate("call", office, LONDON, "--token", secret)
    assert "end" in outcome.out
    assert "balance" not in outcome.out
    denied = tollgate("credits", "balance", office, "--token", secret, code=EXIT_NOT_ALLOWED)
    assert "PERMISSION_DENIED" in denied.err
    other = tollgate("call", "another", LONDON, "--token", secret, code=EXIT_NOT_ALLOWED)
    assert "PERMISSION_DENIED" in other.err

    assert "is revoked since" in tollgate("token", "revoke", token_id).out
    assert re.search(rf"^{token_id} .*revoked", tollgate("token", "list").out, re.MULTILINE)


def test_a_token_for_some_days(tollgate: Tollgate, office: str) -> None:
    created = tollgate("token", "create", "--role", "viewer", "--company", "acme", "--days", "7", "--json")
    token = json.loads(created.out)
    assert token["secret"]
    assert token["token"]["expires_at"] > token["token"]["created_at"]


def test_a_link_to_sign_in_by(tollgate: Tollgate, office: str) -> None:
    created = json.loads(tollgate("token", "create", "--role", "viewer", "--company", "acme", "--json").out)
    token_id, secret = created["token"]["token_id"], created["secret"]
    links = [
        tollgate("token", "link"),
        tollgate("token", "link", token_id, "--valid-seconds", "60"),
        tollgate("token", "link", "--token", secret),
    ]
    for link in links:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/sign-in/[\w-]{43}\n", link.out)
        assert re.fullmatch(r"good once, until \d{4}-\d\d-\d\d .+:\n", link.err)
    assert len({link.out for link in links}) == 3
    answer = json.loads(tollgate("token", "link", "--json").out)
    assert set(answer) == {"url", "expires_at"}

    switch = json.loads(tollgate("token", "create", "--role", "switch", "--switch", "pbx", "--json").out)
    for words, code, problem in [
        ((switch["token"]["token_id"],), EXIT_FAILED, "TOKEN_OF_SWITCH"),
        (("no-such-token",), EXIT_FAILED, "TOKEN_NOT_FOUND"),
        (("--valid-seconds", "86401"), EXIT_USAGE, "--valid-seconds"),
        (("--token", switch["secret"]), EXIT_NOT_ALLOWED, "PERMISSION_DENIED"),
        (("settings", "--token", secret), EXIT_NOT_ALLOWED, "PERMISSION_DENIED"),
    ]:
        assert problem in tollgate("token", "link", *words, code=code).err
    tollgate("token", "revoke", token_id)
    assert "TOKEN_NOT_IN_FORCE" in tollgate("token", "link", token_id, code=EXIT_FAILED).err


def test_no_token_and_an_unknown_one(tollgate: Tollgate, gateway: GatewayProcess, tmp_path: Path) -> None:
    words = ("credits", "balance", "x", "--data-dir", str(tmp_path), "--admin-server", gateway.admin_server)
    for more in ((), ("--token", "wrong")):
        outcome = tollgate(*words, *more, code=EXIT_NOT_ALLOWED)
        assert "UNAUTHENTICATED" in outcome.err
        assert "--token, TOLLGATE_TOKEN" in outcome.err


def test_calls_are_listed_and_explained(tollgate: Tollgate, office: str, gateway: GatewayProcess) -> None:
    tollgate("call", office, LONDON, "--call-id", f"{office}-done")
    # The second time the ledger may have its record already, which knows more.
    for ended in (tollgate("explain", f"{office}-done"), tollgate("explain", f"{office}-done", "--office", office)):
        assert ended.value("call") == f"{office}-done of {office}"
        assert ended.value("state") == "ended"
        assert ended.value("debited") == "0.04"
    unknown = tollgate("explain", "no-such-call", code=EXIT_FAILED)
    assert "no office knows no-such-call" in unknown.err
    assert "NOT_FOUND" in tollgate("explain", "no-such-call", "--office", office, code=EXIT_FAILED).err
    assert tollgate("calls", "list", office).out.splitlines()[0].startswith("CALL")


@pytest.fixture
def live_call(office: str, gateway: GatewayProcess) -> str:
    """A call of the office that is up."""
    asyncio.run(answer_call(gateway.data_dir, office, f"{office}-[live]"))
    return f"{office}-[live]"


async def answer_call(data_dir: Path, office: str, call_id: str) -> None:
    connection = Connection.resolve(server=None, admin_server=None, token=None, data_dir=data_dir)
    async with open_channel(connection.listen, connection.listen_token) as channel:
        switch = CallAuthorizationStub(channel)
        await switch.AuthorizeCall(
            pb.AuthorizeCallRequest(office_id=office, call_id=call_id, direction=pb.OUTBOUND, called_number=LONDON)
        )
        await switch.AnswerCall(pb.AnswerCallRequest(office_id=office, call_id=call_id))


@contextmanager
def watching(gateway: GatewayProcess, office: str, *arguments: str, **streams: Any) -> Iterator[subprocess.Popen[str]]:
    """`calls list --watch` as a process of its own; ended by Ctrl-C."""
    command = [sys.executable, "-m", "gateway.cli", "calls", "list", office, "--watch"]
    command += ["--data-dir", str(gateway.data_dir), *arguments]
    environment = clean_environment(PYTHONUNBUFFERED="1", TERM="xterm-256color", COLUMNS="120", LINES="30")
    with subprocess.Popen(command, env=environment, text=True, **streams) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == EXIT_INTERRUPTED


def test_live_calls_are_watched_without_a_terminal(office: str, live_call: str, gateway: GatewayProcess) -> None:
    with watching(gateway, office, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
    assert lines[0].startswith("CALL ")
    assert lines[1].startswith(f"{live_call}  answered  FUNDED")
    assert lines[2] == "\n"
    assert lines[3:] == lines[:3], "the table is printed again"


def test_live_calls_are_watched_as_json_a_line_a_look(office: str, live_call: str, gateway: GatewayProcess) -> None:
    with watching(gateway, office, "--json", stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        looks = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert [[call["call_id"] for call in look["calls"]] for look in looks] == [[live_call], [live_call]]


def test_live_calls_are_redrawn_on_a_terminal(office: str, live_call: str, gateway: GatewayProcess) -> None:
    ours, theirs = pty.openpty()
    try:
        with watching(gateway, office, stdout=theirs):
            shown = ""
            while shown.count(f"live calls of {office}: 1") < 2:
                shown += os.read(ours, 65_536).decode()
        shown += os.read(ours, 65_536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert live_call in shown
    assert "\x1b[1A\x1b[2K" in shown, "the second table takes the place of the first"
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1, "the cursor comes back"


def test_an_office_that_is_not_there_is_not_watched(tollgate: Tollgate) -> None:
    outcome = tollgate("calls", "list", "nobody", "--watch", code=EXIT_FAILED)
    assert "OFFICE_NOT_FOUND" in outcome.err
    assert outcome.out == ""


def test_a_call_that_is_not_live_is_not_cut(tollgate: Tollgate, office: str) -> None:
    outcome = tollgate("calls", "cut", office, "never", "--reason", "toll fraud", code=EXIT_FAILED)
    assert "CALL_NOT_FOUND" in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_call_that_several_offices_know(tollgate: Tollgate, office: str) -> None:
    other = f"{office}-2"
    tollgate("office", "create", other, "--company", "acme", "--name", "Other", "--country", "US")
    for each in (office, other):
        tollgate("call", each, NEW_YORK, "--call-id", f"{office}-twice")
    outcome = tollgate("explain", f"{office}-twice", code=EXIT_USAGE)
    assert office in outcome.err
    assert "say which with --office" in outcome.err


def test_a_card_is_added_confirmed_and_charged(tollgate: Tollgate, office: str, gateway: GatewayProcess) -> None:
    added = tollgate("cards", "add", office, "tok_visa")
    card = added.value("card")
    assert (added.value("brand"), added.value("expires"), added.value("state")) == (
        "visa, ends in 4242",
        "2040-12",
        "unconfirmed",
    )
    assert "CARD_UNCONFIRMED" in tollgate("credits", "add", office, "50", "--method", card, code=EXIT_FAILED).err
    wrong = tollgate("cards", "confirm", office, card, "0.01", code=EXIT_FAILED)
    assert "2 more wrong answers" in wrong.err
    amount = small_amount(gateway.data_dir, card)
    assert tollgate("cards", "confirm", office, card, amount).value("state") == "confirmed"
    bought = tollgate("credits", "add", office, "50.00", "--method", card, "--idempotency-key", "k1")
    assert (bought.value("purchase"), bought.value("balance")) == (f"{office}/2", "60.00")
    again = tollgate("credits", "add", office, "50.00", "--method", card, "--idempotency-key", "k1")
    assert again.value("purchase") == f"{office}/2, made before"
    assert "AMOUNT_NOT_OFFERED" in tollgate("credits", "add", office, "51", "--method", card, code=EXIT_USAGE).err
    assert re.search(rf"^{card}  visa +4242  2040-12  confirmed$", tollgate("cards", "list", office).out, re.MULTILINE)
    assert "is removed" in tollgate("cards", "remove", office, card).out
    assert "PAYMENT_METHOD_NOT_FOUND" in tollgate("cards", "confirm", office, card, amount, code=EXIT_FAILED).err


def test_a_payment_that_waits_for_its_owner_says_where(tollgate: Tollgate, office: str) -> None:
    waiting = tollgate("cards", "add", office, "tok_authentication_required")
    assert waiting.value("state") == "waits for its owner"
    assert "/payments/sandbox/confirm?charge=" in waiting.value("open")


def test_a_card_number_is_not_even_sent(tollgate: Tollgate, office: str) -> None:
    refused = tollgate("cards", "add", office, "4242 4242 4242 4242", code=EXIT_USAGE)
    assert "4242" not in refused.out + refused.err.replace("OFFICE", "")
    assert "was not sent" in re.sub(r"\s+", " ", refused.err)


def test_an_invoice_grows_with_what_is_bought(tollgate: Tollgate, office: str) -> None:
    invoiced = f"{office}-inv"
    tollgate(
        *("office", "create", invoiced, "--company", "acme", "--name", "x", "--country", "US", "--terms", "invoice")
    )
    for amount in ("20", "50"):
        tollgate("credits", "add", invoiced, amount)
    invoice, month, total = tollgate("invoices", "list", invoiced).out.splitlines()[1].split()
    assert (invoice, total) == (f"{invoiced}/{month}", "70.00")
    shown = tollgate("invoices", "show", invoice).out
    assert re.search(rf"^{invoiced}/1 .* purchase +20\.00  purchase pur_", shown, re.MULTILINE)
    assert shown.splitlines()[-1] == "total 70.00"
    assert "INVOICE_NOT_FOUND" in tollgate("invoices", "show", f"{invoiced}/2999-01", code=EXIT_FAILED).err


def small_amount(data_dir: Path, card: str) -> str:
    """What the statement of a card says: only its owner has that."""
    connection = sqlite3.connect(data_dir / "tollgate.db")
    try:
        query = "SELECT amount_micros FROM charge WHERE purpose = 'CONFIRMATION' AND subject_id = ?"
        return format_amount(connection.execute(query, (card,)).fetchone()[0])
    finally:
        connection.close()


def test_an_export_that_is_refused_writes_no_file(tollgate: Tollgate, office: str, tmp_path: Path) -> None:
    path = tmp_path / "usage.csv"
    outcome = tollgate("usage", "export", office, "9998-01", "--output", str(path), code=EXIT_USAGE)
    assert outcome.err.startswith("error: month: ")
    tollgate("usage", "export", office, "2026-01", "--output", str(tmp_path), code=EXIT_FAILED)
    assert list(tmp_path.iterdir()) == []
    path.write_text("of last month")
    tollgate("usage", "export", office, "January", "--output", str(path), code=EXIT_USAGE)
    assert (list(tmp_path.iterdir()), path.read_text()) == ([path], "of last month")


def test_an_export_replaces_the_file_when_it_is_whole(tollgate: Tollgate, office: str, tmp_path: Path) -> None:
    path, link = tmp_path / "usage.csv", tmp_path / "latest.csv"
    path.write_text("of last month")
    link.symlink_to(path)
    outcome = tollgate("usage", "export", office, "2026-01", "--output", str(link))
    assert path.read_text().startswith("id,kind,category,")
    assert link.is_symlink()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["latest.csv", "usage.csv"]
    assert outcome.out == ""
    assert outcome.err == f"0 records, 0.0 MB to {link}\n"
    assert tollgate("usage", "export", office, "2026-01", "--output", "/dev/null").out == ""
    assert Path("/dev/null").is_char_device()


def test_a_month_and_the_transactions_of_an_office(tollgate: Tollgate, office: str) -> None:
    tollgate("credits", "adjust", office, "-2.50", "--reason", "a mistake")
    lines = tollgate("credits", "transactions", office).out.splitlines()
    assert lines[0].split() == ["AT", "TRANSACTION", "KIND", "AMOUNT", "DESCRIPTION"]
    assert [re.split(r"  +", line)[1:] for line in lines[1:]] == [
        [f"{office}/2", "adjustment", "-2.50", "a mistake"],
        [f"{office}/1", "adjustment", "10.00", "opening balance"],
    ]
    assert len(tollgate("credits", "transactions", office, "--limit", "1").out.splitlines()) == 2
    summary = tollgate("usage", "summary", office, "2026-01").out.splitlines()
    assert [line.split() for line in summary[1:]] == [
        [category, "0", "0.00", "0"]
        for category in ("emergency", "local", "international", "toll-free", "message", "fax", "all")
    ]
    parts = tollgate("usage", "breakdown", office, "2026-01").out.splitlines()
    assert [line.split() for line in parts] == [
        ["DAY", "COUNT", "COST"],
        *([f"2026-01-{day:02}", "0", "0.00"] for day in range(1, len(parts))),
    ]
    assert tollgate("usage", "list", office, "2026-01", "--order", "costliest").out.splitlines()[1:] == []
    shown = json.loads(tollgate("usage", "list", office, "2026-01", "--category", "toll-free", "--json").out)
    assert shown == {"records": [], "next_page_token": ""}
    assert "month" in tollgate("usage", "summary", office, "2026-13", code=EXIT_USAGE).err


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (["office", "create", "a b", "--company", "acme", "--name", "x", "--country", "US"], "office_id"),
        (["office", "create", "x1", "--company", "acme", "--name", "x", "--country", "USA"], "country"),
        (["credits", "adjust", "OFFICE", "0", "--reason", "x"], "amount_micros"),
        (["message", "OFFICE", NEW_YORK, "--message-id", "x" * 129], "message_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_field_that_is_wrong_is_named(tollgate: Tollgate, office: str, words: list[str], field: str) -> None:
    outcome = tollgate(*(office if word == "OFFICE" else word for word in words), code=EXIT_USAGE)
    assert outcome.err.startswith(f"error: {field}: ")


def test_rates_are_imported_listed_and_asked_for(tollgate: Tollgate, office: str, tmp_path: Path) -> None:
    asked = tollgate("rates", "lookup", "--office", office, LONDON, "--duration", "90")
    assert asked.value("price") == "0.04 for 90 s"
    assert asked.value("now") == "GRANTED FUNDED"
    assert (
        "0.017 for 2 segments"
        in tollgate(*("rates", "lookup", "--office", office, NEW_YORK, "--service", "sms", "--segments", "2")).out
    )
    listed = tollgate("rates", "list").out
    assert re.search(r"in force +[0-9a-f]{12}  default", listed)


def test_the_trigger_of_a_refill_is_watched(tollgate: Tollgate, office: str, gateway: GatewayProcess) -> None:
    tollgate("office", "auto-refill", office, "--on", "--threshold", "9.995", "--amount", "25")
    with subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "refills", "watch", "--json", "--data-dir", str(gateway.data_dir)],
        env=clean_environment(PYTHONUNBUFFERED="1"),
        stdout=subprocess.PIPE,
        text=True,
    ) as watching:
        try:
            tollgate("message", office, NEW_YORK)
            assert watching.stdout is not None
            for line in watching.stdout:
                trigger = json.loads(line)
                if trigger["office_id"] == office:
                    break
        finally:
            watching.terminate()
    assert (trigger["refill_id"], trigger["amount_micros"]) == (f"{office}/1", "25000000")
    closed = tollgate(
        *("credits", "adjust", office, "25.00", "--reason", "charged", "--refill-id", trigger["refill_id"])
    )
    assert closed.value("balance") == "34.9915"
    assert tollgate("credits", "balance", office).value("refill").startswith("armed")


def test_metrics_are_served(gateway: GatewayProcess) -> None:
    with urllib.request.urlopen(f"http://{gateway.metrics}/metrics", timeout=10) as answer:
        assert b"tollgate_decisions_total" in answer.read()


@pytest.mark.slow
def test_a_second_gateway_on_the_directory_is_told_of_the_first(tollgate: Tollgate, gateway: GatewayProcess) -> None:
    before = (gateway.data_dir / CONNECTION_FILE).read_text()
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "serve", "--data-dir", str(gateway.data_dir)],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == EXIT_FAILED
    assert f"is held by another gateway (pid {gateway.process.pid}" in done.stderr
    assert "Traceback" not in done.stderr
    assert (gateway.data_dir / CONNECTION_FILE).read_text() == before


@pytest.mark.slow
def test_an_operators_own_token_is_not_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running_gateway(tmp_path, TOLLGATE_OPERATOR_TOKEN="my-own-secret") as running:
        assert "my-own-secret" not in (running.data_dir / CONNECTION_FILE).read_text()
        words = ("office", "list", "--data-dir", str(running.data_dir))
        assert run_command(capsys, *words).code == EXIT_NOT_ALLOWED
        assert run_command(capsys, *words, "--token", "my-own-secret").code == 0
        assert running.stop() == 0
        assert not (running.data_dir / CONNECTION_FILE).exists()
        assert "my-own-secret" not in running.log.read_text()

"""Kannel with tollgate-kannel before it, and a simulated SMSC behind it."""

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from tests.support.kannel import Kannel, Listener, running_kannel, running_listener
from tests.support.servers import free_port, wait_until
from tests.support.sms import SMS, SmsGateway, get, next_number, query, running_sms_gateway
from tests.support.smsc import Smsc, Submitted, running_smsc

pytestmark = [pytest.mark.switches, pytest.mark.xdist_group("kannel")]

USERS = 60
MAX_SEGMENTS = 40
INVALID_DESTINATION = 0x0B
HAS_HEADER = 0x40


@dataclass
class Site:
    """Gateway, Kannel, SMSC, and a sender's web server."""

    gateway: SmsGateway
    kannel: Kannel
    smsc: Smsc
    listener: Listener
    users: dict[str, str]

    def customer(self, segments: int) -> tuple[str, str]:
        """A sendsms-user whose office can pay so many segments: user and office."""
        user, office = self.users.popitem()
        if segments:
            self.gateway.add(office, segments * SMS)
        return user, office

    def states(self, office: str) -> list[str]:
        """The states of an office's messages in the proxy's file."""
        with sqlite3.connect(self.kannel.database) as database:
            rows = database.execute("SELECT state FROM messages WHERE office_id = ? ORDER BY state", (office,))
            states = [state for (state,) in rows]
        database.close()
        return states

    def report_url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.listener.port}/{name}?kind=%d&to=%p"

    def heard(self, name: str) -> list[str]:
        """The reports that came to a sender's URL."""
        return [path.removeprefix(f"/{name}?") for path in self.listener.heard if path.startswith(f"/{name}?")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as running:
        smsc = running.enter_context(running_smsc())
        listener = running.enter_context(running_listener())
        gateway = running.enter_context(running_sms_gateway(tmp_path_factory.mktemp("kannel-gateway")))
        users = {f"user{number}": gateway.open_office(0) for number in range(USERS)}
        kannel = running.enter_context(
            running_kannel(
                tmp_path_factory.mktemp("kannel"),
                gateway=gateway.grpc.address,
                token=gateway.token("kannel"),
                smsc_port=smsc.port,
                users=users,
                max_segments=MAX_SEGMENTS,
            )
        )
        yield Site(gateway, kannel, smsc, listener, dict(users))


def test_what_is_paid_arrives_what_is_not_never_leaves_and_a_refill_lets_the_next_pass(site: Site) -> None:
    user, office = site.customer(1)
    number = next_number()
    assert site.kannel.send(user, number, text="one") == (202, "0: Accepted for delivery")
    assert [each.payload for each in site.smsc.await_to(number)] == [b"one"]
    assert site.gateway.available(office) == 0
    assert site.kannel.send(user, number, text="two") == (402, "Not sent: INSUFFICIENT_FUNDS")
    site.gateway.add(office, SMS)
    assert site.kannel.send(user, number, text="three")[0] == 202
    assert [each.payload for each in site.smsc.await_to(number, 2)] == [b"one", b"three"]


def test_kannels_own_fake_smsc_gets_what_is_paid_and_nothing_else(site: Site, tmp_path: Path) -> None:
    user, office = site.customer(2)
    with running_kannel(
        tmp_path,
        gateway=site.gateway.grpc.address,
        token=site.gateway.token("kannel-with-fakesmsc"),
        smsc_port=free_port(),
        users={user: office},
        max_segments=MAX_SEGMENTS,
        is_smsc_fake=True,
    ) as kannel:
        number = next_number()
        sent = [kannel.send(user, number, text=f"number {n}")[0] for n in range(3)]
        assert sent == [202, 202, 402]
        log = tmp_path / "fakesmsc.log"
        assert wait_until(lambda: log.read_text().count("text number") == 2, 20), log.read_text()
        assert [f"number {n}" in log.read_text() for n in range(3)] == [True, True, False]
    assert site.gateway.available(office) == 0


def test_who_may_not_send_is_told_why(site: Site) -> None:
    user, office = site.customer(1)
    assert site.kannel.send(user, "4499", text="x") == (403, "Not sent: INVALID_NUMBER")
    site.gateway.suspend(office)
    assert site.kannel.send(user, next_number(), text="x") == (403, "Not sent: OFFICE_SUSPENDED")
    assert site.kannel.send("nobody", next_number(), text="x") == (403, "Not sent: UNKNOWN_OFFICE")
    assert site.states(office) == []


def sent_segments(site: Site, number: str) -> list[Submitted]:
    """What a message came in, however many segments that are."""
    first = site.smsc.await_to(number)[0]
    return site.smsc.await_to(number, first.payload[4] if first.esm_class & HAS_HEADER else 1)


CONCATENATION = b"\x05\x00\x03\x4d\x03\x01"
PORTS = b"\x06\x05\x04\x15\x81\x00\x00"


@pytest.mark.parametrize(
    ("parameters", "segments"),
    [
        ({}, 1),
        ({"text": ""}, 1),
        ({"text": "a" * 160}, 1),
        ({"text": "a" * 161}, 2),
        ({"text": "a" * 307}, 3),
        ({"text": "€" * 80}, 1),
        ({"text": "€" * 81}, 2),
        ({"text": "€" * 153}, 3),
        ({"text": "中" * 160}, 1),
        ({"text": "😀" * 41}, 2),
        ({"text": "ä".encode("latin-1") * 161, "charset": "ISO-8859-1"}, 2),
        ({"text": "中" * 70, "coding": "2", "charset": "UTF-8"}, 1),
        ({"text": "中" * 71, "coding": "2", "charset": "UTF-8"}, 2),
        ({"text": b"\x4e\x2d" * 135, "coding": "2"}, 3),
        ({"text": b"\xff" * 140, "coding": "1"}, 1),
        ({"text": b"\xff" * 141, "coding": "1"}, 2),
        ({"text": b"\xff" * 134, "udh": CONCATENATION}, 1),
        ({"text": "a" * 153, "coding": "0", "udh": CONCATENATION}, 1),
        ({"text": b"\xff" * 134, "udh": PORTS}, 2),
    ],
    ids=range(19),
)
def test_what_goes_out_is_what_is_paid(site: Site, parameters: dict[str, str | bytes], segments: int) -> None:
    user, office = site.customer(5)
    number = next_number()
    assert site.kannel.send(user, number, **parameters)[0] == 202
    assert site.gateway.available(office) == (5 - segments) * SMS
    if parameters.get("udh") == CONCATENATION:  # It says 3, but this is one of them.
        assert len(site.smsc.await_to(number)) == 1
    elif parameters.get("udh") == PORTS:
        assert len(site.smsc.await_to(number, segments)) == segments
    else:
        assert len(sent_segments(site, number)) == segments


def test_any_text_is_counted_as_kannel_divides_it(site: Site) -> None:
    user, office = site.customer(2_000)
    random = Random(1)
    alphabets = ["ab {}[]\\~^|€\n", "aΔäçÇ`中\f", "a😀é€", "€"]
    for _ in range(60):
        text = "".join(random.choices(random.choice(alphabets), k=random.randrange(700)))
        number, before = next_number(), site.gateway.available(office)
        assert site.kannel.send(user, number, text=text) == (202, "0: Accepted for delivery"), text
        paid = (before - site.gateway.available(office)) // SMS
        assert len(sent_segments(site, number)) == paid, (text, paid)


def test_what_the_smsc_refuses_is_given_back_and_the_sender_hears_of_it(site: Site) -> None:
    user, office = site.customer(2)
    number = next_number()
    site.smsc.refuse[number] = [INVALID_DESTINATION] * 2
    assert site.kannel.send(user, number, text="x")[0] == 202
    assert site.kannel.send(user, number, text="x", dlr_url=site.report_url("refused"), dlr_mask="31")[0] == 202
    site.gateway.await_available(office, 2 * SMS)
    assert wait_until(lambda: site.heard("refused") == [f"kind=16&to={number}"]), site.heard("refused")
    assert wait_until(lambda: site.states(office) == ["DONE", "DONE"])


def test_a_failure_is_given_back_once_however_often_it_is_reported(site: Site) -> None:
    user, office = site.customer(3)
    url = site.report_url("failed")
    for state in ("UNDELIV", "REJECTD", "DELIVRD"):
        number = next_number()
        assert site.kannel.send(user, number, text="x", dlr_url=url, dlr_mask="19")[0] == 202
        (sent,) = site.smsc.await_to(number)
        for _ in range(3):
            site.smsc.send_receipt(sent, state)
    site.gateway.await_available(office, 2 * SMS)
    assert wait_until(lambda: site.states(office) == ["DONE", "DONE", "SENT"])
    # Kannel tells of one, and the proxy takes it as often as it comes.
    kinds = [report.partition("&")[0] for report in site.heard("failed")]
    assert kinds == ["kind=2", "kind=2", "kind=1"]
    for message_id in ids_of(site, office):
        for _ in range(3):
            assert get(f"{site.kannel.proxy_url}/dlr/{message_id}/2?/failed?again")[0] == 200
    assert wait_until(lambda: site.states(office) == ["DONE", "DONE", "DONE"])
    site.gateway.await_available(office, 3 * SMS)


def ids_of(site: Site, office: str) -> list[str]:
    with sqlite3.connect(site.kannel.database) as database:
        ids = [row[0] for row in database.execute("SELECT message_id FROM messages WHERE office_id = ?", (office,))]
    database.close()
    return ids


def test_a_sender_that_is_away_gets_its_report_later(site: Site) -> None:
    user, office = site.customer(1)
    number = next_number()
    site.smsc.receipts[number] = "UNDELIV"
    site.listener.statuses[:] = [500]
    assert site.kannel.send(user, number, text="x", dlr_url=site.report_url("later"), dlr_mask="3")[0] == 202
    assert wait_until(lambda: site.heard("later") == [f"kind=2&to={number}"] * 2), site.heard("later")
    site.gateway.await_available(office, SMS)


def test_a_sender_gets_the_reports_that_it_asked_for_and_no_others(site: Site) -> None:
    user, _ = site.customer(2)
    number = next_number()
    site.smsc.receipts[number] = "UNDELIV"
    assert site.kannel.send(user, number, text="x", dlr_url=site.report_url("delivered"), dlr_mask="1")[0] == 202
    assert site.kannel.send(user, number, text="x", dlr_url=site.report_url("none"))[0] == 202
    site.gateway.await_available(site_office(site, user), 2 * SMS)
    assert site.heard("delivered") == site.heard("none") == []


def site_office(site: Site, user: str) -> str:
    return next(argument.partition("=")[2] for argument in site.kannel.arguments if argument.startswith(f"{user}="))


def test_what_kannel_does_not_accept_is_given_back(site: Site) -> None:
    user, office = site.customer(1)
    answer = site.kannel.send(user, next_number(), text="x", password="wrong")
    assert answer == (403, "Authorization failed for sendsms")
    assert wait_until(lambda: site.states(office) == ["DONE"])
    assert site.gateway.available(office) == SMS


def test_without_kannel_nothing_is_paid(site: Site) -> None:
    user, office = site.customer(1)
    port = free_port()
    arguments = ["--kannel", f"http://127.0.0.1:{free_port()}/cgi-bin/sendsms"]
    arguments += ["--data", str(site.kannel.directory / "another.db")]
    with site.kannel.another_proxy(*arguments, port=port):
        answer = site.kannel.send(user, next_number(), f"http://127.0.0.1:{port}", text="x")
        assert answer == (503, "Not sent: Kannel is away. Try again later.")
        site.gateway.await_available(office, SMS)


def test_kannel_that_says_nothing_may_have_sent_it_so_it_stays_paid(site: Site) -> None:
    user, office = site.customer(1)
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        arguments = ["--kannel", f"http://127.0.0.1:{silent.getsockname()[1]}/cgi-bin/sendsms"]
        arguments += ["--data", str(site.kannel.directory / "third.db"), "--kannel-seconds", "0.5"]
        with site.kannel.another_proxy(*arguments, port=port):
            assert site.kannel.send(user, next_number(), f"http://127.0.0.1:{port}", text="x")[0] == 504
    assert site.gateway.available(office) == 0


def test_a_lost_answer_is_asked_for_again_and_paid_once(site: Site) -> None:
    user, office = site.customer(2)
    number = next_number()
    site.gateway.grpc.do(lambda proxy: proxy.cut_after_send())
    assert site.kannel.send(user, number, text="x")[0] == 202
    site.smsc.await_to(number)
    assert site.gateway.available(office) == SMS


def test_without_a_gateway_nothing_leaves_and_a_refund_waits_for_it(site: Site) -> None:
    user, office = site.customer(1)
    number = next_number()
    assert site.kannel.send(user, number, text="x")[0] == 202
    (sent,) = site.smsc.await_to(number)
    site.gateway.grpc.do(lambda proxy: proxy.refuse())
    try:
        answer = site.kannel.send(user, number, text="y")
        assert answer == (503, "Not sent: Tollgate is away. Try again later.")
        site.smsc.send_receipt(sent, "UNDELIV")
        assert wait_until(lambda: "REFUND" in site.states(office)), site.states(office)
        site.kannel.stop_proxy()
        site.kannel.start_proxy()
    finally:
        site.gateway.grpc.do(lambda proxy: proxy.refuse(False))
    site.gateway.await_available(office, SMS, 30)
    assert [each.payload for each in site.smsc.to(number)] == [b"x"]
    assert site.kannel.send(user, number, text="again")[0] == 202


def test_a_wrong_token_lets_nothing_through(site: Site) -> None:
    user, office = site.customer(1)
    port, number = free_port(), next_number()
    arguments = ["--data", str(site.kannel.directory / "fourth.db")]
    with site.kannel.another_proxy(*arguments, port=port, TOLLGATE_TOKEN="no-such-token"):
        assert site.kannel.send(user, number, f"http://127.0.0.1:{port}", text="x")[0] == 503
    assert site.gateway.available(office) == SMS
    assert not site.smsc.to(number)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"to": ""}, "Empty receiver"),
        ({"to": "442079460001 442079460002"}, "One receiver"),
        ({"text": b"\xff\xfe"}, "Charset or body misformed"),
        ({"text": "x", "charset": "klingon"}, "unknown"),
        ({"text": "x", "charset": "rot13"}, "none of text"),
        ({"text": "x", "coding": "3"}, "coding"),
        ({"text": "x", "coding": "1x"}, "coding"),
        ({"text": "x", "udh": b"\x05\x00"}, "UDH field misformed"),
        ({"text": "x", "udh": b"\x8b" + b"\0" * 139}, "UDH field"),
        ({"text": "x", "dlr-url": "ftp://127.0.0.1/x"}, "DLR-URL"),
        ({"text": "x", "dlr-url": "http://127.0.0.1:port/x"}, "DLR-URL"),
        ({"text": "x", "dlr-mask": "64"}, "dlr-mask"),
        ({"text": "x", "user": "another"}, "twice"),
        ({"text": "a" * 153 * 300}, "300 segments"),
        ({f"p{number}": "x" for number in range(60)}, "Too many"),
    ],
    ids=range(15),
)
def test_what_cannot_be_read_is_refused_and_costs_nothing(
    site: Site, parameters: dict[str, str | bytes], said: str
) -> None:
    asked = {"username": "user0", "password": "secret", "to": next_number(), "from": "1", **parameters}
    status, text = get(f"{site.kannel.proxy_url}/cgi-bin/sendsms?{query(**asked)}")
    assert status == 400, text
    assert said in text


def test_a_body_of_10_mb_is_not_read(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.kannel.proxy_port), timeout=10) as connection:
        connection.sendall(
            b"POST /cgi-bin/sendsms HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n" + b"x" * 65536
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 405 ")


def test_a_report_of_a_message_that_is_unknown(site: Site) -> None:
    assert get(f"{site.kannel.proxy_url}/dlr/kannel-0/2?/x")[0] == 404
    assert get(f"{site.kannel.proxy_url}/dlr/kannel-0/two?/x")[0] == 404

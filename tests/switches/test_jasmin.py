"""Jasmin with Tollgate before it: HTTP API and SMPP on one side, a simulated SMSC on the other, money in the middle."""

import importlib
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import smpp34

from gateway.segments import count_octets, count_segments, count_septets
from tests.support.jasmin import NOWHERE, SCRIPTS, Jasmin, running_jasmin
from tests.support.servers import wait_until
from tests.support.sms import SMS, SmsGateway, next_number, running_sms_gateway
from tests.support.smsc import (
    MESSAGE_PAYLOAD,
    SAR_MSG_REF_NUM,
    SAR_SEGMENT_SEQNUM,
    SAR_TOTAL_SEGMENTS,
    Smsc,
    running_smsc,
)

pytestmark = [pytest.mark.switches, pytest.mark.xdist_group("jasmin")]

RINVMSGLEN, RINVDSTADR, RINVSYSID, RSUBMITFAIL, RMSGQFUL, RTHROTTLED = 0x01, 0x0B, 0x0F, 0x45, 0x14, 0x58
REPLACED = 0x54  # ESME_RINVREPFLAG: a refusal that Jasmin does not try again
UNSENT_SECONDS = 2
RETRY_SECONDS = 3


@dataclass
class Site:
    """Gateway, Jasmin and SMSC."""

    gateway: SmsGateway
    jasmin: Jasmin
    smsc: Smsc
    customers: int = 0

    def customer(self, segments: int, *more: str) -> tuple[str, str]:
        """A user of Jasmin whose office can pay so many segments: user and office."""
        self.customers += 1
        user, office = f"user{self.customers}", self.gateway.open_office(segments * SMS)
        self.jasmin.add_user(user, office, *more)
        return user, office

    async def bind(self, user: str) -> smpp34.Smsc:
        """Bind to Jasmin as a customer's ESME."""
        return await smpp34.Client("127.0.0.1", self.jasmin.smpp_port, user, "secret", bind_type="TRX").connect()

    def states(self, office: str) -> list[str]:
        """The states of an office's messages in the journal."""
        with sqlite3.connect(self.jasmin.journal) as journal:
            rows = journal.execute("SELECT state FROM messages WHERE office_id = ? ORDER BY state", (office,))
            states = [state for (state,) in rows]
        journal.close()
        return states


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with ExitStack() as running:
        smsc = running.enter_context(running_smsc())
        gateway = running.enter_context(running_sms_gateway(tmp_path_factory.mktemp("jasmin-gateway")))
        jasmin = running.enter_context(
            running_jasmin(
                tmp_path_factory.mktemp("jasmin"),
                gateway_http=gateway.hooks.address,
                token=gateway.token("jasmin"),
                smsc_port=smsc.port,
                TOLLGATE_UNSENT_SECONDS=str(UNSENT_SECONDS),
                TOLLGATE_RETRY_SECONDS=str(RETRY_SECONDS),
            )
        )
        yield Site(gateway, jasmin, smsc)


def test_what_is_paid_arrives_what_is_not_never_leaves_and_a_refill_lets_the_next_pass(site: Site) -> None:
    user, office = site.customer(1)
    number = next_number()
    assert site.jasmin.send(user, number, content="one")[0] == 200
    assert [each.payload for each in site.smsc.await_to(number)] == [b"one"]
    assert site.gateway.available(office) == 0
    assert site.jasmin.send(user, number, content="two") == (402, 'Error "Interception specific error code 402"')
    site.gateway.add(office, SMS)
    assert site.jasmin.send(user, number, content="three")[0] == 200
    assert [each.payload for each in site.smsc.await_to(number, 2)] == [b"one", b"three"]
    site.gateway.await_available(office, 0)


def test_who_may_not_send_is_told_another_status(site: Site) -> None:
    user, office = site.customer(1)
    assert site.jasmin.send(user, "4499", content="no such number")[0] == 403
    site.gateway.suspend(office)
    assert site.jasmin.send(user, next_number(), content="suspended")[0] == 403
    assert site.gateway.available(office) == SMS
    assert site.states(office) == []


@pytest.mark.parametrize(
    ("parameters", "segments"),
    [
        ({"content": ""}, 1),
        ({"content": "a" * 160}, 1),
        ({"content": "a" * 161}, 2),
        ({"content": "a" * 306}, 2),
        ({"content": "a" * 307}, 3),
        ({"content": "€" * 80}, 1),
        ({"content": "€" * 81}, 2),
        ({"hex_content": "4e2d" * 70, "coding": "8"}, 1),
        ({"hex_content": "4e2d" * 71, "coding": "8"}, 2),
        ({"hex_content": "4e2d" * 135, "coding": "8"}, 3),
        # Jasmin cuts at long_content_max_parts, which is 10 here: what is not sent is not paid.
        ({"content": "a" * 153 * 60}, 10),
    ],
    ids=range(11),
)
def test_what_goes_out_is_what_is_paid(site: Site, parameters: dict[str, str], segments: int) -> None:
    user, office = site.customer(10)
    number = next_number()
    assert site.jasmin.send(user, number, **parameters)[0] == 200
    assert len(site.smsc.await_to(number, segments)) == segments
    assert site.gateway.available(office) == (10 - segments) * SMS


async def test_smpp_has_a_status_for_each_kind_of_no(site: Site) -> None:
    user, office = site.customer(1)
    number = next_number()
    esme = await site.bind(user)
    assert (await esme.submit_sm(number, b"one", dest_addr_ton=1)).is_success
    assert (await esme.submit_sm(number, b"two", dest_addr_ton=1)).command_status == RSUBMITFAIL
    assert (await esme.submit_sm("4499", b"three", dest_addr_ton=1)).command_status == RINVDSTADR
    site.gateway.suspend(office)
    assert (await esme.submit_sm(number, b"four", dest_addr_ton=1)).command_status == RINVSYSID
    await esme.unbind()
    assert [each.payload for each in site.smsc.await_to(number)] == [b"one"]


@pytest.mark.parametrize("joined_by", ["udh", "sar"])
async def test_parts_that_a_client_made_are_paid_once_each(site: Site, joined_by: str) -> None:
    user, office = site.customer(3)
    number = next_number()
    esme = await site.bind(user)
    for part in (1, 2, 3):
        text = b"x" * 153
        if joined_by == "udh":
            header = bytes([5, 0, 3, 77, 3, part])
            sent = await esme.submit_sm(number, header + text, esm_class=0x40, dest_addr_ton=1)
        else:
            tlvs = [
                smpp34.Tlv(SAR_MSG_REF_NUM, b"\0\x4d"),
                smpp34.Tlv(SAR_TOTAL_SEGMENTS, b"\3"),
                smpp34.Tlv(SAR_SEGMENT_SEQNUM, bytes([part])),
            ]
            sent = await esme.submit_sm(number, text, tlvs=tlvs, dest_addr_ton=1)
        assert sent.is_success
    await esme.unbind()
    assert len(site.smsc.await_to(number, 3)) == 3
    assert site.gateway.available(office) == 0


async def test_what_the_smsc_will_divide_is_paid_by_its_length(site: Site) -> None:
    user, office = site.customer(255)
    number = next_number()
    esme = await site.bind(user)
    payload = smpp34.Tlv(MESSAGE_PAYLOAD, b"a" * 307)
    assert (await esme.submit_sm(number, tlvs=[payload], dest_addr_ton=1)).is_success
    site.gateway.await_available(office, (255 - 3) * SMS)
    payload = smpp34.Tlv(MESSAGE_PAYLOAD, b"a" * 153 * 300)
    assert (await esme.submit_sm(number, tlvs=[payload], dest_addr_ton=1)).command_status == RINVMSGLEN
    await esme.unbind()
    assert site.gateway.available(office) == (255 - 3) * SMS


def test_what_the_smsc_refuses_is_given_back(site: Site) -> None:
    user, office = site.customer(1)
    number = next_number()
    site.smsc.refuse[number] = [REPLACED]
    assert site.jasmin.send(user, number, content="x")[0] == 200
    assert wait_until(lambda: site.smsc.refused.count(number) == 1)
    assert wait_until(lambda: site.states(office) == ["DONE"]), site.states(office)
    assert site.gateway.available(office) == SMS


def test_what_jasmin_sends_again_is_given_back_only_if_that_fails_too(site: Site) -> None:
    user, office = site.customer(2)
    taken, refused = next_number(), next_number()
    site.smsc.refuse[taken] = [RTHROTTLED]
    site.smsc.refuse[refused] = [RTHROTTLED] * 3
    assert site.jasmin.send(user, taken, content="x")[0] == 200
    assert site.jasmin.send(user, refused, content="x")[0] == 200
    site.smsc.await_to(taken)
    assert wait_until(lambda: site.smsc.refused.count(refused) == 3)
    assert wait_until(lambda: site.states(office) == ["DONE", "SENT"]), site.states(office)
    assert site.gateway.available(office) == SMS


def test_a_failure_is_given_back_once_however_often_it_is_reported(site: Site) -> None:
    user, office = site.customer(4)
    for state in ("UNDELIV", "REJECTD", "EXPIRED", "DELIVRD"):
        number = next_number()
        assert site.jasmin.send(user, number, content="x")[0] == 200
        (sent,) = site.smsc.await_to(number)
        assert sent.registered_delivery
        assert wait_until(lambda: "QUEUED" not in site.states(office))
        for _ in range(3):
            site.smsc.send_receipt(sent, state)
    site.gateway.await_available(office, 2 * SMS)
    assert wait_until(lambda: site.states(office) == ["DONE", "DONE", "DONE", "SENT"]), site.states(office)
    assert site.gateway.available(office) == 2 * SMS


def test_a_receipt_that_may_come_before_the_answer(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    user, office = site.customer(1)
    number = next_number()
    monkeypatch.setattr(site.smsc, "receipt_seconds", 0.0)
    site.smsc.receipts[number] = "UNDELIV"
    assert site.jasmin.send(user, number, content="x")[0] == 200
    assert wait_until(lambda: site.states(office) == ["DONE"]), site.states(office)
    assert site.gateway.available(office) == SMS


def test_what_jasmin_gives_up_is_given_back(site: Site) -> None:
    """Its connector is not bound, and the message gets too old: nothing but a dead letter tells of it."""
    user, office = site.customer(1)
    assert site.jasmin.send(user, NOWHERE, content="x")[0] == 200
    assert site.gateway.available(office) == 0
    assert wait_until(lambda: site.states(office) == ["DONE"], 20), site.states(office)
    assert site.gateway.available(office) == SMS


def test_what_jasmin_refuses_after_it_was_paid_is_given_back(site: Site) -> None:
    user, office = site.customer(2, "mt_messaging_cred quota http_throughput 0.01")
    number = next_number()
    assert site.jasmin.send(user, number, content="one")[0] == 200
    assert site.jasmin.send(user, number, content="two") == (403, 'Error "User throughput exceeded"')
    assert wait_until(lambda: site.states(office) == ["DONE", "SENT"]), site.states(office)
    assert site.gateway.available(office) == SMS
    assert len(site.smsc.await_to(number)) == 1


def test_a_lost_answer_is_asked_for_again_and_paid_once(site: Site) -> None:
    user, office = site.customer(2)
    number = next_number()
    site.gateway.hooks.do(lambda proxy: proxy.cut_after_send())
    assert site.jasmin.send(user, number, content="x")[0] == 200
    site.smsc.await_to(number)
    assert site.gateway.available(office) == SMS


def test_without_a_gateway_nothing_leaves_and_the_sender_may_try_again(site: Site) -> None:
    user, office = site.customer(1)
    number = next_number()
    site.gateway.hooks.do(lambda proxy: proxy.refuse())
    try:
        assert site.jasmin.send(user, number, content="x")[0] == 503
    finally:
        site.gateway.hooks.do(lambda proxy: proxy.refuse(False))
    assert wait_until(lambda: site.jasmin.send(user, number, content="again")[0] == 200)
    assert [each.payload for each in site.smsc.await_to(number)] == [b"again"]
    # What was asked and never answered is asked back; there was nothing to give, but now nothing can be taken either.
    assert wait_until(lambda: set(site.states(office)) == {"DONE", "SENT"}, 20), site.states(office)
    assert site.gateway.available(office) == 0


def test_a_silent_gateway_holds_nobody_up_and_keeps_no_money(site: Site) -> None:
    user, office = site.customer(1)
    number = next_number()
    site.gateway.hooks.do(lambda proxy: proxy.stall(times=2))
    assert site.jasmin.send(user, number, content="x")[0] == 503
    # Those that come next do not wait as long as that one did.
    assert site.jasmin.send(user, number, content="y")[0] == 503
    site.gateway.hooks.do(lambda proxy: proxy.resume())
    assert wait_until(lambda: site.states(office) == ["DONE"], 20), site.states(office)
    site.gateway.await_available(office, SMS)
    site.gateway.hooks.do(lambda proxy: proxy.pass_on())
    assert wait_until(lambda: site.jasmin.send(user, number, content="again")[0] == 200)
    assert [each.payload for each in site.smsc.await_to(number)] == [b"again"]


def test_a_refund_outlives_its_process_and_a_gateway_that_is_away(site: Site) -> None:
    user, office = site.customer(2)
    refused, failed = next_number(), next_number()
    site.smsc.refuse[refused] = [REPLACED]
    site.smsc.receipts[failed] = "UNDELIV"
    site.jasmin.stop_refunds()
    try:
        assert site.jasmin.send(user, refused, content="x")[0] == 200
        assert site.jasmin.send(user, failed, content="x")[0] == 200
        site.smsc.await_to(failed)
        assert wait_until(lambda: site.smsc.refused.count(refused) == 1)
        site.gateway.hooks.do(lambda proxy: proxy.refuse())
    finally:
        site.jasmin.start_refunds()
    try:
        assert wait_until(lambda: site.states(office) == ["REFUND", "REFUND"]), site.states(office)
        site.jasmin.stop_refunds()
        site.jasmin.start_refunds()
        assert site.gateway.available(office) == 0
    finally:
        site.gateway.hooks.do(lambda proxy: proxy.refuse(False))
    site.gateway.await_available(office, 2 * SMS)


def test_what_was_sent_while_nobody_could_listen_stays_paid(site: Site) -> None:
    """Without the queue nobody knows whether Jasmin sent it: it is not taken for one that Jasmin refused."""
    user, office = site.customer(2)
    number = next_number()
    site.jasmin.stop_refunds()
    try:
        site.jasmin.rabbitmq.control("delete_queue", "tollgate")
        assert site.jasmin.send(user, number, content="x")[0] == 200
        site.smsc.await_to(number)
        assert site.states(office) == ["ASKED"]
    finally:
        site.jasmin.start_refunds()
    assert "the queue is new; 1 messages are not watched" in (site.jasmin.directory / "refunds.log").read_text()
    assert site.states(office) == []
    assert site.jasmin.send(user, number, content="y")[0] == 200
    assert wait_until(lambda: site.states(office) == ["SENT"])
    assert site.gateway.available(office) == 0


def test_one_connection_serves_many_messages(site: Site) -> None:
    user, _ = site.customer(20)
    number = next_number()
    assert site.jasmin.send(user, number, content="x")[0] == 200
    before = site.gateway.hooks.proxy.connections
    for _ in range(19):
        assert site.jasmin.send(user, number, content="x")[0] == 200
    site.smsc.await_to(number, 20)
    assert site.gateway.hooks.proxy.connections - before <= 1


def test_a_sender_whose_bytes_are_no_text(site: Site) -> None:
    user, office = site.customer(1)
    number = next_number()
    assert site.jasmin.send(user, number, content=b"x", **{"from": b"a\xffb"})[0] == 200
    site.smsc.await_to(number)
    assert site.gateway.available(office) == 0


def test_a_sender_that_would_change_the_receiver(site: Site) -> None:
    """Jasmin lets a zero octet through, after which the SMSC would read the sender's own idea of a called number."""
    user, office = site.customer(1)
    assert site.jasmin.send(user, next_number(), content=b"x", **{"from": b"a\0\1\1447900000000\0"})[0] == 400
    assert site.states(office) == []
    assert site.gateway.available(office) == SMS


@pytest.fixture
def interceptor_module(monkeypatch: pytest.MonkeyPatch) -> Any:
    """tollgate_jasmin.py as a module of this process; Jasmin is not needed where nothing is granted."""
    monkeypatch.syspath_prepend(str(SCRIPTS))
    yield importlib.import_module("tollgate_jasmin")
    del sys.modules["tollgate_jasmin"]


def test_a_wrong_token_lets_nothing_through(site: Site, interceptor_module: Any, tmp_path: Path) -> None:
    office = site.gateway.open_office(SMS)
    journal = interceptor_module.Journal(str(tmp_path / "tollgate.db"))
    params = {"source_addr": b"1", "destination_addr": next_number().encode(), "short_message": b"x"}
    routable = SimpleNamespace(
        pdu=SimpleNamespace(params=params), user=SimpleNamespace(uid="u", group=SimpleNamespace(gid=office))
    )
    others = site.gateway.token("another", site.gateway.open_office(0))
    for token in ("no-such-token", others):
        tollgate = interceptor_module.Tollgate(f"http://{site.gateway.process.http}", token, 1.0)
        asked = interceptor_module.Interceptor(tollgate, journal, "group").authorize(routable)
        assert asked == interceptor_module.TRY_AGAIN
        tollgate._connection.close()
    assert site.gateway.available(office) == SMS
    journal._database.close()


@pytest.mark.parametrize("coding", [0, 1, 3, 4, 8])
def test_a_payload_is_counted_as_the_library_counts_it(interceptor_module: Any, coding: int) -> None:
    for length in (0, 1, 134, 140, 141, 153, 160, 161, 268, 306, 307, 1000):
        for text in (b"a" * length, b"\x1be" * (length // 2), b"a" + b"\x1be" * (length // 2)):
            params = {"short_message": text, "data_coding": coding}
            counted = interceptor_module.count_segments(SimpleNamespace(params=params))
            assert counted == (count_septets(text) if coding in (0, 1) else count_octets(len(text)))
    assert count_segments("a" * 161) == 2

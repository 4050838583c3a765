"""The parts of the Diameter front that need no gateway: numbers, payers, frames, sessions, watchdogs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from diameter.message import Message
from diameter.message.commands import CapabilitiesExchangeRequest

from gateway.address import Address
from gateway.cli.errors import EXIT_USAGE
from gateway.diameter.avps import Incoming
from gateway.diameter.codes import AvpKey, ResultCode
from gateway.diameter.framing import MAX_MESSAGE_BYTES, NotDiameter, read_message
from gateway.diameter.identity import DiameterIdentity
from gateway.diameter.memory import BadStateFile, SessionMemory
from gateway.diameter.offices import BadTable, NamedAvp, OfficeFinder, ServiceContext, SubscriberTable
from gateway.diameter.parties import number_of
from gateway.diameter.refusal import Refused
from gateway.diameter.requests import Request, bounded_id
from gateway.diameter.server import DiameterServer
from gateway.diameter.sessions import KEEP_SECONDS, SUPERVISION_SECONDS, Session, SessionTable
from gateway.v1 import authorization_pb2 as pb
from tests.support.commands import run_command
from tests.support.diameter import CALLS, INITIAL, ccr


@pytest.mark.parametrize(
    ("address", "number"),
    [
        ("sip:+442079460958@ims.example.org", "+442079460958"),
        ("sips:+442079460958:secret@ims.example.org;user=phone", "+442079460958"),
        ("sip:+442079460958;npdi;rn=+44@ims.example.org;user=phone", "+442079460958"),
        ("tel:+44-20-7946-0958", "+442079460958"),
        ("TEL:+44.20(7946)0958;phone-context=example.org", "+442079460958"),
        ("<sip:%2B442079460958@example.org>", "+442079460958"),
        ("02079460958", "02079460958"),
        ("911", "911"),
        ("urn:service:sos", "112"),
        ("urn:service:sos.police", "112"),
        ("urn:service:sosage", "service"),
        ("sip:alice@example.org", "alice"),
        ("sip:a-b.c@example.org", "a-b.c"),
        ("", ""),
        ("sip:", ""),
        ("+", "+"),
    ],
)
def test_the_number_in_an_address(address: str, number: str) -> None:
    assert number_of(address) == number


@pytest.mark.parametrize(
    ("text", "is_kept"),
    [("a;1;2", True), ("x" * 128, True), ("x" * 129, False), ("", False), ("a\n", False), ("\N{SNOWMAN}", False)],
)
def test_an_id_is_as_it_was_or_its_hash(text: str, is_kept: bool) -> None:
    bounded = bounded_id(text)
    assert (bounded == text) is is_kept
    assert len(bounded) <= 128
    assert bounded == bounded_id(text)


# Who pays


def table(tmp_path: Path, text: str) -> SubscriberTable:
    path = tmp_path / "offices.csv"
    path.write_text(text)
    return SubscriberTable.read(path)


@pytest.mark.parametrize(
    ("subscribers", "office"),
    [
        (["+12125550142"], "number"),
        (["12125550142"], "number"),
        (["sip:+1-212-555-0142@anywhere.example"], "number"),
        (["tel:+12125550142"], "number"),
        (["sip:alice@example.org"], "alice"),
        (["SIP:Alice@Example.ORG;user=phone"], "alice"),
        (["sip:bob@example.org:5060;transport=tcp"], "domain"),
        (["sip:+44123@example.org"], "domain"),
        (["310150123456789"], "imsi"),
        (["nobody", "310150123456789"], "imsi"),
        (["sip:x@elsewhere.example"], "rest"),
        ([""], "rest"),
        ([], "rest"),
    ],
)
def test_the_payer_of_a_subscriber(tmp_path: Path, subscribers: list[str], office: str) -> None:
    rows = "+12125550142,number\nsip:alice@example.org,alice\n@Example.org,domain\n310150123456789,imsi\n*,rest\n"
    payer = table(tmp_path, f"subscription_id,office_id\n{rows}").find(subscribers)
    assert payer is not None
    assert payer.office_id == office


def test_a_license_and_nobody(tmp_path: Path) -> None:
    found = table(tmp_path, "subscription_id,office_id,license\n+1,a,sales\n+2,a,\n")
    assert [payer.license for each in ("+1", "+2") if (payer := found.find([each]))] == [pb.SALES, pb.STANDARD]
    assert found.find(["+3"]) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "the first line is to be"),
        ("office_id,subscription_id\n", "the first line is to be"),
        ("subscription_id,office_id,colour\n", "the first line is to be"),
        ("subscription_id,office_id\n+1,a\n1,b\n", ":3: 1 is there twice"),
        ("subscription_id,office_id\n+1,\n", ":2: '' is no office_id"),
        ("subscription_id,office_id\n+1,a b\n", "is no office_id"),
        ("subscription_id,office_id\n,a\n", ":2: subscription_id is empty"),
        ("subscription_id,office_id\n+1,a,b\n", "more cells"),
        ("subscription_id,office_id,license\n+1,a,GOLD\n", "'GOLD' is no license"),
    ],
)
def test_a_table_that_makes_no_sense(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(BadTable, match=problem):
        table(tmp_path, text)


def request_of(**options: Any) -> Request:
    return Request.read(Incoming.parse(ccr("o1", "session", INITIAL, 0, **options).as_bytes()))


@pytest.mark.parametrize(
    ("context", "office"),
    [
        (f"springfield.{CALLS}", "springfield"),
        (f"springfield.01.001.8.{CALLS}", "springfield"),
        (f"acme.paris.{CALLS}", "acme.paris"),
        (CALLS, ""),
        (f"no office.{CALLS}", ""),
    ],
)
def test_an_office_in_the_service_context(context: str, office: str) -> None:
    finder = OfficeFinder(ServiceContext())
    if office:
        payer = finder.find(request_of(context=context))
        assert (payer.office_id, payer.user_id) == (office, "sip:+12125550142@o1.example.org")
    else:
        with pytest.raises(Refused) as refused:
            finder.find(request_of(context=context))
        assert refused.value.code is ResultCode.USER_UNKNOWN


def test_an_office_in_an_avp() -> None:
    assert OfficeFinder(NamedAvp(AvpKey(296))).find(request_of()).office_id == "example.org"
    with pytest.raises(Refused, match="names no office"):
        OfficeFinder(NamedAvp(AvpKey(1))).find(request_of())


# Frames


async def frame(data: bytes) -> bytes | None:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await read_message(reader)


async def test_a_message_is_read_whole_or_not_at_all() -> None:
    whole = ccr("o1", "session", INITIAL, 0).as_bytes()
    assert await frame(whole + whole) == whole
    for length in (0, 1, 19, 20, len(whole) - 1):
        assert await frame(whole[:length]) is None
    longest = b"\1" + MAX_MESSAGE_BYTES.to_bytes(3, "big")
    assert await frame(longest + bytes(MAX_MESSAGE_BYTES - 4)) is not None
    for length in (0, 4, 19, 21, MAX_MESSAGE_BYTES + 4, 0xFFFFFC):
        with pytest.raises(NotDiameter):
            await frame(b"\1" + length.to_bytes(3, "big") + bytes(30))


# Sessions


def test_a_full_table_gives_way_to_what_is_new_only_where_nothing_is_lost() -> None:
    now = 0.0
    sessions = SessionTable(lambda: now, most=2)

    def begin(name: str, *, always: bool = False) -> Session:
        session = Session(session_id=name)
        with sessions.adding(session, always=always):
            session.is_begun = True
        return session

    first = begin("first")
    begin("second")
    with pytest.raises(Refused) as refused:
        begin("third")
    assert refused.value.code is ResultCode.TOO_BUSY
    begin("an emergency", always=True)
    first.ended_by = 1
    assert sessions.get("second") is not None
    with pytest.raises(Refused):
        begin("third")  # There is one too many already.
    assert sessions.get("first") is None
    now = SUPERVISION_SECONDS + 1
    begin("third")
    assert len(sessions) == 2
    now += KEEP_SECONDS + 1
    begin("fourth")
    assert len(sessions) == 1


def test_a_session_that_comes_to_nothing_is_not_kept() -> None:
    sessions = SessionTable(lambda: 0.0)
    with pytest.raises(ZeroDivisionError), sessions.adding(Session(session_id="a")):
        raise ZeroDivisionError
    assert sessions.get("a") is None


def test_a_state_file_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"no database at all" * 100)
    with pytest.raises(BadStateFile):
        SessionMemory(path)
    with pytest.raises(BadStateFile):
        SessionMemory(tmp_path / "missing" / "state")


# Connections


@asynccontextmanager
async def served(watchdog_seconds: float) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A peer that has introduced itself."""

    async def handle(message: Incoming) -> bytes:
        raise AssertionError(f"nobody sends {message}")

    server = DiameterServer(
        DiameterIdentity("ocs.example.org", "example.org", 1), (), handle, watchdog_seconds=watchdog_seconds
    )
    await server.start(Address("127.0.0.1", 0))
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    request = CapabilitiesExchangeRequest()
    request.origin_host, request.origin_realm = b"a.example.org", b"example.org"
    request.host_ip_address, request.vendor_id, request.product_name = ["127.0.0.1"], 0, "test"
    request.auth_application_id = [4]
    writer.write(request.as_bytes())
    answer = Message.from_bytes(await read_message(reader) or b"")
    assert answer.result_code == 2001
    try:
        yield reader, writer
    finally:
        writer.close()
        await server.stop(1.0)


async def test_a_silent_peer_is_asked_and_then_given_up() -> None:
    async with served(watchdog_seconds=0.05) as (reader, writer):
        for _ in range(3):
            watchdog = Message.from_bytes(await read_message(reader) or b"")
            assert (watchdog.header.command_code, watchdog.header.is_request) == (280, True)
            answer = watchdog.to_answer()
            answer.result_code, answer.origin_host, answer.origin_realm = 2001, b"a.example.org", b"example.org"
            writer.write(answer.as_bytes())
        assert await read_message(reader) is not None
        with suppress(ConnectionResetError):  # Then it is closed, too.
            assert await read_message(reader) is None


# The command


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        ((), "--offices: name a CSV file"),
        (("--office-by", "avp"), "--office-avp: '' is no AVP"),
        (("--office-by", "avp", "--office-avp", "1:x"), "--office-avp: '1:x' is no AVP"),
        (("--office-by", "service-context", "--listen", "3868"), "--listen: '3868' has no port"),
        (("--office-by", "service-context", "--origin-realm", "a b"), "--origin-realm: 'a b' is no host name"),
    ],
)
def test_flags_that_make_no_sense(
    capsys: pytest.CaptureFixture[str], logging_restored: None, flags: tuple[str, ...], problem: str
) -> None:
    outcome = run_command(capsys, "diameter", "--origin-host", "a", "--origin-realm", "b", *flags)
    assert (outcome.code, outcome.out) == (EXIT_USAGE, "")
    assert problem in outcome.err


def test_without_the_library(
    capsys: pytest.CaptureFixture[str], logging_restored: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.cli.diameter.find_spec", lambda name: None)
    outcome = run_command(capsys, "diameter", "--origin-host", "a", "--origin-realm", "b")
    assert (outcome.code, outcome.err) == (
        1,
        "error: the library for Diameter is not installed; pip install 'tollgate[diameter]'\n",
    )

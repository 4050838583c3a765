"""Diameter peers that send nonsense, and gateways that do not answer: a clear answer or a closed connection, others
unharmed, books right."""

import asyncio
import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from diameter.message import Message
from diameter.message.avp.grouped import MultipleServicesCreditControl, RequestedServiceUnit, UsedServiceUnit
from diameter.message.commands import (
    CapabilitiesExchangeRequest,
    CreditControlRequest,
    DeviceWatchdogRequest,
    DisconnectPeerRequest,
    ReAuthRequest,
)

from gateway.address import Address
from gateway.v1 import credits_pb2
from tests.support.diameter import (
    EVENT,
    INITIAL,
    LONDON,
    MINUTE,
    OPERATOR,
    PARIS,
    REALM,
    SMS,
    TERMINATION,
    TEXTS,
    UPDATE,
    Answer,
    Books,
    DiameterFront,
    RawPeer,
    audit,
    ccr,
    new_session,
    raw_avp,
    running_diameter,
)
from tests.support.front import DECK
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.proxy import FaultProxy
from tests.support.servers import free_port, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("diameter-bad-input")]

HEADER_BYTES = 20
MUTATION_SEED = 8506


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    directory = tmp_path_factory.mktemp("diameter")
    (directory / "deck.csv").write_text(DECK)
    flags = ("--rates", str(directory / "deck.csv"), "--setup-timeout-seconds", "10", "--grace-seconds", "1")
    with running_gateway(directory, *flags, TOLLGATE_OPERATOR_TOKEN=OPERATOR) as running:
        yield running
        audit(running.data_dir)


@pytest.fixture(scope="module")
def books(gateway: GatewayProcess) -> Iterator[Books]:
    with Books.of(gateway) as books:
        yield books


@pytest.fixture(scope="module")
def front(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DiameterFront]:
    with running_diameter(tmp_path_factory.mktemp("front"), gateway.server) as front:
        yield front
        assert front.process.poll() is None
        assert "Traceback" not in front.log.read_text()


@pytest.fixture
def peer(front: DiameterFront, request: pytest.FixtureRequest) -> Iterator[RawPeer]:
    with RawPeer(front.port, host=f"raw{abs(hash(request.node.name))}.example.org") as peer:
        yield peer


def sent(peer: RawPeer, message: CreditControlRequest) -> Answer:
    return Answer(peer.exchange(message))


def without(message: CreditControlRequest, code: int) -> bytes:
    """The bytes of a request without its AVPs of a kind."""
    plain = Message.from_bytes(message.as_bytes(), plain_msg=True)
    return Message(plain.header, [avp for avp in plain.avps if avp.code != code]).as_bytes()  # type: ignore[no-any-return]


# Requests


@pytest.mark.parametrize("code", [263, 264, 296, 283, 461, 416, 415])
def test_an_avp_is_missing(peer: RawPeer, books: Books, code: int) -> None:
    office = books.office(MINUTE)
    peer.send(without(ccr(office, new_session(), INITIAL, 0, requested=60), code))
    answer = Answer(peer.read())
    assert (answer.code, answer.failed) == (5005, [code])
    assert books.of_office(office) == (MINUTE, 0)
    assert peer.ask(office, new_session(), INITIAL, 0, requested=60).code == 2001


def test_an_event_without_an_action(peer: RawPeer, books: Books) -> None:
    answer = peer.ask(books.office(MINUTE), new_session(), EVENT, 0, context=TEXTS)
    assert (answer.code, answer.failed) == (5005, [436])


def test_nobody_is_called(peer: RawPeer, books: Books) -> None:
    office = books.office(MINUTE)
    call = peer.ask(office, new_session(), INITIAL, 0, called=None, requested=60)
    assert (call.code, call.failed) == (5031, [832])
    message = peer.ask(office, new_session(), INITIAL, 0, called=None, context=TEXTS)
    assert (message.code, message.failed) == (5031, [1201])
    many = peer.ask(office, new_session(), INITIAL, 0, recipients=[LONDON, PARIS], context=TEXTS)
    assert (many.code, many.failed) == (5031, [873])


@pytest.mark.parametrize("kind", [UPDATE, TERMINATION])
def test_an_unknown_session(peer: RawPeer, books: Books, kind: int) -> None:
    assert peer.ask(books.office(MINUTE), new_session(), kind, 1, used=10).code == 5002


@pytest.mark.parametrize(
    "context", ["32251@3gpp.org", "32260@example.org", "32260", "@", "x" * 5000, "32260@3gpp.org.evil"]
)
def test_a_service_that_is_not_charged(peer: RawPeer, books: Books, context: str) -> None:
    answer = peer.ask(books.office(MINUTE), new_session(), INITIAL, 0, context=context, requested=60)
    assert (answer.code, answer.failed) == (5031, [461])


@pytest.mark.parametrize(
    "units", [{"cc_total_octets": 10**6}, {"cc_service_specific_units": 1}, {"cc_input_octets": 2**64 - 1}]
)
def test_units_of_another_kind(peer: RawPeer, books: Books, units: dict[str, int]) -> None:
    office, session = books.office(1_000_000), new_session()
    request = ccr(office, session, INITIAL, 0)
    request.multiple_services_credit_control[0].requested_service_unit = RequestedServiceUnit(**units)
    answer = sent(peer, request)
    assert (answer.code, len(answer.failed)) == (5031, 1)
    peer.ask(office, session, INITIAL, 0, called=PARIS, requested=60)
    request = ccr(office, session, UPDATE, 1, called=PARIS, requested=60)
    request.multiple_services_credit_control[0].used_service_unit = [UsedServiceUnit(**units)]
    assert sent(peer, request).code == 5031
    # The session is as it was, and so is the number of the request.
    assert peer.ask(office, session, UPDATE, 1, called=PARIS, requested=60, used=30).code == 2001
    assert peer.ask(office, session, TERMINATION, 2, called=PARIS, used=0).cost == 50_000


def test_numbers_that_go_backwards(peer: RawPeer, books: Books) -> None:
    office, session = books.office(1_000_000), new_session()
    peer.ask(office, session, INITIAL, 3, called=PARIS, requested=60)
    peer.ask(office, session, UPDATE, 5, called=PARIS, requested=60, used=10)
    late = peer.ask(office, session, UPDATE, 4, called=PARIS, requested=60, used=10)
    assert (late.code, late.failed) == (5004, [415])
    other = peer.ask(office, session, TERMINATION, 5, called=PARIS, used=10)
    assert (other.code, other.failed) == (5004, [416])
    again = peer.ask(office, session, INITIAL, 6, called=PARIS, requested=60)
    assert (again.code, again.failed) == (5004, [416])
    assert peer.ask(office, session, TERMINATION, 7, called=PARIS, used=20).cost == 50_000
    assert peer.ask(office, session, UPDATE, 8, called=PARIS, used=20).code == 5002
    assert peer.ask(office, session, TERMINATION, 8, called=PARIS, used=20).code == 5002
    assert books.of_office(office) == (950_000, 0)


@pytest.mark.parametrize("used", [86_401, 2**32 - 1, (86_400, 86_400)])
def test_more_seconds_than_a_call_can_have(peer: RawPeer, books: Books, used: int | tuple[int, ...]) -> None:
    office, session = books.office(1_000_000), new_session()
    asked = peer.ask(office, session, INITIAL, 0, called=PARIS, requested=2**32 - 1)
    assert (asked.code, asked.failed) == (5004, [420])
    peer.ask(office, session, INITIAL, 0, called=PARIS, requested=60)
    for kind in (UPDATE, TERMINATION):
        assert peer.ask(office, session, kind, 1, called=PARIS, used=used).code == 5004
    assert peer.ask(office, session, TERMINATION, 1, called=PARIS, used=30).cost == 50_000
    assert books.of_office(office) == (950_000, 0)


def test_reports_that_add_up_to_too_much(peer: RawPeer, books: Books) -> None:
    office, session = books.office(1_000_000), new_session()
    peer.ask(office, session, INITIAL, 0, called=PARIS, requested=60)
    peer.ask(office, session, UPDATE, 1, called=PARIS, used=60, requested=60)
    assert peer.ask(office, session, UPDATE, 2, called=PARIS, used=86_400, requested=60).code == 5004
    assert peer.ask(office, session, TERMINATION, 3, called=PARIS, used=0).cost == 100_000


@pytest.mark.parametrize("segments", [256, 2**63])
def test_more_segments_than_a_message_can_have(peer: RawPeer, books: Books, segments: int) -> None:
    office = books.office(SMS)
    answer = peer.ask(office, new_session(), INITIAL, 0, context=TEXTS, requested=segments)
    assert (answer.code, answer.failed) == (5004, [417])
    assert books.of_office(office) == (SMS, 0)


def test_a_call_that_begins_has_used_nothing(peer: RawPeer, books: Books) -> None:
    office = books.office(MINUTE)
    assert peer.ask(office, new_session(), INITIAL, 0, requested=60, used=5).code == 5004
    assert peer.ask(office, new_session(), INITIAL, 0, requested=60, used=0).code == 2001


def test_two_services_in_one_session(peer: RawPeer, books: Books) -> None:
    request = ccr(books.office(MINUTE), new_session(), INITIAL, 0, requested=60)
    request.multiple_services_credit_control.append(MultipleServicesCreditControl(rating_group=7))
    answer = sent(peer, request)
    assert (answer.code, answer.failed) == (5009, [456])


@pytest.mark.parametrize(
    ("code", "data", "result"),
    [
        (415, b"\0\0\0", 5014),  # CC-Request-Number of three bytes
        (416, b"\0\0\0\x09", 5004),  # a CC-Request-Type that is none
        (416, b"\xff\xff\xff\xff", 5004),  # a negative one
        (263, b"\xff\xfe", 5014),  # a Session-Id that is no text
        (461, b"", 5005),  # an empty Service-Context-Id
        (443, b"\0\0\1\xc2\x40\0\0\xff", 5014),  # a group that ends in the middle of an AVP
        (456, b"garbage", 5014),
    ],
)
def test_an_avp_with_nonsense_in_it(peer: RawPeer, books: Books, code: int, data: bytes, result: int) -> None:
    office = books.office(MINUTE)
    plain = Message.from_bytes(without(ccr(office, new_session(), INITIAL, 0, requested=60), code), plain_msg=True)
    answer = Answer(peer.exchange(Message(plain.header, [*plain.avps, raw_avp(code, data)])))
    assert (answer.code, answer.failed) == (result, [code])
    assert books.of_office(office) == (MINUTE, 0)


def test_an_avp_that_is_longer_than_its_message(peer: RawPeer, books: Books) -> None:
    office = books.office(MINUTE)
    data = bytearray(ccr(office, new_session(), INITIAL, 0, requested=60).as_bytes())
    data[HEADER_BYTES + 5 : HEADER_BYTES + 8] = b"\xff\xff\xff"  # the length of Session-Id
    peer.send(bytes(data))
    assert Answer(peer.read()).code == 5014
    assert peer.ask(office, new_session(), INITIAL, 0, requested=60).code == 2001


def test_whatever_stands_behind_a_header_is_answered(peer: RawPeer, front: DiameterFront, books: Books) -> None:
    """Bytes of lawful requests changed at random: each is answered, nothing goes wrong inside, no money is lost."""
    office, chance = books.office(1_000_000), Random(MUTATION_SEED)
    options: list[dict[str, Any]] = [
        {"called": PARIS, "requested": 30},
        {"called": PARIS, "requested": 30, "used": 10},
        {"context": TEXTS, "requested": 2, "recipients": [LONDON], "action": 0},
    ]
    for number in range(1_500):
        kind = chance.choice([INITIAL, UPDATE, TERMINATION, EVENT])
        request = ccr(office, f"mutant;{number % 50}", kind, chance.randrange(3), **chance.choice(options))
        request.header.hop_by_hop_identifier = number
        data = bytearray(request.as_bytes())
        for _ in range(chance.choice([1, 1, 2, 8])):
            data[chance.randrange(HEADER_BYTES, len(data))] = chance.randrange(256)
        peer.send(bytes(data))
        answer = Message.from_bytes(peer.read_bytes(), plain_msg=True)
        assert (answer.header.hop_by_hop_identifier, answer.header.is_request) == (number, False), data.hex()
    log = front.log.read_text()
    assert "diameter_request_failed" not in log
    assert books.of_office(office)[0] <= 1_000_000


@pytest.mark.parametrize("session", ["long;" * 100, "snowman;\N{SNOWMAN}", "bell;\a", "x"])
def test_any_session_id_is_an_id(peer: RawPeer, books: Books, session: str) -> None:
    office = books.office(1_000_000)
    assert peer.ask(office, session, INITIAL, 0, called=PARIS, requested=60).code == 2001
    assert peer.ask(office, session, TERMINATION, 1, called=PARIS, used=30).cost == 50_000


def test_agents_on_the_way_get_back_what_is_theirs(peer: RawPeer, books: Books) -> None:
    request = ccr(books.office(MINUTE), new_session(), INITIAL, 0, requested=60)
    request.append_avp(raw_avp(284, raw_avp(280, b"proxy.example.org").as_bytes() + raw_avp(33, b"state").as_bytes()))
    answer = peer.exchange(request)
    assert [(info.proxy_host, info.proxy_state) for info in answer.proxy_info] == [(b"proxy.example.org", b"state")]


# Connections


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: tollgate\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(40),  # TLS
        bytes(1000),
        b"\xff" * 1000,
        struct.pack("!II", 0x01000000, 0x80000101) + bytes(12),  # a message of no bytes
        struct.pack("!II", 0x01000013, 0x80000101) + bytes(12),  # of 19
        struct.pack("!II", 0x01FFFFFC, 0x80000101) + bytes(12),  # of 16 MiB
        struct.pack("!II", 0x02000014, 0x80000101) + bytes(12),  # of another version
    ],
)
@pytest.mark.parametrize("introduces_itself", [True, False])
def test_garbage_closes_its_own_connection(
    peer: RawPeer, front: DiameterFront, books: Books, garbage: bytes, introduces_itself: bool
) -> None:
    office, session = books.office(1_000_000), new_session()
    peer.ask(office, session, INITIAL, 0, called=PARIS, requested=60)
    with RawPeer(front.port, host="garbage.example.org", introduces_itself=introduces_itself) as bad:
        bad.send(garbage)
        assert bad.is_closed()
    assert peer.ask(office, session, TERMINATION, 1, called=PARIS, used=30).cost == 50_000


def test_half_a_message_and_gone(front: DiameterFront, peer: RawPeer, books: Books) -> None:
    office = books.office(MINUTE)
    data = ccr(office, new_session(), INITIAL, 0, requested=60).as_bytes()
    for length in (1, 19, 20, 21, len(data) - 1):
        with RawPeer(front.port, host="half.example.org") as half:
            half.send(data[:length])
    assert books.of_office(office) == (MINUTE, 0)
    for byte in range(len(data)):
        peer.send(data[byte : byte + 1])
    assert Answer(peer.read()).code == 2001


def test_who_does_not_say_who_it_is(front: DiameterFront, books: Books) -> None:
    office = books.office(MINUTE)
    with RawPeer(front.port, introduces_itself=False) as stranger:
        stranger.send(ccr(office, new_session(), INITIAL, 0, requested=60).as_bytes())
        assert stranger.is_closed()
    assert books.of_office(office) == (MINUTE, 0)


def test_who_wants_something_else(front: DiameterFront) -> None:
    with RawPeer(front.port, introduces_itself=False) as gx:
        assert gx.introduce("gx.example.org", [16777238]).result_code == 5010
        assert gx.is_closed()
    with RawPeer(front.port, introduces_itself=False) as nobody:
        nobody.send(without(CapabilitiesExchangeRequest(), 264))
        answer = nobody.read()
        assert (answer.result_code, nobody.is_closed()) == (5005, True)


def test_only_peers_that_are_named(gateway: GatewayProcess, tmp_path: Path) -> None:
    flags = ("--peer", "One.example.org", "--peer", "two.example.org")
    with running_diameter(tmp_path, gateway.server, *flags) as front:
        for host in ("one.example.org", "TWO.example.org"):
            with RawPeer(front.port, introduces_itself=False) as known:
                assert known.introduce(host).result_code == 2001
        with RawPeer(front.port, introduces_itself=False) as stranger:
            answer = stranger.introduce("three.example.org")
            assert (answer.result_code, answer.header.is_error, stranger.is_closed()) == (3010, True, True)


def test_the_protocol_of_connections(peer: RawPeer) -> None:
    watchdog = DeviceWatchdogRequest()
    watchdog.origin_host, watchdog.origin_realm = b"raw.example.org", REALM.encode()
    assert peer.exchange(watchdog).result_code == 2001
    unknown = ReAuthRequest()
    unknown.header.application_id = 4
    answer = peer.exchange(unknown)
    assert (answer.result_code, answer.header.is_error) == (3001, True)
    unknown.header.application_id = 16777238
    assert peer.exchange(unknown).result_code == 3007
    leaving = DisconnectPeerRequest()
    leaving.origin_host, leaving.origin_realm, leaving.disconnect_cause = b"raw.example.org", REALM.encode(), 0
    assert peer.exchange(leaving).result_code == 2001
    assert peer.is_closed()


def test_a_peer_that_comes_again_replaces_itself(front: DiameterFront, books: Books) -> None:
    office, session = books.office(1_000_000), new_session()
    with RawPeer(front.port, host="again.example.org") as first:
        first.ask(office, session, INITIAL, 0, called=PARIS, requested=60)
        with RawPeer(front.port, host="AGAIN.example.org") as second:
            assert first.is_closed()
            assert second.ask(office, session, TERMINATION, 1, called=PARIS, used=30).cost == 50_000


def test_two_peers_with_the_same_identifiers(front: DiameterFront, books: Books) -> None:
    office = books.office(1_000_000)
    peers = [RawPeer(front.port, host=f"same{number}.example.org") for number in range(3)]
    with contextlib.ExitStack() as stack:
        for number, peer in enumerate(peers):
            stack.enter_context(peer)
            request = ccr(office, f"same;{number}", INITIAL, 0, called=PARIS, requested=10)
            request.header.hop_by_hop_identifier = request.header.end_to_end_identifier = 7
            peer.send(request.as_bytes())
        assert [peer.read().session_id for peer in peers] == ["same;0", "same;1", "same;2"]


def test_many_at_once_spend_exactly_what_is_there(peer: RawPeer, books: Books) -> None:
    office = books.office(37 * MINUTE)
    sessions = [new_session() for _ in range(100)]
    peer.send(b"".join(ccr(office, each, INITIAL, 0, requested=60).as_bytes() for each in sessions))
    codes = {}
    for _ in sessions:
        answer = Answer(peer.read())
        codes[str(answer.message.session_id)] = answer.code
    assert sorted(codes.values()) == [2001] * 37 + [4012] * 63
    assert books.of_office(office) == (37 * MINUTE, 37 * MINUTE)
    granted = [session for session, code in codes.items() if code == 2001]
    peer.send(b"".join(ccr(office, each, TERMINATION, 1, used=61).as_bytes() for each in granted))
    assert [Answer(peer.read()).code for _ in granted] == [2001] * 37
    assert books.of_office(office) == (0, 0)


def test_requests_of_a_session_that_come_together_keep_their_order(peer: RawPeer, books: Books) -> None:
    office, session = books.office(1_000_000), new_session()
    requests = [ccr(office, session, INITIAL, 0, called=PARIS, requested=10)]
    requests += [ccr(office, session, UPDATE, number, called=PARIS, requested=10, used=1) for number in range(1, 30)]
    requests += [ccr(office, session, TERMINATION, 30, called=PARIS, used=1)]
    peer.send(b"".join(request.as_bytes() for request in requests))
    answers = [Answer(peer.read()) for _ in requests]
    assert [(answer.code, answer.message.cc_request_number) for answer in answers] == [(2001, n) for n in range(31)]
    assert answers[-1].cost == 50_000


def test_what_follows_at_the_heels_of_a_refusal_is_refused(peer: RawPeer, books: Books) -> None:
    office, session = books.office(0), new_session()
    requests = [
        ccr(office, session, INITIAL, 0, requested=60),
        ccr(office, session, UPDATE, 1, requested=60, used=10),
        ccr(office, session, TERMINATION, 2, used=10),
    ]
    peer.send(b"".join(request.as_bytes() for request in requests))
    assert [Answer(peer.read()).code for _ in requests] == [4012, 5002, 5002]


def test_a_peer_that_dies_holds_no_money(front: DiameterFront, books: Books) -> None:
    office = books.office(1_000_000)
    with RawPeer(front.port, host="dies.example.org") as peer:
        talking, ringing = new_session(), new_session()
        peer.ask(office, talking, INITIAL, 0, called=PARIS, requested=10)
        peer.ask(office, talking, UPDATE, 1, called=PARIS, requested=1, used=9)
        peer.ask(office, ringing, INITIAL, 0, called=PARIS, requested=60)
    assert books.of_office(office)[1] > 0
    # The gateway lets calls lapse of which nothing is heard, at what was confirmed.
    assert wait_until(lambda: books.of_office(office) == (1_000_000 - 15_000, 0), 60)
    # An end that comes after that settles it all the same.
    with RawPeer(front.port, host="dies.example.org") as peer:
        assert peer.ask(office, talking, TERMINATION, 2, called=PARIS, used=21).cost == 50_000
    assert books.of_office(office) == (950_000, 0)


# Tokens and gateways


def test_a_token_without_rights(gateway: GatewayProcess, books: Books, tmp_path: Path) -> None:
    mine, other = books.office(1_000_000), books.office(1_000_000)
    token = books.ask(
        "CreateToken", credits_pb2.CreateTokenRequest(role=credits_pb2.ROLE_SWITCH, switch_id="s", office_ids=[mine])
    ).secret
    with running_diameter(tmp_path, gateway.server, token=token) as front, RawPeer(front.port) as peer:
        assert peer.ask(mine, new_session(), INITIAL, 0, requested=60).code == 2001
        assert peer.ask(other, new_session(), INITIAL, 0, requested=60).code == 5003
    with running_diameter(tmp_path, gateway.server, token="no such token") as front, RawPeer(front.port) as peer:
        assert peer.ask(mine, new_session(), INITIAL, 0, requested=60).code == 5012
        assert peer.ask(mine, new_session(), INITIAL, 0, called="911").granted == 86_400


def test_no_gateway_answers(tmp_path: Path) -> None:
    flags = ("--deadline-seconds", "0.3", "--failure-handling", "continue")
    with running_diameter(tmp_path, f"127.0.0.1:{free_port()}", *flags) as front, RawPeer(front.port) as peer:
        answer = peer.ask("o1", new_session(), INITIAL, 0, requested=60)
        assert (answer.code, answer.message.header.is_error) == (3002, True)
        assert peer.ask("o1", new_session(), EVENT, 0, context=TEXTS, action=0).code == 3002
        session = new_session()
        emergency = peer.ask("o1", session, INITIAL, 0, called="112", requested=60)
        assert (emergency.code, emergency.granted) == (2001, 86_400)
        assert emergency.message.credit_control_failure_handling == 1
        assert peer.ask("o1", session, UPDATE, 1, called="112", requested=60, used=9).granted == 86_400


async def test_a_gateway_that_is_away_for_a_while(gateway: GatewayProcess, books: Books, tmp_path: Path) -> None:
    """What is reported meanwhile counts; what was ended meanwhile is settled without being asked again."""
    office = books.office(1_000_000)
    talking, ended, message, emergency = (new_session() for _ in range(4))

    def begin(peer: RawPeer) -> None:
        for session in (talking, ended):
            assert peer.ask(office, session, INITIAL, 0, called=PARIS, requested=30).code == 2001
        assert peer.ask(office, message, INITIAL, 0, context=TEXTS, requested=2).code == 2001

    def go_on_alone(peer: RawPeer) -> None:
        assert peer.ask(office, talking, UPDATE, 1, called=PARIS, requested=30, used=12).code == 3002
        assert peer.ask(office, ended, TERMINATION, 1, called=PARIS, used=30).code == 3002
        assert peer.ask(office, message, TERMINATION, 1, context=TEXTS, used=1).code == 3002
        assert peer.ask(office, emergency, INITIAL, 0, called="911").code == 2001
        assert peer.ask(office, emergency, TERMINATION, 1, called="911", used=60).code == 3002

    def end(peer: RawPeer) -> None:
        def ask(*arguments: Any, **options: Any) -> Any:
            """Ask again, as clients do, while nobody answers: the gateway may be slower than the deadline yet."""
            for _ in range(20):
                answer = peer.ask(office, *arguments, **options)
                if answer.code != 3002:
                    break
            return answer

        assert wait_until(lambda: books.of_office(office)[0] == 1_000_000 - 50_000 - SMS, 20)
        assert ask(ended, TERMINATION, 1, called=PARIS, used=30, retransmitted=True).cost == 50_000
        assert ask(emergency, TERMINATION, 1, called="911", used=60).code == 2001
        # The report that was not answered counts once, whether or not it comes again.
        assert ask(talking, UPDATE, 1, called=PARIS, requested=30, used=12).granted == 30
        assert ask(talking, TERMINATION, 2, called=PARIS, used=18).cost == 50_000
        assert books.of_office(office) == (1_000_000 - 100_000 - SMS, 0)
        assert list(books.ask("ListCalls", credits_pb2.ListCallsRequest(office_id=office)).calls) == []

    server = Address.parse(gateway.server)
    async with FaultProxy((server.host, server.port)) as proxy:
        with (
            running_diameter(tmp_path, f"127.0.0.1:{proxy.port}", "--deadline-seconds", "0.5") as front,
            RawPeer(front.port) as peer,
        ):
            await asyncio.to_thread(begin, peer)
            proxy.refuse()
            await asyncio.to_thread(go_on_alone, peer)
            proxy.refuse(False)
            await asyncio.to_thread(end, peer)


async def test_answers_that_are_lost(gateway: GatewayProcess, books: Books, tmp_path: Path) -> None:
    office, session, message = books.office(1_000_000), new_session(), new_session()

    def ask(peer: RawPeer, *arguments: Any, **options: Any) -> Any:
        proxy.cut_after_send()
        return asyncio.to_thread(peer.ask, office, *arguments, **options)

    server = Address.parse(gateway.server)
    async with FaultProxy((server.host, server.port)) as proxy:
        with running_diameter(tmp_path, f"127.0.0.1:{proxy.port}") as front, RawPeer(front.port) as peer:
            assert (await ask(peer, session, INITIAL, 0, called=PARIS, requested=30)).granted == 30
            assert (await ask(peer, session, UPDATE, 1, called=PARIS, requested=30, used=12)).granted == 30
            assert (await ask(peer, session, TERMINATION, 2, called=PARIS, used=18)).cost == 50_000
            assert (await ask(peer, message, EVENT, 0, context=TEXTS, action=0)).cost == SMS
    assert books.of_office(office) == (1_000_000 - 50_000 - SMS, 0)


def test_a_restart_forgets_no_session(gateway: GatewayProcess, books: Books, tmp_path: Path) -> None:
    office = books.office(1_000_000)
    talking, ringing, ended, message = (new_session() for _ in range(4))
    flags = ("--state-file", str(tmp_path / "sessions.sqlite"))
    with running_diameter(tmp_path, gateway.server, *flags) as front, RawPeer(front.port) as peer:
        for session in (talking, ringing, ended):
            state = peer.ask(office, session, INITIAL, 0, called=PARIS, requested=30).message.origin_state_id
        assert peer.ask(office, talking, UPDATE, 1, called=PARIS, requested=30, used=12).code == 2001
        assert peer.ask(office, ended, TERMINATION, 1, called=PARIS, used=30).cost == 50_000
        assert peer.ask(office, message, INITIAL, 0, context=TEXTS, requested=2).code == 2001
        with pytest.raises(AssertionError, match="--state-file"), running_diameter(tmp_path, gateway.server, *flags):
            pass
        front.process.kill()
    with running_diameter(tmp_path, gateway.server, *flags) as front, RawPeer(front.port) as peer:
        assert peer.ask(office, talking, UPDATE, 1, called=PARIS, requested=30, used=12).granted == 30
        assert peer.ask(office, talking, UPDATE, 0, called=PARIS, requested=30, used=12).code == 5004
        again = peer.ask(office, ringing, INITIAL, 0, called=PARIS, requested=30)
        assert (again.code, again.granted) == (2001, 30)
        assert peer.ask(office, ringing, TERMINATION, 1, called=PARIS, used=0).cost == 0
        assert peer.ask(office, ended, TERMINATION, 1, called=PARIS, used=30).cost == 50_000
        assert peer.ask(office, talking, TERMINATION, 2, called=PARIS, used=18).cost == 50_000
        assert peer.ask(office, message, TERMINATION, 1, context=TEXTS, used=1).cost == SMS
        other = peer.ask(office, new_session(), INITIAL, 0, called=PARIS, requested=30).message.origin_state_id
        assert state == other
    assert books.of_office(office)[0] == 1_000_000 - 100_000 - SMS


async def test_an_end_to_which_a_process_did_not_come(gateway: GatewayProcess, books: Books, tmp_path: Path) -> None:
    office, session = books.office(1_000_000), new_session()
    server = Address.parse(gateway.server)
    flags = ("--state-file", str(tmp_path / "sessions.sqlite"), "--deadline-seconds", "0.5")

    def ask(peer: RawPeer, *arguments: Any, **options: Any) -> Any:
        return asyncio.to_thread(peer.ask, office, session, *arguments, called=PARIS, **options)

    async with FaultProxy((server.host, server.port)) as proxy:
        with running_diameter(tmp_path, f"127.0.0.1:{proxy.port}", *flags) as front, RawPeer(front.port) as peer:
            assert (await ask(peer, INITIAL, 0, requested=60)).code == 2001
            proxy.refuse()
            assert (await ask(peer, TERMINATION, 1, used=30)).code == 3002
            front.process.kill()
    with running_diameter(tmp_path, gateway.server, *flags):
        assert await asyncio.to_thread(wait_until, lambda: books.of_office(office) == (950_000, 0), 20)


def test_it_drains_when_it_is_told_to_stop(gateway: GatewayProcess, books: Books, tmp_path: Path) -> None:
    office, session = books.office(1_000_000), new_session()
    with running_diameter(tmp_path, gateway.server) as front, RawPeer(front.port) as peer:
        peer.ask(office, session, INITIAL, 0, called=PARIS, requested=60)
        front.process.terminate()
        request = peer.read()
        assert (request.header.command_code, request.header.is_request, request.disconnect_cause) == (282, True, 0)
        answer = request.to_answer()
        answer.result_code, answer.origin_host, answer.origin_realm = 2001, b"raw.example.org", REALM.encode()
        peer.send(answer.as_bytes())
        assert peer.is_closed()
        assert front.process.wait(timeout=10) == 0

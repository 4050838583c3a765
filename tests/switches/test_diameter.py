"""Diameter Ro with python-diameter's own client: calls by session, messages by event, questions; to the micro."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.v1 import credits_pb2
from tests.support.diameter import (
    BALANCE,
    DEBIT,
    EVENT,
    INITIAL,
    LONDON,
    MINUTE,
    NEW_YORK,
    NOWHERE,
    OPERATOR,
    PARIS,
    PRICE,
    REFUND,
    SMS,
    TERMINATION,
    TEXTS,
    UPDATE,
    Books,
    LibraryPeer,
    audit,
    new_session,
    running_diameter,
)
from tests.support.front import DECK
from tests.support.gateway_process import GatewayProcess, running_gateway

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("diameter")]

SECOND = 100_000 / 60
"""Paris is 0.10 a minute, by the second."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    directory = tmp_path_factory.mktemp("diameter")
    (directory / "deck.csv").write_text(DECK)
    with running_gateway(
        directory, "--rates", str(directory / "deck.csv"), TOLLGATE_OPERATOR_TOKEN=OPERATOR
    ) as running:
        yield running
        audit(running.data_dir)


@pytest.fixture(scope="module")
def books(gateway: GatewayProcess) -> Iterator[Books]:
    with Books.of(gateway) as books:
        yield books


@pytest.fixture(scope="module")
def peer(gateway: GatewayProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LibraryPeer]:
    with running_diameter(tmp_path_factory.mktemp("front"), gateway.server) as front, LibraryPeer(front.port) as peer:
        yield peer


# Calls: SCUR


def test_a_call_from_its_reservation_to_its_price(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(1_000_000), new_session()
    first = peer.ask(office, session, INITIAL, 0, called=PARIS, requested=30)
    assert (first.code, first.granted, first.is_final, first.validity) == (2001, 30, False, 120)
    assert books.of_office(office) == (1_000_000, 50_000)
    # What is reported is what was used since the last report.
    update = peer.ask(office, session, UPDATE, 1, called=PARIS, requested=30, used=25)
    assert (update.code, update.granted, update.is_final) == (2001, 30, False)
    assert books.of_office(office) == (1_000_000 - 41_667, 91_667 - 41_667)
    peer.ask(office, session, UPDATE, 2, called=PARIS, requested=30, used=5)
    end = peer.ask(office, session, TERMINATION, 3, called=PARIS, used=3)
    assert (end.code, end.granted, end.cost) == (2001, None, 55_000)
    assert books.of_office(office) == (945_000, 0)


def test_units_beside_the_services_are_units_too(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(1_000_000), new_session()
    first = peer.ask(office, session, INITIAL, 0, requested=60, in_services=False)
    assert (first.code, first.granted, first.message.multiple_services_credit_control) == (2001, 60, [])
    assert first.message.validity_time == 120
    assert peer.ask(office, session, UPDATE, 1, requested=60, used=55, in_services=False).granted == 65
    assert peer.ask(office, session, TERMINATION, 2, used=6, in_services=False).cost == 2 * MINUTE
    assert books.of_office(office) == (1_000_000 - 2 * MINUTE, 0)


def test_several_reports_in_one_request_add_up(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(1_000_000), new_session()
    peer.ask(office, session, INITIAL, 0, called=PARIS, requested=60)
    assert peer.ask(office, session, TERMINATION, 1, called=PARIS, used=[20, 10]).cost == 50_000


def test_a_client_that_says_no_amount_gets_a_tick(peer: LibraryPeer, books: Books) -> None:
    office = books.office(1_000_000)
    assert peer.ask(office, new_session(), INITIAL, 0, called=PARIS, requested=0).granted == 60
    assert peer.ask(office, new_session(), INITIAL, 0, called=PARIS).granted == 60


def test_nobody_answers(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(1_000_000), new_session()
    peer.ask(office, session, INITIAL, 0, requested=60)
    assert books.of_office(office) == (1_000_000, MINUTE)
    end = peer.ask(office, session, TERMINATION, 1, used=0)
    assert (end.code, end.cost) == (2001, 0)
    assert books.of_office(office) == (1_000_000, 0)


def test_a_report_while_it_rings_starts_no_clock(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(MINUTE), new_session()
    assert peer.ask(office, session, INITIAL, 0, requested=60).granted == 60
    ringing = peer.ask(office, session, UPDATE, 1, requested=60, used=0)
    assert (ringing.code, ringing.granted) == (2001, 60)
    calls = books.ask("ListCalls", credits_pb2.ListCallsRequest(office_id=office)).calls
    assert [call.state for call in calls] == [credits_pb2.CALL_STATE_RINGING]
    assert peer.ask(office, session, TERMINATION, 2, used=0).cost == 0


def test_the_final_unit(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(75_000), new_session()
    first = peer.ask(office, session, INITIAL, 0, called=PARIS, requested=30)
    assert (first.granted, first.is_final) == (30, False)
    last = peer.ask(office, session, UPDATE, 1, called=PARIS, requested=30, used=30)
    assert (last.code, last.granted, last.is_final, last.validity) == (2001, 15, True, None)
    over = peer.ask(office, session, UPDATE, 2, called=PARIS, requested=30, used=15)
    assert (over.code, over.granted) == (4012, None)
    assert peer.ask(office, session, TERMINATION, 3, called=PARIS, used=0).cost == 75_000
    assert books.of_office(office) == (0, 0)


def test_a_refill_after_the_final_unit_lets_it_go_on(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(50_000), new_session()
    assert peer.ask(office, session, INITIAL, 0, called=PARIS, requested=60).is_final
    books.adjust(office, 1_000_000)
    more = peer.ask(office, session, UPDATE, 1, called=PARIS, requested=60, used=29)
    assert (more.code, more.granted, more.is_final) == (2001, 60, False)
    assert peer.ask(office, session, TERMINATION, 2, called=PARIS, used=31).cost == 100_000
    assert books.of_office(office) == (950_000, 0)


def test_more_is_used_than_was_granted(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(50_000), new_session()
    assert peer.ask(office, session, INITIAL, 0, called=PARIS, requested=60).granted == 30
    # What the funds do not cover is written off: that is the operator's loss, never somebody's debt.
    assert peer.ask(office, session, TERMINATION, 1, called=PARIS, used=40).cost == 50_000
    assert books.of_office(office) == (0, 0)


def test_a_quota_is_no_longer_than_its_validity(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(10_000_000), new_session()
    first = peer.ask(office, session, INITIAL, 0, called=PARIS, requested=3600)
    assert (first.granted, first.validity) == (120, 120)
    assert books.of_office(office)[1] == 200_000


def test_inbound_is_what_a_terminating_node_asks_for(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(0), new_session()
    first = peer.ask(office, session, INITIAL, 0, called=NEW_YORK, role=1, requested=30)
    assert (first.code, first.granted) == (2001, 14_400)
    end = peer.ask(office, session, TERMINATION, 1, called=NEW_YORK, role=1, used=90)
    assert (end.code, end.cost) == (2001, 0)


# The same again


@pytest.mark.parametrize("retransmitted", [True, False])
def test_a_request_that_comes_twice_counts_once(peer: LibraryPeer, books: Books, retransmitted: bool) -> None:
    office, session = books.office(1_000_000), new_session()
    first = peer.ask(office, session, INITIAL, 0, called=PARIS, requested=30)
    again = peer.ask(office, session, INITIAL, 0, called=PARIS, requested=30, retransmitted=retransmitted)
    assert (again.code, again.granted) == (first.code, first.granted)
    update = peer.ask(office, session, UPDATE, 1, called=PARIS, requested=30, used=25)
    again = peer.ask(office, session, UPDATE, 1, called=PARIS, requested=30, used=25, retransmitted=retransmitted)
    assert (again.code, again.granted, again.is_final) == (update.code, update.granted, update.is_final)
    assert books.of_office(office)[0] == 1_000_000 - 41_667
    end = peer.ask(office, session, TERMINATION, 2, called=PARIS, used=5)
    # An earlier one, too, as long as it is remembered.
    assert peer.ask(office, session, UPDATE, 1, called=PARIS, used=25, retransmitted=retransmitted).granted == 30
    again = peer.ask(office, session, TERMINATION, 2, called=PARIS, used=5, retransmitted=retransmitted)
    assert (again.code, again.cost) == (end.code, end.cost) == (2001, 50_000)
    assert books.of_office(office) == (950_000, 0)


def test_a_denial_is_not_kept(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(0), new_session()
    assert peer.ask(office, session, INITIAL, 0, requested=60).code == 4012
    assert peer.ask(office, session, TERMINATION, 1, used=0).code == 5002
    books.adjust(office, 1_000_000)
    assert peer.ask(office, session, INITIAL, 0, requested=60, retransmitted=True).code == 2001


# Who gets no credit


def test_result_codes(peer: LibraryPeer, books: Books) -> None:
    def code(office: str, **options: object) -> int:
        return peer.ask(office, new_session(), INITIAL, 0, requested=60, **options).code

    rich, poor = books.office(1_000_000), books.office(MINUTE - 1)
    assert code(rich) == 2001
    assert code(poor) == 4012
    assert code(books.office(1_000_000, daily_spend_limit_micros=1)) == 4012
    assert code(books.office(1_000_000, max_price_per_minute_micros=1)) == 4010
    busy = books.office(1_000_000, max_concurrent_calls=1)
    assert [code(busy), code(busy)] == [2001, 4010]
    suspended = books.office(1_000_000)
    books.ask("SuspendOffice", credits_pb2.SuspendOfficeRequest(office_id=suspended))
    assert code(suspended) == 4010
    assert code(NOWHERE) == 5030
    assert code("stranger") == 5030
    for called in ("alice", "+99912345678", "+819012345678"):  # No number, no country, and no rate.
        answer = peer.ask(rich, new_session(), INITIAL, 0, called=called, requested=60)
        assert (answer.code, answer.failed) == (5031, [873])


def test_a_call_that_an_operator_cuts(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(1_000_000), new_session()
    peer.ask(office, session, INITIAL, 0, called=PARIS, requested=30)
    peer.ask(office, session, UPDATE, 1, called=PARIS, requested=30, used=10)
    books.ask("CutCall", credits_pb2.CutCallRequest(office_id=office, call_id=session))
    assert peer.ask(office, session, UPDATE, 2, called=PARIS, requested=30, used=10).code == 4010
    assert peer.ask(office, session, TERMINATION, 3, called=PARIS, used=1).cost == 35_000
    assert books.of_office(office) == (965_000, 0)


# Calls that cost nothing, and those that are never refused


def test_a_free_call_needs_no_funds(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(0), new_session()
    first = peer.ask(office, session, INITIAL, 0, called="+16502530000", requested=30)
    assert (first.code, first.granted, first.is_final, first.validity) == (2001, 14_400, False, None)
    assert peer.ask(office, session, UPDATE, 1, called="+16502530000", requested=30, used=100).granted == 14_300
    assert peer.ask(office, session, TERMINATION, 2, called="+16502530000", used=10).cost == 0


def test_free_calls_that_are_left_alone(gateway: GatewayProcess, books: Books, tmp_path: Path) -> None:
    office, session = books.office(1_000_000), new_session()
    with (
        running_diameter(tmp_path, gateway.server, "--free-calls", "not-applicable") as front,
        LibraryPeer(front.port) as peer,
    ):
        assert peer.ask(office, session, INITIAL, 0, called="+16502530000", requested=30).code == 4011
        assert peer.ask(office, session, UPDATE, 1, called="+16502530000", used=5).code == 5002
        assert peer.ask(office, new_session(), INITIAL, 0, requested=30).code == 2001
    calls = books.ask("ListCalls", credits_pb2.ListCallsRequest(office_id=office)).calls
    assert [call.called_number for call in calls] == [LONDON]


@pytest.mark.parametrize("called", ["911", "112", "+911"])
def test_an_emergency_call_is_granted_whatever_is_wrong(peer: LibraryPeer, books: Books, called: str) -> None:
    office, session = books.office(0), new_session()
    books.ask("SuspendOffice", credits_pb2.SuspendOfficeRequest(office_id=office))
    first = peer.ask(office, session, INITIAL, 0, called=called, requested=30)
    assert (first.code, first.granted, first.is_final) == (2001, 86_400, False)
    assert peer.ask(office, session, UPDATE, 1, called=called, requested=30, used=20).granted == 86_400
    assert peer.ask(office, session, TERMINATION, 2, called=called, used=10).code == 2001
    for wrong in ({"context": "no-service"}, {"used": 99_999}):
        assert peer.ask(office, new_session(), INITIAL, 0, called=called, **wrong).granted == 86_400
    assert peer.ask("stranger", new_session(), INITIAL, 0, called=called).granted == 86_400
    assert peer.ask("stranger", new_session(), UPDATE, 7, called=called, used=5).granted == 86_400


# Messages: ECUR


@pytest.mark.parametrize(("sent", "cost"), [(3, 3 * SMS), (1, SMS), (0, 0), (4, 4 * SMS)])
def test_a_message_is_reserved_then_counted(peer: LibraryPeer, books: Books, sent: int, cost: int) -> None:
    office, session = books.office(1_000_000), new_session("message")
    first = peer.ask(office, session, INITIAL, 0, context=TEXTS, requested=3, recipients=[LONDON])
    assert (first.code, first.granted) == (2001, 3)
    assert books.of_office(office) == (1_000_000 - 3 * SMS, 0)
    for retransmitted in (False, True):
        end = peer.ask(office, session, TERMINATION, 1, context=TEXTS, used=sent, retransmitted=retransmitted)
        assert (end.code, end.cost) == (2001, cost)
        assert books.of_office(office) == (1_000_000 - cost, 0)


def test_a_part_of_a_message_is_paid_though_nothing_else_is_there(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(3 * SMS), new_session("message")
    assert peer.ask(office, session, INITIAL, 0, context=TEXTS, requested=3).code == 2001
    assert peer.ask(office, session, TERMINATION, 1, context=TEXTS, used=2).cost == 2 * SMS
    assert books.of_office(office) == (SMS, 0)


def test_a_message_has_no_updates(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(1_000_000), new_session("message")
    peer.ask(office, session, INITIAL, 0, context=TEXTS, requested=1)
    update = peer.ask(office, session, UPDATE, 1, context=TEXTS, used=1, requested=1)
    assert (update.code, update.failed) == (5004, [416])
    assert peer.ask(office, session, TERMINATION, 2, context=TEXTS, used=1).cost == SMS


# Events: IEC


def test_a_message_is_paid_at_once(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(5 * SMS), new_session("event")
    for retransmitted in (False, True):
        paid = peer.ask(
            *(office, session, EVENT, 0),
            context=TEXTS,
            action=DEBIT,
            requested=2,
            recipients=[LONDON],
            in_services=False,
            retransmitted=retransmitted,
        )
        assert (paid.code, paid.granted, paid.cost) == (2001, 2, 2 * SMS)
        assert books.of_office(office) == (3 * SMS, 0)
    for _ in range(2):
        assert peer.ask(office, session, EVENT, 0, context=TEXTS, action=REFUND).code == 2001
        assert books.of_office(office) == (5 * SMS, 0)
    spent = peer.ask(office, session, EVENT, 0, context=TEXTS, action=DEBIT, requested=2, recipients=[LONDON])
    assert spent.code == 4010
    assert peer.ask(office, new_session(), EVENT, 0, context=TEXTS, action=DEBIT, requested=6).code == 4012


def test_a_refund_in_a_session_of_its_own(peer: LibraryPeer, books: Books) -> None:
    office = books.office(SMS)
    paid = peer.ask(office, new_session(), EVENT, 0, context=TEXTS, action=DEBIT, correlation=b"message 1")
    assert (paid.code, books.of_office(office)) == (2001, (0, 0))
    assert (
        peer.ask(office, new_session(), EVENT, 0, context=TEXTS, action=REFUND, correlation=b"message 1").code == 2001
    )
    assert books.of_office(office) == (SMS, 0)
    assert (
        peer.ask(office, new_session(), EVENT, 0, context=TEXTS, action=REFUND, correlation=b"message 2").code == 5002
    )


def test_whether_there_is_credit(peer: LibraryPeer, books: Books) -> None:
    office = books.office(2 * MINUTE)

    def enough(**options: object) -> bool:
        answer = peer.ask(office, new_session(), EVENT, 0, action=BALANCE, **options)
        assert answer.code == 2001
        return bool(answer.message.check_balance_result == 0)

    assert [enough(requested=seconds) for seconds in (60, 120, 121)] == [True, True, False]
    assert [enough(context=TEXTS, requested=segments) for segments in (8, 9)] == [True, False]
    assert books.of_office(office) == (2 * MINUTE, 0)
    answer = peer.ask(office, new_session(), EVENT, 0, action=BALANCE, called="+819012345678", requested=60)
    assert (answer.code, answer.failed) == (5031, [873])


def test_what_it_would_cost(peer: LibraryPeer, books: Books) -> None:
    office = books.office(0)
    prices = [
        peer.ask(office, new_session(), EVENT, 0, action=PRICE, **options).cost
        for options in (
            {"requested": 61},
            {},
            {"called": PARIS, "requested": 30},
            {"context": TEXTS, "requested": 3},
            {"called": "+16502530000"},
        )
    ]
    assert prices == [2 * MINUTE, MINUTE, 50_000, 3 * SMS, 0]
    assert peer.ask(office, new_session(), EVENT, 0, action=PRICE, called="+819012345678").code == 5031


def test_a_call_is_no_event(peer: LibraryPeer, books: Books) -> None:
    answer = peer.ask(books.office(1_000_000), new_session(), EVENT, 0, action=DEBIT, requested=60)
    assert (answer.code, answer.failed) == (5031, [436])


def test_what_a_client_is_told_of_failures(peer: LibraryPeer, books: Books) -> None:
    office, session = books.office(1_000_000), new_session()
    first = peer.ask(office, session, INITIAL, 0, requested=60).message
    assert (first.cc_session_failover, first.credit_control_failure_handling) == (0, 0)
    event = peer.ask(office, new_session(), EVENT, 0, context=TEXTS, action=DEBIT)
    assert [avp.value for avp in event.message.avps if avp.code == 428] == [0]

"""The parts of tollgate-kamailio that need no Kamailio."""

import asyncio
import json
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from gateway.address import Address
from gateway.client import (
    AlreadyExists,
    GatewayUnavailable,
    InvalidArgument,
    NotFound,
    OperationFailed,
    PermissionDenied,
    Unauthenticated,
)
from gateway.kamailio import hanging_up
from gateway.kamailio.answers import Answer, answer_to_call, answer_to_error, answer_to_message, denial
from gateway.kamailio.calls import Calls
from gateway.kamailio.dialogs import read_dialogs
from gateway.kamailio.errors import ProtocolError, RpcFailed
from gateway.kamailio.facts import CallFacts, MessageFacts
from gateway.kamailio.following import talk_seconds
from gateway.kamailio.hanging_up import HangUp
from gateway.kamailio.netstring import MAX_BYTES, NetstringDecoder, encode_for_kamailio
from gateway.kamailio.notes import (
    CallAnswered,
    CallAsked,
    CallEnded,
    DialogName,
    EmergencyBegan,
    MessageAsked,
    MessageFailed,
    Transaction,
    Undelivered,
    read_note,
)
from gateway.kamailio.rpc import Rpc
from gateway.kamailio.settings import Settings
from gateway.v1 import authorization_pb2 as pb

CALL = {
    "office_id": "acme",
    "call_id": "a@b;01234567",
    "direction": "OUTBOUND",
    "calling_number": "+12175550101",
    "called_number": "+442079460958",
    "license": "SALES",
    "user_id": "lisa",
    "department_id": "sales",
}
FACTS = CallFacts("acme", "a@b;01234567", pb.OUTBOUND, "+12175550101", "+442079460958", pb.SALES, "lisa", "sales")
MESSAGE = {
    "office_id": "acme",
    "message_id": "m1",
    "calling_number": "",
    "called_number": "+442079460958",
    "user_id": "",
    "department_id": "",
}


# Netstrings.


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
def test_netstrings_are_put_together_however_they_are_cut(size: int) -> None:
    payloads = [b"", b"hello", b"1:,", "ü€\n".encode(), b"x" * 5000]
    stream = b"".join(b"%d:%b," % (len(payload), payload) for payload in payloads)
    decoder = NetstringDecoder()
    found = [each for at in range(0, len(stream), size) for each in decoder.feed(stream[at : at + size])]
    assert found == payloads


@pytest.mark.parametrize(
    "garbage",
    [b"x", b"-1:,", b"5:hello!", b"12345678", b"1234567:", b"%d:" % (MAX_BYTES + 1), b":,", b"5 :hello,", b"5:hello,x"],
)
def test_what_is_no_netstring_is_refused(garbage: bytes) -> None:
    with pytest.raises(ProtocolError):
        NetstringDecoder().feed(garbage)


class Evapi:
    """How evapi of Kamailio 5.6 takes netstrings apart, with its flaw: a length that is cut is forgotten."""

    SIZE = 32_767

    def __init__(self) -> None:
        self.buffer = b""
        self.frames: list[bytes] = []

    def room(self) -> int:
        return self.SIZE - len(self.buffer)

    def receive(self, data: bytes) -> None:
        buffer, self.buffer, at = self.buffer + data, b"", 0
        while at < len(buffer):
            if buffer[at : at + 1].isspace():
                at += 1
                continue
            start, colon = at, buffer.find(b":", at)
            if colon < 0 or not buffer[start:colon].isdigit():
                return
            end = colon + 1 + int(buffer[start:colon])
            if end >= len(buffer):
                self.buffer = buffer[start:]
                return
            self.frames.append(buffer[colon + 1 : end])
            at = end + 1


@pytest.mark.parametrize("padded", [True, False])
def test_a_kamailio_that_is_behind_loses_no_message_thanks_to_the_padding(padded: bool) -> None:
    chance = random.Random(0)
    payloads = [b"x" * chance.choice((14, 90, 150, 211, 212, 213, 300, 700)) for _ in range(30_000)]
    waiting = b"".join(encode_for_kamailio(each) if padded else b"%d:%b," % (len(each), each) for each in payloads)
    evapi, at = Evapi(), 0
    while at < len(waiting):
        taken = evapi.room()
        evapi.receive(waiting[at : at + taken])
        at += taken
    assert (evapi.frames == payloads) == padded


# Notes.


@pytest.mark.parametrize(
    ("fields", "note"),
    [
        (
            {"do": "authorize_call", "index": 5, "label": 4_000_000_000, "call": CALL},
            CallAsked(Transaction(5, 4_000_000_000), FACTS),
        ),
        ({"do": "emergency_call", "call": CALL}, EmergencyBegan(FACTS)),
        (
            {"do": "call_answered", "at": "1.5", "call": CALL, "h_entry": 1, "h_id": 2, "caller": "61", "callee": ""},
            CallAnswered(FACTS, 1.5, DialogName(1, 2), "a", ""),
        ),
        (
            {"do": "call_ended", "at": "9.25", "answered_at": "0", "cause": "SIP 486", "call": CALL},
            CallEnded(FACTS, 9.25, 0.0, "SIP 486"),
        ),
        (
            {
                "do": "authorize_message",
                "index": 0,
                "label": 1,
                "message": MESSAGE,
                "type": b"text/plain".hex(),
                "text": "Hä\n".encode().hex(),
            },
            MessageAsked(Transaction(0, 1), MessageFacts.read(MESSAGE), "text/plain", "Hä\n".encode()),
        ),
        ({"do": "message_failed", "message": MESSAGE}, MessageFailed(MessageFacts.read(MESSAGE))),
        ({"do": "undelivered", "kind": "call", "office_id": "acme", "id": "c"}, Undelivered(False, ("acme", "c"))),
        ({"do": "undelivered", "kind": "message", "office_id": "acme", "id": "m"}, Undelivered(True, ("acme", "m"))),
    ],
)
def test_a_note_is_read(fields: dict[str, Any], note: object) -> None:
    assert read_note(json.dumps(fields)) == note


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"do": "dance"}',
        b'{"do": "authorize_call"}',
        json.dumps({"do": "authorize_call", "index": "5", "label": 1, "call": CALL}).encode(),
        json.dumps({"do": "authorize_call", "index": -5, "label": 1, "call": CALL}).encode(),
        json.dumps({"do": "emergency_call", "call": CALL | {"license": "GOLD"}}).encode(),
        json.dumps({"do": "emergency_call", "call": CALL | {"direction": "up"}}).encode(),
        json.dumps({"do": "emergency_call", "call": CALL | {"office_id": 5}}).encode(),
        json.dumps({"do": "emergency_call", "call": "a"}).encode(),
        json.dumps({"do": "call_ended", "at": "soon", "answered_at": "0", "cause": "", "call": CALL}).encode(),
        json.dumps({"do": "message_failed", "message": {}}).encode(),
    ],
)
def test_what_is_no_note_is_refused(payload: bytes) -> None:
    with pytest.raises(ProtocolError):
        read_note(payload)


# Dialogs.


def listed_dialog(variables: Mapping[str, str], state: int = 4) -> dict[str, Any]:
    """A dialog as Kamailio 5.6.3 lists it."""
    return {
        "h_entry": 2099,
        "h_id": 10475,
        "ref": 2,
        "call-id": "a@b",
        "from_uri": "sip:+12175550101@127.0.0.2",
        "state": state,
        "start_ts": 1795721451,
        "caller": {"tag": "t1", "contact": "sip:caller@127.0.0.2:40097", "cseq": "1"},
        "callee": {"tag": "t2", "contact": "sip:callee@127.0.0.1:49681", "cseq": "0"},
        "profiles": [],
        "variables": [{name: value} for name, value in variables.items()],
    }


OURS = {"tollgate_call": json.dumps(CALL), "tollgate_answered_at": "1795721451.257838"}


def test_a_list_of_dialogs_is_read() -> None:
    answered, ringing = listed_dialog(OURS), listed_dialog({"tollgate_call": json.dumps(CALL)}, 2)
    others = [listed_dialog({}), listed_dialog(OURS, 5), listed_dialog({"tollgate_call": "{"})]
    first, second = read_dialogs([answered, *others, ringing])
    assert (first.name, first.call, first.answered_at) == (DialogName(2099, 10475), FACTS, 1795721451.257838)
    assert (first.caller, first.callee) == ("sip:caller@127.0.0.2:40097", "sip:callee@127.0.0.1:49681")
    assert second.answered_at == 0


@pytest.mark.parametrize(("result", "count"), [([], 0), ({}, 0), (None, 0), (listed_dialog(OURS), 1)])
def test_a_page_may_have_one_dialog_or_none(result: Any, count: int) -> None:
    assert len(list(read_dialogs(result))) == count


def test_what_is_no_list_is_no_empty_one() -> None:
    with pytest.raises(ProtocolError):
        list(read_dialogs("busy"))


# Answers.


@pytest.mark.parametrize("reason", [each for each in pb.Reason.values() if each])
def test_every_reason_has_its_status(reason: pb.Reason.ValueType) -> None:
    granted = reason in (pb.EMERGENCY, pb.FREE, pb.FUNDED)
    response = pb.AuthorizeCallResponse(decision=pb.GRANTED if granted else pb.DENIED, reason=reason)
    answer = answer_to_call(response)
    assert answer.code == (200 if granted else answer.code)
    assert (answer.code == 200) == granted
    assert answer.reason == pb.Reason.Name(reason)
    if not granted:
        assert answer.code in (402, 403, 404, 482, 486)
        assert answer == denial(reason)


@pytest.mark.parametrize(
    ("reason", "code"),
    [
        (pb.INSUFFICIENT_FUNDS, 402),
        (pb.SPEND_LIMIT, 402),
        (pb.DESTINATION_BLOCKED, 403),
        (pb.FRAUD_GUARD, 403),
        (pb.OFFICE_SUSPENDED, 403),
        (pb.NO_RATE, 404),
        (pb.INVALID_NUMBER, 404),
        (pb.CALL_ENDED, 482),
        (pb.TOO_MANY_CALLS, 486),
    ],
)
def test_what_was_promised(reason: pb.Reason.ValueType, code: int) -> None:
    assert denial(reason).code == code


def test_a_reason_of_a_newer_gateway_is_a_no_all_the_same() -> None:
    response = pb.AuthorizeMessageResponse(decision=pb.DENIED)
    response.reason = 99  # type: ignore[assignment]
    assert answer_to_message(response) == Answer(403, "Forbidden")


def test_a_call_let_through_without_the_gateway_goes_on() -> None:
    response = pb.AuthorizeCallResponse(decision=pb.GRANTED, granted_seconds=14_400)
    assert answer_to_call(response) == Answer(200, "OK", "", 14_400)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (GatewayUnavailable("no answer"), 503),
        (InvalidArgument("INVALID_ARGUMENT", "too long", field="called_number"), 404),
        (InvalidArgument("INVALID_ARGUMENT", "too long", field="user_id"), 400),
        (PermissionDenied("PERMISSION_DENIED", "not this office"), 403),
        (AlreadyExists("ALREADY_EXISTS", "another request"), 482),
        (Unauthenticated("UNAUTHENTICATED", "revoked"), 503),
        (NotFound("NOT_FOUND", "?"), 503),
        (OperationFailed("INTERNAL", "a bug"), 503),
    ],
)
def test_every_error_has_its_status(error: Any, code: int) -> None:
    assert answer_to_error(error).code == code


# Calls, talk time, settings.


@pytest.mark.parametrize(
    ("answered_at", "ended_at", "seconds"),
    [(0, 100, 0), (100, 100, 1), (100, 99, 1), (100, 100.001, 1), (100, 101, 1), (100, 101.001, 2), (1, 10**6, 86_400)],
)
def test_talk_time_is_rounded_up(answered_at: float, ended_at: float, seconds: int) -> None:
    assert talk_seconds(answered_at, ended_at) == seconds


def test_a_list_that_is_older_than_its_end_does_not_bring_a_call_back() -> None:
    calls = Calls()
    call = calls.put(FACTS, 1.0)
    assert calls.put(FACTS, 2.0) is call
    calls.all_alive(3.0)
    assert (len(calls), call.asked_at, call.alive_at) == (1, 1.0, 3.0)
    assert calls.remove(FACTS.key) is call
    assert calls.has_ended(FACTS.key)
    assert calls.remove(FACTS.key) is None


class Hanging(Rpc):
    """A Kamailio that is asked to hang up, and when."""

    def __init__(self, *answers: bool | RpcFailed) -> None:
        super().__init__(Address("127.0.0.1", 1))
        self.answers = list(answers)
        self.asked_at: list[float] = []

    async def end_dialog(self, name: DialogName) -> bool:
        self.asked_at.append(time.time())
        answer = self.answers.pop(0)
        if isinstance(answer, RpcFailed):
            raise answer
        return answer


@pytest.mark.parametrize(
    ("answers", "lasted_to"),
    [
        ((True, False), 0),
        ((True, True, RpcFailed("away"), False), 0),
        ((RpcFailed("away"), True, False), 1),
        ((False,), None),
        ((RpcFailed("away"), False), None),
    ],
)
async def test_a_call_that_is_hung_up_lasts_to_when_that_was(
    monkeypatch: pytest.MonkeyPatch, answers: Sequence[bool | RpcFailed], lasted_to: int | None
) -> None:
    """Where nobody says when it was over; a list of calls may be seconds old by then."""
    monkeypatch.setattr(hanging_up, "FIRST_PAUSE_SECONDS", 0.0)
    calls, kamailio = Calls(), Hanging(*answers)
    call = calls.put(FACTS, 1.0)
    call.answered_at = 1.0
    call.has_dialog(DialogName(1, 2), "sip:caller", "sip:callee")
    gone = asyncio.Event()
    hang_up = HangUp(kamailio, calls, on_gone=lambda key, why: gone.set())
    hang_up.start(FACTS.key, "no funds")
    await gone.wait()
    assert len(kamailio.asked_at) == len(answers)
    if lasted_to is None:
        assert call.alive_at == 1.0
    else:
        before = kamailio.asked_at[lasted_to - 1] if lasted_to else 1.0
        assert before < call.alive_at <= kamailio.asked_at[lasted_to]
    await hang_up.close()


def test_a_call_that_was_not_granted_never_was() -> None:
    calls = Calls()
    calls.put(FACTS, 1.0)
    calls.forget(FACTS.key)
    assert (len(calls), calls.has_ended(FACTS.key)) == (0, False)


@pytest.mark.parametrize("direction", [pb.OUTBOUND, pb.INBOUND])
def test_the_party_that_pays_is_the_one_to_warn(direction: pb.Direction.ValueType) -> None:
    facts = CallFacts("acme", "c", direction, "", "+18005550199", pb.STANDARD, "", "")
    call = Calls().put(facts, 1.0)
    call.has_dialog(DialogName(1, 2), "sip:caller", "sip:callee")
    assert call.contact == ("sip:caller" if direction == pb.OUTBOUND else "sip:callee")


def test_the_token_is_not_shown() -> None:
    address = Address("127.0.0.1", 1)
    settings = Settings("g:1", "the-secret", address, address, "", None, 1.0, False, 30.0)
    assert "the-secret" not in repr(settings)

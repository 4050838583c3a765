"""CallAuthorization over real gRPC on a real store: decisions, field checks, rights, faults of the store."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from gateway.front import run_front
from gateway.settings import load_settings
from gateway.startup import StartupError
from gateway.store.faults import StoreUnavailable
from gateway.v1 import authorization_pb2 as pb
from tests.support.front import ADMIN, OPERATOR, SWITCH_A, SWITCH_B, Front, metadata, running_front
from tests.support.servers import StoreServer, running_store

LONDON, PARIS, LOCAL, TOLL_FREE, NO_RATE = "+442079460000", "+33142685300", "2125550123", "+18005550199", "+81312345678"


def run(store: StoreServer, test: Callable[[Front], Awaitable[None]], **flags: object) -> None:
    async def main() -> None:
        async with running_front(store.url, **flags) as front:  # type: ignore[arg-type]
            await ready(front)
            await test(front)

    asyncio.run(main())


async def ready(front: Front) -> None:
    """Until the front has read deck and tokens, it says UNAVAILABLE; a caller retries, and so does this."""
    async with asyncio.timeout(10):
        while True:
            try:
                await front.stub.AuthorizeCall(call("nobody", "warm-up"), metadata=metadata())
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(0)
            else:
                return


def call(office: str, call_id: str, called: str = LONDON, **fields: Any) -> pb.AuthorizeCallRequest:
    return pb.AuthorizeCallRequest(
        **{
            "office_id": office,
            "call_id": call_id,
            "direction": pb.OUTBOUND,
            "calling_number": "+12125550100",
            "called_number": called,
            **fields,
        }
    )


def message(office: str, message_id: str, **fields: Any) -> pb.AuthorizeMessageRequest:
    return pb.AuthorizeMessageRequest(
        **{"office_id": office, "message_id": message_id, "called_number": LONDON, "segments": 1, **fields}
    )


async def refused(rpc: Awaitable[object]) -> tuple[grpc.StatusCode, ErrorInfo, str]:
    """The status, ErrorInfo and message of an rpc that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await rpc
    trailing = dict(caught.value.trailing_metadata() or ())
    packed = trailing["grpc-status-details-bin"]
    assert isinstance(packed, bytes)
    status = Status.FromString(packed)
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == "tollgate"
    return caught.value.code(), info, caught.value.details() or ""


def test_life_of_a_call(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 300_000)
        stub = front.stub
        granted = await stub.AuthorizeCall(call("a", "1"), metadata=metadata(SWITCH_A))
        assert granted == pb.AuthorizeCallResponse(
            decision=pb.GRANTED,
            reason=pb.FUNDED,
            granted_seconds=60,
            category=pb.CATEGORY_INTERNATIONAL,
            price_per_minute_micros=120_000,
            available_micros=180_000,
        )
        again = await stub.AuthorizeCall(
            call("a", "1", user_id="someone-else", switch_id="other"), metadata=metadata(SWITCH_A)
        )
        granted.replayed = True
        assert again == granted
        answered = await stub.AnswerCall(pb.AnswerCallRequest(office_id="a", call_id="1"), metadata=metadata(SWITCH_A))
        assert answered == pb.AnswerCallResponse(granted_seconds=60, available_micros=180_000)
        ticked = await stub.TickCall(
            pb.TickCallRequest(office_id="a", call_id="1", used_seconds=50), metadata=metadata(SWITCH_A)
        )
        assert ticked == pb.TickCallResponse(granted_seconds=120, debited_micros=120_000, available_micros=60_000)
        last = await stub.TickCall(
            pb.TickCallRequest(office_id="a", call_id="1", used_seconds=110), metadata=metadata(SWITCH_A)
        )
        assert last == pb.TickCallResponse(
            granted_seconds=120,
            final_unit=True,
            debited_micros=240_000,
            available_micros=60_000,
            final_reason=pb.FINAL_REASON_INSUFFICIENT_FUNDS,
        )
        end = pb.EndCallRequest(office_id="a", call_id="1", duration_seconds=115, cause="16")
        ended = await stub.EndCall(end, metadata=metadata(SWITCH_A))
        assert ended == pb.EndCallResponse(billed_seconds=115, debited_micros=240_000, available_micros=60_000)
        ended.replayed = True
        assert await stub.EndCall(end, metadata=metadata(SWITCH_A)) == ended
        end.duration_seconds = 116
        code, info, _ = await refused(stub.EndCall(end, metadata=metadata(SWITCH_A)))
        assert (code, info.reason) == (grpc.StatusCode.ALREADY_EXISTS, "CALL_ENDED")
        late = await stub.AuthorizeCall(call("a", "1"), metadata=metadata(SWITCH_A))
        assert (late.decision, late.reason) == (pb.DENIED, pb.CALL_ENDED)
        hung_up = await stub.TickCall(
            pb.TickCallRequest(office_id="a", call_id="1", used_seconds=120), metadata=metadata(SWITCH_A)
        )
        assert hung_up.ended
        assert hung_up.final_reason == pb.FINAL_REASON_ENDED

    run(valkey, test)


DECISIONS: list[tuple[str, dict[str, Any], int, int, int]] = [
    # called, fields, decision, reason, category
    (LONDON, {}, pb.GRANTED, pb.FUNDED, pb.CATEGORY_INTERNATIONAL),
    ("011 44 20 7946 0000", {}, pb.GRANTED, pb.FUNDED, pb.CATEGORY_INTERNATIONAL),
    (LONDON, {"service": pb.FAX}, pb.GRANTED, pb.FUNDED, pb.CATEGORY_FAX),
    (LOCAL, {}, pb.GRANTED, pb.FREE, pb.CATEGORY_LOCAL),
    (LOCAL, {"license": pb.SALES}, pb.DENIED, pb.NO_RATE, pb.CATEGORY_LOCAL),
    (TOLL_FREE, {"license": pb.SALES}, pb.GRANTED, pb.FREE, pb.CATEGORY_TOLL_FREE),
    (TOLL_FREE, {"direction": pb.INBOUND}, pb.GRANTED, pb.FUNDED, pb.CATEGORY_TOLL_FREE),
    (LOCAL, {"direction": pb.INBOUND, "calling_number": LONDON}, pb.GRANTED, pb.FREE, pb.CATEGORY_INTERNATIONAL),
    (LOCAL, {"direction": pb.INBOUND, "calling_number": ""}, pb.GRANTED, pb.FREE, pb.CATEGORY_LOCAL),
    (NO_RATE, {}, pb.DENIED, pb.NO_RATE, pb.CATEGORY_INTERNATIONAL),
    ("+88234510000000", {}, pb.DENIED, pb.DESTINATION_BLOCKED, pb.CATEGORY_INTERNATIONAL),
    ("12", {}, pb.DENIED, pb.INVALID_NUMBER, pb.CATEGORY_UNSPECIFIED),
    ("call me", {}, pb.DENIED, pb.INVALID_NUMBER, pb.CATEGORY_UNSPECIFIED),
    ("911", {}, pb.GRANTED, pb.EMERGENCY, pb.CATEGORY_EMERGENCY),
    ("112", {"direction": 77, "requested_seconds": -5}, pb.GRANTED, pb.EMERGENCY, pb.CATEGORY_EMERGENCY),
]


def test_decisions(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 10_000_000)
        for number, (called, fields, decision, reason, category) in enumerate(DECISIONS):
            request = call("a", str(number), called, **fields)
            answer = await front.stub.AuthorizeCall(request, metadata=metadata())
            assert (answer.decision, answer.reason, answer.category) == (decision, reason, category), called
            assert (answer.granted_seconds > 0) == (decision == pb.GRANTED)

    run(valkey, test, blocked_destinations="+882")


def test_order_of_reasons(valkey: StoreServer) -> None:
    """Suspended is said before blocked and unrated, no rate before funds, price before calls before funds."""

    async def reason_of(front: Front, office: str, called: str) -> int:
        answer = await front.stub.AuthorizeCall(call(office, f"x{called}", called), metadata=metadata())
        return answer.reason

    async def test(front: Front) -> None:
        await front.add_office("suspended", 10_000_000, state=2)
        await front.add_office("poor")
        await front.add_office("cheap", 1_000_000, max_price_per_minute_micros=100_000)
        await front.add_office("busy", 1_000_000, max_concurrent_calls=1)
        await front.add_office("thrifty", 1_000_000, daily_spend_limit_micros=100_000)
        assert await reason_of(front, "suspended", NO_RATE) == pb.OFFICE_SUSPENDED
        assert await reason_of(front, "suspended", LOCAL) == pb.OFFICE_SUSPENDED
        assert await reason_of(front, "suspended", "911") == pb.EMERGENCY
        assert await reason_of(front, "suspended", "+4420") == pb.INVALID_NUMBER
        assert await reason_of(front, "nobody", LONDON) == pb.UNKNOWN_OFFICE
        assert await reason_of(front, "nobody", "+4420") == pb.INVALID_NUMBER
        assert await reason_of(front, "poor", NO_RATE) == pb.NO_RATE
        assert await reason_of(front, "poor", LOCAL) == pb.FREE
        assert await reason_of(front, "poor", LONDON) == pb.INSUFFICIENT_FUNDS
        assert await reason_of(front, "cheap", LONDON) == pb.PRICE_LIMIT
        assert await reason_of(front, "cheap", PARIS) == pb.FUNDED
        assert await reason_of(front, "busy", LONDON) == pb.FUNDED
        assert await reason_of(front, "busy", PARIS) == pb.TOO_MANY_CALLS
        assert await reason_of(front, "busy", LOCAL) == pb.FREE
        assert await reason_of(front, "thrifty", LONDON) == pb.SPEND_LIMIT

    run(valkey, test)


def test_messages(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 100_000)
        stub = front.stub
        sent = await stub.AuthorizeMessage(message("a", "m1", segments=3), metadata=metadata())
        assert sent == pb.AuthorizeMessageResponse(
            decision=pb.GRANTED, reason=pb.FUNDED, debited_micros=90_000, available_micros=10_000
        )
        sent.replayed = True
        assert await stub.AuthorizeMessage(message("a", "m1", segments=3), metadata=metadata()) == sent
        code, info, _ = await refused(stub.AuthorizeMessage(message("a", "m1", segments=2), metadata=metadata()))
        assert (code, info.reason) == (grpc.StatusCode.ALREADY_EXISTS, "ID_REUSED")
        blocked = await stub.AuthorizeMessage(message("a", "m2"), metadata=metadata())
        assert (blocked.decision, blocked.reason, blocked.debited_micros) == (pb.DENIED, pb.INSUFFICIENT_FUNDS, 0)
        refund = pb.RefundMessageRequest(office_id="a", message_id="m1")
        back = await stub.RefundMessage(refund, metadata=metadata())
        assert back == pb.RefundMessageResponse(refunded_micros=90_000, available_micros=100_000)
        back.replayed = True
        assert await stub.RefundMessage(refund, metadata=metadata()) == back
        retried = await stub.AuthorizeMessage(message("a", "m1", segments=3), metadata=metadata())
        assert (retried.decision, retried.reason) == (pb.DENIED, pb.MESSAGE_REFUNDED)
        code, info, _ = await refused(
            stub.RefundMessage(pb.RefundMessageRequest(office_id="a", message_id="m9"), metadata=metadata())
        )
        assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "MESSAGE_NOT_FOUND")

    run(valkey, test)


def test_quotes_change_nothing(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 200_000)
        quote = pb.QuoteCallRequest(
            office_id="a", direction=pb.OUTBOUND, called_number=LONDON, duration_seconds=61, service=pb.FAX
        )
        answer = await front.stub.QuoteCall(quote, metadata=metadata())
        assert (answer.decision, answer.reason, answer.granted_seconds) == (pb.GRANTED, pb.FUNDED, 60)
        assert (answer.price_micros, answer.available_micros) == (290_000, 200_000)
        assert answer.rate_row.prefix == "44"
        assert answer.rate_row.connect_fee_micros == 50_000
        assert "prefix 44" in answer.rate_row.why
        priced = await front.stub.QuoteMessage(
            pb.QuoteMessageRequest(office_id="a", called_number=LONDON, segments=10), metadata=metadata()
        )
        assert (priced.decision, priced.reason, priced.price_micros) == (pb.DENIED, pb.INSUFFICIENT_FUNDS, 300_000)
        assert await front.available("a") == 200_000

    run(valkey, test)


SOUND_CALL: dict[str, Any] = {"office_id": "a", "call_id": "1", "direction": pb.OUTBOUND, "called_number": LONDON}

BAD_CALLS: list[tuple[dict[str, Any], str]] = [
    ({"office_id": ""}, "office_id"),
    ({"office_id": "a b"}, "office_id"),
    ({"office_id": "x" * 65}, "office_id"),
    ({"office_id": "büro"}, "office_id"),
    ({"call_id": ""}, "call_id"),
    ({"call_id": "x" * 129}, "call_id"),
    ({"call_id": "line\nbreak"}, "call_id"),
    ({"direction": 0}, "direction"),
    ({"direction": 3}, "direction"),
    ({"direction": -1}, "direction"),
    ({"license": 9}, "license"),
    ({"service": 3}, "service"),
    ({"requested_seconds": -1}, "requested_seconds"),
    ({"requested_seconds": 86_401}, "requested_seconds"),
    ({"requested_seconds": 2**31 - 1}, "requested_seconds"),
    ({"called_number": ""}, "called_number"),
    ({"called_number": "1" * 65}, "called_number"),
    ({"called_number": "44\x00"}, "called_number"),
    ({"calling_number": "1" * 65}, "calling_number"),
    ({"user_id": "x" * 129}, "user_id"),
    ({"user_id": "\x7f"}, "user_id"),
    ({"department_id": "x" * 129}, "department_id"),
    ({"switch_id": "\t"}, "switch_id"),
]

BAD_OTHERS = [
    ("AnswerCall", pb.AnswerCallRequest(office_id="", call_id="1"), "office_id"),
    ("AnswerCall", pb.AnswerCallRequest(office_id="a", call_id=""), "call_id"),
    ("TickCall", pb.TickCallRequest(office_id="a", call_id=""), "call_id"),
    ("TickCall", pb.TickCallRequest(office_id="a", call_id="1", used_seconds=-1), "used_seconds"),
    ("TickCall", pb.TickCallRequest(office_id="a", call_id="1", used_seconds=86_401), "used_seconds"),
    ("TickCall", pb.TickCallRequest(office_id="a", call_id="1", requested_seconds=86_401), "requested_seconds"),
    ("EndCall", pb.EndCallRequest(office_id="a", call_id="1", duration_seconds=-1), "duration_seconds"),
    ("EndCall", pb.EndCallRequest(office_id="a", call_id="1", duration_seconds=86_401), "duration_seconds"),
    ("EndCall", pb.EndCallRequest(office_id="a", call_id="1", cause="x" * 129), "cause"),
    ("AuthorizeMessage", message("a", ""), "message_id"),
    ("AuthorizeMessage", message("a", "1", segments=0), "segments"),
    ("AuthorizeMessage", message("a", "1", segments=256), "segments"),
    ("AuthorizeMessage", message("a", "1", segments=10_000), "segments"),
    ("AuthorizeMessage", message("a", "1", segments=-1), "segments"),
    ("AuthorizeMessage", message("a", "1", kind=5), "kind"),
    ("AuthorizeMessage", message("a", "1", called_number=""), "called_number"),
    ("RefundMessage", pb.RefundMessageRequest(office_id="a", message_id=""), "message_id"),
    ("RefundMessage", pb.RefundMessageRequest(office_id="?", message_id="1"), "office_id"),
    ("QuoteCall", pb.QuoteCallRequest(office_id="a", called_number="1"), "direction"),
    ("QuoteCall", pb.QuoteCallRequest(office_id="a", called_number="1", duration_seconds=-1), "duration_seconds"),
    ("QuoteMessage", pb.QuoteMessageRequest(office_id="a", called_number="1"), "segments"),
]


def test_every_field_is_checked(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 1_000_000)
        before = await front.connection.ask("DBSIZE")
        for fields, field in BAD_CALLS:
            code, info, text = await refused(
                front.stub.AuthorizeCall(pb.AuthorizeCallRequest(**{**SOUND_CALL, **fields}), metadata=metadata())
            )
            assert (code, info.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, field), fields
            assert text.startswith(f"{field}: ")
        for rpc, request, field in BAD_OTHERS:
            code, info, _ = await refused(getattr(front.stub, rpc)(request, metadata=metadata()))
            assert (code, info.metadata["field"]) == (grpc.StatusCode.INVALID_ARGUMENT, field), rpc
        assert await front.connection.ask("DBSIZE") == before
        assert await front.available("a") == 1_000_000

    run(valkey, test)


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(0, 0), (-(2**40), 0), (253_402_300_799, 999_999_999), (1, 500_000_000)]
)
def test_answered_at_is_clamped(valkey: StoreServer, seconds: int, nanos: int) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 1_000_000)
        await front.stub.AuthorizeCall(call("a", "1"), metadata=metadata())
        stamp = Timestamp(seconds=seconds, nanos=nanos)
        await front.stub.AnswerCall(
            pb.AnswerCallRequest(office_id="a", call_id="1", answered_at=stamp), metadata=metadata()
        )
        record = await front.store.read_call("a", "1")
        assert record is not None
        assert record.authorized_ms <= record.answered_ms <= record.authorized_ms + 60_000  # type: ignore[union-attr]

    run(valkey, test)


def test_rights(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 1_000_000)
        await front.add_office("b", 1_000_000)
        stub = front.stub
        for token in ((), metadata("wrong"), (("authorization", "Basic x"),), (("authorization", "Bearer "),)):
            code, info, _ = await refused(stub.AuthorizeCall(call("a", "1"), metadata=token))
            assert (code, info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
        code, _, _ = await refused(stub.AuthorizeCall(call("a", "1", "911"), metadata=metadata("wrong")))
        assert code is grpc.StatusCode.UNAUTHENTICATED
        denied = set()
        for secret, office in ((ADMIN, "a"), (SWITCH_B, "a"), (SWITCH_B, "nobody")):
            code, info, text = await refused(stub.AuthorizeCall(call(office, "1"), metadata=metadata(secret)))
            denied.add((code, info.reason, text))
        assert denied == {(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED", text)}
        emergency = await stub.AuthorizeCall(call("a", "sos", "911"), metadata=metadata(SWITCH_B))
        assert emergency.reason == pb.EMERGENCY

        await stub.AuthorizeCall(call("b", "1"), metadata=metadata(SWITCH_A))
        for rpc, request in (
            ("AnswerCall", pb.AnswerCallRequest(office_id="b", call_id="1")),
            ("TickCall", pb.TickCallRequest(office_id="b", call_id="1", used_seconds=9)),
            ("EndCall", pb.EndCallRequest(office_id="b", call_id="1", duration_seconds=9)),
        ):
            code, _, _ = await refused(getattr(stub, rpc)(request, metadata=metadata(SWITCH_B)))
            assert code is grpc.StatusCode.PERMISSION_DENIED
        end = await stub.EndCall(
            pb.EndCallRequest(office_id="b", call_id="1", duration_seconds=9), metadata=metadata(OPERATOR)
        )
        assert end.billed_seconds == 9

    run(valkey, test)


def test_unknown_calls(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 1_000_000)
        for rpc, request in (
            ("AnswerCall", pb.AnswerCallRequest(office_id="a", call_id="never")),
            ("TickCall", pb.TickCallRequest(office_id="a", call_id="never")),
            ("EndCall", pb.EndCallRequest(office_id="a", call_id="early", duration_seconds=5)),
            ("EndCall", pb.EndCallRequest(office_id="a", call_id="early", duration_seconds=5)),
            ("EndCall", pb.EndCallRequest(office_id="nobody", call_id="early", duration_seconds=5)),
        ):
            code, info, _ = await refused(getattr(front.stub, rpc)(request, metadata=metadata()))
            assert (code, info.reason) == (grpc.StatusCode.NOT_FOUND, "CALL_NOT_FOUND")
        overtaken = await front.stub.AuthorizeCall(call("a", "early"), metadata=metadata())
        assert overtaken.reason == pb.CALL_ENDED
        assert await front.available("a") == 1_000_000

    run(valkey, test)


def test_settings_changed_meanwhile(valkey: StoreServer) -> None:
    """A gateway with an old version of an office rates again by the new one and answers once."""

    async def test(front: Front) -> None:
        await front.add_office("a", 1_000_000)
        await front.stub.AuthorizeCall(call("a", "1"), metadata=metadata())
        await front.add_office("a", version=2, max_concurrent_calls=1)
        answer = await front.stub.AuthorizeCall(call("a", "2"), metadata=metadata())
        assert answer.reason == pb.TOO_MANY_CALLS

    run(valkey, test)


def test_store_away(tmp_path_factory: pytest.TempPathFactory) -> None:
    """UNAVAILABLE within the deadline; emergency and free calls are granted; nothing needs a restart."""

    async def test(front: Front, server: StoreServer) -> None:
        stub = front.stub
        await front.add_office("a", 1_000_000)
        await stub.AuthorizeCall(call("a", "1"), metadata=metadata())
        loop = asyncio.get_running_loop()
        # Paused: connected, but silent.
        await front.connection.ask("CLIENT", "PAUSE", 4_000, "ALL")
        for deadline in (0.5, 5.0):
            began = loop.time()
            code, info, text = await refused(stub.AuthorizeCall(call("a", "2"), metadata=metadata(), timeout=deadline))
            assert (code, info.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNAVAILABLE")
            assert "PAUSE" not in text
            assert loop.time() - began < deadline
        began = loop.time()
        emergency = await stub.AuthorizeCall(call("a", "sos", "911"), metadata=metadata())
        answered = await stub.AnswerCall(pb.AnswerCallRequest(office_id="a", call_id="sos"), metadata=metadata())
        assert (emergency.reason, answered.granted_seconds) == (pb.EMERGENCY, 86_400)
        assert loop.time() - began < 0.4
        free = await stub.AuthorizeCall(call("a", "free", LOCAL), metadata=metadata())
        assert (free.decision, free.reason, free.granted_seconds) == (pb.GRANTED, pb.FREE, 14_400)
        ended = await stub.EndCall(
            pb.EndCallRequest(office_id="a", call_id="sos", duration_seconds=33), metadata=metadata()
        )
        assert ended.billed_seconds == 33

    async def main() -> None:
        with running_store("valkey", tmp_path_factory.mktemp("away")) as server:
            async with running_front(server.url, store_timeout_ms=1_000) as front:
                await ready(front)
                await test(front, server)
                async with asyncio.timeout(10):
                    while True:
                        try:
                            answer = await front.stub.AuthorizeCall(call("a", "2"), metadata=metadata())
                        except grpc.aio.AioRpcError as error:
                            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                                raise
                        else:
                            break
                assert answer.reason == pb.FUNDED

    asyncio.run(main())


def test_an_emergency_takes_no_other_call_of_its_id_along(valkey: StoreServer) -> None:
    """It is granted before anybody asks whose the id is; the call that had the id goes on, its own switch's."""

    async def test(front: Front) -> None:
        await front.add_office("b", 1_000_000)
        stub, first, second = front.stub, metadata(SWITCH_A), metadata(SWITCH_B)
        assert (await stub.AuthorizeCall(call("b", "1"), metadata=first)).reason == pb.FUNDED
        assert (await stub.AuthorizeCall(call("b", "1", "911"), metadata=second)).reason == pb.EMERGENCY
        answered = await stub.AnswerCall(pb.AnswerCallRequest(office_id="b", call_id="1"), metadata=first)
        assert answered.granted_seconds == 60
        end = pb.EndCallRequest(office_id="b", call_id="1", duration_seconds=61)
        assert (await stub.EndCall(end, metadata=second)).debited_micros == 0
        assert (await stub.EndCall(end, metadata=first)).debited_micros == 240_000
        assert await front.available("b") == 760_000

    run(valkey, test)


def test_an_emergency_writes_nothing_into_an_office_that_is_not_the_switchs(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 1_000_000)
        emergency = await front.stub.AuthorizeCall(call("a", "sos", "911"), metadata=metadata(SWITCH_B))
        assert (emergency.decision, emergency.reason) == (pb.GRANTED, pb.EMERGENCY)
        # The front's commands keep their order, so what it would have told the store comes before this.
        assert (await front.stub.AuthorizeCall(call("a", "1"), metadata=metadata())).reason == pb.FUNDED
        assert await front.store.read_call("a", "sos") is None
        ended = await front.stub.EndCall(
            pb.EndCallRequest(office_id="a", call_id="sos", duration_seconds=9), metadata=metadata(SWITCH_B)
        )
        assert ended.billed_seconds == 9

    run(valkey, test)


def test_an_emergency_is_recorded_although_the_office_has_just_changed(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 1_000_000)
        assert (await front.stub.AuthorizeCall(call("a", "1"), metadata=metadata())).reason == pb.FUNDED
        await front.add_office("a", version=2)
        emergency = await front.stub.AuthorizeCall(call("a", "sos", "911"), metadata=metadata())
        assert emergency.reason == pb.EMERGENCY
        for _ in range(1_000):  # The store is told behind the answer.
            if await front.store.read_call("a", "sos") is not None:
                return
            await asyncio.sleep(0.01)
        pytest.fail("it was not recorded")

    run(valkey, test)


def test_load_is_shed_but_not_emergencies(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 1_000_000)
        await front.connection.ask("CLIENT", "PAUSE", 300, "ALL")
        tries = [
            asyncio.ensure_future(front.stub.AuthorizeCall(call("a", str(n)), metadata=metadata())) for n in range(30)
        ]
        emergencies = await asyncio.gather(
            *[front.stub.AuthorizeCall(call("a", f"sos{n}", "911"), metadata=metadata()) for n in range(20)]
        )
        assert {answer.reason for answer in emergencies} == {pb.EMERGENCY}
        outcomes = await asyncio.gather(*tries, return_exceptions=True)
        codes = [outcome.code() for outcome in outcomes if isinstance(outcome, grpc.aio.AioRpcError)]
        assert codes.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 25
        # What was accepted is decided: five calls, and eight can be paid.
        granted = [outcome for outcome in outcomes if isinstance(outcome, pb.AuthorizeCallResponse)]
        assert len(granted) == 5
        assert await front.available("a") == 1_000_000 - 5 * 120_000

    run(valkey, test, max_in_flight=5, store_timeout_ms=5_000)


def test_no_accepted_request_is_lost_in_a_drain(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 1_000_000)
        await front.connection.ask("CLIENT", "PAUSE", 300, "ALL")
        accepted = [
            asyncio.ensure_future(front.stub.AuthorizeCall(call("a", str(n)), metadata=metadata())) for n in range(8)
        ]
        # One connection keeps its order: once this is answered, the eight have arrived.
        await health_pb2_grpc.HealthStub(front.channel).Check(health_pb2.HealthCheckRequest())
        front.stop.set()
        answers = await asyncio.gather(*accepted)
        assert [answer.reason for answer in answers] == [pb.FUNDED] * 8
        assert await front.task
        with pytest.raises(grpc.aio.AioRpcError) as late:
            await front.stub.AuthorizeCall(call("a", "late"), metadata=metadata())
        assert late.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await front.available("a") == 1_000_000 - 8 * 120_000

    run(valkey, test, store_timeout_ms=5_000)


def test_reflection_and_health(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        health = health_pb2_grpc.HealthStub(front.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(service="gateway.v1.CallAuthorization"))
        assert answer.status in (health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING)
        stub = reflection_pb2_grpc.ServerReflectionStub(front.channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        async for listed in stub.ServerReflectionInfo(asked):
            names = {service.name for service in listed.list_services_response.service}
            assert "gateway.v1.CallAuthorization" in names

    run(valkey, test)


def test_store_unavailable_keeps_the_engines_words_to_itself() -> None:
    error = StoreUnavailable("OOM command not allowed when used memory > 'maxmemory'")
    assert "OOM" not in error.message
    assert "OOM" in error.detail


def test_taken_port(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        settings = load_settings(listen=f"127.0.0.1:{front.port}", redis_url=valkey.url)
        with pytest.raises(StartupError, match=r"TOLLGATE_LISTEN: 127.0.0.1:[0-9]+ cannot be listened on"):
            await run_front(settings, ready=lambda: None, stop=asyncio.Event())

    run(valkey, test)

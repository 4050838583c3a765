"""Any bytes at each rpc of CallAuthorization, on a real store: answered, or refused and nothing is changed."""

import asyncio
from typing import Any

import grpc
import grpc.aio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.v1 import authorization_pb2 as pb
from tests.fuzzing.mutations import mutated
from tests.support.front import SWITCH_A, Front, metadata, running_front
from tests.support.servers import StoreServer
from tests.support.session_loop import entered

SERVICE = "/gateway.v1.CallAuthorization/"
CALL: dict[str, Any] = {"office_id": "a", "call_id": "c"}
MESSAGE: dict[str, Any] = {"office_id": "a", "message_id": "m"}
NUMBERS: dict[str, Any] = {"calling_number": "+12125550100", "called_number": "+442079460000"}
SAMPLES: dict[str, tuple[Any, ...]] = {
    "AuthorizeCall": (pb.AuthorizeCallRequest(**CALL, **NUMBERS, direction=pb.OUTBOUND),),
    "AnswerCall": (pb.AnswerCallRequest(**CALL),),
    "TickCall": (pb.TickCallRequest(**CALL, used_seconds=30, requested_seconds=60),),
    "EndCall": (pb.EndCallRequest(**CALL, duration_seconds=61, cause="16"),),
    "AuthorizeMessage": (pb.AuthorizeMessageRequest(**MESSAGE, **NUMBERS, kind=pb.SMS, segments=2),),
    "RefundMessage": (pb.RefundMessageRequest(**MESSAGE),),
    "QuoteCall": (pb.QuoteCallRequest(office_id="a", **NUMBERS, direction=pb.OUTBOUND, duration_seconds=9),),
    "QuoteMessage": (pb.QuoteMessageRequest(office_id="a", **NUMBERS, kind=pb.SMS, segments=1),),
    "Session": (),
}  # fmt: skip
SAMPLES["Session"] = (
    pb.SessionRequest(
        operations=[
            pb.Operation(tag=1, authorize_call=SAMPLES["AuthorizeCall"][0]),
            pb.Operation(tag=2, end_call=SAMPLES["EndCall"][0]),
            pb.Operation(tag=3, authorize_message=SAMPLES["AuthorizeMessage"][0]),
        ]
    ),
    pb.SessionRequest(live_calls=pb.LiveCalls(calls=[pb.LiveCall(office_id="a", call_id="c", used_seconds=5)])),
)
BUGS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED}


async def money_of(front: Front) -> tuple[int, int]:
    """What an office has, and what is held of it."""
    office = await front.store.read_office("a")
    assert office is not None
    return office.balance_micros, office.reserved_micros


async def ask(front: Front, rpc: str, data: bytes) -> grpc.StatusCode:
    """Send bytes as they are; how they are answered."""
    channel: Any = front.channel
    try:
        if rpc == "Session":
            stream = channel.stream_stream(SERVICE + rpc)(metadata=metadata(SWITCH_A), timeout=20)
            await stream.write(data)
            await stream.done_writing()
            results: list[pb.Result] = []
            async for response in stream:
                results.extend(pb.SessionResponse.FromString(response).results)
            codes = [result.error.code for result in results if result.HasField("error")]
            assert grpc.StatusCode.INTERNAL.value[0] not in codes, results
            if len(codes) < len(results):
                return grpc.StatusCode.OK
            return grpc.StatusCode.INVALID_ARGUMENT
        await channel.unary_unary(SERVICE + rpc)(data, metadata=metadata(SWITCH_A), timeout=20)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_any_bytes_are_answered_or_refused_and_a_refusal_costs_nothing(valkey: StoreServer) -> None:
    with asyncio.Runner() as runner, entered(runner, running_front(valkey.url)) as front:
        runner.run(front.add_office("a", 1_000_000_000))

        @given(data=st.data())
        @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
        def check(data: st.DataObject) -> None:
            rpc = data.draw(st.sampled_from(sorted(SAMPLES)))
            sent = data.draw(mutated(tuple(each.SerializeToString() for each in SAMPLES[rpc])))
            before = runner.run(money_of(front))
            code = runner.run(ask(front, rpc, sent))
            balance, held = runner.run(money_of(front))
            assert code not in BUGS, (rpc, sent, code)
            assert 0 <= held <= balance
            if code is not grpc.StatusCode.OK or rpc.startswith("Quote"):
                assert (balance, held) == before, (rpc, sent, code)

        check()

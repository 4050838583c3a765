"""Any request, and any bytes, at each rpc of Credits: answered, or refused for a reason, and the books stay right."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.v1 import credits_pb2 as pb
from tests.fuzzing.messages import any_message
from tests.fuzzing.mutations import mutate
from tests.support.audits import assert_clean
from tests.support.back import COMPANY, OFFICE, BackUnderTest, bearer, running_back
from tests.support.servers import StoreServer
from tests.support.session_loop import entered

SERVICE = pb.DESCRIPTOR.services_by_name["Credits"]
RPCS = [method for method in SERVICE.methods if not method.name.startswith("Watch")]
"""All but those that never end."""

BUGS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED}
KNOWN: dict[str, Any] = {
    "office_id": OFFICE,
    "company_id": COMPANY,
    "name": "Springfield",
    "country": "US",
    "month": "2023-11",
    "amount_micros": 10_000_000,
    "threshold_micros": 5_000_000,
    "reason": "a test",
    "role": pb.ROLE_VIEWER,
    "page_size": 5,
    "page_token": "",
}


async def ask(back: BackUnderTest, rpc: MethodDescriptor, data: bytes) -> grpc.StatusCode:
    """Send bytes as they are; how they are answered."""
    channel: Any = back.channel
    path = f"/{SERVICE.full_name}/{rpc.name}"
    try:
        if rpc.server_streaming:
            async for _ in channel.unary_stream(path)(data, metadata=bearer(), timeout=30):
                pass
        else:
            await channel.unary_unary(path)(data, metadata=bearer(), timeout=30)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def test_any_request_is_answered_or_refused_for_a_reason(valkey: StoreServer, tmp_path: Path) -> None:
    with asyncio.Runner() as runner, entered(runner, running_back(valkey, tmp_path)) as back:
        runner.run(back.open_office(balance=10_000_000))

        @given(rpc=st.sampled_from(RPCS), seed=st.integers(0, 2**64))
        @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
        def check(rpc: MethodDescriptor, seed: int) -> None:
            chance = Random(seed)
            data = any_message(rpc.input_type, chance, KNOWN).SerializeToString()
            if chance.random() < 0.2:
                data = mutate(chance, (data,))
            code = runner.run(ask(back, rpc, data))
            assert code not in BUGS, (rpc.name, data, code)

        check()
        office = runner.run(back.get_office())
        assert office.available_micros >= 0
        while runner.run(back.journaler.turn()):
            pass
        runner.run(assert_clean(back))

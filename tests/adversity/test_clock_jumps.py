"""The wall clock of a gateway jumps by an hour, either way, while it decides: nobody is cut or billed for it."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.v1 import authorization_pb2 as pb
from gateway.v1 import credits_pb2
from tests.adversity.test_workers import until
from tests.support.back import HEADER
from tests.support.billing import DOLLARS
from tests.support.false_clock import FalseClock
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.operator import OPERATOR_TOKEN, Operator, assert_audit_is_clean
from tests.support.servers import StoreServer
from tests.support.switch_books import LONDON, SwitchBooks, patient_client

pytestmark = [pytest.mark.slow, pytest.mark.servers]

HOUR_SECONDS = 3_600
OPENING_MICROS = 1_000 * DOLLARS
SECOND_MICROS = 2_000
DECK = HEADER + (
    ",VOICE,OUTBOUND,STANDARD,,,LOCAL,,,,,,,local\n"
    ",VOICE,OUTBOUND,,,44,,0,0.12,60,1,0,2,London by the second\n"
    ",SMS,,,,,,,0.03,,,,,SMS\n"
)


def test_an_hour_forth_and_back(tmp_path: Path, valkey: StoreServer) -> None:
    valkey.flush()
    deck = tmp_path / "deck.csv"
    deck.write_text(DECK)
    clock = FalseClock(tmp_path / "clock")
    clock.set(0)
    settings = {
        "TOLLGATE_OPERATOR_TOKEN": OPERATOR_TOKEN,
        "TOLLGATE_REDIS_URL": valkey.url,
        "TOLLGATE_RATES": str(deck),
        **clock.environment,
    }
    with running_gateway(tmp_path, **settings) as gateway:
        asyncio.run(play(gateway, clock))
        assert_audit_is_clean(gateway.data_dir, TOLLGATE_REDIS_URL=valkey.url)


async def play(gateway: GatewayProcess, clock: FalseClock) -> None:
    """Let a call talk over both jumps, among others that come and go."""
    async with Operator.of(gateway.admin_server) as operator, patient_client(gateway.server) as client:
        office_id, talking = await operator.create_office(OPENING_MICROS), await operator.create_office(OPENING_MICROS)
        call: Any = {"office_id": talking, "call_id": "over the jumps"}
        assert (await client.authorize_call(**call, direction=pb.OUTBOUND, called_number=LONDON)).reason == pb.FUNDED
        await client.answer_call(**call)
        answered_at = time.monotonic()
        books = SwitchBooks([office_id])
        async with books.working(client):
            for seconds in (HOUR_SECONDS, -HOUR_SECONDS):
                clock.set(seconds)
                # The gauge is the gateway's own word for how wrong its clock is; TollgateClockOff reads it.
                await until(lambda s=seconds: abs(gateway.metric("tollgate_clock_offset_seconds") + s) < 60)  # type: ignore[misc]
                granted = await granted_seconds(operator, talking)
                await books.more(30)
                await more_granted(operator, talking, granted)
                (live,) = await operator.live_calls(talking)
                talked = time.monotonic() - answered_at
                assert live.state == credits_pb2.CALL_STATE_ANSWERED, live
                assert live.debited_micros <= SECOND_MICROS * (talked + 3), live
        used = round(time.monotonic() - answered_at)
        ended = await client.end_call(**call, duration_seconds=used)
        assert ended.debited_micros == SECOND_MICROS * used
        assert await operator.balance(talking) == OPENING_MICROS - ended.debited_micros
        assert (await operator.wait_settled(office_id)).balance_micros == OPENING_MICROS - books.spent()[office_id]


async def granted_seconds(operator: Operator, office_id: str) -> int:
    """Of the one live call of an office."""
    (live,) = await operator.live_calls(office_id)
    return live.granted_seconds


async def more_granted(operator: Operator, office_id: str, granted: int) -> None:
    """Wait until the gateway has ticked the call."""
    async with asyncio.timeout(30):
        while await granted_seconds(operator, office_id) <= granted:  # noqa: ASYNC110  # nobody tells of a tick
            await asyncio.sleep(0.1)

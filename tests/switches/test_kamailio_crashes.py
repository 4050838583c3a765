"""Sidecar, gateway and Kamailio die or hang in mid-call: calls settle, nothing stays reserved, and 911 goes through."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from gateway.v1 import authorization_pb2 as pb
from tests.support.kamailio_scene import LONDON, PARIS, SECOND, SMS, Installation, Scene, installation, scene
from tests.support.sip import SipMessage

pytestmark = [pytest.mark.switches, pytest.mark.xdist_group("kamailio-crashes")]

TEXT = ("Content-Type", "text/plain")


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("kamailio-crashes")) as running:
        yield running


async def restart_sidecar(here: Scene) -> None:
    await asyncio.to_thread(here.parts.sidecar.start)


async def emergency_passes(here: Scene) -> None:
    """An emergency call goes through at once, and is hung up."""
    call = here.call("911")
    began = time.monotonic()
    call.invite()
    invite = await here.arrives(call)
    assert time.monotonic() - began < 0.5
    here.callee.reply(invite, 200)
    await call.final(200)
    await here.hung_up(call)


async def refused(here: Scene, limit_seconds: float) -> SipMessage:
    """How a call is refused."""
    call = here.call()
    began = time.monotonic()
    call.invite()
    answer = await call.final()
    assert time.monotonic() - began < limit_seconds
    return answer


async def test_a_call_that_ends_while_the_sidecar_is_dead_is_billed_by_its_talk_time(parts: Installation) -> None:
    async with scene(parts) as here:
        call = here.call()
        await here.answered(call)
        await asyncio.sleep(0.5)
        parts.sidecar.kill()
        await asyncio.sleep(0.8)
        await here.hung_up(call)
        await asyncio.sleep(1)
        await restart_sidecar(here)
        assert await here.billed() == [2 * SECOND]
        deadline = time.monotonic() + 10
        while await parts.kamailio.rpc_client.read_missed():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)


async def test_a_call_goes_on_while_the_sidecar_is_restarted(parts: Installation) -> None:
    async with scene(parts) as here:
        call = here.call()
        await here.answered(call)
        answered_at = time.monotonic()
        parts.sidecar.kill()
        await restart_sidecar(here)
        await asyncio.sleep(max(0.0, 6.5 - (time.monotonic() - answered_at)))
        seconds = time.monotonic() - answered_at
        await here.hung_up(call)
        assert await here.billed() == [(int(seconds) + 1) * SECOND]


async def test_an_answer_that_nobody_heard_counts_from_its_moment(parts: Installation) -> None:
    async with scene(parts) as here:
        call = here.call()
        call.invite()
        invite = await here.arrives(call)
        here.callee.reply(invite, 180)
        await call.response("INVITE", 180)
        parts.sidecar.kill()
        await asyncio.sleep(0.3)
        here.callee.reply(invite, 200)
        await call.final(200)
        answered_at = time.monotonic()
        await restart_sidecar(here)
        await asyncio.sleep(0.5)
        [live] = await here.operator.live_calls(here.office)
        assert abs(time.monotonic() - answered_at - (time.time() - live.answered_at.ToNanoseconds() / 1e9)) < 0.5
        seconds = time.monotonic() - answered_at
        await here.hung_up(call)
        assert await here.billed() == [(int(seconds) + 1) * SECOND]


async def test_a_call_is_cut_by_a_sidecar_that_was_restarted(parts: Installation) -> None:
    async with scene(parts, 8 * SECOND) as here:
        call = here.call()
        await here.answered(call)
        answered_at = time.monotonic()
        parts.sidecar.kill()
        await restart_sidecar(here)
        bye = await here.caller.expect("BYE", limit_seconds=12)
        assert time.monotonic() - answered_at >= 7.9
        here.callee.reply(await here.arrives(call, "BYE"), 200)
        call.reply(bye, 200)
        assert await here.billed() == [8 * SECOND]


async def test_without_a_sidecar_calls_are_503_and_emergency_calls_pass_and_are_reported_later(
    parts: Installation,
) -> None:
    async with scene(parts) as here:
        parts.sidecar.kill()
        await asyncio.sleep(0.2)
        answer = await refused(here, 0.5)
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
        message = here.call()
        message.send("MESSAGE", TEXT, body=b"Hello")
        assert (await message.response("MESSAGE", 503)).header("Retry-After") == "5"
        await emergency_passes(here)
        lasting = here.call("112")
        await here.answered(lasting)
        await restart_sidecar(here)
        await asyncio.sleep(2)
        await here.hung_up(lasting)
        [record] = await here.operator.wait_usage(here.office, 1)
        assert (record.called_number, record.reason, record.cost_micros) == ("112", pb.EMERGENCY, 0)


async def test_a_sidecar_that_hangs_costs_nobody_anything(parts: Installation) -> None:
    async with scene(parts) as here:
        sidecar = parts.sidecar.running
        assert sidecar is not None
        sidecar.pause()
        try:
            message = here.call()
            message.send("MESSAGE", TEXT, body=b"Hello")
            answer = await refused(here, 3.0)
            assert (answer.status, answer.header("Retry-After")) == (503, "5")
            assert (await message.response("MESSAGE", 503)).header("Retry-After") == "5"
            await emergency_passes(here)
            await asyncio.sleep(3)
            # By now Kamailio has noticed, and makes nobody wait.
            assert (await refused(here, 0.5)).status == 503
        finally:
            sidecar.resume()
        await here.operator.wait_settled(here.office)
        assert await until_balance(here, 10_000_000)
        assert not [each for each in here.callee.endpoint.forget() if each.method in ("INVITE", "MESSAGE")]


async def test_a_gateway_that_dies_is_503_and_calls_are_settled_when_it_is_back(parts: Installation) -> None:
    async with scene(parts) as here:
        ended, lasting = here.call(), here.call(PARIS)
        await here.answered(ended)
        await here.answered(lasting)
        parts.gateway.kill()
        await asyncio.sleep(0.6)
        await here.hung_up(ended)
        answer = await refused(here, 2.2)
        assert (answer.status, answer.header("Retry-After")) == (503, "5")
        await emergency_passes(here)
        await asyncio.to_thread(parts.gateway.start)
        await asyncio.sleep(1)
        await here.hung_up(lasting)
        await here.operator.wait_settled(here.office)
        assert await until_balance(here, 10_000_000 - 61 * SECOND)


async def test_kamailio_dies_and_its_calls_end_there(parts: Installation) -> None:
    async with scene(parts) as here:
        call = here.call()
        await here.answered(call)
        await asyncio.sleep(1.4)
        connections = parts.sidecar.log_text.count("kamailio_connected")
        parts.kamailio.kill()
        await asyncio.sleep(2)
        await asyncio.to_thread(parts.kamailio.start)
        await asyncio.to_thread(parts.sidecar.wait_connected, connections + 1)
        assert await here.billed() == [2 * SECOND]
        after = here.call()
        await here.answered(after)
        await here.hung_up(after)
        assert await here.billed(2) == [2 * SECOND, SECOND]


async def test_kamailio_and_sidecar_die_together_and_the_call_lapses_with_what_was_confirmed(
    parts: Installation,
) -> None:
    async with scene(parts) as here:
        call = here.call()
        await here.answered(call)
        await asyncio.sleep(2.5)
        parts.kamailio.kill()
        parts.sidecar.kill()
        office = await here.operator.wait_settled(here.office, 30)
        confirmed = 10_000_000 - office.balance_micros
        assert SECOND <= confirmed <= 4 * SECOND
        await asyncio.to_thread(parts.kamailio.start)
        await restart_sidecar(here)
        after = here.call(LONDON)
        await here.answered(after)
        await here.hung_up(after)
        assert (await here.operator.wait_settled(here.office)).balance_micros <= 10_000_000 - confirmed - SECOND


async def test_a_second_sidecar_takes_over(parts: Installation) -> None:
    async with scene(parts) as here:
        first = parts.sidecar.running
        connections = parts.sidecar.log_text.count("kamailio_connected")
        await asyncio.to_thread(parts.sidecar.start)
        assert first is not None
        assert parts.sidecar.log_text.count("kamailio_connected") == connections + 1
        call = here.call()
        await here.answered(call)
        first.kill()
        await asyncio.sleep(1.2)
        second_call = here.call()
        await here.answered(second_call)
        await here.hung_up(second_call)
        await here.hung_up(call)
        assert await here.billed(2) == [2 * SECOND, SECOND]


async def test_messages_that_failed_while_the_sidecar_was_dead_are_given_back(parts: Installation) -> None:
    async with scene(parts) as here:
        message = here.call()
        message.send("MESSAGE", TEXT, body=b"Hello")
        arrived = await here.arrives(message, "MESSAGE")
        assert await until_balance(here, 10_000_000 - SMS)
        parts.sidecar.kill()
        await asyncio.sleep(0.2)
        here.callee.reply(arrived, 480)
        await message.response("MESSAGE", 480)
        await restart_sidecar(here)
        assert await until_balance(here, 10_000_000)


async def until_balance(here: Scene, balance_micros: int) -> bool:
    """Whether the office's balance becomes so much."""
    deadline = time.monotonic() + 15
    while await here.operator.balance(here.office) != balance_micros:
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.05)
    return True

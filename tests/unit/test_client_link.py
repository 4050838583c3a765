"""gateway.client's stream: reconnecting, silence, draining gateways, refusals, and the lists of live calls."""

import asyncio
import logging
from collections.abc import Awaitable
from datetime import UTC, datetime
from itertools import pairwise
from random import Random
from typing import Any

import pytest

from gateway.client import Client, FailureHandling, GatewayUnavailable, LiveCall, OperationFailed, Unauthenticated
from gateway.client.timing import Backoff
from gateway.v1 import authorization_pb2 as pb
from tests.support.client import UNIX_START, FakeTransport, granted, open_client, settle
from tests.unit.test_client_operations import authorize, names


def test_pauses_double_and_vary_by_the_seed() -> None:
    def pauses(seed: int) -> list[float]:
        backoff = Backoff(Random(seed), 0.02, 2.0)
        return [backoff.next_seconds() for _ in range(12)]

    assert pauses(1) == pauses(1) != pauses(2)
    for seed in range(100):
        for n, pause in enumerate(pauses(seed)):
            longest = min(0.02 * 2**n, 2.0)
            assert longest / 2 <= pause <= longest
    backoff = Backoff(Random(1), 0.02, 2.0)
    for _ in range(9):
        backoff.next_seconds()
    backoff.reset()
    assert backoff.next_seconds() <= 0.02


async def test_it_knocks_with_growing_pauses_and_begins_anew_once_it_was_let_in() -> None:
    async with open_client(is_down=True) as (_, transport, clock):
        await clock.advance(20.0)
        pauses = [later - earlier for earlier, later in pairwise(transport.attempts)]
        assert pauses[0] <= 0.02
        assert all(1.0 <= pause <= 2.0 for pause in pauses[7:])
        assert 14 <= len(pauses) <= 25
        transport.is_down = False
        await clock.advance(2.0)
        stream = transport.stream
        stream.break_off()
        await clock.advance(0.021)
        assert transport.stream is not stream


async def test_what_was_in_flight_goes_first_on_the_next_stream_with_the_same_ids() -> None:
    async with open_client(None) as (client, transport, clock):
        tasks = [authorize(client, str(n)) for n in range(3)]
        behind = asyncio.create_task(client.answer_call(office_id="a", call_id="1"))
        await settle()
        first = transport.stream
        transport.answer = granted
        first.break_off()
        await settle()
        late = authorize(client, "late")
        await clock.advance(0.1)
        assert names(transport.stream)[:4] == [f"authorize_call {n}" for n in (0, 1, 2)] + ["authorize_call late"]
        assert {operation.tag for operation in first.operations}.isdisjoint(
            operation.tag for operation in transport.stream.operations
        )
        assert {each.decision for each in await asyncio.gather(*tasks, late)} == {pb.GRANTED}
        await behind
        assert first.is_closed


async def test_without_retries_it_fails_as_the_stream_breaks() -> None:
    async with open_client(None) as (client, transport, clock):
        task = authorize(client, "1", failure_handling=FailureHandling.TERMINATE)
        await settle()
        transport.is_down = True
        transport.stream.break_off()
        with pytest.raises(GatewayUnavailable, match="cut") as caught:
            await task
        assert caught.value.ambiguous
        await clock.advance(0.02)
        with pytest.raises(GatewayUnavailable, match=r"was not sent.*nothing answers") as caught:
            await authorize(client, "2", failure_handling=FailureHandling.TERMINATE)
        assert not caught.value.ambiguous


async def test_a_stream_that_owes_an_answer_for_too_long_is_given_up() -> None:
    async with open_client(None) as (client, transport, clock):
        first = transport.stream
        first.respond(pb.Result(tag=0))
        await clock.advance(3.0)
        task = authorize(client, "1", deadline_seconds=2.0)
        transport.answer = granted
        await clock.advance(0.7)
        assert transport.stream is first
        await clock.advance(0.4)
        assert transport.stream is not first
        assert first.is_closed
        assert (await task).decision == pb.GRANTED


async def test_given_up_operations_do_not_hide_a_silent_stream() -> None:
    """Deadlines shorter than the patience with a stream: it is found out none the less."""
    async with open_client(None) as (client, transport, clock):
        transport.stream.respond(pb.Result(tag=0))
        for n in range(12):
            task = authorize(client, str(n), deadline_seconds=0.1)
            await clock.advance(0.12)
            assert isinstance(task.exception(), GatewayUnavailable)
        assert len(transport.streams) > 1


async def test_a_slow_gateway_that_answers_now_and_then_is_not_given_up() -> None:
    async with open_client(None) as (client, transport, clock):
        tasks = [authorize(client, str(n), deadline_seconds=30.0) for n in range(10)]
        await settle()
        for operation in transport.stream.operations:
            await clock.advance(0.7)
            transport.stream.respond(granted(operation))
        await asyncio.gather(*tasks)
        assert len(transport.streams) == 1


async def test_an_idle_stream_is_asked_for_a_sign_of_life() -> None:
    async with open_client() as (_, transport, clock):
        assert transport.stream.probes == 1
        await clock.advance(26.0)
        assert len(transport.streams) == 1
        assert transport.stream.probes == 6
        transport.stream._answer = None
        await clock.advance(7.0)
        assert len(transport.streams) == 2


async def test_a_gateway_that_drains_is_left_without_a_failed_operation() -> None:
    async with open_client(None) as (client, transport, clock):
        first = transport.stream
        first.respond(pb.Result(tag=0))
        before = [authorize(client, str(n), failure_handling=FailureHandling.TERMINATE) for n in range(3)]
        await settle()
        first.ask_to_leave()
        await settle()
        assert first.is_half_closed
        transport.answer = granted
        after = [authorize(client, str(n), failure_handling=FailureHandling.TERMINATE) for n in range(3, 6)]
        await settle()
        assert len(first.operations) == 3
        first.respond(*[granted(operation) for operation in first.operations])
        first.end()
        await clock.advance(0.05)
        assert len(transport.streams) == 2
        assert {each.decision for each in await asyncio.gather(*before, *after)} == {pb.GRANTED}
        assert names(transport.stream) == [f"authorize_call {n}" for n in (3, 4, 5)]


async def test_what_a_stopping_gateway_had_not_begun_goes_to_the_next_even_without_retries() -> None:
    async with open_client(None) as (client, transport, clock):
        tasks = [authorize(client, str(n), failure_handling=FailureHandling.TERMINATE) for n in range(3)]
        await settle()
        first = transport.stream
        first.respond(granted(first.operations[0]))
        first.break_off("UNAVAILABLE", "This gateway is stopping", "STOPPING")
        await settle()
        transport.answer = granted
        tasks.append(authorize(client, "3", failure_handling=FailureHandling.TERMINATE))
        await clock.advance(0.05)
        assert {each.decision for each in await asyncio.gather(*tasks)} == {pb.GRANTED}
        assert names(transport.stream) == [f"authorize_call {n}" for n in (1, 2, 3)]


async def test_a_gateway_that_drains_and_does_not_end_is_left_after_all() -> None:
    async with open_client() as (_, transport, clock):
        first = transport.stream
        first._answer = None
        first.ask_to_leave()
        await clock.advance(1.2)
        assert first.is_closed
        assert len(transport.streams) == 2


async def test_a_token_that_is_refused_fails_everything_at_once_until_it_is_in_force() -> None:
    async with open_client(None) as (client, transport, clock):
        task = authorize(client, "1", deadline_seconds=60.0)
        line = asyncio.create_task(client.end_call(office_id="a", call_id="1", duration_seconds=0))
        await settle()
        transport.stream.break_off("UNAUTHENTICATED", "No valid token")
        for refused in (task, line):
            with pytest.raises(Unauthenticated, match="No valid token") as caught:
                await refused
            assert "tollgate token create" in caught.value.cure
        with pytest.raises(Unauthenticated):
            await authorize(client, "2")
        with pytest.raises(Unauthenticated):
            await client.wait_connected()
        transport.answer = granted
        await clock.advance(4.9)
        assert len(transport.streams) == 1
        await clock.advance(0.2)
        await client.wait_connected()
        assert (await authorize(client, "3")).decision == pb.GRANTED


async def test_waiting_for_a_connection_says_why_there_is_none() -> None:
    async with open_client(is_down=True) as (client, transport, clock):
        waiting = asyncio.create_task(client.wait_connected(limit_seconds=3.0))
        await clock.advance(3.1)
        with pytest.raises(GatewayUnavailable, match="nothing answers"):
            await waiting
        assert not client.is_connected
        transport.is_down = False
        waiting = asyncio.create_task(client.wait_connected())
        await clock.advance(2.0)
        await waiting
        assert client.is_connected


async def test_a_bug_in_the_client_is_logged_and_survived(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_client() as (client, _, clock):

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patch:
            patch.setattr(client._operations, "answer", broken)
            task = authorize(client, "1")
            await clock.advance(0.001)
        await clock.advance(0.1)
        assert (await task).decision == pb.GRANTED
        assert "a stream failed" in caplog.text
        caplog.clear()


async def up(client: Client, *call_ids: str) -> None:
    for call_id in call_ids:
        await authorize(client, call_id)


def listed(transport: FakeTransport) -> list[list[tuple[str, int]]]:
    return [[(call.call_id, call.used_seconds) for call in part.calls] for part in transport.stream.lists]


async def test_live_calls_are_listed_on_connecting_and_every_30_seconds() -> None:
    async with open_client() as (client, transport, clock):
        assert listed(transport) == [[]]
        assert transport.stream.sent[0].HasField("live_calls")
        await up(client, "rings", "talks", "ends")
        await clock.advance(10.0)
        await client.answer_call(office_id="a", call_id="talks")
        await client.answer_call(office_id="a", call_id="ends")
        await client.end_call(office_id="a", call_id="ends", duration_seconds=1)
        await clock.advance(19.99)
        assert len(listed(transport)) == 1
        await clock.advance(0.02)
        assert listed(transport)[1:] == [[("rings", 0), ("talks", 20)]]
        await clock.advance(30.0)
        assert listed(transport)[2:] == [[("rings", 0), ("talks", 50)]]
        transport.stream.break_off()
        await clock.advance(0.1)
        assert listed(transport) == [[("rings", 0), ("talks", 50)]]
        assert transport.stream.sent[0].HasField("live_calls")


async def test_used_seconds_count_from_the_first_answer_and_are_never_0_after_it() -> None:
    async with open_client() as (client, transport, clock):
        await up(client, "now", "earlier")
        answered_at = datetime.fromtimestamp(UNIX_START + clock.monotonic() - 12, UTC)
        await client.answer_call(office_id="a", call_id="now")
        await client.answer_call(office_id="a", call_id="earlier", answered_at=answered_at)
        answer = transport.stream.operations[-1].answer_call
        assert answer.answered_at.ToDatetime(UTC) == answered_at
        transport.stream.break_off()
        await clock.advance(0.05)
        assert listed(transport)[0] == [("now", 1), ("earlier", 12)]
        await client.answer_call(office_id="a", call_id="now")
        await clock.advance(30.0)
        assert listed(transport)[1] == [("now", 30), ("earlier", 42)]
        with pytest.raises(ValueError, match="time zone"):
            await client.answer_call(office_id="a", call_id="now", answered_at=datetime(2026, 1, 1))


async def test_what_was_denied_or_unknown_is_not_listed() -> None:
    def answer(operation: pb.Operation) -> pb.Result:
        if operation.authorize_call.call_id == "denied":
            return pb.Result(tag=operation.tag, authorize_call=pb.AuthorizeCallResponse(decision=pb.DENIED))
        return granted(operation)

    async with open_client(answer) as (client, _, _clock):
        await up(client, "denied", "granted")
        await client.answer_call(office_id="a", call_id="never-authorized")
        assert client.live_calls == 1


async def test_a_long_list_comes_in_parts_between_which_operations_pass() -> None:
    calls = [LiveCall("a", str(n), n) for n in range(2_500)]
    async with open_client(live_calls=lambda: calls) as (client, transport, clock):
        await authorize(client, "1")
        await clock.advance(0.1)
        parts = transport.stream.lists
        assert [(len(part.calls), part.more) for part in parts] == [(1_000, True), (1_000, True), (500, False)]
        assert [call for part in listed(transport) for call in part] == [(str(n), n) for n in range(2_500)]
        kinds = [("list" if request.HasField("live_calls") else "operations") for request in transport.stream.sent]
        assert kinds.index("operations") < 2
        calls.clear()
        await clock.advance(30.0)
        assert [(len(part.calls), part.more) for part in transport.stream.lists[3:]] == [(0, False)]


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_switch_that_knows_better_lists_by_itself(asynchronous: bool, caplog: pytest.LogCaptureFixture) -> None:
    calls = [
        LiveCall("a", "1", 90_000),
        LiveCall("a", "2", -1),
        LiveCall("no such office!", "3", 1),
        LiveCall("a", "", 1),
        LiveCall("a", "é", 1),
    ]
    fails = False

    def now() -> list[LiveCall]:
        if fails:
            raise OSError("the switch is away")
        return calls

    async def later() -> list[LiveCall]:
        await asyncio.sleep(0)
        return now()

    source: Any = later if asynchronous else now
    with caplog.at_level(logging.WARNING):
        async with open_client(live_calls=source) as (_, transport, clock):
            assert listed(transport) == [[("1", 86_400), ("2", 0)]]
            assert caplog.text.count("cannot be listed") == 3
            fails = True
            await clock.advance(30.0)
            assert len(listed(transport)) == 1
            assert "the switch is away" in caplog.text
            fails = False
            await clock.advance(30.0)
            assert len(listed(transport)) == 2
            assert len(transport.streams) == 1


async def test_cancelled_at_each_await_of_opening_and_closing() -> None:
    """However few turns of the loop a client got, it closes and leaves no task behind."""
    for turns in range(40):
        before = asyncio.all_tasks()

        async def use() -> None:
            async with open_client() as (client, transport, _clock):
                await authorize(client, "1")
                transport.stream.break_off()
                await authorize(client, "2")

        task: Awaitable[None] = asyncio.create_task(use())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()  # type: ignore[attr-defined]
        await asyncio.gather(task, return_exceptions=True)
        await settle()
        assert asyncio.all_tasks() == before


async def test_what_the_gateway_refuses_of_a_stream_is_said() -> None:
    async with open_client(None) as (client, transport, _clock):
        task = authorize(client, "1")
        await settle()
        transport.stream.break_off("INVALID_ARGUMENT", "operations: has 1000 entries, a batch has at most 10")
        with pytest.raises(OperationFailed, match="a batch has at most 10"):
            await task

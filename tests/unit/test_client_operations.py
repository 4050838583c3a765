"""gateway.client on streams that the test plays: coalescing, order, deadlines, retries, errors, cancellation."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from gateway.client import (
    AlreadyExists,
    Client,
    ClientBusy,
    ClientClosed,
    GatewayUnavailable,
    InvalidArgument,
    LinkTimes,
    NotFound,
    OperationFailed,
)
from gateway.v1 import authorization_pb2 as pb
from tests.support.client import FakeStream, failed, granted, open_client, settle

LONDON = "+442079460000"


def authorize(client: Client, call_id: str, **options: Any) -> "asyncio.Task[pb.AuthorizeCallResponse]":
    return asyncio.create_task(
        client.authorize_call(office_id="a", call_id=call_id, direction=pb.OUTBOUND, called_number=LONDON, **options)
    )


def names(stream: FakeStream) -> list[str]:
    """What was sent: kind and id."""
    sent = []
    for operation in stream.operations:
        kind = operation.WhichOneof("operation") or ""
        request = getattr(operation, kind)
        sent.append(f"{kind} {request.message_id if 'message' in kind else request.call_id}")
    return sent


async def test_what_is_asked_in_one_turn_leaves_in_one_message() -> None:
    async with open_client() as (client, transport, _):
        before = len(transport.stream.sent)
        await asyncio.gather(*[authorize(client, str(n)) for n in range(500)])
        (request,) = transport.stream.sent[before:]
        assert [operation.authorize_call.call_id for operation in request.operations] == [str(n) for n in range(500)]
        assert len({operation.tag for operation in request.operations}) == 500


async def test_a_message_has_at_most_a_batch() -> None:
    async with open_client(None, max_batch=1_000) as (client, transport, clock):
        tasks = [authorize(client, str(n)) for n in range(2_500)]
        await settle()
        assert [len(request.operations) for request in transport.stream.sent][-3:] == [1_000, 1_000, 500]
        await clock.advance(1.1)
        assert all(isinstance(task.exception(), GatewayUnavailable) for task in tasks)


async def test_while_a_write_waits_the_next_batch_gathers() -> None:
    async with open_client() as (client, transport, _):
        transport.stream.block()
        first = authorize(client, "1")
        await settle()
        others = [authorize(client, str(n)) for n in range(2, 5)]
        await settle()
        sent = len(transport.stream.sent)
        transport.stream.unblock()
        await asyncio.gather(first, *others)
        assert [len(request.operations) for request in transport.stream.sent[sent:]] == [1, 3]


async def test_while_answers_are_owed_operations_gather_for_a_moment() -> None:
    async with open_client(None, times=LinkTimes(coalescing_seconds=0.001)) as (client, transport, clock):
        tasks = [authorize(client, "1")]
        await settle()
        # The first one waits for nobody.
        assert names(transport.stream) == ["authorize_call 1"]
        for number in (2, 3):
            tasks.append(authorize(client, str(number)))
            await clock.advance(0.0004)
        assert names(transport.stream) == ["authorize_call 1"]
        await clock.advance(0.0003)
        assert [len(request.operations) for request in transport.stream.sent][-2:] == [1, 2]
        tasks.append(authorize(client, "4"))
        await settle()
        # Once nothing is owed there is nothing to wait for.
        transport.stream.respond(*[granted(operation) for operation in transport.stream.operations])
        await settle()
        assert names(transport.stream)[-1] == "authorize_call 4"
        transport.stream.respond(granted(transport.stream.operations[-1]))
        await asyncio.gather(*tasks)


async def test_large_operations_are_spread_over_messages() -> None:
    async with open_client() as (client, transport, _):
        ends = [
            client.end_call(office_id="a", call_id=str(n), duration_seconds=0, cause="x" * 10_000) for n in range(300)
        ]
        await asyncio.gather(*ends)
        assert len(transport.stream.operations) == 300
        assert max(request.ByteSize() for request in transport.stream.sent) < 2 << 20


async def test_results_find_whoever_asked_in_any_order() -> None:
    async with open_client(None) as (client, transport, _):
        tasks = [authorize(client, str(n)) for n in range(5)]
        await settle()
        results = [
            pb.Result(
                tag=operation.tag,
                authorize_call=pb.AuthorizeCallResponse(granted_seconds=int(operation.authorize_call.call_id)),
            )
            for operation in transport.stream.operations
        ]
        transport.stream.respond(
            *reversed(results[2:]), pb.Result(tag=999_999, authorize_call=pb.AuthorizeCallResponse())
        )
        transport.stream.respond(*reversed(results[:2]))
        assert [(await task).granted_seconds for task in tasks] == [0, 1, 2, 3, 4]
        transport.stream.respond(*results)
        await settle()
        assert client.is_connected


@pytest.mark.parametrize(
    ("code", "kind"),
    [("INVALID_ARGUMENT", InvalidArgument), ("NOT_FOUND", NotFound), ("ALREADY_EXISTS", AlreadyExists)],
)
async def test_an_error_says_what_and_why_and_what_helps(code: str, kind: type[OperationFailed]) -> None:
    def answer(operation: pb.Operation) -> pb.Result:
        return failed(operation, code, "SOME_REASON", "call_id")

    async with open_client(answer) as (client, _, _clock):
        with pytest.raises(kind) as caught:
            await authorize(client, "1")
        error = caught.value
        assert (error.code, error.reason, error.field) == (code, "SOME_REASON", "call_id")
        assert error.message == f"said the gateway: {code}"
        assert error.cure


async def test_what_was_never_sent_did_not_happen() -> None:
    async with open_client(is_down=True) as (client, _, clock):
        task = authorize(client, "1")
        await clock.advance(0.99)
        assert not task.done()
        await clock.advance(0.02)
        with pytest.raises(GatewayUnavailable, match=r"did not happen.*nothing answers") as caught:
            await task
        assert not caught.value.ambiguous


async def test_what_was_sent_and_not_answered_is_ambiguous() -> None:
    async with open_client(None) as (client, _, clock):
        short, long = authorize(client, "1", deadline_seconds=0.3), authorize(client, "2", deadline_seconds=0.6)
        await clock.advance(0.32)
        assert short.done()
        assert not long.done()
        await clock.advance(0.3)
        for task in (short, long):
            with pytest.raises(GatewayUnavailable, match="repeat it with the same id") as caught:
                await task
            assert caught.value.ambiguous


async def test_what_the_store_did_not_answer_is_asked_again() -> None:
    asked: list[float] = []

    def answer(operation: pb.Operation) -> pb.Result:
        asked.append(clock.monotonic())
        return failed(operation, "UNAVAILABLE") if len(asked) < 4 else granted(operation)

    async with open_client(answer) as (client, transport, clock):
        task = authorize(client, "1")
        await clock.advance(0.5)
        assert (await task).decision == pb.GRANTED
        assert len({operation.tag for operation in transport.stream.operations}) == 4
        pauses = [later - earlier for earlier, later in pairwise(asked)]
        for pause, longest in zip(pauses, (0.05, 0.1, 0.2), strict=True):
            assert longest / 2 <= pause <= longest


@pytest.mark.parametrize(("code", "ambiguous"), [("UNAVAILABLE", True), ("RESOURCE_EXHAUSTED", False)])
async def test_asking_again_ends_at_the_deadline(code: str, ambiguous: bool) -> None:
    async with open_client(lambda operation: failed(operation, code)) as (client, transport, clock):
        task = authorize(client, "1")
        await clock.advance(1.01)
        with pytest.raises(GatewayUnavailable, match=f"said the gateway: {code}") as caught:
            await task
        assert caught.value.ambiguous is ambiguous
        sent = len(transport.stream.operations)
        assert 4 <= sent <= 8
        await clock.advance(2.0)
        assert len(transport.stream.operations) == sent


async def test_operations_on_one_call_wait_for_each_other() -> None:
    async with open_client(None) as (client, transport, _):
        life = [
            authorize(client, "1"),
            asyncio.create_task(client.answer_call(office_id="a", call_id="1")),
            asyncio.create_task(client.end_call(office_id="a", call_id="1", duration_seconds=9)),
            authorize(client, "2"),
        ]
        await settle()
        stream = transport.stream
        assert names(stream) == ["authorize_call 1", "authorize_call 2"]
        for index, expected in enumerate(["authorize_call 1", "answer_call 1", "end_call 1"]):
            (operation,) = [
                each for each, name in zip(stream.operations, names(stream), strict=True) if name == expected
            ]
            stream.respond(granted(operation))
            await settle()
            assert life[index].done()
        assert names(stream)[2:] == ["answer_call 1", "end_call 1"]
        stream.respond(granted(stream.operations[1]))
        await asyncio.gather(*life)


async def test_an_operation_that_was_given_up_holds_up_nothing() -> None:
    async with open_client(None) as (client, transport, clock):
        first = authorize(client, "1", deadline_seconds=0.1)
        second = asyncio.create_task(client.end_call(office_id="a", call_id="1", duration_seconds=0))
        third = asyncio.create_task(
            client.quote_call(
                office_id="a", call_id="1", direction=pb.OUTBOUND, called_number=LONDON, duration_seconds=1
            )
        )
        await settle()
        assert names(transport.stream) == ["authorize_call 1", "quote_call 1"]
        await clock.advance(0.11)
        assert isinstance(first.exception(), GatewayUnavailable)
        assert names(transport.stream)[2:] == ["end_call 1"]
        late, quote, end = transport.stream.operations
        transport.stream.respond(granted(end), granted(quote), granted(late))
        await asyncio.gather(second, third)
        assert client.live_calls == 0


async def test_a_call_and_a_message_of_one_id_do_not_wait_for_each_other() -> None:
    async with open_client(None) as (client, transport, _):
        tasks = [
            authorize(client, "1"),
            asyncio.create_task(
                client.authorize_message(office_id="a", message_id="1", called_number=LONDON, segments=1)
            ),
            asyncio.create_task(client.refund_message(office_id="a", message_id="1")),
        ]
        await settle()
        assert names(transport.stream) == ["authorize_call 1", "authorize_message 1"]
        transport.stream.respond(*[granted(operation) for operation in transport.stream.operations])
        await settle()
        transport.stream.respond(granted(transport.stream.operations[-1]))
        await asyncio.gather(*tasks)


async def test_what_is_cancelled_before_it_is_sent_is_not_sent() -> None:
    async with open_client(is_down=True) as (client, transport, clock):
        tasks = [authorize(client, str(n)) for n in range(3)]
        behind = asyncio.create_task(client.answer_call(office_id="a", call_id="1"))
        await settle()
        tasks[0].cancel()
        tasks[1].cancel()
        transport.is_down = False
        await clock.advance(0.2)
        assert sorted(names(transport.stream)) == ["answer_call 1", "authorize_call 2"]
        assert [task.cancelled() for task in tasks] == [True, True, False]
        await behind


async def test_what_is_cancelled_in_flight_is_forgotten_and_holds_up_nothing() -> None:
    async with open_client(None) as (client, transport, _):
        first = authorize(client, "1")
        second = authorize(client, "1")
        await settle()
        first.cancel()
        await settle()
        assert names(transport.stream) == ["authorize_call 1", "authorize_call 1"]
        transport.stream.respond(*[granted(operation) for operation in transport.stream.operations])
        assert (await second).decision == pb.GRANTED
        assert client.live_calls == 1


async def test_an_end_is_told_though_whoever_told_it_is_cancelled() -> None:
    async with open_client(is_down=True) as (client, transport, clock):
        ending = asyncio.create_task(client.end_call(office_id="a", call_id="1", duration_seconds=5))
        refunding = asyncio.create_task(client.refund_message(office_id="a", message_id="m"))
        await settle()
        ending.cancel()
        refunding.cancel()
        await asyncio.gather(ending, refunding, return_exceptions=True)
        transport.is_down = False
        await clock.advance(0.5)
        assert names(transport.stream) == ["end_call 1", "refund_message m"]


async def test_cancelled_at_the_moment_of_the_answer() -> None:
    """An error that comes in the same turn as the cancellation bothers nobody."""
    async with open_client(None) as (client, transport, _):
        for error in (False, True):
            task = authorize(client, "1")
            await settle()
            operation = transport.stream.operations[-1]
            client._operations.answer(failed(operation, "NOT_FOUND") if error else granted(operation))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task


async def test_the_queue_has_a_bound() -> None:
    async with open_client(is_down=True, max_pending=10) as (client, _, clock):
        tasks = [authorize(client, str(n)) for n in range(10)]
        await settle()
        with pytest.raises(ClientBusy, match=r"10 operations are under way.*nothing answers") as caught:
            await authorize(client, "more")
        assert not caught.value.ambiguous
        tasks[0].cancel()
        await settle()
        fits = authorize(client, "fits")
        await settle()
        assert not fits.done()
        await clock.advance(1.1)
        assert all(isinstance(task.exception(), GatewayUnavailable) for task in [*tasks[1:], fits])


async def test_a_request_too_large_costs_nobody_else_the_stream() -> None:
    async with open_client() as (client, transport, _):
        with pytest.raises(InvalidArgument, match=r"100,0.. bytes"):
            await authorize(client, "x" * 100_000)
        with pytest.raises(ValueError, match="deadline_seconds"):
            await authorize(client, "1", deadline_seconds=float("inf"))
        await authorize(client, "1")
        assert names(transport.stream) == ["authorize_call 1"]


async def test_a_client_is_used_while_it_is_open() -> None:
    client = Client("nowhere", "token")
    with pytest.raises(ClientClosed, match="async with"):
        await authorize(client, "1")
    async with open_client() as (client, _, _clock):
        await client.close()
        with pytest.raises(ClientClosed, match="is closed"):
            await authorize(client, "1")
        await client.close()
        with pytest.raises(RuntimeError, match="entered once"):
            await client.__aenter__()
    with pytest.raises(ValueError, match="max_batch"):
        Client("nowhere", "token", max_batch=1)


async def test_closing_lets_what_is_under_way_finish() -> None:
    async with open_client(None) as (client, transport, clock):
        answered, unanswered = authorize(client, "1"), authorize(client, "2", deadline_seconds=50.0)
        await settle()
        closing = asyncio.create_task(client.close(drain_seconds=5.0))
        await settle()
        transport.stream.respond(granted(transport.stream.operations[0]))
        assert (await answered).decision == pb.GRANTED
        assert not closing.done()
        assert not transport.stream.is_half_closed
        await clock.advance(7.0)
        await closing
        assert transport.streams[0].is_closed
        with pytest.raises(ClientClosed) as caught:
            await unanswered
        assert caught.value.ambiguous


async def test_closing_ends_the_stream_well() -> None:
    async with open_client() as (client, transport, _):
        await authorize(client, "1")
        await client.close()
        assert transport.stream.is_half_closed
        assert transport.stream.is_closed
        assert len(transport.streams) == 1

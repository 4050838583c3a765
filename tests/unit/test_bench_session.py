"""The lean load generator of the Session: what it packs by hand, its timer, and what it takes for an answer."""

import asyncio
from collections import deque
from collections.abc import Callable

import pytest

from gateway.v1 import authorization_pb2 as pb
from loadtest.aims import judge
from loadtest.callers import DURATIONS, PREFIXES
from loadtest.processes import BenchError
from loadtest.session_load import MAX_BATCH, Load, Packer, Switch, office_name
from loadtest.yardsticks import EmptyHandler

FIRST, LAST = 128, (1 << 14) - 1
GRANTED = pb.AuthorizeCallResponse(decision=pb.GRANTED, reason=pb.FUNDED)


class Stream:
    """Answers every operation as it is told to, a message for a message."""

    def __init__(self, answer: Callable[[pb.Operation], pb.Result]) -> None:
        self._answer = answer
        self._responses: deque[bytes] = deque()
        self._arrived = asyncio.Event()
        self.operations: list[pb.Operation] = []

    async def write(self, data: bytes) -> None:
        request = pb.SessionRequest.FromString(data)
        assert 0 < len(request.operations) <= MAX_BATCH
        self.operations += request.operations
        response = pb.SessionResponse(results=[self._answer(operation) for operation in request.operations])
        self._responses.append(response.SerializeToString())
        self._arrived.set()
        await asyncio.sleep(0)

    async def read(self) -> bytes:
        while not self._responses:
            self._arrived.clear()
            await self._arrived.wait()
        return self._responses.popleft()


def good(operation: pb.Operation) -> pb.Result:
    if operation.HasField("authorize_call"):
        return pb.Result(tag=operation.tag, authorize_call=GRANTED)
    return pb.Result(tag=operation.tag, end_call=pb.EndCallResponse(debited_micros=7))


def switch(answer: Callable[[pb.Operation], pb.Result] = good) -> tuple[Switch, Stream]:
    stream = Stream(answer)
    return Switch(stream, Packer(offices=3), "test"), stream


@pytest.mark.parametrize("slot", [0, 1, 127, 128, LAST - FIRST])
@pytest.mark.parametrize("prefix", range(len(PREFIXES)))
@pytest.mark.parametrize("digits", [0, 7, 99_999])
def test_packed_by_hand_is_what_protobuf_packs(slot: int, prefix: int, digits: int) -> None:
    a_switch, _ = switch()
    packer, tag, call_id = Packer(offices=2), a_switch._tags[slot], b"x" * 36
    [authorize] = pb.SessionRequest.FromString(packer.authorize(1, prefix, digits, call_id, tag)).operations
    assert authorize == pb.Operation(
        tag=FIRST + slot,
        authorize_call=pb.AuthorizeCallRequest(
            office_id=office_name(1),
            call_id="x" * 36,
            direction=pb.OUTBOUND,
            calling_number="+12125550100",
            called_number=f"{PREFIXES[prefix]}{digits:05}",
            user_id="u-1042",
            department_id="sales",
            switch_id="sbc-1",
        ),
    )
    for index, duration in enumerate(DURATIONS):
        [end] = pb.SessionRequest.FromString(packer.end(0, index, call_id, tag)).operations
        assert end == pb.Operation(
            tag=FIRST + slot,
            end_call=pb.EndCallRequest(
                office_id=office_name(0), call_id="x" * 36, duration_seconds=duration, cause="16"
            ),
        )


def check_calls(operations: list[pb.Operation]) -> int:
    """Each call is authorized once and ended once, by its office; returns how many there were."""
    begun: dict[str, str] = {}
    for operation in operations:
        if operation.HasField("authorize_call"):
            assert operation.authorize_call.call_id not in begun
            begun[operation.authorize_call.call_id] = operation.authorize_call.office_id
    ends = [operation.end_call for operation in operations if operation.HasField("end_call")]
    assert {end.call_id: end.office_id for end in ends} == begun
    assert len(ends) == len(begun)
    return len(ends)


@pytest.mark.parametrize("in_flight", [1, 8, 512])
def test_a_closed_loop_ends_what_it_began(in_flight: int) -> None:
    async def main() -> None:
        a_switch, stream = switch()
        load = await a_switch.run_closed(in_flight, 0.02)
        calls = check_calls(stream.operations)
        assert calls >= in_flight
        assert len(load.latencies) == 2 * calls
        assert sum(a_switch.debited.values()) == 7 * calls

    asyncio.run(main())


def test_an_open_loop_keeps_its_schedule_and_ends_what_it_began() -> None:
    async def main() -> None:
        a_switch, stream = switch()
        load = await a_switch.run_open(500, 0.2)
        calls = check_calls(stream.operations)
        assert len(load.latencies) == len(load.lags) == 100
        assert all(0 <= lag <= latency for lag, latency in zip(sorted(load.lags), sorted(load.latencies), strict=True))
        assert load.seconds >= 99 / 500
        assert sum(a_switch.debited.values()) == 7 * calls
        assert load.to_json()["lag_ms"]["p50"] >= 0

    asyncio.run(main())


def refusing(count: int) -> tuple[list[pb.Operation], Callable[[pb.Operation], pb.Result]]:
    """Answers as a gateway whose store is too slow for the first operations; and which those were."""
    refused: list[pb.Operation] = []

    def answer(operation: pb.Operation) -> pb.Result:
        if len(refused) < count:
            refused.append(operation)
            result = pb.Result(tag=operation.tag)
            result.error.code = 14
            return result
        return good(operation)

    return refused, answer


def test_what_was_not_answered_in_time_is_asked_again_with_the_same_id() -> None:
    refused, answer = refusing(3)

    async def main() -> None:
        a_switch, stream = switch(answer)
        load = await a_switch.run_closed(2, 0.01)
        assert a_switch.retries == 3
        asked = [operation for operation in stream.operations if operation.HasField("authorize_call")]
        assert refused[0] in asked[2:]
        assert len(load.latencies) == len(stream.operations) - 3

    asyncio.run(main())


def test_a_schedule_asks_again_too_and_its_latency_counts_from_the_schedule() -> None:
    refused, answer = refusing(5)

    async def main() -> None:
        a_switch, stream = switch(answer)
        load = await a_switch.run_open(500, 0.2)
        assert load.retries == a_switch.retries == 5
        assert len(load.latencies) == len(load.lags) == 100
        asked = [operation.SerializeToString() for operation in stream.operations]
        assert all(asked.count(operation.SerializeToString()) >= 2 for operation in refused[:1])
        assert len(asked) - 5 == 2 * sum(operation.HasField("end_call") for operation in stream.operations)

    asyncio.run(main())


def denied(operation: pb.Operation) -> pb.Result:
    return pb.Result(tag=operation.tag, authorize_call=pb.AuthorizeCallResponse(reason=pb.INSUFFICIENT_FUNDS))


def another_kind(operation: pb.Operation) -> pb.Result:
    return pb.Result(tag=operation.tag, end_call=pb.EndCallResponse())


def error(operation: pb.Operation) -> pb.Result:
    result = pb.Result(tag=operation.tag)
    result.error.code = 3
    return result


@pytest.mark.parametrize("answer", [denied, another_kind, error])
@pytest.mark.parametrize("open_loop", [False, True])
def test_a_wrong_answer_is_a_failure(answer: Callable[[pb.Operation], pb.Result], open_loop: bool) -> None:
    async def main() -> None:
        a_switch, _ = switch(answer)
        with pytest.raises(BenchError, match="was answered"):
            await (a_switch.run_open(500, 0.1) if open_loop else a_switch.run_closed(4, 0.1))

    asyncio.run(main())


def test_the_empty_stream_answers_every_operation() -> None:
    class Context:
        def __init__(self) -> None:
            self.requests = [
                pb.SessionRequest(
                    operations=[
                        pb.Operation(tag=5, authorize_call=pb.AuthorizeCallRequest()),
                        pb.Operation(tag=6, end_call=pb.EndCallRequest()),
                    ]
                )
            ]
            self.written: list[pb.SessionResponse] = []

        async def read(self) -> pb.SessionRequest | None:
            return self.requests.pop() if self.requests else None

        async def write(self, response: pb.SessionResponse) -> None:
            self.written.append(response)

    context = Context()
    asyncio.run(EmptyHandler().Session(None, context))  # type: ignore[arg-type, abstract]
    [response] = context.written
    assert [(result.tag, result.WhichOneof("result")) for result in response.results] == [
        (5, "authorize_call"),
        (6, "end_call"),
    ]
    assert response.results[0].authorize_call.reason == pb.FUNDED


def test_a_load_without_a_schedule_has_no_lag() -> None:
    assert Load(1.0, [0.001]).to_json()["lag_ms"] is None


def test_the_aims_of_live_calls() -> None:
    judged = judge(
        {
            "session": {
                "levels": [{"in_flight": 8, "ratio_to_raw": {"median": 0.9}}],
                "open_loop": {"p99_ratio": {"median": 2.5}},
            },
            "due": {"ticks_per_second": {"median": 12_000.0}, "ratio_to_raw": {"median": 0.7}},
            "cut_lateness": {"lateness_ms": {"max": 230.0}},
        }
    )
    assert [(aim["measured"], aim["met"]) for aim in judged] == [
        (2.5, False),
        (12_000.0, False),
        (230.0, True),
        (2.5, False),
        (0.7, True),
    ]

"""The Session stream over real gRPC on a real store."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

from gateway.api import sessions
from gateway.api.session import MAX_IN_FLIGHT
from gateway.domain.identity import Identity, hash_secret
from gateway.domain.vocabulary import Role
from gateway.store.directory import PublishedToken, announce_tokens, publish_tokens, put_tokens
from gateway.store.offices import OfficeCache
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from tests.integration.test_authorization import call, message, ready
from tests.support.front import ADMIN, OPERATOR, SWITCH_A, SWITCH_B, Front, metadata, running_front
from tests.support.proxy import FaultProxy
from tests.support.servers import StoreServer

OPERATION_NAMES = {
    pb.AuthorizeCallRequest: "authorize_call",
    pb.AnswerCallRequest: "answer_call",
    pb.TickCallRequest: "tick_call",
    pb.EndCallRequest: "end_call",
    pb.AuthorizeMessageRequest: "authorize_message",
    pb.RefundMessageRequest: "refund_message",
}


class Stream:
    """A Session as a switch would hold one."""

    def __init__(self, front: Front, secret: str = SWITCH_A, *extra: tuple[str, str], stub: Any = None) -> None:
        self._stream: Any = (stub or front.stub).Session(metadata=(*metadata(secret), *extra))
        self.results: dict[int, pb.Result] = {}
        self.commands: list[pb.Command] = []
        self._tag = 0

    async def send(self, *requests: Any) -> list[int]:
        """Send a batch; returns the tags."""
        tags = []
        batch = pb.SessionRequest()
        for request in requests:
            self._tag += 1
            tags.append(self._tag)
            batch.operations.add(tag=self._tag, **{OPERATION_NAMES[type(request)]: request})
        await self._stream.write(batch)
        return tags

    async def raw(self, request: pb.SessionRequest) -> None:
        await self._stream.write(request)

    async def ask(self, *requests: Any) -> list[Any]:
        """Send a batch and wait for all results, in the order of the requests."""
        tags = await self.send(*requests)
        return await self.collect(tags)

    async def collect(self, tags: list[int]) -> list[Any]:
        while not self.results.keys() >= set(tags):
            await self.read()
        taken = [self.results.pop(tag) for tag in tags]
        return [getattr(result, result.WhichOneof("result") or "") for result in taken]

    async def list_calls(self, *calls: tuple[str, str, int], more: bool = False) -> None:
        live = [pb.LiveCall(office_id=office, call_id=call_id, used_seconds=used) for office, call_id, used in calls]
        await self._stream.write(pb.SessionRequest(live_calls=pb.LiveCalls(calls=live, more=more)))

    async def read(self) -> None:
        response = await self._stream.read()
        assert isinstance(response, pb.SessionResponse), response
        for result in response.results:
            assert result.tag not in self.results
            self.results[result.tag] = result
        self.commands.extend(response.commands)

    async def next_command(self) -> pb.Command:
        async with asyncio.timeout(10):
            while not self.commands:
                await self.read()
        return self.commands.pop(0)

    def cancel(self) -> None:
        self._stream.cancel()

    async def close(self) -> None:
        await self._stream.done_writing()
        assert await self._stream.read() is grpc.aio.EOF

    async def fails(self) -> tuple[grpc.StatusCode, str]:
        try:
            while await self._stream.read() is not grpc.aio.EOF:
                pass
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        raise AssertionError("the stream ended well")


def run(
    store: StoreServer, test: Callable[[Front], Awaitable[None]], *, within_seconds: float = 60, **flags: object
) -> None:
    async def main() -> None:
        async with running_front(store.url, **flags) as front:  # type: ignore[arg-type]
            await ready(front)
            async with asyncio.timeout(within_seconds):
                await test(front)

    asyncio.run(main())


def reason_of(error: Any) -> tuple[int, str, str]:
    info = ErrorInfo()
    assert error.details[0].Unpack(info)
    return error.code, info.reason, info.metadata["field"]


def answer(office: str, call_id: str) -> pb.AnswerCallRequest:
    return pb.AnswerCallRequest(office_id=office, call_id=call_id)


def end(office: str, call_id: str, seconds: int) -> pb.EndCallRequest:
    return pb.EndCallRequest(office_id=office, call_id=call_id, duration_seconds=seconds)


def tick(office: str, call_id: str, used: int) -> pb.TickCallRequest:
    return pb.TickCallRequest(office_id=office, call_id=call_id, used_seconds=used)


def test_a_batch_is_answered_in_the_order_of_each_call(valkey: StoreServer) -> None:
    """A whole life in one batch works, since operations on one call keep their order."""

    async def test(front: Front) -> None:
        await front.add_office("a", 10_000_000)
        stream = Stream(front)
        lives = [
            request
            for n in range(20)
            for request in (call("a", str(n)), answer("a", str(n)), tick("a", str(n), 50), end("a", str(n), 61))
        ]
        results = await stream.ask(*lives)
        for granted, answered, ticked, ended in zip(*[iter(results)] * 4, strict=True):
            assert (granted.reason, granted.granted_seconds) == (pb.FUNDED, 60)
            assert answered.granted_seconds == 60
            assert (ticked.granted_seconds, ticked.debited_micros) == (120, 120_000)
            assert (ended.billed_seconds, ended.debited_micros) == (61, 240_000)
        assert await front.available("a") == 10_000_000 - 20 * 240_000
        sent, refunded = await stream.ask(message("a", "m"), pb.RefundMessageRequest(office_id="a", message_id="m"))
        assert (sent.debited_micros, refunded.refunded_micros) == (30_000, 30_000)
        await stream.close()

    run(valkey, test)


def test_decisions_are_counted_wherever_they_are_asked_for(valkey: StoreServer) -> None:
    def counted(operation: str, reason: str) -> float:
        labels = {"operation": operation, "reason": reason}
        return REGISTRY.get_sample_value("tollgate_decisions_total", labels) or 0.0

    async def test(front: Front) -> None:
        await front.add_office("a", 10_000_000)
        asked = [("call", "FUNDED"), ("call", "EMERGENCY"), ("call", "UNKNOWN_OFFICE"), ("message", "FUNDED")]
        before = [counted(*what) for what in asked]
        stream = Stream(front)
        emergency = call("a", "e")
        emergency.called_number = "112"
        requests = [call("a", "c"), emergency, call("nowhere", "c"), message("a", "m")]
        for _ in range(2):
            await stream.ask(*requests)
        await stream.close()
        # An emergency is granted each time anew, and an office that is none keeps nothing; the others are replays.
        assert [counted(*what) - was for what, was in zip(asked, before, strict=True)] == [1, 2, 2, 1]

    run(valkey, test)


def test_errors_are_of_the_operation(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 10_000_000)
        stream = Stream(front)
        bad, unknown, foreign, good = await stream.ask(
            call("a", "x" * 200), answer("a", "never"), end("nobody", "1", 1), call("a", "1")
        )
        assert reason_of(bad) == (grpc.StatusCode.INVALID_ARGUMENT.value[0], "INVALID_ARGUMENT", "call_id")
        assert reason_of(unknown)[:2] == (grpc.StatusCode.NOT_FOUND.value[0], "CALL_NOT_FOUND")
        assert reason_of(foreign)[:2] == (grpc.StatusCode.NOT_FOUND.value[0], "CALL_NOT_FOUND")
        assert good.reason == pb.FUNDED
        await stream.raw(pb.SessionRequest(operations=[pb.Operation(tag=77)]))
        (empty,) = await stream.collect([77])
        assert reason_of(empty)[2] == "operation"
        twice = [
            pb.Operation(tag=9, authorize_call=call("a", "t1")),
            pb.Operation(tag=9, authorize_call=call("a", "t2")),
        ]
        await stream.raw(pb.SessionRequest(operations=twice))
        seen: list[pb.Result] = []
        while len(seen) < 2:
            response = await stream._stream.read()
            seen.extend(response.results)
        assert sorted(result.WhichOneof("result") or "" for result in seen) == ["authorize_call", "error"]
        await stream.close()

    run(valkey, test)


def test_a_thousand_operations_on_one_call_end_one_after_the_other(valkey: StoreServer) -> None:
    """Each begins where the one before ends, whether that ends at once or waits for the store."""

    async def test(front: Front) -> None:
        await front.add_office("a", 10_000_000)
        stream = Stream(front)
        wrong = await stream.ask(*[tick("a", "1", -1)] * 1_000)
        assert {reason_of(each)[2] for each in wrong} == {"used_seconds"}
        granted, *ticked, ended = await stream.ask(
            call("a", "1"), *[tick("a", "1", used) for used in (*[-1] * 499, *range(1, 500))], end("a", "1", 61)
        )
        assert (granted.reason, ended.debited_micros) == (pb.FUNDED, 240_000)
        assert [each.debited_micros for each in ticked[499:]] == [-(-used // 60) * 120_000 for used in range(1, 500)]
        await stream.close()

    run(valkey, test)


def test_functions_that_the_store_lost_are_loaded_again(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 10_000_000)
        stream = Stream(front)
        for turn in range(3):
            await front.connection.ask("FUNCTION", "FLUSH", "SYNC")
            results = await stream.ask(*[each for n in range(10) for each in (call("a", f"{turn}-{n}"),) * 2])
            assert [(each.reason, each.replayed) for each in results] == [(pb.FUNDED, False), (pb.FUNDED, True)] * 10
        assert await front.available("a") == 10_000_000 - 30 * 120_000
        await stream.close()

    run(valkey, test)


@pytest.mark.parametrize("fault", ["cut_before_send", "cut_after_send", "stall"])
def test_a_store_that_does_not_answer_is_the_operations_error(valkey: StoreServer, fault: str) -> None:
    """The stream goes on; the same ids find out what happened."""

    async def test() -> None:
        proxy = FaultProxy((valkey.host, valkey.port))
        async with proxy, running_front(valkey.url, via=proxy.url, store_timeout_ms=100) as front:
            await ready(front)
            await front.add_office("a", 10_000_000)
            stream = Stream(front)
            async with asyncio.timeout(30):
                await stream.ask(call("a", "first"))
                getattr(proxy, fault)()
                # Whether it met the batch or the front's own questions beside it, the answer is one of two.
                lives = [call("a", str(n)) for n in range(20)]
                for result in await stream.ask(*lives, *[answer("a", str(n)) for n in range(20)]):
                    assert not hasattr(result, "details") or reason_of(result)[1] in {
                        "STORE_UNAVAILABLE",
                        "CALL_NOT_FOUND",
                    }
                proxy.resume()
                await proxy.fault_happened()
                replays = await stream.ask(*lives)
                while any(hasattr(each, "details") for each in replays):
                    replays = await stream.ask(*lives)
                replays = await stream.ask(*lives)
                assert [(each.reason, each.replayed) for each in replays] == [(pb.FUNDED, True)] * 20
                assert await front.available("a") == 10_000_000 - 21 * 120_000
                await stream.close()

    asyncio.run(test())


def test_a_batch_too_large_ends_the_stream_and_changes_nothing(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 10_000_000)
        other = Stream(front)
        stream = Stream(front)
        await stream.send(*[call("a", str(n)) for n in range(1_001)])
        code, text = await stream.fails()
        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert text.startswith("operations: has 1001 entries")
        huge = Stream(front)
        await huge.send(*[call("a", str(n)) for n in range(100_000)])
        code, _ = await huge.fails()
        assert code in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT)
        (granted,) = await other.ask(call("a", "1"))
        assert granted.reason == pb.FUNDED
        assert await front.available("a") == 10_000_000 - 120_000
        await other.close()

    run(valkey, test)


def test_who_may_open_one(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 1_000_000)
        await front.add_office("b", 1_000_000)
        assert (await Stream(front, "wrong").fails())[0] is grpc.StatusCode.UNAUTHENTICATED
        assert (await Stream(front, ADMIN).fails())[0] is grpc.StatusCode.PERMISSION_DENIED
        code, text = await Stream(front, OPERATOR).fails()
        assert (code, text.split(":")[0]) == (grpc.StatusCode.INVALID_ARGUMENT, "x-switch-id")
        operator = Stream(front, OPERATOR, ("x-switch-id", "switch-a"))
        (granted,) = await operator.ask(call("b", "1"))
        assert granted.reason == pb.FUNDED
        record = await front.store.read_call("b", "1")
        assert record is not None
        assert (record.switch_id, record.ticked_by_gateway) == ("switch-a", True)  # type: ignore[union-attr]
        other = Stream(front, SWITCH_B)
        denied, foreign, emergency = await other.ask(call("a", "9"), end("b", "1", 5), call("a", "sos", "911"))
        assert reason_of(denied)[1] == "PERMISSION_DENIED"
        assert reason_of(foreign)[1] == "PERMISSION_DENIED"
        assert emergency.reason == pb.EMERGENCY
        await operator.close()
        await other.close()

    run(valkey, test)


def test_a_client_that_does_not_read_is_not_read_from(valkey: StoreServer) -> None:
    """Its own stream waits; memory stays bounded and others do not notice."""

    async def test(front: Front) -> None:
        await front.add_office("a", 10**14)
        # Without probing for bandwidth the client takes no more than 64 KiB that nobody reads.
        small = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{front.port}", options=small)
        deaf, other = Stream(front, stub=CallAuthorizationStub(channel)), Stream(front)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for batch in range(400):
                await deaf.send(*[call("a", f"{batch}-{n}") for n in range(500)])
                sent += 500

        flooding = asyncio.create_task(flood())
        # On a busy machine the others may be answered before the flood has got anywhere: go on until it stands still.
        n = since = before = 0
        while n < 50 or since < 20:
            (granted,) = await other.ask(call("a", f"other-{n}"))
            assert granted.reason == pb.FUNDED
            since = since + 1 if 0 < before == sent else 0
            n, before = n + 1, sent
        flooding.cancel()
        await asyncio.gather(flooding, return_exceptions=True)
        accepted = await front.store.read_office("a")
        assert accepted is not None
        # The rest waits in the transport's own bounded windows.
        assert accepted.concurrent_calls - n < min(sent, 3 * MAX_IN_FLIGHT)
        deaf.cancel()
        await channel.close()
        await other.close()

    run(valkey, test)


def test_live_calls_say_what_is_unknown(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 10_000_000)
        await front.add_office("b", 10_000_000)
        stream = Stream(front)
        await stream.ask(call("a", "1"), call("a", "2"), answer("a", "1"), end("a", "2", 5))
        await stream.list_calls(("a", "1", 30), ("a", "2", 40), ("a", "never", 9), ("nobody", "1", 9))
        commands = {
            (command.office_id, command.call_id): command for command in [await stream.next_command() for _ in range(3)]
        }
        assert commands["a", "2"].cut_call.reason == pb.FINAL_REASON_ENDED
        assert commands["a", "never"].WhichOneof("command") == "unknown_call"
        assert commands["nobody", "1"].WhichOneof("command") == "unknown_call"
        record = await front.store.read_call("a", "1")
        assert record is not None
        assert (record.confirmed_seconds, record.debited_micros) == (30, 0)  # type: ignore[union-attr]
        bad = Stream(front)
        await bad.list_calls(("a", "1", 86_401))
        assert (await bad.fails())[0] is grpc.StatusCode.INVALID_ARGUMENT
        await stream.close()

    run(valkey, test)


def test_a_list_moves_nothing_of_calls_that_are_not_the_switchs(valkey: StoreServer) -> None:
    """Foreign, in an office that it may not use, made up: unknown, all of them, and nothing says which it was."""

    async def test(front: Front) -> None:
        for office in ("a", "b"):
            await front.add_office(office, 10_000_000)
        owner, nosy = Stream(front), Stream(front, SWITCH_B)
        calls = (("a", "1"), ("b", "1"))
        await owner.ask(*[request for each in calls for request in (call(*each), answer(*each))])
        before = [await front.store.read_call(*each) for each in calls]
        await nosy.list_calls(("a", "1", 70), ("b", "1", 70), ("b", "never", 70))
        commands = [await nosy.next_command() for _ in range(3)]
        assert {each.WhichOneof("command") for each in commands} == {"unknown_call"}
        assert [await front.store.read_call(*each) for each in calls] == before
        (ended,) = await owner.ask(end("b", "1", 61))
        assert ended.debited_micros == 240_000
        assert not owner.commands
        await owner.close()
        await nosy.close()

    run(valkey, test)


def test_used_seconds_that_run_backwards_change_nothing(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 10_000_000)
        stream, other = Stream(front), Stream(front)
        await stream.ask(call("a", "1"), answer("a", "1"), tick("a", "1", 50))
        await stream.list_calls(("a", "1", 40))
        (ticked,) = await stream.ask(tick("a", "1", 20))
        assert (ticked.granted_seconds, ticked.debited_micros) == (120, 120_000)
        record = await front.store.read_call("a", "1")
        assert record is not None
        assert (record.used_seconds, record.confirmed_seconds) == (50, 50)  # type: ignore[union-attr]
        await stream.list_calls(("a", "1", -1))
        assert (await stream.fails())[0] is grpc.StatusCode.INVALID_ARGUMENT
        (ended,) = await other.ask(end("a", "1", 50))
        assert ended.debited_micros == 120_000
        await other.close()

    run(valkey, test)


def test_a_switch_that_opens_too_many_sessions(valkey: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ones beyond the limit are told so; those that are open, and other switches, do not notice."""
    monkeypatch.setattr(sessions, "MAX_SESSIONS_OF_A_SWITCH", 50)

    async def test(front: Front) -> None:
        await front.add_office("a", 10_000_000)
        await front.add_office("b", 10_000_000)
        streams = [Stream(front) for _ in range(50)]
        await asyncio.gather(*[stream.ask(call("a", str(n))) for n, stream in enumerate(streams)])
        for _ in range(20):
            code, text = await Stream(front).fails()
            assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "Sessions" in text
        other = Stream(front, SWITCH_B)
        (granted,) = await other.ask(call("b", "1"))
        assert granted.reason == pb.FUNDED
        ends = await asyncio.gather(*[stream.ask(end("a", str(n), 5)) for n, stream in enumerate(streams)])
        assert [ended.billed_seconds for (ended,) in ends] == [5] * 50
        await streams.pop().close()
        again = Stream(front)
        (granted,) = await again.ask(call("a", "again"))
        assert granted.reason == pb.FUNDED
        for stream in (*streams, again, other):
            await stream.close()

    run(valkey, test)


@pytest.mark.slow
def test_ten_thousand_sessions_of_one_switch(valkey: StoreServer) -> None:
    """They are held, answered, and do not keep another switch waiting."""

    async def test(front: Front) -> None:
        await front.add_office("a", 10**12)
        await front.add_office("b", 10_000_000)
        other = Stream(front, SWITCH_B)
        streams: list[Stream] = []
        for began in range(0, 10_000, 500):
            batch = [Stream(front) for _ in range(500)]
            asked = asyncio.gather(*[stream.ask(call("a", f"{began + n}")) for n, stream in enumerate(batch)])
            granted, _ = await other.ask(call("b", str(began)), end("b", str(began), 0))
            assert granted.reason == pb.FUNDED
            assert {granted.reason for (granted,) in await asked} == {pb.FUNDED}
            streams += batch
        for stream in streams:
            stream.cancel()
        await other.close()

    run(valkey, test, within_seconds=300)


def test_an_emergency_call_on_a_list_is_never_unknown(valkey: StoreServer) -> None:
    """Not even in an office that is not the switch's: unknown might be taken for a reason to hang up."""

    async def test(front: Front) -> None:
        await front.add_office("a", 10_000_000)
        stream = Stream(front, SWITCH_B)
        (granted,) = await stream.ask(call("a", "sos", "911"))
        assert granted.reason == pb.EMERGENCY
        await stream.list_calls(("a", "sos", 30), ("a", "never", 9))
        command = await stream.next_command()
        assert (command.call_id, command.WhichOneof("command")) == ("never", "unknown_call")
        await stream.close()
        assert not stream.commands

    run(valkey, test)


def test_commands_reach_every_session_of_the_switch(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 120_000)
        first, second, foreign = Stream(front), Stream(front), Stream(front, SWITCH_B)
        await first.ask(call("a", "1"), answer("a", "1"))
        await second.ask(call("a", "nothing-left"))
        await foreign.ask(call("b", "none"))
        async with running_front(valkey.url, flush=False) as elsewhere:
            await ready(elsewhere)
            third = Stream(elsewhere)
            await third.ask(call("a", "nothing-left-either"))
            office = await _office(front)
            assert (await front.store.cut_call(office, "1", forced=True)).code == 26
            got = [await stream.next_command() for stream in (first, second, third)]
            assert {command.WhichOneof("command") for command in got} == {"cut_call"}
            assert len({command.command_id for command in got}) == 1
            assert not foreign.commands
            await third.close()
        await first.close()

    run(valkey, test)


async def _office(front: Front) -> Any:
    office = await OfficeCache(front.connection).get("a")
    assert office is not None
    return office


def test_an_expired_token_ends_the_session(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 1_000_000)
        expires_at_ms = time.time_ns() // 1_000_000 + 1_500
        identity = Identity(Role.SWITCH, "short", office_ids=frozenset({"*"}), switch_id="switch-c")
        await put_tokens(front.connection, {hash_secret("tg_short"): PublishedToken(identity, expires_at_ms)})
        await announce_tokens(front.connection)
        stream, other = Stream(front, "tg_short"), Stream(front)
        [granted] = await stream.ask(call("a", "c1"))
        assert granted.decision == pb.GRANTED
        async with asyncio.timeout(20):
            code, _ = await stream.fails()
        assert code is grpc.StatusCode.UNAUTHENTICATED
        late_ms = time.time_ns() // 1_000_000 - expires_at_ms
        assert 0 <= late_ms < 5_000, "it is looked at twice a second; the rest is for a busy machine"
        [granted] = await other.ask(call("a", "c2"))
        assert granted.decision == pb.GRANTED, "nobody else is concerned"

    run(valkey, test)


def test_a_switch_that_asks_too_much_is_refused_and_no_other(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 10_000_000)
        await front.add_office("b", 10_000_000)
        greedy, modest = Stream(front, SWITCH_A), Stream(front, SWITCH_B)
        # Twice the rate at once, in any number of batches; what settles has its own measure.
        await greedy.ask(*[call("a", f"c{n}") for n in range(6)])
        tags = await greedy.send(
            *[call("a", f"d{n}") for n in range(10)],
            pb.AnswerCallRequest(office_id="a", call_id="c0"),
            call("a", "e", "911"),
            pb.EndCallRequest(office_id="a", call_id="c0"),
        )
        *tried, answered, emergency, ended = await greedy.collect(tags)
        refused = [each for each in tried if isinstance(each, Status)]
        assert len(tried) - len(refused) <= 3, "2 that are left, and what has come since on a slow machine"
        assert isinstance(answered, Status)
        for each in refused:
            assert each.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
            info, hint = ErrorInfo(), RetryInfo()
            assert each.details[0].Unpack(info)
            assert each.details[1].Unpack(hint)
            assert (info.reason, info.domain) == ("RATE_LIMITED", "tollgate")
            assert 0 < hint.retry_delay.ToTimedelta().total_seconds() <= 0.25
        assert emergency.reason == pb.EMERGENCY
        assert ended.billed_seconds == 0
        [granted] = await modest.ask(call("b", "c1"))
        assert granted.decision == pb.GRANTED
        [by_operator] = await Stream(front, OPERATOR, ("x-switch-id", "switch-a")).ask(call("a", "op"))
        assert by_operator.decision == pb.GRANTED
        # The same by itself, in a status.
        unary = [front.stub.AuthorizeCall(call("a", f"u{n}"), metadata=metadata(SWITCH_A)) for n in range(50)]
        answers = await asyncio.gather(*unary, return_exceptions=True)
        codes = {each.code() for each in answers if isinstance(each, grpc.aio.AioRpcError)}
        assert codes == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        spared = await front.stub.AuthorizeCall(call("a", "e2", "112"), metadata=metadata(SWITCH_A))
        assert spared.reason == pb.EMERGENCY

    run(valkey, test, switch_operations_per_second=4)


def test_a_revoked_token_ends_the_session(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 1_000_000)
        stream, other = Stream(front), Stream(front, OPERATOR, ("x-switch-id", "switch-a"))
        (granted,) = await stream.ask(call("a", "1"))
        assert granted.reason == pb.FUNDED
        await publish_tokens(front.connection, {})
        code, _ = await stream.fails()
        assert code is grpc.StatusCode.UNAUTHENTICATED
        (ended,) = await other.ask(end("a", "1", 5))
        assert ended.billed_seconds == 5
        await other.close()

    run(valkey, test)


def test_a_drain_answers_what_is_begun(valkey: StoreServer) -> None:
    async def test(front: Front) -> None:
        await front.add_office("a", 10_000_000)
        stream = Stream(front)
        await stream.ask(call("a", "first"))
        await front.connection.ask("CLIENT", "PAUSE", 300, "ALL")
        tags = await stream.send(*[call("a", str(n)) for n in range(20)])
        await health_pb2_grpc.HealthStub(front.channel).Check(health_pb2.HealthCheckRequest())
        front.stop.set()
        assert [answer.reason for answer in await stream.collect(tags)] == [pb.FUNDED] * 20
        code, _ = await stream.fails()
        assert code is grpc.StatusCode.UNAVAILABLE
        assert await front.task
        assert await front.available("a") == 10_000_000 - 21 * 120_000

    run(valkey, test, store_timeout_ms=5_000)

"""gateway.client against a real front on a real store: broken streams, restarts, lost calls, cancellation."""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import grpc
import grpc.aio
import pytest

from examples.switch import Switch
from gateway.api.authorization_servicer import SERVICE
from gateway.api.runner import status_of
from gateway.client import (
    AlreadyExists,
    Client,
    CutCall,
    FailureHandling,
    GatewayUnavailable,
    InvalidArgument,
    LinkTimes,
    LiveCall,
    NotFound,
    PermissionDenied,
    Unauthenticated,
    UnknownCall,
)
from gateway.client.transport import GrpcTransport, Stream, StreamBroken
from gateway.errors import Unavailable
from gateway.store.offices import OfficeCache
from gateway.store.records import CallRecord
from gateway.v1 import authorization_pb2 as pb
from tests.integration.test_authorization import LONDON, ready
from tests.support.front import ADMIN, OPERATOR, SWITCH_A, SWITCH_B, Front, running_front
from tests.support.proxy import FaultProxy
from tests.support.servers import StoreServer

FUNDS = 10**12
MINUTE, SMS = 120_000, 30_000
ROOT = Path(__file__).parents[2]
PATIENT: dict[str, Any] = {"deadline_seconds": 30.0, "times": LinkTimes(stall_seconds=2.0)}
"""For what must succeed on a machine that is slow."""


class Counting(GrpcTransport):
    """Counts the messages that are sent."""

    def __init__(self, target: str) -> None:
        super().__init__(target, SWITCH_A, None, None)
        self.batches: list[int] = []

    async def connect(self, limit_seconds: float) -> Stream:
        stream: Any = await super().connect(limit_seconds)
        write = stream.write

        async def counted(request: pb.SessionRequest) -> None:
            self.batches.append(len(request.operations))
            await write(request)

        stream.write = counted
        return stream  # type: ignore[no-any-return]


@asynccontextmanager
async def gateway(store: StoreServer, **flags: Any) -> AsyncIterator[Front]:
    async with running_front(store.url, **flags) as front:
        await ready(front)
        yield front


@asynccontextmanager
async def behind_proxy(store: StoreServer) -> AsyncIterator[tuple[Front, FaultProxy]]:
    async with gateway(store) as front:
        await front.add_office("a", FUNDS)
        async with FaultProxy(("127.0.0.1", front.port)) as proxy:
            yield front, proxy


def client_of(port: int, **options: Any) -> Client:
    return Client(f"127.0.0.1:{port}", SWITCH_A, random=Random(1), **options)


async def authorize(client: Client, call_id: str, **options: Any) -> pb.AuthorizeCallResponse:
    return await client.authorize_call(
        **{"office_id": "a", "call_id": call_id, "direction": pb.OUTBOUND, "called_number": LONDON, **options}
    )


async def life(client: Client, call_id: str, seconds: int = 61) -> int:
    """A whole call; returns what it cost."""
    assert (await authorize(client, call_id)).reason == pb.FUNDED
    if seconds:
        assert not (await client.answer_call(office_id="a", call_id=call_id)).ended
    ended = await client.end_call(office_id="a", call_id=call_id, duration_seconds=seconds)
    assert ended.billed_seconds == seconds
    return ended.debited_micros


async def books(front: Front) -> tuple[int, int, int]:
    """Balance, reserved, and live debited calls of the office."""
    office = await front.store.read_office("a")
    assert office is not None
    return office.balance_micros, office.reserved_micros, office.concurrent_calls


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110  # the store tells nobody
            await asyncio.sleep(0.01)


async def test_a_thousand_concurrent_calls_share_messages(valkey: StoreServer) -> None:
    async with gateway(valkey) as front:
        await front.add_office("a", FUNDS)
        transport = Counting(f"127.0.0.1:{front.port}")
        async with Client("", "", transport=transport, **PATIENT) as client:
            await client.wait_connected()
            transport.batches.clear()
            costs = await asyncio.gather(*[life(client, str(n)) for n in range(1_000)])
        assert costs == [2 * MINUTE] * 1_000
        assert sum(transport.batches) >= 3_000
        assert transport.batches[0] == 1_000
        # Answers and ends go out as the results before them come in, in whatever portions the front sends these.
        assert len(transport.batches) < 1_000
        assert await books(front) == (FUNDS - 1_000 * 2 * MINUTE, 0, 0)


async def test_every_operation_and_its_errors(valkey: StoreServer) -> None:
    async with gateway(valkey) as front:
        await front.add_office("a", FUNDS)
        async with client_of(front.port, **PATIENT) as client:
            quoted = await client.quote_call(
                office_id="a", direction=pb.OUTBOUND, called_number=LONDON, duration_seconds=61
            )
            assert (quoted.reason, quoted.price_micros) == (pb.FUNDED, 2 * MINUTE)
            assert (await authorize(client, "1", requested_seconds=120)).granted_seconds == 120
            assert (await authorize(client, "1", requested_seconds=120)).replayed
            await client.answer_call(office_id="a", call_id="1")
            ticked = await client.tick_call(office_id="a", call_id="1", used_seconds=61)
            assert ticked.debited_micros == 2 * MINUTE
            ended = await client.end_call(office_id="a", call_id="1", duration_seconds=121, cause="BYE")
            assert ended.debited_micros == 3 * MINUTE
            assert (await authorize(client, "1", requested_seconds=120)).reason == pb.CALL_ENDED
            with pytest.raises(AlreadyExists) as taken:
                await client.end_call(office_id="a", call_id="1", duration_seconds=5)
            assert (taken.value.reason, taken.value.field) == ("CALL_ENDED", "duration_seconds")
            with pytest.raises(NotFound) as unknown:
                await client.end_call(office_id="a", call_id="never", duration_seconds=5)
            assert unknown.value.reason == "CALL_NOT_FOUND"
            with pytest.raises(InvalidArgument) as wrong:
                await authorize(client, "x" * 200)
            assert (wrong.value.field, wrong.value.code) == ("call_id", "INVALID_ARGUMENT")
            priced = await client.quote_message(office_id="a", called_number=LONDON, segments=2)
            assert priced.price_micros == 2 * SMS
            sent = await client.authorize_message(office_id="a", message_id="m", called_number=LONDON, segments=2)
            assert sent.debited_micros == 2 * SMS
            assert (await client.refund_message(office_id="a", message_id="m")).refunded_micros == 2 * SMS
            emergency = await authorize(client, "sos", called_number="911")
            assert (emergency.reason, emergency.granted_seconds) == (pb.EMERGENCY, 86_400)
            await client.end_call(office_id="a", call_id="sos", duration_seconds=30)
            assert client.live_calls == 0
        assert await books(front) == (FUNDS - 3 * MINUTE, 0, 0)


async def test_who_is_let_in(valkey: StoreServer) -> None:
    async with gateway(valkey) as front:
        await front.add_office("b", FUNDS)
        target = f"127.0.0.1:{front.port}"
        for token, kind in (("wrong", Unauthenticated), (ADMIN, PermissionDenied), (OPERATOR, InvalidArgument)):
            async with Client(target, token) as client:
                with pytest.raises(kind):
                    await client.wait_connected()
                with pytest.raises(kind):
                    await authorize(client, "1")
        async with Client(target, SWITCH_B) as client:
            with pytest.raises(PermissionDenied):
                await authorize(client, "1")
            assert (await authorize(client, "1", office_id="b")).reason == pb.FUNDED
        async with Client(target, OPERATOR, switch_id="switch-b") as client:
            await client.answer_call(office_id="b", call_id="1")
            record = await front.store.read_call("b", "1")
            assert isinstance(record, CallRecord)
            assert record.switch_id == "switch-b"


async def test_broken_streams_lose_and_repeat_nothing(valkey: StoreServer) -> None:
    """Whatever breaks whenever: each call and message is decided once, and the books are right."""
    async with behind_proxy(valkey) as (front, proxy), client_of(proxy.port, **PATIENT) as client:
        random = Random(7)
        done = asyncio.Event()

        async def break_things() -> None:
            while not done.is_set():
                skip = random.randrange(6)
                fault = random.choice(("before", "after", "stall", "reset"))
                if fault == "before":
                    proxy.cut_before_send(skip=skip)
                elif fault == "after":
                    proxy.cut_after_send(skip=skip)
                elif fault == "stall":
                    proxy.stall(skip=skip)
                else:
                    proxy.cut_all()
                await asyncio.sleep(random.uniform(0.02, 0.25))

        async def message(n: int) -> int:
            sent = await client.authorize_message(office_id="a", message_id=str(n), called_number=LONDON, segments=1)
            assert sent.debited_micros == SMS
            return sent.debited_micros

        async def later(n: int, work: Callable[[int], Awaitable[int]]) -> int:
            await asyncio.sleep(n * 0.004)
            return await work(n)

        breaking = asyncio.create_task(break_things())
        lives = [later(n, lambda n: life(client, str(n), 61 if n % 3 else 0)) for n in range(300)]
        texts = [later(n, message) for n in range(300)]
        costs = await asyncio.gather(*lives, *texts)
        done.set()
        await breaking
        assert proxy.faults + proxy.connections > 5
        assert sum(costs) == 200 * 2 * MINUTE + 300 * SMS
        assert await books(front) == (FUNDS - sum(costs), 0, 0)
        assert client.live_calls == 0


@pytest.mark.parametrize("fault", ["cut_before_send", "cut_after_send", "stall"])
async def test_the_last_dollar_is_spent_once_over_a_broken_stream(valkey: StoreServer, fault: str) -> None:
    async with gateway(valkey) as front:
        await front.add_office("a", 37 * MINUTE)
        async with FaultProxy(("127.0.0.1", front.port)) as proxy, client_of(proxy.port, **PATIENT) as client:
            await client.wait_connected()
            getattr(proxy, fault)()
            decisions = await asyncio.gather(*[authorize(client, str(n)) for n in range(100)])
            await proxy.fault_happened()
            assert [each.decision for each in decisions].count(pb.GRANTED) == 37
            assert proxy.connections >= 2
            assert await books(front) == (37 * MINUTE, 37 * MINUTE, 37)


async def test_a_front_that_restarts_is_waited_for(valkey: StoreServer) -> None:
    async with gateway(valkey) as _, FaultProxy(("127.0.0.1", 1)) as proxy, client_of(proxy.port, **PATIENT) as client:
        costs: list[asyncio.Task[int]] = []
        async with gateway(valkey) as first:
            await first.add_office("a", FUNDS)
            proxy._target = ("127.0.0.1", first.port)
            await client.wait_connected(limit_seconds=20)
            costs += [asyncio.create_task(life(client, f"1-{n}")) for n in range(100)]
        # It has drained and is gone, and the client has noticed at the latest when this is refused.
        costs += [asyncio.create_task(life(client, f"2-{n}")) for n in range(100)]
        await asyncio.sleep(0.1)
        async with gateway(valkey, flush=False) as second:
            proxy._target = ("127.0.0.1", second.port)
            costs += [asyncio.create_task(life(client, f"3-{n}")) for n in range(100)]
            assert await asyncio.gather(*costs) == [2 * MINUTE] * 300
            assert await books(second) == (FUNDS - 300 * 2 * MINUTE, 0, 0)


async def test_a_rolling_restart_fails_no_call_even_without_retries(valkey: StoreServer) -> None:
    """A front that drains is left in time: nothing that was sent to it goes without its answer."""
    async with gateway(valkey) as second:
        await second.add_office("a", FUNDS)
        options = {**PATIENT, "times": LinkTimes(stall_seconds=10.0), "failure_handling": FailureHandling.TERMINATE}
        async with FaultProxy(("127.0.0.1", 1)) as proxy:
            lives: list[asyncio.Task[int]] = []
            async with gateway(valkey, flush=False) as first:
                proxy._target = ("127.0.0.1", first.port)
                client = client_of(proxy.port, **options)
                await client.__aenter__()
                await client.wait_connected(limit_seconds=20)
                stopped = asyncio.Event()

                async def call_on() -> None:
                    n = 0
                    while not stopped.is_set():
                        lives.extend(asyncio.create_task(life(client, f"{n}-{m}")) for m in range(5))
                        n += 1
                        await asyncio.sleep(0.01)

                calling = asyncio.create_task(call_on())
                await asyncio.sleep(0.2)
                proxy._target = ("127.0.0.1", second.port)
            await asyncio.sleep(0.2)
            stopped.set()
            await calling
            assert await asyncio.gather(*lives) == [2 * MINUTE] * len(lives)
            assert len(lives) > 50
            assert proxy.connections == 2
            assert await books(second) == (FUNDS - len(lives) * 2 * MINUTE, 0, 0)
            await client.close()


async def stopping(_: Any, context: Any) -> None:
    """End a Session as a front does that stops."""
    status = status_of(Unavailable("This gateway is stopping.", reason="STOPPING")).SerializeToString()
    await context.abort(grpc.StatusCode.UNAVAILABLE, "stopping", (("grpc-status-details-bin", status),))


async def write_for_ever(stream: Stream) -> None:
    """The loop is held up again and again, so that it finds the end of the stream together with a write that failed."""
    while True:
        await stream.write(pb.SessionRequest())
        time.sleep(0.005)  # noqa: ASYNC251  # to hold the loop up is what it is for


async def test_a_write_that_fails_as_the_front_stops_does_not_hide_why() -> None:
    """grpc.aio puts INTERNAL in the place of the status that came; what is owed would then count as perhaps done."""
    server = grpc.aio.server()
    session = grpc.stream_stream_rpc_method_handler(
        stopping, pb.SessionRequest.FromString, pb.SessionResponse.SerializeToString
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(SERVICE, {"Session": session})])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        for _ in range(20):
            stream = await GrpcTransport(f"127.0.0.1:{port}", "", None, None).connect(5.0)
            with pytest.raises(StreamBroken) as broken:
                await write_for_ever(stream)
            assert (broken.value.code, broken.value.reason) == ("UNAVAILABLE", "STOPPING")
            await stream.close()
    finally:
        await server.stop(None)


async def test_live_calls_confirm_what_was_used(valkey: StoreServer) -> None:
    async with gateway(valkey) as front:
        await front.add_office("a", FUNDS)
        used = {"1": 0, "2": 7}
        hook = lambda: [LiveCall("a", call_id, seconds) for call_id, seconds in used.items()]  # noqa: E731
        async with client_of(front.port, live_calls=hook, times=LinkTimes(live_calls_seconds=0.05)) as client:
            await authorize(client, "1")
            await authorize(client, "2")
            await client.answer_call(office_id="a", call_id="2")

            async def is_confirmed(call_id: str, seconds: int) -> bool:
                record = await front.store.read_call("a", call_id)
                return isinstance(record, CallRecord) and record.confirmed_seconds == seconds

            await until(lambda: is_confirmed("2", 7))
            used["1"] = 3
            await until(lambda: is_confirmed("1", 3))


async def test_calls_that_the_store_lost_are_made_known_again(valkey: StoreServer) -> None:
    """The store lost everything and another front took over: those who talk go on, and are billed whole."""
    async with FaultProxy(("127.0.0.1", 1)) as proxy:
        times = LinkTimes(stall_seconds=2.0, live_calls_seconds=0.3)
        async with client_of(proxy.port, deadline_seconds=30.0, times=times) as client:
            async with gateway(valkey) as first:
                await first.add_office("a", FUNDS)
                proxy._target = ("127.0.0.1", first.port)
                await asyncio.gather(*[authorize(client, str(n)) for n in range(50)])
                await asyncio.gather(*[client.answer_call(office_id="a", call_id=str(n)) for n in range(40)])
            async with running_front(valkey.url, flush=True) as second:
                await second.add_office("a", 30 * MINUTE)
                await ready(second)
                proxy._target = ("127.0.0.1", second.port)

                async def all_are_known() -> bool:
                    return await books(second) == (30 * MINUTE, 30 * MINUTE, 30)

                # Funds are there for 30 of them; the others are handed on.
                await until(all_are_known)
                refused = set()
                async for command in client.commands():
                    assert isinstance(command, UnknownCall)
                    assert command.reason == pb.INSUFFICIENT_FUNDS
                    refused.add(command.call_id)
                    if len(refused) == 20:
                        break
                for call_id in refused:
                    with pytest.raises(NotFound):
                        await client.end_call(office_id="a", call_id=call_id, duration_seconds=1)
                known = [str(n) for n in range(50) if str(n) not in refused]
                for call_id in known:
                    record = await second.store.read_call("a", call_id)
                    assert isinstance(record, CallRecord)
                    ended = await client.end_call(office_id="a", call_id=call_id, duration_seconds=9)
                    assert ended.debited_micros == MINUTE
                assert await books(second) == (0, 0, 0)


async def test_calls_that_went_on_without_a_gateway_are_billed_when_it_is_back(valkey: StoreServer) -> None:
    async with gateway(valkey) as front, FaultProxy(("127.0.0.1", front.port)) as proxy:
        await front.add_office("a", FUNDS)
        proxy.refuse()
        times = LinkTimes(stall_seconds=2.0, live_calls_seconds=0.3)
        options: dict[str, Any] = {"failure_handling": FailureHandling.CONTINUE, "deadline_seconds": 0.2}
        async with client_of(proxy.port, times=times, **options) as client:
            for call_id in ("short", "long"):
                continued = await authorize(client, call_id)
                assert (continued.decision, continued.reason) == (pb.GRANTED, pb.REASON_UNSPECIFIED)
                with pytest.raises(GatewayUnavailable):
                    await client.answer_call(office_id="a", call_id=call_id)
            short = asyncio.create_task(client.end_call(office_id="a", call_id="short", duration_seconds=2))
            await asyncio.sleep(0)
            proxy.refuse(False)
            assert (await short).debited_micros == MINUTE

            async def is_known() -> bool:
                record = await front.store.read_call("a", "long")
                return isinstance(record, CallRecord) and record.answered_ms > 0

            await until(is_known)
            ended = await client.end_call(office_id="a", call_id="long", duration_seconds=61)
            assert ended.debited_micros == 2 * MINUTE
            assert await books(front) == (FUNDS - 3 * MINUTE, 0, 0)


async def test_whoever_is_cancelled_at_whatever_moment_leaves_no_reservation(valkey: StoreServer) -> None:
    async with behind_proxy(valkey) as (front, proxy), client_of(proxy.port, **PATIENT) as client:
        random = Random(3)

        async def cancelled_call(n: int) -> None:
            task = asyncio.create_task(authorize(client, str(n)))
            for _ in range(random.randrange(40)):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            end = asyncio.create_task(client.end_call(office_id="a", call_id=str(n), duration_seconds=0))
            if n % 2:
                await asyncio.sleep(0)
                end.cancel()
            await asyncio.gather(end, return_exceptions=True)

        for round_ in range(4):
            await asyncio.gather(*[cancelled_call(100 * round_ + n) for n in range(100)])
            proxy.cut_all()

        async def is_settled() -> bool:
            return await books(front) == (FUNDS, 0, 0)

        await until(is_settled)
        assert await life(client, "after all that") == 2 * MINUTE


async def test_commands_come_once_and_the_switch_obeys(valkey: StoreServer) -> None:
    async with gateway(valkey) as front:
        await front.add_office("a", 2 * MINUTE)
        async with client_of(front.port, **PATIENT) as client:
            switch = Switch(client)
            obeying = asyncio.create_task(switch.obey())
            placed = asyncio.create_task(switch.place_call("a", "1", LONDON, 60.0))

            async def is_up() -> bool:
                record = await front.store.read_call("a", "1")
                return isinstance(record, CallRecord) and record.answered_ms > 0

            await until(is_up)
            office = await OfficeCache(front.connection).get("a")
            assert office is not None
            await front.store.cut_call(office, "1", forced=True)
            async with asyncio.timeout(10):
                await placed
            assert await books(front) == (MINUTE, 0, 0)
            await client.close()
            await obeying


async def test_a_cut_is_told_to_whoever_iterates(valkey: StoreServer) -> None:
    async with gateway(valkey) as front:
        await front.add_office("a", FUNDS)
        async with client_of(front.port, **PATIENT) as client:
            await authorize(client, "1")
            await client.answer_call(office_id="a", call_id="1")
            office = await OfficeCache(front.connection).get("a")
            assert office is not None
            await front.store.cut_call(office, "1", forced=True)
            async with asyncio.timeout(10):
                command = await anext(aiter(client.commands()))
            assert isinstance(command, CutCall)
            assert (command.call_id, command.reason) == ("1", pb.FINAL_REASON_OPERATOR)


async def test_the_example_places_a_call(valkey: StoreServer) -> None:
    example = ROOT / "examples" / "switch.py"
    assert len(example.read_text().splitlines()) <= 60
    async with gateway(valkey) as front:
        await front.add_office("a", FUNDS)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", str(example), "a", LONDON, "0.5",
            env={**os.environ, "TOLLGATE_LISTEN": f"127.0.0.1:{front.port}", "TOLLGATE_TOKEN": SWITCH_A,
                 "PYTHONPATH": str(ROOT)},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output = (await process.communicate())[0].decode()
        assert process.returncode == 0, output
        assert re.search(r": FUNDED\nbilled_seconds: 1\ndebited_micros: 120000\n", output), output
        assert await books(front) == (FUNDS - MINUTE, 0, 0)


async def test_a_connection_that_is_checked_by_certificate(tmp_path: Path) -> None:
    """A gateway behind TLS, played by a server that answers signs of life."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    try:
        made = await asyncio.create_subprocess_exec(
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key),
            "-out", str(certificate), stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
    except FileNotFoundError:
        pytest.skip("no openssl on this machine")
    assert await made.wait() == 0
    heard: list[str] = []

    async def session(_: Any, context: Any) -> None:
        heard.extend(value for name, value in context.invocation_metadata() if name == "authorization")
        while isinstance(request := await context.read(), pb.SessionRequest):
            await context.write(pb.SessionResponse(results=[pb.Result(tag=each.tag) for each in request.operations]))

    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(
                "gateway.v1.CallAuthorization",
                {
                    "Session": grpc.stream_stream_rpc_method_handler(
                        session,
                        request_deserializer=pb.SessionRequest.FromString,
                        response_serializer=pb.SessionResponse.SerializeToString,
                    )
                },
            )
        ]
    )
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        trusted = grpc.ssl_channel_credentials(certificate.read_bytes())
        async with Client(f"localhost:{port}", "secret", tls=trusted) as client:
            await client.wait_connected()
        assert heard == ["Bearer secret"]
        async with Client(f"localhost:{port}", "secret", tls=True) as client:
            with pytest.raises(GatewayUnavailable):
                await client.wait_connected(limit_seconds=1.0)
        assert heard == ["Bearer secret"]
    finally:
        await server.stop(None)

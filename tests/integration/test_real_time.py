"""Once in real time: a switch with 200 calls on two gateway processes, of which one is killed in the middle.

Ticked by the gateways every 3 s. Half of the calls are alone in an office that can pay for so many seconds and no
more: they must be cut, within a second of their last granted one. The others hang up by themselves.
"""

import asyncio
import math
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from gateway.domain.deck import parse_deck
from gateway.store.directory import publish_rates
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from tests.support.front import OPERATOR, SWITCH_A, Front, metadata, running_front
from tests.support.servers import StoreServer, free_port

CALLS = 200
MICROS_A_SECOND = 1_000
RICH_MICROS = 10**9
DECK = """\
tariff,service,direction,license,origin,prefix,number_type,from_second,price,per_seconds,increment_seconds,connect_fee,tick_seconds,description
,VOICE,OUTBOUND,,,,,0,0.06,60,1,0,3,by the second in ticks of 3 s
"""
LIVE_CALLS_SECONDS = 2
LATEST_CUT_SECONDS = 1.0
BROKEN = (grpc.aio.AioRpcError, asyncio.InvalidStateError)


@dataclass
class LiveCall:
    office_id: str
    call_id: str
    talks_seconds: float
    funded_seconds: int | None
    answered_at: float = 0.0
    cut_at: float | None = None
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Gateway:
    process: asyncio.subprocess.Process
    port: int

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)


@asynccontextmanager
async def gateway_process(store_url: str, log: Path) -> AsyncIterator[Gateway]:
    port = free_port()
    environment = {
        **os.environ,
        "TOLLGATE_LISTEN": f"127.0.0.1:{port}",
        "TOLLGATE_REDIS_URL": store_url,
        "TOLLGATE_OPERATOR_TOKEN": OPERATOR,
        "TOLLGATE_LIVE_CALLS_SECONDS": str(LIVE_CALLS_SECONDS),
    }
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway.process", "front", env=environment, stdout=output, stderr=output
        )
    try:
        yield Gateway(process, port)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


class Switch:
    """A switch with a Session to one gateway at a time, which goes to the next one when that is gone."""

    def __init__(self, ports: list[int], calls: list[LiveCall]) -> None:
        self._ports = ports
        self.live: dict[str, LiveCall] = {}
        self.calls = {call.call_id: call for call in calls}
        self.commands = 0
        self._stream: Any = None
        self._channel: grpc.aio.Channel | None = None
        self._waiting: dict[int, tuple[pb.Operation, asyncio.Future[Any]]] = {}
        self._tag = 0
        self._writing = asyncio.Lock()
        self._connected = asyncio.Event()

    async def run(self) -> None:
        """Keep a Session for ever; what is in flight when it breaks is asked again, with the same ids."""
        while True:
            self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{self._ports[0]}")
            try:
                await asyncio.wait_for(self._channel.channel_ready(), 5)
                self._stream = CallAuthorizationStub(self._channel).Session(metadata=metadata(SWITCH_A))
                await self._list_calls()
                operations = [operation for operation, _ in self._waiting.values()]
                if operations:
                    await self._write(pb.SessionRequest(operations=operations))
                self._connected.set()
                while isinstance(response := await self._stream.read(), pb.SessionResponse):
                    self._take(response)
            except (*BROKEN, TimeoutError):
                pass
            self._connected.clear()
            await self._channel.close()
            self._ports.append(self._ports.pop(0))

    async def ask(self, **operation: Any) -> Any:
        self._tag += 1
        asked = pb.Operation(tag=self._tag, **operation)
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[self._tag] = asked, answer
        if self._connected.is_set():
            with suppress(*BROKEN):  # it is asked again on the next Session
                await self._write(pb.SessionRequest(operations=[asked]))
        return await answer

    async def list_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LIVE_CALLS_SECONDS)
            if self._connected.is_set():
                with suppress(*BROKEN):
                    await self._list_calls()

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()

    async def _list_calls(self) -> None:
        now = time.monotonic()
        calls = [
            pb.LiveCall(office_id=call.office_id, call_id=call.call_id, used_seconds=math.ceil(now - call.answered_at))
            for call in self.live.values()
        ]
        await self._write(pb.SessionRequest(live_calls=pb.LiveCalls(calls=calls)))

    async def _write(self, request: pb.SessionRequest) -> None:
        async with self._writing:  # grpc allows one write at a time
            await self._stream.write(request)

    def _take(self, response: pb.SessionResponse) -> None:
        for result in response.results:
            _, answer = self._waiting.pop(result.tag)
            answer.set_result(getattr(result, result.WhichOneof("result") or ""))
        for command in response.commands:
            self.commands += 1
            call = self.calls[command.call_id]
            if command.WhichOneof("command") == "cut_call" and call.cut_at is None:
                call.cut_at = time.monotonic()
                call.hung_up.set()


@pytest.mark.slow
def test_two_hundred_calls_on_two_gateways_of_which_one_is_killed(valkey: StoreServer, tmp_path: Path) -> None:
    chance = random.Random(3)
    poor = [LiveCall(f"poor-{n}", f"p{n}", 60.0, chance.randint(5, 25)) for n in range(CALLS // 2)]
    rich = [LiveCall("rich", f"r{n}", chance.uniform(5, 40), None) for n in range(CALLS // 2)]

    async def place(switch: Switch, call: LiveCall) -> pb.EndCallResponse:
        granted = await switch.ask(
            authorize_call=pb.AuthorizeCallRequest(
                office_id=call.office_id,
                call_id=call.call_id,
                direction=pb.OUTBOUND,
                called_number="+442079460000",
            )
        )
        assert granted.reason == pb.FUNDED, granted
        call.answered_at = time.monotonic()
        switch.live[call.call_id] = call
        answered = await switch.ask(answer_call=pb.AnswerCallRequest(office_id=call.office_id, call_id=call.call_id))
        assert not answered.ended
        try:
            await asyncio.wait_for(call.hung_up.wait(), call.talks_seconds)
        except TimeoutError:
            assert call.funded_seconds is None, f"{call.call_id} was not cut"
        seconds = math.ceil(time.monotonic() - call.answered_at)
        if call.funded_seconds is not None:
            seconds = min(seconds, call.funded_seconds + 2)
        ended = await switch.ask(
            end_call=pb.EndCallRequest(office_id=call.office_id, call_id=call.call_id, duration_seconds=seconds)
        )
        assert isinstance(ended, pb.EndCallResponse), ended
        assert ended.debited_micros + ended.written_off_micros == ended.billed_seconds * MICROS_A_SECOND
        assert ended.billed_seconds == (call.funded_seconds or seconds)
        del switch.live[call.call_id]
        return ended

    async def play(front: Front) -> None:
        await publish_rates(front.connection, parse_deck(DECK, 2))
        await front.add_office("rich", RICH_MICROS)
        for call in poor:
            assert call.funded_seconds is not None
            await front.add_office(call.office_id, call.funded_seconds * MICROS_A_SECOND)
        front.stop.set()  # it only set the scene
        await front.task
        async with (
            gateway_process(valkey.url, tmp_path / "a.log") as a,
            gateway_process(valkey.url, tmp_path / "b.log") as b,
        ):
            switch = Switch([a.port, b.port], [*poor, *rich])
            helpers = [asyncio.create_task(switch.run()), asyncio.create_task(switch.list_for_ever())]
            ends = asyncio.gather(*[place(switch, call) for call in (*poor, *rich)])
            await asyncio.wait([ends], timeout=12)
            a.kill()
            settled = await ends
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await switch.close()
        lateness = [
            call.cut_at - call.answered_at - call.funded_seconds
            for call in poor
            if call.cut_at is not None and call.funded_seconds is not None
        ]
        assert len(lateness) == len(poor)
        print(f"cut lateness: median {sorted(lateness)[len(lateness) // 2]:.3f} s, worst {max(lateness):.3f} s")
        assert max(lateness) < LATEST_CUT_SECONDS
        debited = sum(end.debited_micros for end in settled[len(poor) :])
        office = await front.store.read_office("rich")
        assert office is not None
        assert (office.balance_micros, office.reserved_micros) == (RICH_MICROS - debited, 0)
        for call in poor:
            left = await front.store.read_office(call.office_id)
            assert left is not None
            assert (left.balance_micros, left.reserved_micros) == (0, 0)

    async def main() -> None:
        async with running_front(valkey.url) as front:
            await play(front)

    asyncio.run(main())

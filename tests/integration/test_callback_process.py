"""Once in real time: a switch that only speaks HTTP, on a whole gateway: warned, saved by a refill, and cut in time."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from aiohttp import web

from gateway.v1 import credits_pb2 as pb
from gateway.v1.credits_pb2_grpc import CreditsStub
from tests.support.back import bearer
from tests.support.front import OPERATOR
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.http import ask

DECK = """\
tariff,service,direction,license,origin,prefix,number_type,from_second,price,per_seconds,increment_seconds,connect_fee,tick_seconds,description
,VOICE,OUTBOUND,,,,,0,0.06,60,1,0,3,by the second in ticks of 3 s
"""
ME = bearer(OPERATOR)
MICROS_A_SECOND = 1_000
FUNDED_SECONDS = 5
SWITCH_ID = "pbx"


@dataclass
class Pbx:
    """A switch that posts, and is posted to."""

    gateway: GatewayProcess
    token: str = ""
    url: str = ""
    answered_at: dict[str, float] = field(default_factory=dict)
    told: list[tuple[float, str, str, dict[str, Any]]] = field(default_factory=list)
    lists: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def post(self, path: str, **fields: Any) -> Any:
        port = int(self.gateway.http.rpartition(":")[2])
        body = json.dumps({"officeId": "office"} | fields).encode()
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = await ask(port, path, method="POST", body=body, headers=headers)
        assert answer.status == 200, answer.text
        return answer.json()

    async def call(self, call_id: str) -> None:
        numbers = {"direction": "OUTBOUND", "callingNumber": "+12125550100", "calledNumber": "+442079460958"}
        assert (await self.post("/v1/calls/authorize", callId=call_id, **numbers))["decision"] == "GRANTED"
        self.answered_at[call_id] = time.monotonic()
        await self.post("/v1/calls/answer", callId=call_id)

    async def end(self, call_id: str) -> int:
        """Hang up; what the call has cost."""
        seconds = -int(-(time.monotonic() - self.answered_at.pop(call_id)) // 1)
        return int((await self.post("/v1/calls/end", callId=call_id, durationSeconds=seconds))["debitedMicros"])

    async def when_told(self, kind: str, call_id: str) -> float:
        """The monotonic time at which a command came."""
        async with asyncio.timeout(20):
            while True:
                for at, told, of, _ in self.told:
                    if (told, of) == (kind, call_id):
                        return at
                self.news.clear()
                await self.news.wait()

    async def take(self, request: web.Request) -> web.Response:
        posted = await request.json()
        if "listCalls" in posted:
            self.lists += 1
            now = time.monotonic()
            calls = [
                {"officeId": "office", "callId": call_id, "usedSeconds": int(now - at)}
                for call_id, at in self.answered_at.items()
            ]
            return web.json_response({"calls": calls})
        command = posted["command"]
        [kind] = command.keys() - {"commandId", "officeId", "callId"}
        self.told.append((time.monotonic(), kind, command["callId"], command[kind]))
        self.news.set()
        return web.Response()


@asynccontextmanager
async def pbx_on(gateway: GatewayProcess) -> AsyncIterator[Pbx]:
    pbx = Pbx(gateway)
    app = web.Application()
    app.router.add_post("/", pbx.take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        pbx.url = f"http://127.0.0.1:{runner.addresses[0][1]}/"
        yield pbx
    finally:
        await runner.cleanup()


async def open_office(stub: Any, pbx: Pbx, balance: int) -> None:
    await stub.CreateCompany(pb.CreateCompanyRequest(company_id="acme", name="Acme"), metadata=ME)
    await stub.CreateOffice(
        pb.CreateOfficeRequest(office_id="office", company_id="acme", name="Office", country="US"), metadata=ME
    )
    await adjust(stub, balance, "opening")
    await stub.RegisterSwitch(pb.RegisterSwitchRequest(switch_id=SWITCH_ID, callback_url=pbx.url), metadata=ME)
    made = await stub.CreateToken(pb.CreateTokenRequest(role=pb.ROLE_SWITCH, switch_id=SWITCH_ID), metadata=ME)
    pbx.token = made.secret
    async with asyncio.timeout(20):
        while not pbx.lists:  # noqa: ASYNC110  # it is asked as soon as the gateway has taken it over
            await asyncio.sleep(0.05)


async def adjust(stub: Any, micros: int, key: str) -> None:
    request = pb.AdjustBalanceRequest(office_id="office", amount_micros=micros, reason=key, idempotency_key=key)
    await stub.AdjustBalance(request, metadata=ME)


@pytest.mark.slow
def test_warned_saved_and_cut(tmp_path: Path) -> None:
    deck = tmp_path / "deck.csv"
    deck.write_text(DECK)
    arguments = ("--rates", str(deck), "--live-calls-seconds", "2")
    with running_gateway(tmp_path, *arguments, TOLLGATE_OPERATOR_TOKEN=OPERATOR) as gateway:
        asyncio.run(play(gateway))


async def play(gateway: GatewayProcess) -> None:
    async with pbx_on(gateway) as pbx, grpc.aio.insecure_channel(gateway.admin_server) as channel:
        stub: Any = CreditsStub(channel)
        await open_office(stub, pbx, FUNDED_SECONDS * MICROS_A_SECOND)
        await pbx.call("c1")
        await pbx.when_told("fundsLow", "c1")
        await adjust(stub, FUNDED_SECONDS * MICROS_A_SECOND, "refill")
        await pbx.when_told("fundsRestored", "c1")
        # All of both is what it may talk.
        cut_after = await pbx.when_told("cutCall", "c1") - pbx.answered_at["c1"]
        assert 2 * FUNDED_SECONDS <= cut_after <= 2 * FUNDED_SECONDS + 1.2
        assert await pbx.end("c1") == 2 * FUNDED_SECONDS * MICROS_A_SECOND
        office = await stub.GetOffice(pb.GetOfficeRequest(office_id="office"), metadata=ME)
        assert (office.balance_micros, office.reserved_micros) == (0, 0)

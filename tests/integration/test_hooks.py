"""The hooks: what switches ask by HTTP, over real connections to a back on a real store."""

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from prometheus_client import REGISTRY

from gateway.domain.vocabulary import Role
from gateway.v1 import authorization_pb2 as pb
from gateway.web import protocol
from tests.support.back import OPERATOR
from tests.support.hooks import OUTBOUND, hooked_back, silent
from tests.support.http import ask
from tests.support.servers import StoreServer

CALL = {"officeId": "springfield", "callId": "c1", **OUTBOUND}
TEN_MB = 10 * 1024 * 1024


async def test_the_life_of_a_call(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path, balance=1_000_000) as there:
        granted = await there.ok("/v1/calls/authorize", callId="c1", **OUTBOUND)
        # Every field is there, and what JavaScript could not hold is a string.
        assert granted == {
            "decision": "GRANTED", "reason": "FUNDED", "grantedSeconds": 60, "finalUnit": False,
            "category": "CATEGORY_INTERNATIONAL", "pricePerMinuteMicros": "120000", "availableMicros": "680000",
            "replayed": False,
        }  # fmt: skip
        json_format.ParseDict(granted, pb.AuthorizeCallResponse())
        assert (await there.ok("/v1/calls/authorize", callId="c1", **OUTBOUND))["replayed"]
        assert (await there.ok("/v1/calls/answer", callId="c1"))["grantedSeconds"] == 60
        there.back.clock.move(50)
        ticked = await there.ok("/v1/calls/tick", callId="c1", usedSeconds=50)
        assert (ticked["grantedSeconds"], ticked["debitedMicros"]) == (120, "320000")
        ended = await there.ok("/v1/calls/end", callId="c1", durationSeconds=61, cause="16")
        assert (ended["billedSeconds"], ended["debitedMicros"], ended["availableMicros"]) == (61, "440000", "560000")
        assert (await there.back.get_office()).balance_micros == 560_000


async def test_a_message_and_its_refund(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path, balance=70_000) as there:
        message = {"calledNumber": "+12175550111", "segments": 2}
        sent = await there.ok("/v1/messages/authorize", messageId="m1", **message)
        assert (sent["reason"], sent["debitedMicros"], sent["availableMicros"]) == ("FUNDED", "60000", "10000")
        blocked = await there.ok("/v1/messages/authorize", messageId="m2", **message)
        assert (blocked["decision"], blocked["reason"]) == ("DENIED", "INSUFFICIENT_FUNDS")
        assert (await there.ok("/v1/messages/refund", messageId="m1"))["refundedMicros"] == "60000"
        assert (await there.ok("/v1/messages/refund", messageId="m1"))["replayed"]
        assert (await there.ok("/v1/messages/authorize", messageId="m2", **message))["reason"] == "FUNDED"


async def test_a_quote_is_of_a_call_or_of_a_message(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path) as there:
        call = await there.ok("/v1/quote", durationSeconds=61, **OUTBOUND)
        assert (call["reason"], call["priceMicros"], call["rateRow"]["prefix"]) == ("FUNDED", "440000", "44")
        message = await there.ok("/v1/quote", calledNumber="+12175550111", segments=3)
        assert (message["reason"], message["priceMicros"]) == ("FUNDED", "90000")
        assert (await there.back.get_office()).reserved_micros == 0


async def test_names_as_the_proto_has_them(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path) as there:
        request = {
            "office_id": "springfield", "call_id": "c1", "direction": 2, "called_number": "+442071838750",
            "requested_seconds": "120",
        }  # fmt: skip
        answer = await there.post("/v1/calls/authorize", request)
        assert answer.json()["grantedSeconds"] == 120


async def test_a_switch_of_an_office_and_no_other(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path) as there:
        await there.back.open_office("shelbyville")
        denied = (403, "PERMISSION_DENIED", "")
        assert await there.fault("/v1/calls/authorize", CALL | {"officeId": "shelbyville"}) == denied
        assert await there.fault("/v1/calls/authorize", CALL | {"officeId": "nowhere"}) == denied
        viewer = await there.back.token(Role.VIEWER, "acme")
        assert await there.fault("/v1/calls/authorize", CALL, token=viewer) == denied
        await there.ok("/v1/calls/authorize", **CALL)
        other = await there.back.token(Role.SWITCH, "", "springfield", switch_id="sw2")
        assert await there.fault("/v1/calls/end", {"officeId": "springfield", "callId": "c1"}, token=other) == denied
        for token in ("", "nonsense"):
            assert (await there.fault("/v1/calls/authorize", CALL, token=token))[:2] == (401, "UNAUTHENTICATED")
        answer = await ask(there.port, "/v1/calls/authorize", method="POST", body=b"{}")
        assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        # Emergencies too are only for who may ask at all.
        assert (await there.fault("/v1/calls/authorize", CALL | {"calledNumber": "911"}, token="x"))[0] == 401


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/calls/authorize", b"", "body"),
        ("/v1/calls/authorize", b"{", "body"),
        ("/v1/calls/authorize", b"[]", "body"),
        ("/v1/calls/authorize", b"null", "body"),
        ("/v1/calls/authorize", b"\xff\xfe", "body"),
        ("/v1/calls/authorize", b"[" * 60_000, "body"),
        ("/v1/calls/authorize", b'{"a":NaN}', "body"),
        ("/v1/calls/authorize", b'{"officeId":"a","officeId":"b"}', "officeId"),
        ("/v1/calls/authorize", b'{"officeId":"a","office_id":"b"}', "office_id"),
        ("/v1/calls/authorize", CALL | {"offfice": "x"}, "offfice"),
        ("/v1/calls/authorize", CALL | {"direction": "SIDEWAYS"}, "direction"),
        ("/v1/calls/authorize", CALL | {"direction": 7}, "direction"),
        ("/v1/calls/authorize", CALL | {"calledNumber": 442071838750}, "called_number"),
        ("/v1/calls/authorize", CALL | {"calledNumber": ["1"]}, "called_number"),
        ("/v1/calls/authorize", CALL | {"requestedSeconds": 1e30}, "requested_seconds"),
        ("/v1/calls/authorize", CALL | {"requestedSeconds": 1.5}, "requested_seconds"),
        ("/v1/calls/authorize", CALL | {"requestedSeconds": -1}, "requested_seconds"),
        ("/v1/calls/authorize", CALL | {"callId": ""}, "call_id"),
        ("/v1/calls/authorize", CALL | {"callId": "é"}, "call_id"),
        ("/v1/calls/answer", {"officeId": "springfield", "callId": "c1", "answeredAt": "noon"}, "answered_at"),
        ("/v1/calls/tick", {"officeId": "springfield", "callId": "c1", "usedSeconds": 86_401}, "used_seconds"),
        ("/v1/calls/tick", {"officeId": "springfield", "callId": "c1", "usedSeconds": {"a": 1}}, "used_seconds"),
        ("/v1/calls/end", {"officeId": "springfield", "callId": "c1", "durationSeconds": "long"}, "duration_seconds"),
        ("/v1/messages/authorize", {"officeId": "springfield", "messageId": "m", "segments": 0}, "segments"),
        ("/v1/messages/authorize", {"officeId": "springfield", "messageId": "m", "segments": 300}, "segments"),
        ("/v1/messages/refund", {"officeId": "spring field", "messageId": "m"}, "office_id"),
    ],
)
async def test_what_is_no_request(
    valkey: StoreServer, tmp_path: Path, path: str, body: dict[str, Any] | bytes, field: str
) -> None:
    async with hooked_back(valkey, tmp_path) as there:
        before = await there.back.till.dump()
        assert await there.fault(path, body) == (400, "INVALID_ARGUMENT", field)
        assert await there.back.till.dump() == before


async def test_what_is_unknown_or_another_request(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path) as there:
        end = {"officeId": "springfield", "callId": "c1"}
        assert await there.fault("/v1/calls/tick", end) == (404, "CALL_NOT_FOUND", "")
        await there.ok("/v1/calls/authorize", **CALL)
        other = CALL | {"calledNumber": "+442071838751"}
        assert (await there.fault("/v1/calls/authorize", other))[:2] == (409, "ID_REUSED")
        await there.ok("/v1/calls/end", callId="c1", durationSeconds=5)
        assert (await there.fault("/v1/calls/end", end | {"durationSeconds": 6}))[:2] == (409, "CALL_ENDED")
        refund = {"officeId": "springfield", "messageId": "m"}
        assert (await there.fault("/v1/messages/refund", refund))[:2] == (404, "MESSAGE_NOT_FOUND")


async def test_ten_megabytes_and_wrong_methods(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path) as there:
        assert (await there.fault("/v1/calls/end", b"x" * TEN_MB))[0] == 413
        assert (await ask(there.port, "/v1/calls/end")).status == 405
        assert (await ask(there.port, "/v1/calls", method="POST", body=b"{}")).status == 404
        document = (await ask(there.port, "/v1/openapi.json")).json()
        assert "/v1/calls/authorize" in document["paths"]


async def test_a_switch_that_asks_too_much_is_told_when_to_come_again(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path, switch_operations_per_second=1) as hooks:
        request = {"officeId": "springfield"} | OUTBOUND
        answers = [await hooks.post("/v1/quote", request) for _ in range(20)]
        assert {answer.status for answer in answers} == {200, 429}
        refused = next(answer for answer in answers if answer.status == 429)
        assert refused.json()["error"]["reason"] == "RATE_LIMITED"
        assert refused.headers["retry-after"] == "1"
        emergency = request | {"callId": "e", "calledNumber": "911"}
        assert (await hooks.post("/v1/calls/authorize", emergency)).json()["reason"] == "EMERGENCY"
        unknown = await hooks.post("/v1/calls/end", {"officeId": "springfield", "callId": "x", "durationSeconds": 5})
        assert unknown.status == 404, "what settles is not held up"


async def test_an_emergency_is_granted_whatever_is_wrong(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path, balance=0, max_in_flight=1) as there:
        broken = {"officeId": 5, "direction": "nowhere", "nonsense": [1], "calledNumber": "911"}
        answer = await there.post("/v1/calls/authorize", broken)
        assert (answer.status, answer.json()["reason"], answer.json()["grantedSeconds"]) == (200, "EMERGENCY", 86_400)
        with silent(valkey):
            answer = await there.post("/v1/calls/authorize", CALL | {"calledNumber": "911"})
            assert (answer.status, answer.json()["reason"]) == (200, "EMERGENCY")
            assert (await there.post("/v1/calls/end", {"officeId": "springfield", "callId": "c1"})).status == 200


async def test_a_store_that_does_not_answer(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path, store_timeout_ms=100) as there:
        await there.ok("/v1/quote", **OUTBOUND)
        with silent(valkey):
            answer = await there.post("/v1/calls/authorize", CALL)
            assert (answer.status, answer.json()["error"]["reason"]) == (503, "STORE_UNAVAILABLE")
            assert int(answer.headers["retry-after"]) >= 1
            local = CALL | {"calledNumber": "+12175550111"}
            assert (await there.post("/v1/calls/authorize", local)).json()["reason"] == "FREE"


async def test_too_much_at_once(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path, max_in_flight=2) as there:
        two, waits = asyncio.Barrier(3), asyncio.Event()
        hooks = there.back.back.hooks
        hook = hooks.by_path["/v1/calls/tick"]

        async def slow(*asked: Any) -> Any:
            await two.wait()
            await waits.wait()
            return await hook.answer(*asked)

        hooks.by_path["/v1/calls/tick"] = replace(hook, answer=slow)
        tick = {"officeId": "springfield", "callId": "c1"}
        under_way = [asyncio.create_task(there.post("/v1/calls/tick", tick)) for _ in range(2)]
        await two.wait()
        assert (await there.fault("/v1/calls/authorize", CALL))[:2] == (429, "OVERLOADED")
        emergency = await there.post("/v1/calls/authorize", CALL | {"callId": "e", "calledNumber": "112"})
        assert emergency.json()["reason"] == "EMERGENCY"
        waits.set()
        assert [answer.status for answer in await asyncio.gather(*under_way)] == [404, 404]


async def test_decisions_are_counted_and_timed(valkey: StoreServer, tmp_path: Path) -> None:
    def value(name: str, **labels: str) -> float:
        return REGISTRY.get_sample_value(name, labels) or 0.0

    async with hooked_back(valkey, tmp_path) as there:
        funded = value("tollgate_decisions_total", operation="call", reason="FUNDED")
        timed = value("tollgate_hook_seconds_count", rpc="AuthorizeCall")
        for _ in range(2):
            await there.ok("/v1/calls/authorize", **CALL)
        assert value("tollgate_decisions_total", operation="call", reason="FUNDED") == funded + 1
        assert value("tollgate_hook_seconds_count", rpc="AuthorizeCall") == timed + 2


async def test_the_operator_asks_for_every_office(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path) as there:
        answer = await there.post("/v1/calls/authorize", CALL, token=OPERATOR)
        assert answer.json()["reason"] == "FUNDED"


async def test_one_connection_for_many_requests(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path) as there:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
        for number in range(3):
            body = json.dumps(CALL | {"callId": f"c{number}"}).encode()
            head = f"POST /v1/calls/authorize HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {there.token}\r\n"
            writer.write(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert answer.startswith("http/1.1 200")
            length = int(answer.partition("content-length: ")[2].split("\r\n")[0])
            assert json.loads(await reader.readexactly(length))["reason"] == "FUNDED"
        writer.close()


@pytest.mark.parametrize(
    "begin",
    [
        b"GET / HTTP/1.1\r\nX: ",
        b"GET /",
        b"POST /v1/calls/end HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nTrailer: ",
        b"POST /v1/calls/end HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;extension=",
    ],
    ids=["header", "path", "trailer", "extension"],
)
async def test_a_head_without_end(valkey: StoreServer, tmp_path: Path, begin: bytes) -> None:
    async with hooked_back(valkey, tmp_path) as there:
        _, writer = await asyncio.open_connection("127.0.0.1", there.port)
        writer.write(begin)
        sent = 0
        with suppress(ConnectionError):
            while sent < TEN_MB:
                writer.write(b"x" * 0x10000)
                await writer.drain()
                sent += 0x10000
        assert sent < TEN_MB
        writer.close()
        assert (await there.ok("/v1/calls/authorize", **CALL))["reason"] == "FUNDED"


async def test_a_head_that_does_not_come(valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.2)
    async with hooked_back(valkey, tmp_path) as there:
        for begin in (b"", b"GET / HTTP/1.1\r\nHost:"):
            reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
            writer.write(begin)
            async with asyncio.timeout(10):
                assert await reader.read() == b""
            writer.close()

"""Traces of what a back does: hooks, the journal, SQL, refills, notices and callbacks; to the ledger and to explain."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.domain.switch import Switch
from gateway.tracing.opentelemetry import open_tracer
from gateway.tracing.outgoing import TracedCallbackClient
from gateway.v1 import credits_pb2 as pb
from tests.support.back import OFFICE, bearer, running_back
from tests.support.balances import NOON, ManualClock
from tests.support.collector import Collector, running_collector, values
from tests.support.hooks import OUTBOUND, hooked_back
from tests.support.http import ask
from tests.support.refills import dip, pay, with_refill
from tests.support.servers import StoreServer
from tests.support.webhook import webhook_server

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
RECORDED = f"00-{TRACE}-{PARENT}-01"
MY_ID = "my-request-1"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


async def explained(back: Any, thing_id: str) -> tuple[str, str]:
    request = pb.ExplainCallRequest(office_id=OFFICE, call_id=thing_id)
    answer = await back.stub.ExplainCall(request, metadata=bearer())
    return answer.request_id, answer.trace_id


async def test_a_hook_is_traced_to_the_ledger(valkey: StoreServer, tmp_path: Path, collector: Collector) -> None:
    async with hooked_back(valkey, tmp_path, trace_endpoint=collector.endpoint, trace_ratio=0) as there:
        back, traced = there.back, {"traceparent": RECORDED, "X-Request-Id": MY_ID}
        for path, body in (
            ("/v1/calls/authorize", {"callId": "c1", **OUTBOUND}),
            ("/v1/messages/authorize", {"messageId": "m1", "calledNumber": "+12175550111", "segments": 1}),
            ("/v1/messages/authorize", {"messageId": "m2", "calledNumber": "no number", "segments": 1}),
        ):
            answer = await there.post(path, {"officeId": OFFICE} | body, headers=traced)
            assert (answer.status, answer.headers["x-request-id"]) == (200, MY_ID)
        # One without, beside them.
        await there.ok("/v1/calls/authorize", callId="c2", **OUTBOUND)
        assert (await ask(there.port, "/nothing", headers=traced)).headers["x-request-id"] == MY_ID
        # The live call knows its request, and so does the record of each when it is over.
        assert await explained(back, "c1") == (MY_ID, TRACE)
        for call_id in ("c1", "c2"):
            await there.ok("/v1/calls/answer", callId=call_id)
            await there.ok("/v1/calls/end", callId=call_id, durationSeconds=30)
        await back.journaler.turn()
        assert [await explained(back, each) for each in ("c1", "m1", "m2", "c2")] == [(MY_ID, TRACE)] * 3 + [("", "")]
    spans = [span for span in collector.spans if span.parent_span_id.hex() == PARENT]
    assert sorted(span.name for span in spans) == [
        "GET none", "POST /v1/calls/authorize", "POST /v1/messages/authorize", "POST /v1/messages/authorize"
    ]  # fmt: skip
    hook = collector.named("POST /v1/calls/authorize")
    assert collector.children(hook) == ["rating", "FCALL authorize_call"]
    assert values(hook.attributes) == {
        "http.request.method": "POST", "http.response.status_code": 200, "http.route": "/v1/calls/authorize",
        "tollgate.request_id": MY_ID,
    }  # fmt: skip
    # What the journal wrote names whose it was, and only that is traced.
    (batch,) = [span for span in collector.spans if span.name == "journal batch"]
    assert {(link.trace_id.hex(), link.span_id) for link in batch.links} == {
        (TRACE, span.span_id) for span in spans if span.name != "GET none"
    }
    assert batch.trace_id.hex() != TRACE
    assert collector.children(batch) == ["SQL transaction"]
    assert not any("+1217" in str(span) or "+4420" in str(span) for span in collector.spans)


async def test_an_rpc_of_credits_shows_its_transactions(
    valkey: StoreServer, tmp_path: Path, collector: Collector
) -> None:
    async with running_back(valkey, tmp_path, trace_endpoint=collector.endpoint, trace_ratio=0) as back:
        await back.open_office()
        request = pb.AdjustBalanceRequest(office_id=OFFICE, amount_micros=1, reason="a gift", idempotency_key="k")
        await back.stub.AdjustBalance(request, metadata=(*bearer(), ("traceparent", RECORDED)))
    span = collector.named("AdjustBalance")
    beneath = collector.children(span)
    assert {"SQL read", "SQL transaction", "FCALL apply_credit"} == set(beneath)
    assert beneath.index("SQL transaction") < beneath.index("FCALL apply_credit")


async def test_refills_notices_and_callbacks(valkey: StoreServer, tmp_path: Path, collector: Collector) -> None:
    async with webhook_server() as webhook:
        flags: dict[str, Any] = {
            "notice_webhook_url": webhook.url, "notice_webhook_secret": "0123456789abcdef",
            "trace_endpoint": collector.endpoint, "trace_ratio": 0,
        }  # fmt: skip
        async with running_back(valkey, tmp_path, **flags) as back:
            await with_refill(back)
            await dip(back)
            await pay(back)
            for notifier in back.back.background.notifiers:
                await notifier.turn()
        posted = [post.headers["traceparent"] for post in webhook.posted]
    attempts = [values(span.attributes) for span in collector.spans if span.name == "refill attempt"]
    assert {each["tollgate.refill_id"] for each in attempts} == {f"{OFFICE}/1"}
    assert "SQL transaction" in {
        name for span in collector.spans if span.name == "refill attempt" for name in collector.children(span)
    }
    sent = [span for span in collector.spans if span.name == "notice"]
    assert {values(span.attributes)["tollgate.channel"] for span in sent} == {"log", "webhook"}
    # Whoever is told may go on from there.
    assert posted
    assert set(posted) <= {f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01" for span in sent}


async def test_a_post_to_a_callback_carries_its_trace_on(collector: Collector) -> None:
    async with webhook_server() as server:
        switch = Switch("sw1", server.url, "0123456789abcdef")
        for ratio in (0, 1):
            tracer = open_tracer(collector.endpoint, ratio, "back", "0")
            client = TracedCallbackClient(tracer, ManualClock(NOON))
            await client.post(switch, {"command": {}}, timeout_seconds=10)
            await client.close()
            await tracer.close()
        untraced, traced = server.posted
    span = collector.named("callback post")
    assert "traceparent" not in untraced.headers
    assert traced.headers["traceparent"] == f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01"
    assert values(span.attributes) == {"tollgate.switch_id": "sw1", "tollgate.kind": "command"}

"""Traces of what a front does, taken by a real OTLP receiver; and the id that every request has."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
import structlog
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from gateway import metrics
from gateway.log import configure_logging
from gateway.store.keys import shard_of
from gateway.v1 import authorization_pb2 as pb
from tests.integration.test_authorization import LONDON, call, ready
from tests.support.collector import Collector, running_collector, values
from tests.support.front import SWITCH_A, metadata, running_front
from tests.support.hooks import silent
from tests.support.servers import StoreServer, free_port

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
RECORDED, NOT_RECORDED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"
MY_ID = "my-request-1"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with running_collector() as running:
        yield running


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """The log of this process."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging("info", "json", "front", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers, root.level = handlers, level


def lines(log: io.StringIO, event: str) -> list[dict[str, Any]]:
    return [line for text in log.getvalue().splitlines() if (line := json.loads(text))["event"] == event]


def headers(**more: str) -> tuple[tuple[str, str], ...]:
    return (*metadata(SWITCH_A), *((name.replace("_", "-"), value) for name, value in more.items()))


async def id_of(answer: Any) -> str:
    """The request id that an rpc was answered with."""
    await answer
    return str(dict(await answer.trailing_metadata())["x-request-id"])


async def test_a_request_is_traced_from_the_switch_to_the_script(
    valkey: StoreServer, collector: Collector, log: io.StringIO
) -> None:
    configure_logging("debug", "json", "front", log)
    async with running_front(valkey.url, trace_endpoint=collector.endpoint, trace_ratio=0) as front:
        await ready(front)
        await front.add_office("a", 1_000_000)
        rpc = front.stub.AuthorizeCall(call("a", "c1"), metadata=headers(x_request_id=MY_ID, traceparent=RECORDED))
        assert await id_of(rpc) == MY_ID
        record = await front.store.read_call("a", "c1")
    span, rating, script = (collector.named(name) for name in ("AuthorizeCall", "rating", "FCALL authorize_call"))
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert collector.children(span) == ["rating", "FCALL authorize_call"]
    assert values(span.attributes) == {
        "rpc.system": "grpc", "rpc.method": "AuthorizeCall", "rpc.grpc.status_code": 0, "tollgate.office_id": "a",
        "tollgate.call_id": "c1", "tollgate.request_id": MY_ID,
    }  # fmt: skip
    assert values(rating.attributes) == {
        "tollgate.verdict": "FUNDED",
        "tollgate.deck_version": 1,
        "tollgate.rate_line": 6,
    }
    known = values(script.attributes)
    assert known.pop("server.address").endswith(f":{valkey.port}")
    assert known == {
        "db.system.name": "redis", "db.operation.name": "FCALL", "db.stored_procedure.name": "authorize_call",
        "tollgate.shard": shard_of("a"), "tollgate.code": "FUNDED",
    }  # fmt: skip
    # What leaves the house names nobody.
    assert not any(LONDON in str(each) or "+1212" in str(each) for each in collector.spans)
    (resource,) = collector.resources
    assert (resource["service.name"], resource["tollgate.process"]) == ("tollgate", "front")
    # The call takes both ids along, for the ledger.
    assert record is not None
    assert (record.details.request_id, record.details.trace) == (MY_ID, span.trace_id + span.span_id)  # type: ignore[union-attr]
    (line,) = lines(log, "request_traced")
    assert (line["request_id"], line["trace_id"], line["call_id"]) == (MY_ID, TRACE, "c1")


async def test_who_is_traced(valkey: StoreServer, collector: Collector) -> None:
    async with running_front(valkey.url, trace_endpoint=collector.endpoint, trace_ratio=0) as front:
        await ready(front)
        await front.add_office("a", 1_000_000)
        for number, given in enumerate(({}, {"traceparent": NOT_RECORDED}, {"traceparent": "none of it"})):
            await front.stub.AuthorizeCall(call("a", f"c{number}"), metadata=headers(**given))
        untraced = await front.store.read_call("a", "c0")
        assert (untraced.details.request_id, untraced.details.trace) == ("", b"")  # type: ignore[union-attr]
    assert collector.spans == []
    async with running_front(valkey.url, flush=False, trace_endpoint=collector.endpoint, trace_ratio=1) as front:
        await front.stub.EndCall(pb.EndCallRequest(office_id="a", call_id="c0"), metadata=headers())
        await front.stub.EndCall(
            pb.EndCallRequest(office_id="a", call_id="c1"), metadata=headers(traceparent=NOT_RECORDED)
        )
    span = collector.named("EndCall")
    assert (values(span.attributes)["tollgate.call_id"], span.parent_span_id) == ("c0", b"")


async def test_every_request_has_an_id(valkey: StoreServer, log: io.StringIO) -> None:
    async with running_front(valkey.url) as front:
        await ready(front)
        await front.add_office("a", 1_000_000)
        made = [await id_of(front.stub.AuthorizeCall(call("a", "c1"), metadata=headers())) for _ in range(2)]
        assert all(made)
        assert made[0] != made[1]
        assert await id_of(front.stub.AuthorizeCall(call("a", "c1"), metadata=headers(x_request_id=MY_ID))) == MY_ID
        # What is no id is replaced, since it is no reason to refuse.
        too_long = headers(x_request_id="x" * 129)
        assert (await id_of(front.stub.AuthorizeCall(call("a", "c1"), metadata=too_long))).startswith(made[0][:12])
        # An error has it too, and so has the log.
        with pytest.raises(grpc.aio.AioRpcError) as caught, silent(valkey):
            await front.stub.AuthorizeCall(call("a", "c2"), metadata=headers(x_request_id=MY_ID), timeout=0.3)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert dict(caught.value.trailing_metadata() or ())["x-request-id"] == MY_ID
    (line,) = lines(log, "not answered")
    assert line["request_id"] == MY_ID


async def test_a_fault_is_marked_and_a_no_is_none(valkey: StoreServer, collector: Collector) -> None:
    async with running_front(valkey.url, trace_endpoint=collector.endpoint, trace_ratio=0) as front:
        await ready(front)
        await front.add_office("a", 1_000_000)
        traced = headers(traceparent=RECORDED)
        with pytest.raises(grpc.aio.AioRpcError):
            await front.stub.EndCall(pb.EndCallRequest(office_id="a", call_id="none"), metadata=traced)
        with pytest.raises(grpc.aio.AioRpcError), silent(valkey):
            await front.stub.AuthorizeCall(call("a", "c1"), metadata=traced, timeout=0.3)
    unknown, lost, script = (collector.named(name) for name in ("EndCall", "AuthorizeCall", "FCALL authorize_call"))
    assert values(unknown.attributes)["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert unknown.status.code == Status.STATUS_CODE_UNSET
    assert values(lost.attributes)["rpc.grpc.status_code"] == grpc.StatusCode.UNAVAILABLE.value[0]
    assert lost.status.code == Status.STATUS_CODE_ERROR
    assert script.parent_span_id == lost.span_id


async def test_operations_of_a_session_have_traces_of_their_own(valkey: StoreServer, collector: Collector) -> None:
    async with running_front(valkey.url, trace_endpoint=collector.endpoint, trace_ratio=0) as front:
        await ready(front)
        await front.add_office("a", 10_000_000)
        session = front.stub.Session(metadata=headers(x_request_id=MY_ID))
        # The office is not cached: each of them waits twice, for the office and for the script, and goes on elsewhere.
        operations = [pb.Operation(tag=tag, authorize_call=call("a", f"c{tag}")) for tag in range(1, 41)]
        for tag in (5, 6, 7):
            operations[tag - 1].traceparent = f"00-{tag:032x}-{tag:016x}-01"
        operations[6 - 1].request_id = "of-the-switch"
        await session.write(pb.SessionRequest(operations=operations))
        await _results(session, 40)
        records = [await front.store.read_call("a", f"c{tag}") for tag in (5, 6, 7, 8)]
        await session.done_writing()
    spans = [span for span in collector.spans if span.name == "AuthorizeCall"]
    assert {(int(span.trace_id.hex(), 16), int(span.parent_span_id.hex(), 16)) for span in spans} == {
        (5, 5), (6, 6), (7, 7)
    }  # fmt: skip
    for span in spans:
        assert collector.children(span) == ["rating", "FCALL authorize_call"]
        assert values(span.attributes)["tollgate.batch_operations"] == 40
    ids = [record.details.request_id for record in records]  # type: ignore[union-attr]
    assert ids == [f"{MY_ID}/5", "of-the-switch", f"{MY_ID}/7", ""]


async def _results(session: Any, count: int) -> None:
    seen = 0
    while seen < count:
        response = await session.read()
        assert not [result for result in response.results if result.HasField("error")]
        seen += len(response.results)


async def test_a_collector_that_is_away_holds_up_nobody(
    valkey: StoreServer, log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    nobody, lost = f"http://127.0.0.1:{free_port()}", metrics.TRACE_SPANS.labels("lost")._value
    before = lost.get()
    async with running_front(valkey.url, trace_endpoint=nobody, trace_ratio=1) as front:
        await ready(front)
        await front.add_office("a", 1_000_000_000)
        session = front.stub.Session(metadata=headers())
        # Three spans each, and a batch has 512: more than one cannot be sent.
        operations = [pb.Operation(tag=n + 1, authorize_call=call("a", f"c{n}")) for n in range(300)]
        await session.write(pb.SessionRequest(operations=operations))
        await _results(session, 300)
        await session.done_writing()
        async with asyncio.timeout(30):
            while lost.get() < before + 3 * 300:  # noqa: ASYNC110  # counted by a thread of the SDK
                await asyncio.sleep(0.05)
    (line,) = lines(log, "traces_not_taken")
    assert line["endpoint"] == nobody
    # The SDK writes a line for each attempt, which are not wanted.
    assert not [text for text in log.getvalue().splitlines() if "opentelemetry" in json.loads(text).get("logger", "")]

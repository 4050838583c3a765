"""The tracer on OpenTelemetry's SDK: what is recorded, what is lost, and that nobody waits for it."""

import asyncio
import sys
import threading
from collections.abc import Iterator, Sequence
from random import Random

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, StatusCode, TraceFlags, get_current_span, use_span
from structlog.testing import capture_logs

from gateway.client.tracing import current_traceparent
from gateway.domain.trace import Trace
from gateway.errors import NotFound, Unavailable
from gateway.request_context import current_trace
from gateway.settings import load_settings
from gateway.settings_problems import SettingsError
from gateway.startup import StartupError
from gateway.tracing import opentelemetry
from gateway.tracing.open import open_tracing
from gateway.tracing.opentelemetry import CountingExporter, OpenTelemetryTracer
from gateway.tracing.tracer import ROOT, Beginning

PARENT = Trace(bytes(15) + b"\x01", bytes(7) + b"\x02")


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracer(exporter: InMemorySpanExporter) -> Iterator[OpenTelemetryTracer]:
    made = OpenTelemetryTracer(exporter, 0.25, Resource.get_empty(), Random(1))
    yield made
    asyncio.run(made.close())


def recorded(tracer: OpenTelemetryTracer, exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    asyncio.run(tracer.close())
    return {span.name: span for span in exporter.get_finished_spans()}


def test_children_parents_and_links(tracer: OpenTelemetryTracer, exporter: InMemorySpanExporter) -> None:
    with tracer.span("outer", beginning=Beginning(PARENT), attributes={"a": 1}) as span:
        outer = current_trace.get()
        assert get_current_span().is_recording()
        with tracer.span("inner"):
            assert current_trace.get() != outer
        with tracer.span("another trace", beginning=ROOT, links=[PARENT]):
            pass
        assert current_trace.get() == outer
        span.set("b", True)
        span.rename("renamed")
    assert current_trace.get() is None
    assert not get_current_span().is_recording()
    spans = recorded(tracer, exporter)
    parent, ids = spans["renamed"].parent, spans["renamed"].context
    assert (parent is not None and parent.trace_id, parent and parent.span_id, parent and parent.is_remote) == (
        1,
        2,
        True,
    )
    assert spans["renamed"].attributes == {"a": 1, "b": True}
    assert spans["inner"].parent == ids
    assert outer == Trace(ids.trace_id.to_bytes(16, "big"), ids.span_id.to_bytes(8, "big"))
    assert spans["another trace"].parent is None
    assert [link.context.span_id for link in spans["another trace"].links] == [2]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFound("no"), StatusCode.UNSET),
        (Unavailable("s3cret"), StatusCode.ERROR),
        (KeyError("s3cret"), StatusCode.ERROR),
    ],
)
def test_what_fails_is_marked_without_its_words(
    tracer: OpenTelemetryTracer, exporter: InMemorySpanExporter, error: Exception, status: StatusCode
) -> None:
    with pytest.raises(type(error)), tracer.span("it", beginning=ROOT):
        raise error
    span = recorded(tracer, exporter)["it"]
    assert span.status.status_code is status
    assert "s3cret" not in span.to_json()


def test_who_says_so_is_traced_and_of_the_others_a_share(tracer: OpenTelemetryTracer) -> None:
    ids = f"{PARENT.trace_id.hex()}-{PARENT.span_id.hex()}"
    assert {tracer.sampled(f"00-{ids}-01") for _ in range(100)} == {Beginning(PARENT)}
    assert {tracer.sampled(f"00-{ids}-00") for _ in range(100)} == {None}
    for given in ("", "what is that"):
        assert 200 < sum(tracer.sampled(given) is ROOT for _ in range(1_000)) < 300


class _Stuck(SpanExporter):
    """A collector that takes what it gets and says nothing."""

    def __init__(self) -> None:
        self.taken = 0
        self.go_on = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go_on.wait(30)
        self.taken += len(spans)
        return SpanExportResult.SUCCESS


def test_a_collector_that_hangs_costs_no_memory_and_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opentelemetry, "CLOSING_SECONDS", 0.1)
    stuck = _Stuck()
    tracer = OpenTelemetryTracer(stuck, 1, Resource.get_empty())
    for _ in range(5_000):
        with tracer.span("it", beginning=ROOT):
            pass
    # It gives up after a moment.
    asyncio.run(tracer.close())
    stuck.go_on.set()
    assert stuck.taken <= 2_048 + 512


class _Failing(SpanExporter):
    """A collector that is away, or there."""

    def __init__(self, *outcomes: SpanExportResult | Exception) -> None:
        self.outcomes = list(outcomes)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def test_it_is_said_once_that_the_collector_is_away() -> None:
    away, there = SpanExportResult.FAILURE, SpanExportResult.SUCCESS
    exporter = CountingExporter(_Failing(there, away, away, RuntimeError("bug"), there, there, away), "http://there:1")
    with capture_logs() as logs:
        for _ in range(7):
            exporter.export([])
    assert [line["event"] for line in logs if line["log_level"] != "error"] == [
        "traces_not_taken", "traces_taken_again", "traces_not_taken"
    ]  # fmt: skip


def test_without_the_setting_nothing_is_traced() -> None:
    assert open_tracing(load_settings(), "front") is None


def test_without_the_extra_the_setting_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "gateway.tracing.opentelemetry")
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(StartupError, match=r"TOLLGATE_TRACE_ENDPOINT: .* install tollgate\[tracing\]"):
        open_tracing(load_settings(trace_endpoint="http://127.0.0.1:4317"), "front")


@pytest.mark.parametrize(
    "given",
    [
        {"trace_endpoint": "127.0.0.1:4317"},
        {"trace_endpoint": "grpc://there:4317"},
        {"trace_endpoint": "http://there"},
        {"trace_endpoint": "http://there:4317/v1/traces"},
        {"trace_endpoint": "http://me:secret@there:4317"},
        {"trace_ratio": "1.1"},
        {"trace_ratio": "-0.1"},
        {"trace_ratio": "nan"},
        {"trace_ratio": "often"},
    ],
)
def test_settings_that_make_no_sense_are_named(given: dict[str, str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(**given)
    (problem,) = caught.value.problems
    assert problem.startswith(f"TOLLGATE_{next(iter(given)).upper()} ")
    assert "secret" not in problem


def test_a_client_hands_on_the_span_of_its_caller() -> None:
    assert current_traceparent() == ""
    span = NonRecordingSpan(SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(0)))
    with use_span(span):
        assert current_traceparent() == f"00-{1:032x}-{2:016x}-00"

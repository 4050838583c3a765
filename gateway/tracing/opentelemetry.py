"""The tracer that OpenTelemetry's SDK is behind: the one module that imports it.

Whether something is recorded is decided here before the SDK hears of it: a span that is not recorded would cost the SDK
some microseconds all the same, for each of ten thousand requests a second.
"""

import asyncio
import logging
import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import grpc.aio
import structlog
from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from gateway import metrics
from gateway.domain.trace import Trace
from gateway.errors import Internal, TollgateError, Unavailable
from gateway.request_context import current_trace, read_traceparent
from gateway.tracing.tracer import ROOT, Attribute, Attributes, Beginning, Kind, Span

log = structlog.get_logger(__name__)

CLOSING_SECONDS: Final = 2.0
"""How long the end of the process waits for the collector to take what was recorded last."""

_KINDS: Final = {
    Kind.INTERNAL: otel.SpanKind.INTERNAL,
    Kind.SERVER: otel.SpanKind.SERVER,
    Kind.CLIENT: otel.SpanKind.CLIENT,
}
_SAMPLED: Final = otel.TraceFlags(otel.TraceFlags.SAMPLED)


class OpenTelemetryTracer:
    """Records spans and hands them to a thread of the SDK, which sends them in batches.

    Args:
        exporter: Sends them.
        ratio: Share that is recorded of what its caller does not decide about, 0 to 1.
        resource: Who we are.
        chance: For the ratio.
    """

    def __init__(
        self, exporter: SpanExporter, ratio: float, resource: Resource, chance: random.Random | None = None
    ) -> None:
        # At the end of the process `close` gives the collector a moment; the SDK's own way would wait for it.
        self._provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("tollgate")
        self._ratio = ratio
        self._chance = (chance or random.Random()).random  # noqa: S311 - it chooses samples, it keeps no secret.

    def sampled(self, traceparent: str = "") -> Beginning | None:
        """As the caller's trace is, else by chance."""
        if traceparent:
            given = read_traceparent(traceparent)
            if given is not None:
                parent, is_recorded = given
                return Beginning(parent) if is_recorded else None
        return ROOT if self._chance() < self._ratio else None

    @contextmanager
    def span(
        self,
        name: str,
        *,
        kind: Kind = Kind.INTERNAL,
        beginning: Beginning | None = None,
        links: Sequence[Trace] = (),
        attributes: Attributes | None = None,
    ) -> Iterator[Span]:
        """Record a span; made known to OpenTelemetry, too, for libraries that somebody has instrumented."""
        span = self._tracer.start_span(
            name,
            context=None if beginning is None else _context_of(beginning),
            kind=_KINDS[kind],
            attributes=attributes,
            links=[otel.Link(_span_context(link)) for link in links],
        )
        ids = span.get_span_context()
        ours = current_trace.set(Trace(ids.trace_id.to_bytes(16, "big"), ids.span_id.to_bytes(8, "big")))
        theirs = otel_context.attach(otel.set_span_in_context(span))
        recorded = _Recorded(span)
        try:
            yield recorded
        except Exception as error:
            if _is_fault(error):
                recorded.fail(type(error).__name__)
            raise
        finally:
            otel_context.detach(theirs)
            current_trace.reset(ours)
            span.end()

    async def close(self) -> None:
        """Send what was recorded last, for as long as that may take; what is not gone by then is lost."""
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # The loop is closed: nobody waits any longer.
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, name="last traces", daemon=True).start()
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSING_SECONDS):
                await sent.wait()


class _Recorded:
    """A span of the SDK, by what is needed of it here."""

    __slots__ = ("_span",)

    def __init__(self, span: otel.Span) -> None:
        self._span = span

    def rename(self, name: str) -> None:
        self._span.update_name(name)

    def set(self, name: str, value: Attribute) -> None:
        self._span.set_attribute(name, value)

    def fail(self, kind: str) -> None:
        # Not the error's text, which may quote what is nobody's business outside.
        self._span.set_attribute("error.type", kind)
        self._span.set_status(otel.StatusCode.ERROR, kind)


class CountingExporter(SpanExporter):
    """Counts what an exporter sends, and says once that the collector is away and once that it is back.

    Args:
        exporter: Sends; it runs in the SDK's thread, and nobody waits for it.
        endpoint: For the log.
    """

    def __init__(self, exporter: SpanExporter, endpoint: str) -> None:
        self._exporter = exporter
        self._endpoint = endpoint
        self._is_away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; those that were not taken are lost."""
        try:
            result = self._exporter.export(spans)
        except Exception:
            # A thread that died would take all later spans with it.
            log.exception("traces_failed", endpoint=self._endpoint)
            result = SpanExportResult.FAILURE
        is_away = result is not SpanExportResult.SUCCESS
        metrics.count_spans("lost" if is_away else "sent", len(spans))
        if is_away and not self._is_away:
            log.warning("traces_not_taken", endpoint=self._endpoint, cure="start the collector; calls go on without")
        if self._is_away and not is_away:
            log.info("traces_taken_again", endpoint=self._endpoint)
        self._is_away = is_away
        return result

    def shutdown(self) -> None:
        """Give up what is under way."""
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """As the exporter does."""
        return self._exporter.force_flush(timeout_millis)


def open_tracer(endpoint: str, ratio: float, process: str, version: str) -> OpenTelemetryTracer:
    """A tracer that sends to a collector by OTLP over gRPC; the collector need not be there."""
    resource = Resource.create({"service.name": "tollgate", "service.version": version, "tollgate.process": process})
    exporter = CountingExporter(OTLPSpanExporter(endpoint=endpoint), endpoint)
    # A collector that is away is worth one line, which CountingExporter writes, and not one for every attempt.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    return OpenTelemetryTracer(exporter, ratio, resource)


def _span_context(ids: Trace) -> otel.SpanContext:
    return otel.SpanContext(
        int.from_bytes(ids.trace_id, "big"), int.from_bytes(ids.span_id, "big"), is_remote=True, trace_flags=_SAMPLED
    )


def _context_of(beginning: Beginning) -> Context:
    """Nothing of whatever is being recorded where the trace begins."""
    if beginning.parent is None:
        return Context()
    return otel.set_span_in_context(otel.NonRecordingSpan(_span_context(beginning.parent)), Context())


def _is_fault(error: Exception) -> bool:
    """Whether it is the gateway that failed, and not its caller; of an rpc that was aborted its status says so."""
    if isinstance(error, TollgateError):
        return isinstance(error, Unavailable | Internal)
    return not isinstance(error, grpc.aio.AbortError)

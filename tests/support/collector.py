"""A collector of traces: a real OTLP receiver on loopback that keeps what it gets."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector(TraceServiceServicer):
    """What has come.

    Attributes:
        port: Where it listens.
        spans: In the order in which they came.
        resources: Who sent them.
    """

    def __init__(self) -> None:
        self.port = 0
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self._changed = threading.Condition()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def Export(self, request: ExportTraceServiceRequest, context: object) -> ExportTraceServiceResponse:  # noqa: N802
        """Take spans."""
        with self._changed:
            for each in request.resource_spans:
                self.resources.append(values(each.resource.attributes))
                for scope in each.scope_spans:
                    self.spans += scope.spans
            self._changed.notify_all()
        return ExportTraceServiceResponse()

    def wait_for(self, *names: str, seconds: float = 20.0) -> None:
        """Until a span of each name has come."""
        with self._changed:
            came = self._changed.wait_for(lambda: set(names) <= set(self.names()), seconds)
        assert came, f"of {names} only these have come: {self.names()}"

    def names(self) -> list[str]:
        return [span.name for span in self.spans]

    def named(self, name: str) -> Span:
        """The one span of a name."""
        (span,) = [span for span in self.spans if span.name == name]
        return span

    def children(self, parent: Span) -> list[str]:
        """The names of the spans beneath one, in the order of their beginning."""
        found = [span for span in self.spans if span.parent_span_id == parent.span_id]
        return [span.name for span in sorted(found, key=lambda span: span.start_time_unix_nano)]


def values(attributes: Any) -> dict[str, Any]:
    """Attributes as a dictionary."""
    return {each.key: _value(each) for each in attributes}


def _value(attribute: KeyValue) -> Any:
    value: AnyValue = attribute.value
    return getattr(value, value.WhichOneof("value") or "string_value")


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Listen on a free port until the block ends."""
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    collector.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield collector
    finally:
        server.stop(None).wait()

"""The caller's span, where the caller uses OpenTelemetry; this client neither needs nor imports it."""

import sys
from typing import Any, Final

_MODULE: Final = "opentelemetry.trace"


def current_traceparent() -> str:
    """The current span as W3C Trace Context has it, whether it is recorded or not; empty: there is none."""
    trace: Any = sys.modules.get(_MODULE)
    if trace is None:
        return ""
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

"""What is known of the request that is being answered: its id, and its trace where it is traced.

Both stand in context variables, which every task has its own of and hands on to the tasks that it starts. Whoever logs
or posts to somebody need not be handed them. Nothing here needs OpenTelemetry.
"""

import re
from contextvars import ContextVar
from itertools import count
from secrets import token_hex
from typing import Final

from gateway.domain.trace import Trace

REQUEST_ID: Final = "x-request-id"
TRACEPARENT: Final = "traceparent"
MAX_REQUEST_ID: Final = 128

_TRACEPARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
_SAMPLED: Final = 0x01


request_id: Final[ContextVar[str]] = ContextVar("request_id", default="")
"""Of the request that is being answered; empty: none is."""

current_trace: Final[ContextVar[Trace | None]] = ContextVar("current_trace", default=None)
"""The span that is being recorded; None: none is, and whatever is done is not traced."""

# Two processes never make the same id, and one does so without asking the system for chance each time.
_PREFIX: Final = token_hex(6)
_NUMBERS: Final = count(1)


def request_id_from(given: str) -> str:
    """The caller's own id of its request, or one that is made here.

    An id that is none (empty, longer than 128 characters, not printable ASCII, with blanks) is replaced and not
    refused: it is a label, and no reason to refuse an emergency call.
    """
    return given if _is_request_id(given) else f"{_PREFIX}-{next(_NUMBERS):x}"


def operation_id_from(given: str, stream_id: str, tag: int) -> str:
    """The caller's own id of an operation of a Session, or the stream's with the operation's tag behind it."""
    if _is_request_id(given):
        return given
    end = f"/{tag}"
    # Whatever the ids are, the ledger has room for so much and no more.
    return stream_id[: MAX_REQUEST_ID - len(end)] + end


def _is_request_id(text: str) -> bool:
    return 0 < len(text) <= MAX_REQUEST_ID and text.isascii() and text.isprintable() and " " not in text


def read_traceparent(text: str) -> tuple[Trace, bool] | None:
    """The caller's span, and whether its trace is recorded; None: it is no traceparent of W3C Trace Context."""
    found = _TRACEPARENT.fullmatch(text)
    if found is None:
        return None
    trace_id, span_id, flags = found.groups()
    return Trace(bytes.fromhex(trace_id), bytes.fromhex(span_id)), bool(int(flags, 16) & _SAMPLED)


def outgoing_headers() -> dict[str, str]:
    """What a request to somebody else carries on, so that their trace goes on from ours; empty: nothing is traced."""
    trace = current_trace.get()
    return {} if trace is None else {TRACEPARENT: trace.traceparent}

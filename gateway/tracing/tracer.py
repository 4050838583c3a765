"""What tracing asks of whoever records traces, and how the wiring chooses between plain and traced parts."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from enum import Enum, auto
from functools import partial
from typing import Concatenate, NamedTuple, ParamSpec, Protocol, TypeAlias, TypeVar

from gateway.domain.trace import Trace

Attribute: TypeAlias = str | int | bool
Attributes: TypeAlias = Mapping[str, Attribute]
"""No number of a caller or a called party, no name of a person, no token: spans leave the house."""

P = ParamSpec("P")
T = TypeVar("T")


class Kind(Enum):
    """Which side of a conversation a span is."""

    INTERNAL = auto()
    SERVER = auto()
    CLIENT = auto()


class Beginning(NamedTuple):
    """Where a recorded trace begins here: behind the caller's span, or (None) with our own."""

    parent: Trace | None


ROOT = Beginning(None)


class Span(Protocol):
    """A span that is being recorded."""

    def rename(self, name: str) -> None:
        """Name it better than when it began."""
        ...

    def set(self, name: str, value: Attribute) -> None:
        """Say something of it."""
        ...

    def fail(self, kind: str) -> None:
        """Mark it as failed; an exception that leaves its block does so by itself, unless the caller is at fault."""
        ...


class Tracer(Protocol):
    """Records spans. Never waits and never raises, whatever becomes of the collector."""

    def sampled(self, traceparent: str = "") -> Beginning | None:
        """Whether to record what begins now: as the caller does, else by chance; None: do not."""
        ...

    def span(
        self,
        name: str,
        *,
        kind: Kind = Kind.INTERNAL,
        beginning: Beginning | None = None,
        links: Sequence[Trace] = (),
        attributes: Attributes | None = None,
    ) -> AbstractContextManager[Span]:
        """Record a span for as long as the block runs; whatever begins in it is its child.

        Args:
            name: Few different ones: no id belongs in it.
            kind: Which side it is.
            beginning: Of a trace; None: it is a child of the span that is being recorded.
            links: Spans of other traces that it belongs to.
            attributes: What is known of it.
        """
        ...

    async def close(self) -> None:
        """Send what was recorded, for at most a moment."""
        ...


def either(tracer: Tracer | None, plain: Callable[P, T], traced: Callable[Concatenate[Tracer, P], T]) -> Callable[P, T]:
    """The plain way to make something; or the one that traces, where there is a tracer."""
    return plain if tracer is None else partial(traced, tracer)

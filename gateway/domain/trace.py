"""Where in a trace something happened, and how that is kept with a call or a message."""

from typing import Final, NamedTuple, Self

_TRACE_ID_BYTES: Final = 16


class Trace(NamedTuple):
    """A span of a trace: 16 and 8 bytes, neither of them all zeros."""

    trace_id: bytes
    span_id: bytes

    @property
    def traceparent(self) -> str:
        """As W3C Trace Context has it, of a trace that is recorded."""
        return f"00-{self.trace_id.hex()}-{self.span_id.hex()}-01"

    @property
    def packed(self) -> bytes:
        """As `Details.trace` holds it: one id behind the other."""
        return self.trace_id + self.span_id

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read what `packed` made; of nothing both ids are empty."""
        return cls(packed[:_TRACE_ID_BYTES], packed[_TRACE_ID_BYTES:])

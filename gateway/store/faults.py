"""What goes wrong between the gateway and the store."""

from typing import Final

import hiredis

from gateway.errors import Unavailable

# A store that says one of these did not run the script, or cannot: the caller may retry with the same id.
_UNAVAILABLE: Final = (
    "LOADING", "READONLY", "MASTERDOWN", "NOREPLICAS", "MISCONF", "BUSY", "CLUSTERDOWN", "TRYAGAIN", "MOVED",
    "ASK", "EXECABORT", "NOAUTH", "NOPERM", "UNBLOCKED",
)  # fmt: skip


class StoreAddressError(ValueError):
    """The URL names no store; says what a good one looks like."""


class StoreUnavailable(Unavailable):
    """The store did not answer in time, or cannot write: the operation may or may not have happened.

    Safe to retry with the same id, which is what makes every operation repeatable.
    """

    reason = "STORE_UNAVAILABLE"

    def __init__(self, detail: str) -> None:
        super().__init__("The balance store did not answer; retry with the same id.")
        self.detail = detail  # in the engine's words: for the log


class StoreFull(StoreUnavailable):
    """The store is out of memory: it refuses to sell, and still settles."""


class StoreFault(Exception):
    """The store answered with an error that no state of it explains: a bug in a script or in its caller."""


def translated(error: hiredis.ReplyError) -> Exception:
    """The store's own words as one of our errors; they go to the log, never to a caller."""
    text = str(error)
    fault: Exception
    if text.startswith("OOM"):
        fault = StoreFull(text)
    elif text.startswith(_UNAVAILABLE):
        fault = StoreUnavailable(text)
    else:
        fault = StoreFault(text)
    fault.__cause__ = error
    return fault

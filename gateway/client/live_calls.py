"""The calls that are up, and the lists of them that the gateway is sent: what is not listed lapses there."""

import inspect
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.client.commands import Call
from gateway.client.errors import ClientBusy
from gateway.client.timing import Clock
from gateway.v1 import authorization_pb2 as pb

log = logging.getLogger(__name__)

PART_CALLS: Final = 1_000
MAX_CALLS: Final = 1_000_000
_MAX_SECONDS: Final = 86_400
_OFFICE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_ID: Final = re.compile(r"[ -~]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class LiveCall:
    """A call that is up.

    Attributes:
        office_id: Of the call.
        call_id: The call.
        used_seconds: Talk time used so far; 0: still ringing.
    """

    office_id: str
    call_id: str
    used_seconds: int


ListLiveCalls: TypeAlias = Callable[[], Iterable[LiveCall] | Awaitable[Iterable[LiveCall]]]
"""How a switch that knows better says which calls it has."""


@dataclass(slots=True)
class TrackedCall:
    """A call that was authorized here and has not ended.

    Attributes:
        request: With which it can be authorized again.
        answered_at: When it was answered, on the monotonic clock; None: it rings.
        is_settled_later: Whether it was let through without the gateway, which has not been told yet.
    """

    request: pb.AuthorizeCallRequest
    answered_at: float | None = None
    is_settled_later: bool = False


class CallTable:
    """The calls that are up, as far as this client was told.

    Args:
        clock: Counts the used seconds.
        max_calls: Calls that are up at once; beyond them authorizations are refused here.
    """

    def __init__(self, clock: Clock, *, max_calls: int = MAX_CALLS) -> None:
        self._clock = clock
        self._max_calls = max_calls
        self._calls: dict[Call, TrackedCall] = {}

    def __len__(self) -> int:
        return len(self._calls)

    def check_room(self) -> None:
        """Refuse what would not fit.

        Raises:
            ClientBusy: The table is full.
        """
        if len(self._calls) >= self._max_calls:
            raise ClientBusy(
                f"{len(self._calls):,} calls are up, which is the most this client keeps; tell it of the end of each "
                "call with end_call"
            )

    def get(self, call: Call) -> TrackedCall | None:
        """A call that is up."""
        return self._calls.get(call)

    def began(self, request: pb.AuthorizeCallRequest, *, is_settled_later: bool = False) -> None:
        """A call was authorized, perhaps again."""
        call = request.office_id, request.call_id
        known = self._calls.get(call)
        if known is None:
            self._calls[call] = TrackedCall(request, None, is_settled_later)
        else:
            known.is_settled_later = known.is_settled_later and is_settled_later

    def answered(self, call: Call, seconds_ago: float) -> None:
        """A call was answered; its first answer counts."""
        known = self._calls.get(call)
        if known is not None and known.answered_at is None:
            known.answered_at = self._clock.monotonic() - max(0.0, seconds_ago)

    def ended(self, call: Call) -> TrackedCall | None:
        """A call is over; returns what was known of it."""
        return self._calls.pop(call, None)

    def seconds_since_answer(self, call: TrackedCall) -> float:
        """Talk time used so far; 0: it rings."""
        return 0.0 if call.answered_at is None else self._clock.monotonic() - call.answered_at

    def live(self) -> Iterator[LiveCall]:
        """All calls that are up, with their used seconds as of the moment each is asked for."""
        for (office_id, call_id), call in list(self._calls.items()):
            # An answered call has used one second at least: 0 says that it rings.
            used = 0 if call.answered_at is None else max(1, int(self.seconds_since_answer(call)))
            yield LiveCall(office_id, call_id, used)


async def list_parts(source: ListLiveCalls) -> AsyncIterator[pb.LiveCalls]:
    """The parts of one list, as the gateway takes them; none if the source fails: no list is not an empty one."""
    try:
        calls = source()
        if inspect.isawaitable(calls):
            calls = await calls
        calls = [call for call in calls if _is_lawful(call)]
    except Exception:
        log.exception("the live calls could not be listed")
        return
    for start in range(0, max(1, len(calls)), PART_CALLS):
        part = [
            pb.LiveCall(
                office_id=call.office_id,
                call_id=call.call_id,
                used_seconds=max(0, min(int(call.used_seconds), _MAX_SECONDS)),
            )
            for call in calls[start : start + PART_CALLS]
        ]
        yield pb.LiveCalls(calls=part, more=start + PART_CALLS < len(calls))


def _is_lawful(call: LiveCall) -> bool:
    """Whether the gateway would take it; one that it would not take costs the whole stream."""
    if _OFFICE_ID.fullmatch(call.office_id) and _ID.fullmatch(call.call_id):
        return True
    log.warning("a live call cannot be listed: office_id %.100r, call_id %.200r", call.office_id, call.call_id)
    return False

"""Credit-control sessions: what is remembered of each, so that a request that comes twice counts once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from gateway.diameter.avps import invalid
from gateway.diameter.codes import CC_REQUEST_NUMBER, CC_REQUEST_TYPE, RequestType, ResultCode
from gateway.diameter.outcome import Outcome
from gateway.diameter.refusal import Refused
from gateway.diameter.requests import Request

MAX_SESSIONS: Final = 200_000

KEEP_SECONDS: Final = 86_400.0
"""An end that comes a day late still settles its call; the gateway keeps lapsed calls for as long."""

_KEPT_ANSWERS: Final = 8


@dataclass(slots=True, eq=False, kw_only=True)
class Session:
    """A session, of whatever service.

    Attributes:
        session_id: Session-Id.
        used: Units used in all, as far as reported.
        counted: Number of the last request whose used units are in `used`; -1: none.
        ended_by: Number of the request that terminated it; None: it is open.
        settling: Its end, once that was asked for.
        heard_at: When it was heard of last, by the table's clock.
    """

    session_id: str
    used: int = 0
    counted: int = -1
    ended_by: int | None = None
    heard_at: float = 0.0
    settling: "asyncio.Task[Outcome] | None" = None
    _answers: "OrderedDict[tuple[int, RequestType], Outcome]" = field(default_factory=OrderedDict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_begun(self) -> bool:
        """Whether anything was granted."""
        return any(outcome.code is ResultCode.SUCCESS for outcome in self._answers.values())

    async def answer(self, request: Request, work: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """Do what a request asks for, once: the same number gets the same answer.

        Requests of a session are dealt with one after the other, as they came. What could not be answered
        (`Unanswered` goes through here) is done when it comes again.

        Raises:
            Refused: The number goes backwards or had another type, the session is over, or was begun before.
        """
        async with self._lock:
            known = self._answers.get((request.number, request.type))
            if known is not None:
                return known
            self._check_order(request)
            outcome = await work()
            self._answers[request.number, request.type] = outcome
            while len(self._answers) > _KEPT_ANSWERS:
                self._answers.popitem(last=False)
            return outcome

    def count(self, request: Request, units: int, most: int) -> None:
        """Add what a request reports as used, once, whether or not the request can be answered.

        A client reports from its last report on, answered or not (RFC 8506, section 8.19).

        Raises:
            Refused: More than any service uses.
        """
        if request.number <= self.counted:
            return
        if self.used + units > most:
            text = f"{self.used + units} units used in all; at most {most}"
            raise Refused(ResultCode.INVALID_AVP_VALUE, text, [request.avps.one(CC_REQUEST_NUMBER)])
        self.used += units
        self.counted = request.number

    def _check_order(self, request: Request) -> None:
        if self.ended_by not in {None, request.number}:
            raise Refused(ResultCode.UNKNOWN_SESSION_ID, "this session is over")
        numbers = [number for number, _ in self._answers]
        if request.number in numbers:
            raise invalid(request.avps.one(CC_REQUEST_TYPE), f"is {request.type}; that number had another one")
        if numbers and request.number < max(numbers):
            raise invalid(request.avps.one(CC_REQUEST_NUMBER), f"is {request.number}, after {max(numbers)}")
        if numbers and request.type is RequestType.INITIAL:
            raise invalid(request.avps.one(CC_REQUEST_TYPE), "is INITIAL_REQUEST; this session was begun before")


S = TypeVar("S", bound=Session)


class SessionTable(Generic[S]):
    """The sessions, the one that was heard of last at the end.

    Args:
        monotonic: Seconds that never go back.
        most: Sessions at once.
    """

    def __init__(self, monotonic: Callable[[], float], most: int = MAX_SESSIONS) -> None:
        self._monotonic = monotonic
        self._most = most
        self._sessions: OrderedDict[str, S] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, session_id: str) -> S | None:
        """A session that is known; it is heard of by this."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.heard_at = self._monotonic()
            self._sessions.move_to_end(session_id)
        return session

    @contextmanager
    def adding(self, session: S, *, always: bool = False) -> Iterator[None]:
        """Keep a session from here on, unless it does not come to a grant in the block.

        Args:
            session: A new one.
            always: Even if there is no room.

        Raises:
            Refused: There is no room.
        """
        self._add(session, always=always)
        try:
            yield
        finally:
            if not session.is_begun and self._sessions.get(session.session_id) is session:
                del self._sessions[session.session_id]

    def _add(self, session: S, *, always: bool) -> None:
        now = self._monotonic()
        while self._sessions and next(iter(self._sessions.values())).heard_at < now - KEEP_SECONDS:
            self._sessions.popitem(last=False)
        if len(self._sessions) >= self._most and not always and not self._forget_one_that_is_over():
            raise Refused(ResultCode.TOO_BUSY, f"{len(self._sessions)} sessions are open, the most there can be")
        session.heard_at = now
        self._sessions[session.session_id] = session

    def _forget_one_that_is_over(self) -> bool:
        oldest = next(iter(self._sessions.values()))
        if oldest.ended_by is None:
            return False
        del self._sessions[oldest.session_id]
        return True

"""Credit-control sessions: what is remembered of each, so that a request that comes twice counts once."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

from gateway.diameter.avps import invalid
from gateway.diameter.codes import CC_REQUEST_NUMBER, CC_REQUEST_TYPE, RequestType, ResultCode
from gateway.diameter.outcome import Outcome
from gateway.diameter.refusal import Refused
from gateway.diameter.requests import Request

MAX_SESSIONS: Final = 100_000

KEEP_SECONDS: Final = 86_400.0
"""An end that comes a day late still settles its call; the gateway keeps lapsed calls for as long."""

SUPERVISION_SECONDS: Final = 4 * 3_600.0
"""An open session that was silent for so long gives way to a new one where there is no room (RFC 8506: Tcc). The
gateway lets its call lapse long before."""

_KEPT_ANSWERS: Final = 8


@dataclass(slots=True, eq=False, kw_only=True)
class Session:
    """A session, of whatever service.

    Attributes:
        session_id: Session-Id.
        used: Units used in all, as far as reported.
        counted: Number of the last request whose used units are in `used`; -1: none.
        ended_by: Number of the request that terminated it; None: it is open.
        is_begun: Whether anything was granted.
        is_settled: Whether the gateway knows of its end.
        settling: Its end, once that was asked for.
        heard_at: When it was heard of last, by the table's clock.
    """

    session_id: str
    used: int = 0
    counted: int = -1
    ended_by: int | None = None
    is_begun: bool = False
    is_settled: bool = False
    heard_at: float = 0.0
    settling: "asyncio.Task[Outcome] | None" = None
    _answers: "OrderedDict[tuple[int, RequestType], Outcome]" = field(default_factory=OrderedDict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

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
            self.is_begun = self.is_begun or outcome.code is ResultCode.SUCCESS
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
        if request.type is not RequestType.INITIAL and not self.is_begun:
            raise Refused(ResultCode.UNKNOWN_SESSION_ID, "this session was not begun")
        numbers = [number for number, _ in self._answers]
        if request.number in numbers:
            raise invalid(request.avps.one(CC_REQUEST_TYPE), f"is {request.type}; that number had another one")
        latest = max([self.counted, *numbers])
        if request.number < latest:
            raise invalid(request.avps.one(CC_REQUEST_NUMBER), f"is {request.number}, after {latest}")
        if numbers and request.type is RequestType.INITIAL:
            raise invalid(request.avps.one(CC_REQUEST_TYPE), "is INITIAL_REQUEST; this session was begun before")


class Keeper(Protocol):
    """Where sessions outlive this process."""

    def keep(self, session: Session) -> None:
        """Write down what is known of a session."""
        ...

    def forget(self, session_id: str) -> None:
        """Strike a session out."""
        ...


class SessionTable:
    """The sessions, the one that was heard of last at the end.

    Args:
        monotonic: Seconds that never go back.
        keeper: Where they outlive this process; None: nowhere.
        most: Sessions at once.
    """

    def __init__(
        self, monotonic: Callable[[], float], keeper: Keeper | None = None, *, most: int = MAX_SESSIONS
    ) -> None:
        self._monotonic = monotonic
        self._keeper = keeper
        self._most = most
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, session_id: str) -> Session | None:
        """A session that is known; it is heard of by this."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.heard_at = self._monotonic()
            self._sessions.move_to_end(session_id)
        return session

    @contextmanager
    def adding(self, session: Session, *, always: bool = False) -> Iterator[None]:
        """Have a session from here on, unless it does not come to a grant in the block.

        Args:
            session: A new one, or one that has not come to a grant before.
            always: Even if there is no room.

        Raises:
            Refused: There is no room.
        """
        if session.session_id not in self._sessions:
            self._make_room(always=always)
        self.restore(session)
        try:
            yield
        finally:
            if session.is_begun:
                self._sessions[session.session_id] = session
                self.keep(session)
            elif self._sessions.get(session.session_id) is session:
                del self._sessions[session.session_id]

    def restore(self, session: Session) -> None:
        """Have a session that was begun before."""
        session.heard_at = self._monotonic()
        self._sessions[session.session_id] = session

    def keep(self, session: Session) -> None:
        """Write down what is known of a session, so that it outlives this process."""
        if self._keeper is not None:
            self._keeper.keep(session)

    def _make_room(self, *, always: bool) -> None:
        now = self._monotonic()
        while self._sessions:
            oldest = next(iter(self._sessions.values()))
            silent_seconds = now - oldest.heard_at
            is_full = len(self._sessions) >= self._most
            gives_way = oldest.ended_by is not None or silent_seconds > SUPERVISION_SECONDS
            if silent_seconds <= KEEP_SECONDS and not (is_full and gives_way):
                break
            del self._sessions[oldest.session_id]
            if self._keeper is not None:
                self._keeper.forget(oldest.session_id)
        if len(self._sessions) >= self._most and not always:
            raise Refused(ResultCode.TOO_BUSY, f"{len(self._sessions)} sessions are open, the most there can be")

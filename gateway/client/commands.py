"""What the gateway tells a switch to do, as typed values, each once."""

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.v1 import authorization_pb2 as pb

MAX_WAITING: Final = 10_000
"""Commands that nobody has taken yet; the oldest give way, since the gateway repeats them until EndCall."""

MAX_REMEMBERED: Final = 100_000
"""Calls of which it is known what was said last, or that they have ended."""

Call: TypeAlias = tuple[str, str]
"""office_id and call_id."""


@dataclass(frozen=True, slots=True)
class CutCall:
    """Hang up: the granted time is over and nothing more can be granted.

    Attributes:
        command_id: The same in a repetition.
        office_id: Of the call.
        call_id: The call.
        reason: A FinalReason of gateway.v1.
    """

    command_id: str
    office_id: str
    call_id: str
    reason: pb.FinalReason.ValueType


@dataclass(frozen=True, slots=True)
class FundsLow:
    """The grant became the last that can be paid: warn the user, and go on.

    Attributes:
        command_id: The same in a repetition.
        office_id: Of the call.
        call_id: The call.
        granted_seconds: Talk time granted, from the answer.
    """

    command_id: str
    office_id: str
    call_id: str
    granted_seconds: int


@dataclass(frozen=True, slots=True)
class FundsRestored:
    """More can be paid again after FundsLow.

    Attributes:
        command_id: The same in a repetition.
        office_id: Of the call.
        call_id: The call.
        granted_seconds: Talk time granted, from the answer.
    """

    command_id: str
    office_id: str
    call_id: str
    granted_seconds: int


@dataclass(frozen=True, slots=True)
class UnknownCall:
    """The gateway does not know this call, and the client could not make it known again: hang up.

    Attributes:
        command_id: The same in a repetition.
        office_id: Of the call.
        call_id: The call.
        reason: Why authorizing it again was denied, a Reason of gateway.v1; REASON_UNSPECIFIED: the client did not
            have the request, or the gateway refused it.
    """

    command_id: str
    office_id: str
    call_id: str
    reason: pb.Reason.ValueType = pb.REASON_UNSPECIFIED


Command: TypeAlias = CutCall | FundsLow | FundsRestored | UnknownCall


def command_of(command: pb.Command) -> Command | None:
    """A command as a typed value; None for one that this version does not know."""
    ids = command.command_id, command.office_id, command.call_id
    match command.WhichOneof("command"):
        case "cut_call":
            return CutCall(*ids, command.cut_call.reason)
        case "funds_low":
            return FundsLow(*ids, command.funds_low.granted_seconds)
        case "funds_restored":
            return FundsRestored(*ids, command.funds_restored.granted_seconds)
        case "unknown_call":
            return UnknownCall(*ids)
    return None


class Inbox:
    """Commands on their way to the switch.

    A command that repeats the last one of its kind on its call is dropped; FundsLow and FundsRestored count as one
    kind, so that the second FundsLow of a call that was restored between is told. Every command on a call that was
    ended is dropped, too.

    Args:
        repeats: Hand on repetitions, too.
    """

    def __init__(self, *, repeats: bool = False) -> None:
        self._repeats = repeats
        self._waiting: deque[Command] = deque()
        self._arrived = asyncio.Event()
        self._closed = False
        # By call: the last command_id of each kind; None: the call has ended.
        self._told: OrderedDict[Call, dict[str, str] | None] = OrderedDict()

    def put(self, command: Command) -> None:
        """Take a command that came."""
        call = command.office_id, command.call_id
        told = self._told.setdefault(call, {})
        self._told.move_to_end(call)
        if len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)
        kind = _kind(command)
        if told is None or (not self._repeats and told.get(kind) == command.command_id):
            return
        told[kind] = command.command_id
        if len(self._waiting) >= MAX_WAITING:
            self._forget(self._waiting.popleft())
        self._waiting.append(command)
        self._arrived.set()

    def began(self, call: Call) -> None:
        """A call was authorized: what is said about it counts again."""
        if self._told.get(call, {}) is None:
            del self._told[call]

    def ended(self, call: Call) -> None:
        """A call was ended: nothing more is to be said about it."""
        self._told[call] = None
        self._told.move_to_end(call)
        if len(self._told) > MAX_REMEMBERED:
            self._told.popitem(last=False)

    def close(self) -> None:
        """End the iteration once what waits is taken."""
        self._closed = True
        self._arrived.set()

    async def iterate(self) -> AsyncIterator[Command]:
        """The commands as they come, until the inbox is closed; each goes to one iteration."""
        while True:
            while self._waiting:
                command = self._waiting.popleft()
                if self._told.get((command.office_id, command.call_id), {}) is not None:
                    yield command
            if self._closed:
                return
            self._arrived.clear()
            await self._arrived.wait()

    def _forget(self, command: Command) -> None:
        """A command that nobody took is told again when it is repeated."""
        told = self._told.get((command.office_id, command.call_id))
        if told is not None and told.get(_kind(command)) == command.command_id:
            del told[_kind(command)]


def _kind(command: Command) -> str:
    return "funds" if isinstance(command, FundsLow | FundsRestored) else type(command).__name__

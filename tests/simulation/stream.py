"""A Session as gateway and switch see it, without a network: what is asked, and everything that must come of it."""

import asyncio
from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, NamedTuple

import grpc.aio

from gateway.api.runner import status_of
from gateway.errors import TollgateError
from gateway.v1 import authorization_pb2 as pb

Key = tuple[str, str, str]
"""call or message, office_id, and its id."""


class Told(NamedTuple):
    """A command as the simulation knows it; `value` is a final reason, granted seconds, or 0."""

    kind: str
    office_id: str
    call_id: str
    value: int

    @classmethod
    def read(cls, command: pb.Command) -> "Told":
        kind = command.WhichOneof("command")
        assert kind is not None, "a command with nothing in it"
        value = {
            "cut_call": command.cut_call.reason,
            "funds_low": command.funds_low.granted_seconds,
            "funds_restored": command.funds_restored.granted_seconds,
            "unknown_call": 0,
        }[kind]
        return cls(kind, command.office_id, command.call_id, int(value))


@dataclass(eq=False)
class Asked:
    """An operation that a switch sent.

    Attributes:
        is_bad: It must be refused by the Session itself.
        replies: What the store's scripts answered to the gateway on its behalf, the operation's name first.
        outcome: What the operation returned or raised, in the gateway.
        was_answered: Whether the store answered all that the gateway asked on its behalf.
    """

    tag: int
    kind: str
    request: Any
    is_bad: bool = False
    replies: list[tuple[str, tuple[Any, ...]]] = field(default_factory=list)
    outcome: Any = None
    was_answered: bool = True

    @property
    def key(self) -> Key:
        if "message" in self.kind:
            return "message", self.request.office_id, self.request.message_id
        return "call", self.request.office_id, self.request.call_id

    def result(self) -> pb.Result:
        """As the switch must get it."""
        assert self.outcome is not None, f"{self.kind} is answered before it was done"
        if isinstance(self.outcome, TollgateError):
            return pb.Result(tag=self.tag, error=status_of(self.outcome))
        return pb.Result(tag=self.tag, **{self.kind: self.outcome})


@dataclass(eq=False)
class List:
    """A part of a list of live calls, with what the switch must be told of its calls; `was_answered` as of `Asked`."""

    stream: "Stream"
    live_calls: pb.LiveCalls
    told: list[Told] = field(default_factory=list)
    was_answered: bool = True


class State(Enum):
    OPEN = "open"
    CLOSING = "closed by the switch, not yet by the gateway"
    ENDED = "ended by the gateway"
    BROKEN = "broken: nobody knows what became of what is owed"


WHOLE: Final = 6
"""Operations that a batch may have in the simulation."""

IN_FLIGHT: Final = 8
"""Of one Session, so few that the bound is met."""


class Stream:
    """The servicer's context on one side, the switch on the other.

    Attributes:
        owed: Asked and not answered, by tag.
        must: Commands that have to come, `may`: those of which nobody can say, `got`: those that came.
        told_ms: When the switch was last told here that a call is cut.
    """

    def __init__(self, switch_id: str, opened_ms: int) -> None:
        self.switch_id = switch_id
        self.opened_ms = opened_ms
        self.state = State.OPEN
        self.error: TollgateError | None = None
        self.owed: defaultdict[int, deque[Asked]] = defaultdict(deque)
        self.unanswered: list[Asked] = []
        self.must: Counter[Told] = Counter()
        self.may: Counter[Told] = Counter()
        self.got: Counter[Told] = Counter()
        self.told_ms: dict[tuple[str, str], int] = {}
        self.ids_of_commands: dict[Told, str] = {}
        self.reading = asyncio.Event()
        self.reading.set()
        self.now_ms = opened_ms
        self.list_was_heard = True
        self.list_began_ms: int | None = None
        self.is_hearing = False
        self.must_end = False
        self.listed: deque[List] = deque()
        self._sent: asyncio.Queue[pb.SessionRequest | None] = asyncio.Queue()
        self._line: defaultdict[Key, deque[Asked]] = defaultdict(deque)
        self._running: set[Key] = set()
        self.faults: list[str] = []
        self._tag = 0
        self._unwritten = 0

    # The switch's side.

    def ask(self, operations: list[tuple[str, Any]], *, bad: str = "") -> list[Asked]:
        """Send a batch.

        Args:
            operations: Kind and request of each.
            bad: "tag": the last tag once more; "empty": an operation with nothing in it; both behind the others.
                "large": more than a batch may have; it ends the stream.
        """
        batch, asked = pb.SessionRequest(), []
        for kind, request in operations:
            self._tag += 1
            batch.operations.add(tag=self._tag, **{kind: request})
            asked.append(Asked(self._tag, kind, request))
        if bad == "tag" and operations:
            kind, request = operations[-1]
            batch.operations.add(tag=self._tag, **{kind: request})
            asked.append(Asked(self._tag, kind, request, is_bad=True))
        if bad == "empty":
            self._tag += 1
            batch.operations.add(tag=self._tag)
            asked.append(Asked(self._tag, "", None, is_bad=True))
        if bad == "large":
            self.must_end = True
            while len(batch.operations) <= WHOLE:
                batch.operations.add(tag=self._tag + len(batch.operations), refund_message=pb.RefundMessageRequest())
        else:
            for each in asked:
                self.owed[each.tag].append(each)
                if not each.is_bad:
                    self._line[each.key].append(each)
        self._sent.put_nowait(batch)
        return asked

    def list_calls(self, calls: list[pb.LiveCall], *, more: bool) -> None:
        live_calls = pb.LiveCalls(calls=calls, more=more)
        self.listed.append(List(self, live_calls))
        self._sent.put_nowait(pb.SessionRequest(live_calls=live_calls))

    def close(self) -> None:
        """The switch has nothing more to say, and waits for what it is owed."""
        self.state = State.CLOSING
        self.reading.set()
        self._sent.put_nowait(None)

    def break_off(self) -> None:
        """The connection is gone."""
        self.state = State.BROKEN
        self.unanswered = [asked for owed in self.owed.values() for asked in owed if not asked.is_bad]
        self.owed.clear()

    def describe(self) -> str:
        owed = {tag: list(asked) for tag, asked in self.owed.items() if asked}
        return f"{self.switch_id}: {self.state}, owed {owed}, reads {self.reading.is_set()}"

    def check(self, *, is_quiet: bool) -> None:
        """What must hold of every stream; quiet: nothing is on its way, and the switch reads."""
        assert not self.faults, f"{self.switch_id}: {self.faults}"
        unasked = self.got - (self.must + self.may)
        assert not unasked, f"{self.switch_id} was told what nobody had to say: {unasked}"
        if self.state is State.OPEN and is_quiet:
            missed = self.must - self.got
            assert not missed, f"{self.switch_id} was not told: {missed}"
        if self.state in (State.OPEN, State.ENDED) and is_quiet and self.error is None:
            owed = {tag: asked for tag, asked in self.owed.items() if asked}
            assert not owed, f"{self.switch_id} waits for {owed}"

    # The gateway's side: what it uses of a servicer's context.

    async def read(self) -> Any:
        if self._unwritten >= IN_FLIGHT:
            self.faults.append(f"read on with {self._unwritten} operations in flight")
        request = await self._sent.get()
        if request is None:
            return grpc.aio.EOF
        self._unwritten += len(request.operations)
        return request

    async def write(self, packed: bytes) -> None:
        await self.reading.wait()
        response = pb.SessionResponse.FromString(packed)
        assert self.state in (State.OPEN, State.CLOSING), f"written to a stream that is {self.state}"
        assert response.results or response.commands, "a message with nothing in it"
        self._unwritten -= len(response.results)
        for result in response.results:
            self._take(result)
        for command in response.commands:
            self._hear(command)

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def ends(self, error: TollgateError | None) -> None:
        """The gateway ends the stream."""
        self.state, self.error = State.ENDED, error
        if error is None:
            owed = [asked for owed in self.owed.values() for asked in owed]
            assert not owed, f"the stream of {self.switch_id} ended well, and owes {owed}"

    def begins(self, kind: str, request: Any) -> Asked:
        """An operation is taken on: in the order in which those on its call were sent, one after the other."""
        name, thing_id = ("message", request.message_id) if "message" in kind else ("call", request.call_id)
        key = name, request.office_id, thing_id
        asked = self._line[key].popleft() if self._line[key] else None
        assert asked is not None, f"{kind} of {key} was never sent, or is done twice"
        assert (asked.kind, asked.request) == (kind, request), f"{kind} of {key} overtook {asked.kind}"
        assert key not in self._running, f"{kind} of {key} did not wait for what was before it"
        self._running.add(key)
        return asked

    def done(self, asked: Asked, outcome: Any) -> None:
        self._running.discard(asked.key)
        asked.outcome = outcome

    def _take(self, result: pb.Result) -> None:
        owed = self.owed.get(result.tag)
        assert owed, f"tag {result.tag} is answered, and nothing is owed"
        is_refused = result.error.message.startswith(("tag: ", "operation: "))
        asked = next((asked for asked in owed if asked.is_bad is is_refused), None)
        assert asked is not None, f"nobody asked for {result}"
        if is_refused:
            assert result.error.code == grpc.StatusCode.INVALID_ARGUMENT.value[0], f"refused as {result.error}"
        else:
            assert result == asked.result(), f"{asked} is answered by {result}"
        owed.remove(asked)
        if asked.outcome is not None and getattr(asked.outcome, "code", "") == "UNAVAILABLE":
            self.unanswered.append(asked)

    def _hear(self, command: pb.Command) -> None:
        told = Told.read(command)
        self.got[told] += 1
        known = self.ids_of_commands.setdefault(told, command.command_id)
        assert known == command.command_id, f"{told} is repeated under another command_id"
        if told.kind == "cut_call":
            self.told_ms[told.office_id, told.call_id] = self.now_ms

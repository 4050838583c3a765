"""What a switch does all day: calls that are authorized, answered, ticked and ended, and messages, in a fixed mix.

A life goes through the operations of a mix again and again, with fresh ids, and keeps the books of what was answered.
"""

import itertools
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from gateway.v1 import authorization_pb2 as pb
from loadtest.callers import usual_call
from loadtest.processes import BenchError

CALL: Final = ("authorize_call", "answer_call", "tick_call", "end_call")
MIXES: Final[dict[str, tuple[str, ...]]] = {
    "calls": CALL,
    "messages": ("authorize_message",),
    "calls and messages": (*CALL, "authorize_message", "authorize_message"),
}
"""By name, the operations of a life in their order; each is answered before the next is asked for."""

METHODS: Final = {
    "authorize_call": "AuthorizeCall",
    "answer_call": "AnswerCall",
    "tick_call": "TickCall",
    "end_call": "EndCall",
    "authorize_message": "AuthorizeMessage",
}
"""The unary rpc of each operation."""

USED_SECONDS: Final = 50
DURATIONS: Final = (51, 61, 119)
MESSAGED: Final = "+1212555"


class Books:
    """What the answers to all lives of a target said.

    Attributes:
        debited: Office -> micros.
    """

    def __init__(self) -> None:
        self.debited: Counter[str] = Counter()


class Life:
    """One operation after the other; not more than one is in flight.

    Args:
        mix: Names of operations.
        offices: Who calls and writes, in turn.
        ids: Fresh ones.
        seed: Of the numbers called.
        books: Shared by all lives of a target.
    """

    def __init__(self, mix: Sequence[str], offices: Iterator[str], ids: Iterator[str], seed: int, books: Books) -> None:
        self._steps = itertools.cycle(enumerate(mix))
        self._length = len(mix)
        self._offices = offices
        self._ids = ids
        self._random = random.Random(seed)
        self._books = books
        self._office_id = self._id = ""
        self.kind = ""
        self.is_over = True

    def next(self) -> Any:
        """The request of the next operation, whose name `kind` is then."""
        step, self.kind = next(self._steps)
        self.is_over = step == self._length - 1
        if self.kind in {"authorize_call", "authorize_message"}:
            self._office_id, self._id = next(self._offices), next(self._ids)
        office_id, name = self._office_id, self._id
        match self.kind:
            case "authorize_call":
                return usual_call(office_id, name, self._random)
            case "answer_call":
                return pb.AnswerCallRequest(office_id=office_id, call_id=name)
            case "tick_call":
                return pb.TickCallRequest(office_id=office_id, call_id=name, used_seconds=USED_SECONDS)
            case "end_call":
                return pb.EndCallRequest(
                    office_id=office_id, call_id=name, duration_seconds=self._random.choice(DURATIONS), cause="16"
                )
        return pb.AuthorizeMessageRequest(
            office_id=office_id,
            message_id=name,
            calling_number="+12125550100",
            called_number=f"{MESSAGED}{self._random.randrange(10_000):04}",
            segments=1,
            user_id="u-1042",
            department_id="sales",
        )

    def take(self, answer: Any) -> None:
        """Keep the books of the answer to the operation that is in flight.

        Raises:
            BenchError: It was denied.
        """
        if self.kind in {"authorize_call", "authorize_message"} and answer.reason != pb.FUNDED:
            raise BenchError(f"{self.kind} of {self._office_id} was answered {pb.Reason.Name(answer.reason)}")
        # An end says what the whole call cost, whatever its ticks have debited.
        if self.kind in {"end_call", "authorize_message"}:
            self._books.debited[self._office_id] += answer.debited_micros

"""The calls that Kamailio has, as far as it has told us."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.kamailio.facts import CallFacts, Key
from gateway.kamailio.notes import DialogName
from gateway.v1 import authorization_pb2 as pb

_REMEMBERED: Final = 100_000
"""Ended calls that are remembered, so that a list which is older than their end does not bring them back."""


@dataclass(slots=True)
class LiveCall:
    """A call that was asked for and has not ended. All times are in Unix seconds.

    Attributes:
        facts: Who calls whom.
        asked_at: When it was heard of first.
        alive_at: When it was last known to be there.
        answered_at: When it was answered; 0: it rings.
        dialog: Kamailio's name of its dialog, once it is known.
        contact: Where the party of the office that pays is reached, once it is known.
        is_answer_told: Whether the gateway knows when it was answered.
        warned_by: The command by which its party was warned last.
    """

    facts: CallFacts
    asked_at: float
    alive_at: float
    answered_at: float = 0.0
    dialog: DialogName | None = None
    contact: str = ""
    is_answer_told: bool = False
    warned_by: str = ""

    def has_dialog(self, name: DialogName, caller: str, callee: str) -> None:
        """Its dialog is known, with the Contact of each party."""
        self.dialog = name
        self.contact = callee if self.facts.direction == pb.INBOUND else caller


class Calls:
    """Live calls by office_id and call_id."""

    def __init__(self) -> None:
        self._calls: dict[Key, LiveCall] = {}
        self._ended: OrderedDict[Key, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[LiveCall]:
        return iter(list(self._calls.values()))

    def get(self, key: Key) -> LiveCall | None:
        """A call that is up."""
        return self._calls.get(key)

    def put(self, facts: CallFacts, now: float) -> LiveCall:
        """A call that is there, known or not."""
        call = self._calls.get(facts.key)
        if call is None:
            call = self._calls[facts.key] = LiveCall(facts, asked_at=now, alive_at=now)
        return call

    def remove(self, key: Key) -> LiveCall | None:
        """A call is over; returns what was known of it."""
        self._ended[key] = None
        if len(self._ended) > _REMEMBERED:
            self._ended.popitem(last=False)
        return self._calls.pop(key, None)

    def forget(self, key: Key) -> None:
        """A call never was: it was not granted."""
        self._calls.pop(key, None)

    def has_ended(self, key: Key) -> bool:
        """Whether a call is over, as far as is remembered."""
        return key in self._ended

    def all_alive(self, now: float) -> None:
        """All calls are known to have been there up to this moment."""
        for call in self._calls.values():
            call.alive_at = now

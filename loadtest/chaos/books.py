"""What was asked and what was acknowledged, and the arithmetic that finds what is lost or doubled."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from enum import StrEnum
from typing import Any, Final, NamedTuple

QUIET: Final = "no fault"
"""While nothing goes wrong."""

UNATTRIBUTED: Final = "not attributed"
"""Where balances differ and no operation does, so that no fault can be blamed."""

_MOST_FAULTS: Final = 50


class Kind(StrEnum):
    """What an operation moves."""

    CALL = "call"
    MESSAGE = "message"
    REFUND = "refund"
    CREDIT = "credit"


class Key(NamedTuple):
    """What an operation is about."""

    kind: Kind
    office_id: str
    thing_id: str


@dataclass(slots=True, eq=False)
class Operation:
    """Something that moves money once, however often it is asked.

    Attributes:
        key: What it is about.
        asked_at: When it was first asked, by the monotonic clock.
        during: The fault that went on then, or else the first that began before it was answered.
        request: By which it is asked again; None: not yet, or not to be.
        record: The same of what was answered 0, too, for whoever goes through the records; None: there is none.
        micros: What was acknowledged last, 0 or more: debited, given back or added; None: no answer yet.
        answered_at: When it was first, by the monotonic clock.
        was_forgotten: A repeat was answered as if it had not been asked before: what was acknowledged had been lost,
            though the repeat may have made it anew.
        granted_at: When a call was granted, by the monotonic clock.
        vanished: A call that was granted is not known any more: it was never answered, and nothing is billed.
    """

    key: Key
    asked_at: float
    during: str = QUIET
    request: Any = None
    record: Any = None
    micros: int | None = None
    answered_at: float = 0.0
    was_forgotten: bool = False
    granted_at: float = 0.0
    vanished: bool = False


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A fault that has happened.

    Attributes:
        fault: Its name.
        began_at: When, by the monotonic clock.
        may_lose_seconds: What was acknowledged so long before may be lost.
        on_its_way_seconds: And so long after, where something was lost: then it had been decided before.
        office_ids: Whose operations alone may be lost; None: everybody's.
    """

    fault: str
    began_at: float
    may_lose_seconds: float = 0.0
    on_its_way_seconds: float = 0.0
    office_ids: frozenset[str] | None = None

    def may_lose(self, office_id: str, acknowledged_at: float) -> bool:
        """Whether it may lose what an office was told at a time, by what is documented of it."""
        return (
            self.may_lose_seconds > 0
            and -self.on_its_way_seconds <= self.began_at - acknowledged_at <= self.may_lose_seconds
            and self._is_of(office_id)
        )

    def is_near(self, office_id: str, acknowledged_at: float) -> bool:
        """Whether something may be missing of what an office was told then, and a bit more: whoever asks learns it."""
        return abs(self.began_at - acknowledged_at) <= 2 * self.may_lose_seconds and self._is_of(office_id)

    def _is_of(self, office_id: str) -> bool:
        return self.office_ids is None or office_id in self.office_ids


@dataclass(slots=True)
class Tally:
    """What went wrong with the money of some operations.

    Attributes:
        lost: Operations that were acknowledged and are not in the books, or only in part; calls that were granted, and
            then not known.
        lost_micros: Of them.
        lost_as_stated: How many of the lost a fault may lose, by what is documented of it.
        doubled: Operations whose money moved more than once.
        doubled_micros: What moved too much.
    """

    lost: int = 0
    lost_micros: int = 0
    lost_as_stated: int = 0
    doubled: int = 0
    doubled_micros: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        """Of both."""
        return Tally(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


@dataclass
class Books:
    """The operations of a run.

    Attributes:
        operations: All that were asked.
        faults: Answers that were wrong, a line each; the first of them.
        fault_count: How many there were.
    """

    operations: dict[Key, Operation] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    fault_count: int = 0
    _timeline: list[tuple[float, str]] = field(default_factory=lambda: [(-math.inf, QUIET)])

    @property
    def current(self) -> str:
        """The fault that goes on."""
        return self._timeline[-1][1]

    def goes_on(self, fault: str, at: float) -> None:
        """A fault goes on from now on, or `QUIET` does."""
        self._timeline.append((at, fault))

    def went_on_since(self, at: float) -> str:
        """The fault that went on at a time, or else the first that began since."""
        began = bisect_right(self._timeline, at, key=lambda each: each[0]) - 1
        return next((fault for _, fault in self._timeline[began:] if fault != QUIET), QUIET)

    def ask(self, kind: Kind, office_id: str, thing_id: str, at: float) -> Operation:
        """An operation is asked for the first time, now."""
        key = Key(kind, office_id, thing_id)
        operation = self.operations[key] = Operation(key, at)
        return operation

    def acknowledge(self, operation: Operation, micros: int, at: float, *, replayed: bool = False) -> None:
        """An operation was answered.

        Args:
            operation: That was asked.
            micros: Debited, given back or added.
            at: Now, by the monotonic clock.
            replayed: Whether the answer says that it had happened before.
        """
        if operation.micros is None:
            operation.micros, operation.answered_at = micros, at
            operation.during = self.went_on_since(operation.asked_at)
            return
        if not replayed and (micros or operation.micros):
            # It was settled anew, by what there was then: a call may have been lost alone, or its end with it.
            operation.was_forgotten, operation.micros = True, micros
        elif micros != operation.micros:
            self.fault(f"{_name(operation.key)} was answered {operation.micros} micros, and then {micros}")

    def not_found(self, operation: Operation, at: float) -> None:
        """An operation was answered NOT_FOUND: nothing is billed, which is final; what was acknowledged is lost."""
        if operation.micros:
            operation.was_forgotten = True
        else:
            self.acknowledge(operation, 0, at)

    def fault(self, text: str) -> None:
        """An answer was wrong, or none came."""
        self.fault_count += 1
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(text)


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """An operation of which the ledger has something else than was acknowledged.

    Attributes:
        fault: That it counts for.
        operation: The operation.
        lost_micros: Acknowledged, and not there, or not there when it was asked again; 0: of what is lost nothing was
            billed yet.
        doubled_micros: There, and not acknowledged; 0: it is lost.
        is_stated: Whether the fault may lose it, by what is documented.
    """

    fault: str
    operation: Operation
    lost_micros: int = 0
    doubled_micros: int = 0
    is_stated: bool = False

    @property
    def is_lost(self) -> bool:
        """Whether it is lost, and not doubled."""
        return not self.doubled_micros

    def __str__(self) -> str:
        """One line."""
        if self.operation.vanished:
            return f"{_name(self.operation.key)}: granted, and then not known, {self.fault}"
        what = f"lost {self.lost_micros}" if self.lost_micros else f"doubled {self.doubled_micros}"
        return f"{_name(self.operation.key)}: {what} micros of {self.operation.micros}, {self.fault}"


def compare(
    operations: Iterable[Operation], found: Mapping[Key, int], occurrences: Sequence[Occurrence]
) -> Iterator[Discrepancy]:
    """Hold what was acknowledged against what the ledger has.

    An operation counts for the fault during which it was asked, or for the one that may have lost it.

    Args:
        operations: All that were acknowledged.
        found: What the ledger has, in micros; what is missing there is 0.
        occurrences: The faults that happened, in their order.
    """
    for operation in operations:
        acknowledged, has = operation.micros or 0, found.get(operation.key, 0)
        missing = max(0, acknowledged - has)
        if operation.was_forgotten or missing or operation.vanished:
            at = operation.granted_at if operation.vanished else operation.answered_at
            loser = _loser_of(operation.key.office_id, at, occurrences)
            fault = loser or operation.during
            yield Discrepancy(fault, operation, lost_micros=missing or acknowledged, is_stated=loser is not None)
        if has > acknowledged:
            yield Discrepancy(operation.during, operation, doubled_micros=has - acknowledged)


def tally(discrepancies: Iterable[Discrepancy]) -> dict[str, Tally]:
    """Fault -> what went wrong; faults with which all is well are left out."""
    tallies: dict[str, Tally] = {}
    for each in discrepancies:
        at = tallies.setdefault(each.fault, Tally())
        at.lost += each.is_lost
        at.lost_micros += each.lost_micros
        at.lost_as_stated += each.is_stated
        at.doubled += bool(each.doubled_micros)
        at.doubled_micros += each.doubled_micros
    return tallies


def unexplained(
    operations: Iterable[Operation],
    found: Mapping[Key, int],
    others: Mapping[str, int],
    balances: Mapping[str, int],
) -> dict[str, int]:
    """Hold balances against what the ledger has of the operations: the store's own word against the ledger's.

    Args:
        operations: All that were acknowledged.
        found: As of `compare`.
        others: Office -> what it had at the beginning, and what came to it otherwise.
        balances: Office -> its balance in the store.

    Returns:
        Office -> micros that it has beyond what the ledger says; those with just that are left out.
    """
    expected = Counter(others)
    for operation in operations:
        sign = -1 if operation.key.kind in (Kind.CALL, Kind.MESSAGE) else 1
        expected[operation.key.office_id] += sign * found.get(operation.key, 0)
    return {
        office_id: difference
        for office_id, micros in sorted(expected.items())
        if (difference := balances.get(office_id, 0) - micros)
    }


def tally_unexplained(differences: Mapping[str, int]) -> Tally:
    """What `unexplained` found, an office each: debited too little is lost, debited too much is doubled."""
    lost = [micros for micros in differences.values() if micros > 0]
    doubled = [-micros for micros in differences.values() if micros < 0]
    return Tally(lost=len(lost), lost_micros=sum(lost), doubled=len(doubled), doubled_micros=sum(doubled))


def _loser_of(office_id: str, acknowledged_at: float, occurrences: Sequence[Occurrence]) -> str | None:
    """The fault that may have lost what had just been acknowledged, by what is documented of it."""
    return next((each.fault for each in occurrences if each.may_lose(office_id, acknowledged_at)), None)


def _name(key: Key) -> str:
    return f"{key.kind} {key.thing_id} of {key.office_id}"

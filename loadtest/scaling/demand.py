"""What is asked of an installation, in a telephony engineer's terms, and three demands with names."""

from dataclasses import dataclass, field, fields
from typing import Any, Final


class DemandError(Exception):
    """A demand that cannot be; says which flag and why."""


def _flag(default: float, lowest: float, highest: float, text: str) -> Any:
    """A field with its range and the words of its flag."""
    return field(default=default, metadata={"lowest": lowest, "highest": highest, "text": text})


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of an installation in its busy hour. Each field is a flag of `python -m loadtest.scaling`.

    All defaults are assumptions, apart from what a setting of the gateway fixes (ticks, lists, stubs).
    """

    calls: int = _flag(50_000, 1, 10**9, "calls at a time, ringing ones included")
    hold_seconds: float = _flag(180, 1, 86_400, "mean talk time of an answered call")
    ring_seconds: float = _flag(12, 0, 180, "mean time from the authorization to the answer, or to giving up")
    answered_share: float = _flag(0.6, 0.01, 1, "of the calls authorized, those that are answered")
    ticks_per_minute: float = _flag(1, 0, 60, "of a call that talks; less where many calls are free")
    ticks_by_switch: float = _flag(0, 0, 1, "share of the ticks that come as TickCall, the gateway making the others")
    lists_per_minute: float = _flag(2, 0, 60, "how often a switch lists each call (LiveCalls); 0: it ticks itself")
    calls_per_switch: int = _flag(2_000, 1, 10**7, "calls that a switch has at a time, and lists")
    messages_per_second: float = _flag(0, 0, 10**8, "SMS and MMS")
    offices: int = _flag(50_000, 1, 10**7, "offices with a balance")
    zipf: float = _flag(0.7, 0, 2, "the office of rank r has a share of calls like r to the minus this")
    utilisation: float = _flag(0.6, 0.01, 0.95, "how busy a core may be in the busy hour")
    in_flight: int = _flag(
        64, 1, 10**6, "operations at a time between a switch and a front: the more, the cheaper each"
    )
    replicas: int = _flag(1, 0, 5, "replicas of each primary")
    stub_seconds: float = _flag(3_600, 0, 86_400, "how long ended calls and messages stay as stubs")
    sql_away_seconds: float = _flag(900, 0, 604_800, "how long SQL may be away while the outboxes hold everything")
    memory_headroom: float = _flag(1.5, 1, 10, "for fragments, buffers and the copies that a rewrite of the file makes")
    primary_gib: float = _flag(64, 0.1, 4_096, "memory of a primary's machine")
    primary_gbits: float = _flag(10, 0.01, 1_000, "network of a primary's machine, each way")

    def __post_init__(self) -> None:
        """Hold every field against its range.

        Raises:
            DemandError: One is outside of it.
        """
        for each in fields(self):
            value, lowest, highest = getattr(self, each.name), each.metadata["lowest"], each.metadata["highest"]
            if not lowest <= value <= highest:
                raise DemandError(f"{flag_of(each.name)}: {value:g} is not within {lowest:g} to {highest:g}")

    @property
    def attempts_per_second(self) -> float:
        """Authorizations: calls at a time over the mean time that each is there (Little's law)."""
        return self.calls / (self.answered_share * self.hold_seconds + self.ring_seconds)

    @property
    def answers_per_second(self) -> float:
        """Calls that are answered."""
        return self.attempts_per_second * self.answered_share

    @property
    def talking_calls(self) -> float:
        """Of the calls, those that are answered."""
        return self.answers_per_second * self.hold_seconds

    @property
    def ticks_per_second(self) -> float:
        """Ticks of all calls."""
        return self.talking_calls * self.ticks_per_minute / 60

    @property
    def listed_per_second(self) -> float:
        """Calls in the lists of all switches."""
        return self.calls * self.lists_per_minute / 60

    @property
    def entries_per_second(self) -> float:
        """Outbox entries: one a tick, one an end, one a message."""
        return self.ticks_per_second + self.attempts_per_second + self.messages_per_second

    @property
    def records_per_second(self) -> float:
        """Rows that usage reports are made of: one a call, one a message."""
        return self.attempts_per_second + self.messages_per_second

    @property
    def switches(self) -> int:
        """Switches, and so Sessions at least."""
        return -(-self.calls // self.calls_per_switch)


def flag_of(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


NAMED: Final = {
    "city": Demand(calls=5_000, offices=2_000, messages_per_second=20, calls_per_switch=1_000),
    "country": Demand(calls=200_000, offices=100_000, messages_per_second=1_000),
    "ten million": Demand(calls=10_000_000, offices=500_000, messages_per_second=20_000, calls_per_switch=10_000),
}
"""Sizes to think with, not measured traffic of any place."""

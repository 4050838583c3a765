"""The columns in which live calls are shown, whoever shows them: once, again and again, or redrawn in place."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.cli.output import NOTHING, columns, money, short_name
from gateway.v1 import authorization_pb2
from gateway.v1 import credits_pb2 as pb

_STATE_STYLES: Final = {
    pb.CALL_STATE_RINGING: "dim",
    pb.CALL_STATE_ANSWERED: "green",
    pb.CALL_STATE_CUT: "bold red",
    pb.CALL_STATE_LAPSED: "magenta",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table.

    Attributes:
        heading: Its name.
        cell: What it says of a call.
        style: In what colour, as rich has it; empty: the terminal's own.
        is_number: Whether it stands to the right.
    """

    heading: str
    cell: Callable[[pb.Call], str]
    style: Callable[[pb.Call], str] = lambda _: ""
    is_number: bool = False


OFFICE: Final = Column("OFFICE", lambda call: call.office_id, lambda _: "blue")
CALL: Final = Column("CALL", lambda call: call.call_id)
STATE: Final = Column(
    "STATE",
    lambda call: short_name(pb.CallState.Name(call.state), "CALL_STATE_"),
    lambda call: _STATE_STYLES.get(call.state, ""),
)
REASON: Final = Column("REASON", lambda call: authorization_pb2.Reason.Name(call.reason))
CALLING: Final = Column("CALLING", lambda call: call.calling_number or NOTHING)
CALLED: Final = Column("CALLED", lambda call: call.called_number)
USED: Final = Column("USED s", lambda call: str(call.used_seconds), is_number=True)
GRANTED: Final = Column(
    "GRANTED s",
    lambda call: str(call.granted_seconds),
    # Nothing more can be paid: the one call of the table at which somebody may have to look.
    lambda call: "yellow" if call.final_unit else "",
    is_number=True,
)
DEBITED: Final = Column("DEBITED", lambda call: money(call.debited_micros), lambda _: "bold", is_number=True)
HELD: Final = Column("HELD", lambda call: money(call.held_micros), lambda _: "dim", is_number=True)
SWITCH: Final = Column("SWITCH", lambda call: call.switch_id or NOTHING)

ALL_OF_AN_OFFICE: Final = (CALL, STATE, REASON, CALLING, CALLED, USED, GRANTED, DEBITED, HELD, SWITCH)


def plain_table(calls: Iterable[pb.Call], shown: Sequence[Column] = ALL_OF_AN_OFFICE) -> Iterator[str]:
    """Lay the table out in lines."""
    return columns([each.heading for each in shown], [[each.cell(call) for each in shown] for call in calls])

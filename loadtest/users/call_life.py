"""The life of a call at a switch that ticks by itself: authorize, ring, answer, talk and tick, hang up."""

from typing import Final

from gateway.v1 import authorization_pb2 as pb
from loadtest.users.desk import Desk, LiveCall
from loadtest.users.talk import Called, PlannedCall

TICK_AHEAD_SECONDS: Final = 10
"""So long before the granted time is over a switch asks for more."""

_REASONS: Final = {Called.ABROAD: pb.FUNDED, Called.LOCAL: pb.FREE, Called.EMERGENCY: pb.EMERGENCY}


def live(desk: Desk, office_id: str, call_id: str, planned: PlannedCall, scale: float, *, funded: bool = True) -> None:
    """Live a call from the dialling to the end.

    Args:
        desk: Asks the gateway.
        office_id: Who pays.
        call_id: New.
        planned: The call.
        scale: Seconds of the call in a second.
        funded: Whether the office has funds: otherwise what costs something must be denied.

    Raises:
        Unanswered: An answer was wrong, or none came; the desk ends the call when it settles.
    """
    expected = _REASONS[planned.called]
    if not funded and expected == pb.FUNDED:
        expected = pb.INSUFFICIENT_FUNDS
    call = desk.authorize_call(office_id, call_id, planned.called_number, expected)
    if call is None:
        return
    if not desk.pause(planned.ring_seconds / scale) or not planned.talk_seconds:
        desk.end_call(call, 0)
        return
    desk.end_call(call, _talk(desk, call, planned.talk_seconds, scale))


def _talk(desk: Desk, call: LiveCall, talk_seconds: int, scale: float) -> int:
    """Talk until it is enough, or nothing more is granted; returns the talk time."""
    desk.answer_call(call)
    used = 0
    while True:
        due = call.granted_seconds - TICK_AHEAD_SECONDS
        if used >= due:
            # The last tick brought nothing. At the end of what is granted a switch looks once more.
            due = call.granted_seconds
        if talk_seconds <= due:
            # Hung up in the middle, it has talked for what it was ticked for, and a second at least.
            return talk_seconds if desk.pause((talk_seconds - used) / scale) else max(1, used)
        if not desk.pause((due - used) / scale):
            return max(1, used)
        used = due
        desk.tick_call(call, used)
        if call.granted_seconds <= used:
            return used

"""What to do about a call or message when no gateway answers (RFC 8506, Credit-Control-Failure-Handling)."""

from collections.abc import Set
from enum import Enum
from typing import Final

from gateway.v1 import authorization_pb2 as pb

EMERGENCY_NUMBERS: Final = frozenset({"911", "112", "999", "000"})
"""Emergency numbers everywhere. The gateway knows each country's own, too."""

_SEPARATORS: Final = str.maketrans("", "", " -")
_EMERGENCY_SECONDS: Final = 86_400


class FailureHandling(Enum):
    """What becomes of an authorization that no gateway answers."""

    TERMINATE = "terminate"
    """It fails at once when there is no stream, or the stream breaks: no second attempt."""

    RETRY_AND_TERMINATE = "retry and terminate"
    """It is tried again on new streams until its deadline, and then fails. The default."""

    CONTINUE = "continue"
    """It is tried again until its deadline, and then the call or message is let through without the gateway, which is
    told when it is back. Somebody pays for what turns out not to be covered: the operator of the switch."""


def is_emergency(called_number: str, numbers: Set[str] = EMERGENCY_NUMBERS) -> bool:
    """Whether a number as dialled is an emergency number; never raises.

    Spaces, dashes and one leading plus are ignored, as the gateway does.

    Args:
        called_number: As dialled.
        numbers: Digits only.
    """
    return called_number in numbers or called_number.translate(_SEPARATORS).removeprefix("+") in numbers


def granted_emergency() -> pb.AuthorizeCallResponse:
    """What the gateway would say to an emergency call."""
    return pb.AuthorizeCallResponse(
        decision=pb.GRANTED,
        reason=pb.EMERGENCY,
        granted_seconds=_EMERGENCY_SECONDS,
        category=pb.CATEGORY_EMERGENCY,
    )


def granted_without_gateway(granted_seconds: int) -> pb.AuthorizeCallResponse:
    """A call is let through without the gateway; its reason is the one that no gateway sends: REASON_UNSPECIFIED."""
    return pb.AuthorizeCallResponse(decision=pb.GRANTED, granted_seconds=granted_seconds)

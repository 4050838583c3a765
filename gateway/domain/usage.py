"""What a usage record is about, and where it stands."""

from enum import StrEnum


class UsageKind(StrEnum):
    """A call (a fax is one) or a message."""

    CALL = "CALL"
    MESSAGE = "MESSAGE"


class UsageState(StrEnum):
    """OPEN: the call goes on. LAPSED: settled so far, it may be heard of again. CLOSED: over, or refused."""

    OPEN = "OPEN"
    LAPSED = "LAPSED"
    CLOSED = "CLOSED"

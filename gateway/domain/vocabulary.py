"""The closed sets of values that every layer speaks of.

Each enum has the numbers of its twin in proto/gateway/v1, so that a value crosses the API by `int()` and back by
the constructor; tests/unit/test_vocabulary.py holds the two equal. Zero means "not given" and is no member here
unless absence is a value of its own.
"""

from enum import IntEnum


class Direction(IntEnum):
    """Which way a call goes, seen from the office that pays."""

    INBOUND = 1
    OUTBOUND = 2


class License(IntEnum):
    """The licence of the user who makes or takes the call; STANDARD where the switch names none."""

    STANDARD = 1
    CONTACT_CENTER = 2
    SALES = 3


class Service(IntEnum):
    """What a call carries; VOICE where the switch names none."""

    VOICE = 1
    FAX = 2


class MessageKind(IntEnum):
    """What a message is; SMS where the switch names none."""

    SMS = 1
    MMS = 2


class Decision(IntEnum):
    """The answer to "may this proceed?"."""

    GRANTED = 1
    DENIED = 2


class Reason(IntEnum):
    """Why a decision is what it is, in the order of precedence: the first that applies is given."""

    EMERGENCY = 1
    INVALID_NUMBER = 2
    UNKNOWN_OFFICE = 3
    OFFICE_SUSPENDED = 4
    CALL_ENDED = 5
    MESSAGE_REFUNDED = 6
    DESTINATION_BLOCKED = 7
    FRAUD_GUARD = 15
    NO_RATE = 8
    FREE = 9
    PRICE_LIMIT = 10
    TOO_MANY_CALLS = 11
    SPEND_LIMIT = 12
    INSUFFICIENT_FUNDS = 13
    FUNDED = 14

    @property
    def decision(self) -> Decision:
        """GRANTED for EMERGENCY, FREE and FUNDED; DENIED for the rest."""
        return Decision.GRANTED if self in _GRANTING else Decision.DENIED


_GRANTING = frozenset({Reason.EMERGENCY, Reason.FREE, Reason.FUNDED})


class Category(IntEnum):
    """The line of the usage report that a call or message belongs to."""

    EMERGENCY = 1
    LOCAL = 2
    INTERNATIONAL = 3
    TOLL_FREE = 4
    MESSAGE = 5
    FAX = 6


class UsageOrder(IntEnum):
    """What is first in a list of usage records; NEWEST_FIRST where nobody says."""

    NEWEST_FIRST = 0
    OLDEST_FIRST = 1
    COSTLIEST_FIRST = 2
    LONGEST_FIRST = 3


class FinalReason(IntEnum):
    """Why no more time can be granted to a call."""

    INSUFFICIENT_FUNDS = 1
    SPEND_LIMIT = 2
    MAX_DURATION = 3
    OPERATOR = 4
    ENDED = 5


class OfficeState(IntEnum):
    """Whether an office may start calls and messages."""

    ACTIVE = 1
    SUSPENDED = 2


class RefillState(IntEnum):
    """Where the automatic refill of an office stands (OFF: it never charges)."""

    OFF = 1
    ARMED = 2
    PENDING = 3
    WAITING = 4


class CallState(IntEnum):
    """Where a call stands in its life; a lapsed call may be revived, an ended one may not."""

    RINGING = 1
    ANSWERED = 2
    CUT = 3
    LAPSED = 4
    ENDED = 5


class Role(IntEnum):
    """What the bearer of a token may do (docs/reference/rights.md)."""

    OPERATOR = 1
    COMPANY_ADMIN = 2
    OFFICE_ADMIN = 3
    VIEWER = 4
    SWITCH = 5


class PaymentTerms(IntEnum):
    """How an office pays for its credits: a card at once, or an invoice later."""

    CARD = 1
    INVOICE = 2

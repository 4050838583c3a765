"""On which terms credit is given to clients: what an operator decides."""

from collections.abc import Set
from dataclasses import dataclass
from enum import StrEnum

from gateway.client import EMERGENCY_NUMBERS
from gateway.diameter.codes import FailureHandling


class FreeCalls(StrEnum):
    """What a client is told of a call that costs nothing."""

    GRANT = "grant"
    """Time, as of any call: its duration comes into the usage report."""

    NOT_APPLICABLE = "not-applicable"
    """CREDIT_CONTROL_NOT_APPLICABLE: go on, and ask no more. Its duration is not learnt."""


@dataclass(frozen=True, slots=True)
class Terms:
    """The operator's choices.

    Attributes:
        tick_seconds: Granted at a time where a client does not say how much it wants; 0: one tick of the rate.
        validity_seconds: A grant is for at most so long, and after that the client has to report; 0: no such limit.
        failure_handling: What a client does while it gets no answer.
        free_calls: What it is told of calls that cost nothing.
        currency_code: ISO 4217, numeric.
        emergency_numbers: Granted whatever happens; digits only.
    """

    tick_seconds: int = 0
    validity_seconds: int = 120
    failure_handling: FailureHandling = FailureHandling.TERMINATE
    free_calls: FreeCalls = FreeCalls.GRANT
    currency_code: int = 840
    emergency_numbers: Set[str] = EMERGENCY_NUMBERS

    def quota(self, requested: int) -> int:
        """Seconds to ask the gateway for; 0: one tick of the rate."""
        wanted = requested or self.tick_seconds
        return min(wanted, self.validity_seconds) if self.validity_seconds else wanted

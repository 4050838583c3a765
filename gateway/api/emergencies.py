"""The emergency calls that this process granted.

An emergency call waits for nothing, so its life is answered from here, and what the store learns of it (for the usage
record, and for other gateways) is sent behind its back. It is never debited, ticked or cut.
"""

from collections import OrderedDict
from typing import Final

from gateway.errors import PermissionDenied

GRANTED_SECONDS: Final = 86_400
REMEMBERED: Final = 10_000
"""Far more than are ever live; the oldest is forgotten first and then answered from the store."""


class EmergencyCalls:
    """Call ids by office, with the switch that each belongs to."""

    def __init__(self) -> None:
        self._switches: OrderedDict[tuple[str, str], str] = OrderedDict()

    def add(self, office_id: str, call_id: str, switch_id: str) -> None:
        """Remember a call that was granted."""
        self._switches[office_id, call_id] = switch_id
        if len(self._switches) > REMEMBERED:
            self._switches.popitem(last=False)

    def holds(self, office_id: str, call_id: str, switch_id: str) -> bool:
        """Whether this is an emergency call granted here; `switch_id` is who asks, empty for an operator.

        Raises:
            PermissionDenied: It is another switch's.
        """
        owner = self._switches.get((office_id, call_id))
        if owner is None:
            return False
        if switch_id and owner and switch_id != owner:
            raise PermissionDenied
        return True

    def remove(self, office_id: str, call_id: str) -> None:
        """Forget a call that ended."""
        self._switches.pop((office_id, call_id), None)

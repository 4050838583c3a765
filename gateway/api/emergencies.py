"""The emergency calls that this process granted.

An emergency call waits for nothing, so its life is answered from here, and what the store learns of it (for the usage
record, and for other gateways) is sent behind its back. It is never debited, ticked or cut.
"""

from collections import OrderedDict
from typing import Final

GRANTED_SECONDS: Final = 86_400
REMEMBERED: Final = 10_000
"""Far more than are ever live; the oldest is forgotten first and then answered from the store."""


class EmergencyCalls:
    """Call ids by office, with the switches that each belongs to.

    Two switches may use one id, since an emergency is granted before anybody asks whose the id is: each then has a call
    of its own here, and neither gets at the other's, nor at a call of that id that is no emergency.
    """

    def __init__(self) -> None:
        self._switches: OrderedDict[tuple[str, str], set[str]] = OrderedDict()

    def add(self, office_id: str, call_id: str, switch_id: str) -> None:
        """Remember a call that was granted."""
        self._switches.setdefault((office_id, call_id), set()).add(switch_id)
        if len(self._switches) > REMEMBERED:
            self._switches.popitem(last=False)

    def holds(self, office_id: str, call_id: str, switch_id: str) -> bool:
        """Whether this is an emergency call granted here that a switch (empty: an operator) may touch."""
        switches = self._switches.get((office_id, call_id))
        return switches is not None and (not switch_id or not switches.isdisjoint((switch_id, "")))

    def remove(self, office_id: str, call_id: str, switch_id: str) -> None:
        """Forget a call that ended; an operator's word ends it for all."""
        switches = self._switches.pop((office_id, call_id), set())
        left = switches - {switch_id, ""} if switch_id else set()
        if left:
            self._switches[office_id, call_id] = left

"""The audit after each measure: every office must have what the operations say, and hold nothing.

A benchmark whose books are wrong has measured something else than the gateway: it fails, whatever its figures.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.store.balances import BalanceStore
from gateway.store.records import OfficeRecord
from loadtest.processes import BenchError

_SHOWN: Final = 10


@dataclass
class Books:
    """What was audited so far in this run.

    Attributes:
        offices: By measure, how many offices were held against what was done to them.
        faults: What was found wrong, a line an office.
    """

    offices: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def audit(self, measure: str, expected: Mapping[str, int], found: Mapping[str, OfficeRecord | None]) -> None:
        """Hold balances against what they must be.

        Args:
            measure: The name of the measure that moved them.
            expected: Office -> its balance in micros, by the answers that the callers got.
            found: Office -> what the store has of it.

        Raises:
            BenchError: They differ.
        """
        self.offices[measure] = self.offices.get(measure, 0) + len(expected)
        faults = [
            f"{measure}: {fault}"
            for office_id, balance in expected.items()
            if (fault := fault_of(office_id, balance, found.get(office_id)))
        ]
        self.faults += faults
        if faults:
            more = f"\nand {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            raise BenchError("the books are wrong:\n" + "\n".join(faults[:_SHOWN]) + more)

    async def audit_store(self, measure: str, expected: Mapping[str, int], store: BalanceStore) -> None:
        """As `audit`, with the offices as the store has them now."""
        self.audit(measure, expected, {office_id: await store.read_office(office_id) for office_id in expected})


def fault_of(office_id: str, balance_micros: int, office: OfficeRecord | None) -> str | None:
    """What is wrong with an office after all its calls have ended; None: nothing."""
    if office is None:
        return f"{office_id} is not in the store"
    if office.balance_micros != balance_micros:
        return f"{office_id} has {office.balance_micros} micros, and the answers say {balance_micros}"
    if office.reserved_micros or office.concurrent_calls:
        return f"{office_id} still holds {office.reserved_micros} micros for {office.concurrent_calls} calls"
    return None

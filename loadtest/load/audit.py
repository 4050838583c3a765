"""The audit after a load: balances, refills, prices, and the ledger. A load whose books do not add up has failed.

The answers to the callers are one witness, the balances another, the ledger a third; each is held against the others.
"""

import asyncio
import json
import os
import sys
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, Final

import grpc.aio

from gateway.client_channel import fault_of
from gateway.settings_problems import PREFIX
from gateway.v1 import authorization_pb2 as apb
from gateway.v1 import credits_pb2 as pb
from loadtest.load.answers import Answers
from loadtest.load.gateway import LoadedGateway
from loadtest.load.offices import Offices, expected_balances, refills_due
from loadtest.load.operator import Operator, each_of
from loadtest.processes import BenchError
from loadtest.scene import open_stub_with

SETTLE_SECONDS: Final = 60.0
"""For the last refill to be paid, and for a front that was killed to be back."""

_AUDIT_SECONDS: Final = 300.0
_MOST_SHOWN: Final = 10


@dataclass
class Findings:
    """What the audit found.

    Attributes:
        offices: How many were held against the answers.
        quotes: How many prices of calls were held against quotes.
        refills: How many refills the offices were credited with.
        ledger: What `tollgate audit` said: `clean`, `differs`, or why it was not asked.
        faults: What is wrong, a line each; empty: the books add up.
    """

    offices: int = 0
    quotes: int = 0
    refills: int = 0
    ledger: str = "not asked"
    faults: list[str] = field(default_factory=list)

    def shown_faults(self) -> list[str]:
        """The first of them."""
        more = len(self.faults) - _MOST_SHOWN
        return [*self.faults[:_MOST_SHOWN], *([f"and {more} more"] if more > 0 else [])]

    def to_json(self) -> dict[str, Any]:
        """For the result's file."""
        return {
            "offices": self.offices,
            "quotes": self.quotes,
            "refills": self.refills,
            "ledger": self.ledger,
            "faults": self.faults,
        }


async def audit_load(
    gateway: LoadedGateway,
    operator: Operator,
    offices: Offices,
    answers: Answers,
    settle_seconds: float = SETTLE_SECONDS,
) -> Findings:
    """Hold everything against everything else.

    Args:
        gateway: The gateway that was under load.
        operator: Of it.
        offices: All that took part; nobody else may have touched them.
        answers: What they were told.
        settle_seconds: How long refills may still be on their way.

    Raises:
        BenchError: The gateway could not be asked.
    """
    findings = Findings(offices=len(offices.all()), faults=list(answers.faults))
    more = answers.fault_count - len(answers.faults)
    if more > 0:
        findings.faults.append(f"{more} more wrong answers")
    try:
        await _audit_balances(operator, offices, answers, settle_seconds, findings)
        await _audit_refills(operator, offices, answers, findings)
        await _audit_prices(gateway, offices, answers, findings)
    except grpc.aio.AioRpcError as error:
        fault = fault_of(error)
        raise BenchError(f"the books could not be audited: {fault.code}: {fault.message}") from None
    await _audit_ledger(gateway, findings)
    return findings


async def _audit_balances(
    operator: Operator, offices: Offices, answers: Answers, settle_seconds: float, findings: Findings
) -> None:
    """Each office must have what the answers say, and hold nothing; what is on its way is waited for."""
    expected = expected_balances(offices, answers.debited)
    deadline = monotonic() + settle_seconds
    left = set(expected)
    while True:
        faults = {
            office_id: fault
            for office_id, office in (await operator.read(left)).items()
            if (fault := _fault_of(office, expected[office_id]))
        }
        left = set(faults)
        # Only refills move a balance now; anything else will not get better.
        may_settle = any(office_id in offices.refilled for office_id in left)
        if not left or monotonic() > deadline or not may_settle:
            break
        await asyncio.sleep(0.25)
    findings.faults += sorted(faults.values())


def _fault_of(office: pb.Office, balance_micros: int) -> str | None:
    if office.balance_micros != balance_micros:
        return f"{office.office_id} has {office.balance_micros} micros, and the answers say {balance_micros}"
    if office.reserved_micros or office.concurrent_calls:
        return f"{office.office_id} still holds {office.reserved_micros} micros for {office.concurrent_calls} calls"
    return None


async def _audit_refills(operator: Operator, offices: Offices, answers: Answers, findings: Findings) -> None:
    """One dip, one refill: as many as what was spent asks for."""
    opening = offices.opening_micros()
    for office_id, count in sorted((await operator.count_refills(offices.refilled)).items()):
        findings.refills += count
        due = refills_due(opening[office_id], answers.debited.get(office_id, 0))
        if count != due:
            findings.faults.append(f"{office_id} was refilled {count} times, and what it spent asks for {due}")


async def _audit_prices(gateway: LoadedGateway, offices: Offices, answers: Answers, findings: Findings) -> None:
    """What calls cost must be what they are quoted: answers and balances could agree and both be wrong."""
    async with open_stub_with(gateway.server, gateway.operator_token) as stub:

        async def check(call: tuple[str, int]) -> None:
            number, seconds = call
            quote = await stub.QuoteCall(
                apb.QuoteCallRequest(
                    office_id=offices.funded[0],
                    direction=apb.OUTBOUND,
                    called_number=number,
                    duration_seconds=seconds,
                )
            )
            findings.quotes += 1
            price = answers.prices[call]
            if quote.price_micros != price:
                findings.faults.append(
                    f"{seconds} s to {number} cost {price} micros, and the quote is {quote.price_micros}"
                )

        # A call that was not answered costs nothing, and a quote of 0 seconds is one of a minute.
        await each_of([call for call in answers.prices if call[1]], check)


async def _audit_ledger(gateway: LoadedGateway, findings: Findings) -> None:
    """`tollgate audit`, where the gateway's data is."""
    if gateway.data_dir is None:
        findings.ledger = "not asked: no --data-dir; run `tollgate audit` where the gateway is"
        return
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gateway.cli", "audit", "--json", "--data-dir", str(gateway.data_dir)),
        env={name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_AUDIT_SECONDS):
            printed, said = await process.communicate()
    except TimeoutError:
        raise BenchError(f"`tollgate audit` did not end within {_AUDIT_SECONDS:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        findings.ledger = "clean"
        return
    findings.ledger = "differs"
    try:
        differences = [str(each) for each in json.loads(printed)["differences"]]
    except ValueError:
        differences = []
    findings.faults += [f"tollgate audit: {each}" for each in differences or said.decode().strip().splitlines()[-1:]]

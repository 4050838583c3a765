"""The audit after the faults: answers, ledger and store, each held against both others."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

import grpc.aio

from gateway.auditing import AuditReport, audit
from gateway.cli.errors import CommandError
from gateway.cli.installation import Installation, gateway_installation
from gateway.client_channel import fault_of
from gateway.domain.usage import UsageKind
from gateway.errors import TollgateError
from gateway.ledger.auditing.usage import AuditedUsage
from gateway.settings import load_settings
from gateway.v1 import credits_pb2 as pb
from loadtest.chaos.books import (
    UNATTRIBUTED,
    Books,
    Key,
    Kind,
    Occurrence,
    Tally,
    compare,
    tally,
    tally_unexplained,
    unexplained,
)
from loadtest.chaos.load import Load
from loadtest.chaos.site import Site
from loadtest.load.offices import Offices, expected_balances
from loadtest.load.operator import Operator
from loadtest.processes import BenchError

SETTLE_SECONDS: Final = 90.0
"""For the journal to drain, for what a fault left behind to lapse, and for refills to be paid."""

_PAUSE_SECONDS: Final = 0.5
_PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class Audited:
    """What the audit found.

    Attributes:
        tallies: Fault -> lost and doubled; those with neither are left out.
        offices: How many were compared.
        operations: How many operations were held against the ledger.
        refills: How often offices were refilled automatically.
        settled_seconds: Until nothing was on its way any longer.
        faults: Everything else that is wrong, a line each.
    """

    tallies: Mapping[str, Tally]
    offices: int
    operations: int
    refills: int
    settled_seconds: float
    faults: Sequence[str]


@dataclass
class _Ledger:
    """What the ledger has.

    Attributes:
        found: Operation -> its micros.
        refills: How many there were.
        faults: What nobody was answered, a line each.
    """

    found: dict[Key, int] = field(default_factory=dict)
    refills: int = 0
    faults: list[str] = field(default_factory=list)


async def audit_site(
    site: Site, operator: Operator, offices: Offices, load: Load, occurrences: Sequence[Occurrence]
) -> Audited:
    """Wait until nothing is on its way any longer, and compare.

    Args:
        site: The gateway and its store, healed.
        operator: Of it.
        offices: All that took part; nobody else may have touched them.
        load: Settled.
        occurrences: The faults that happened.

    Raises:
        BenchError: Something could not be asked.
    """
    operations, began = load.books.operations.values(), monotonic()
    deadline = began + SETTLE_SECONDS
    settings = load_settings(data_dir=str(site.gateway.data_dir), redis_url=site.store.url)
    try:
        async with gateway_installation(settings, alone=False) as installation:
            report = await _settled(installation, deadline)
            ledger = await _read_usage(installation)
            # By the ledger: what a fault may lose was never spent, and asks for no refill.
            spent = _spent(offices, ledger.found)
            expected = expected_balances(offices, spent)
            standing = await _refilled(operator, offices, expected, deadline)
            settled_seconds = round(monotonic() - began, 1)
            await _read_credits(ledger, operator, offices, load)
    except (CommandError, TollgateError, grpc.aio.AioRpcError) as error:
        said = fault_of(error).message if isinstance(error, grpc.aio.AioRpcError) else str(error)
        raise BenchError(f"the books could not be audited: {said}") from None
    # What came to an office beside the operations: its first credit, and refills, as many as what it spent asks for.
    others = {office_id: micros + spent.get(office_id, 0) for office_id, micros in expected.items()}
    balances = {office_id: office.balance_micros for office_id, office in standing.items()}
    differences = unexplained(operations, ledger.found, others, balances)
    discrepancies = list(compare(operations, ledger.found, occurrences))
    tallies = tally(discrepancies)
    if differences:
        tallies[UNATTRIBUTED] = tally_unexplained(differences)
    return Audited(
        tallies=tallies,
        offices=len(standing),
        operations=len(operations),
        refills=ledger.refills,
        settled_seconds=settled_seconds,
        faults=[
            *_wrong_answers(load.books),
            *_left_over(report, standing),
            *ledger.faults,
            *(str(each) for each in discrepancies if not each.is_stated),
            *(
                f"{office_id} has {balances[office_id]} micros, {micros:+} beyond what the ledger says"
                for office_id, micros in differences.items()
            ),
        ],
    )


def _spent(offices: Offices, found: Mapping[Key, int]) -> dict[str, int]:
    """Refilled office -> what its messages cost; it does nothing else."""
    spent = dict.fromkeys(offices.refilled, 0)
    for key, micros in found.items():
        if key.office_id in spent and key.kind is Kind.MESSAGE:
            spent[key.office_id] += micros
    return spent


async def _settled(installation: Installation, deadline: float) -> AuditReport:
    """An audit with nothing on its way any longer; the last one made, if that takes too long."""
    while True:
        report = await audit(installation.database, installation.connection)
        on_its_way = report.outbox_entries or report.credits_to_come or report.live_calls
        if (report.is_clean and not on_its_way) or monotonic() > deadline:
            return report
        await asyncio.sleep(_PAUSE_SECONDS)


async def _refilled(
    operator: Operator, offices: Offices, expected: Mapping[str, int], deadline: float
) -> dict[str, pb.Office]:
    """The offices once their refills have come; as they are, if that takes too long."""
    while True:
        standing = await operator.read(offices.all())
        missing = [name for name in offices.refilled if standing[name].balance_micros != expected[name]]
        if not missing or monotonic() > deadline:
            return standing
        await asyncio.sleep(_PAUSE_SECONDS)


async def _read_usage(installation: Installation) -> _Ledger:
    ledger = _Ledger()
    async for batch in AuditedUsage(installation.database).records(None):
        for record in batch:
            kind = Kind.CALL if record.kind is UsageKind.CALL else Kind.MESSAGE
            debited = record.cost_micros + record.refunded_micros
            ledger.found[Key(kind, record.office_id, record.thing_id)] = debited
            ledger.found[Key(Kind.REFUND, record.office_id, record.thing_id)] = record.refunded_micros
    return ledger


async def _read_credits(ledger: _Ledger, operator: Operator, offices: Offices, load: Load) -> None:
    for office_id, opening in offices.opening_micros().items():
        # What the office was opened with is the first.
        unknown = -1 if opening else 0
        async for transaction in _transactions(operator, office_id):
            key = load.owner.transactions.get(transaction.transaction_id)
            if transaction.refill_id:
                ledger.refills += 1
            elif key is not None:
                ledger.found[Key(Kind.CREDIT, office_id, key)] = transaction.amount_micros
            else:
                unknown += 1
        if unknown:
            ledger.faults.append(f"{office_id} has {unknown} credits that nobody was answered")


def _wrong_answers(books: Books) -> Iterator[str]:
    yield from books.faults
    if books.fault_count > len(books.faults):
        yield f"{books.fault_count - len(books.faults)} more wrong answers"
    for operation in books.operations.values():
        if operation.micros is None:
            yield f"{operation.key.kind} {operation.key.thing_id} was never answered"


def _left_over(report: AuditReport, standing: Mapping[str, pb.Office]) -> Iterator[str]:
    for difference in report.differences:
        yield f"tollgate audit: {difference}"
    for office_id in report.too_busy:
        yield f"tollgate audit: {office_id} was too busy"
    if report.live_calls:
        yield f"{report.live_calls} calls are still live"
    if report.outbox_entries:
        yield f"{report.outbox_entries} entries of the outbox are not in the ledger"
    for office_id, office in sorted(standing.items()):
        if office.reserved_micros or office.concurrent_calls:
            yield f"{office_id} still holds {office.reserved_micros} micros for {office.concurrent_calls} calls"


async def _transactions(operator: Operator, office_id: str) -> AsyncIterator[pb.Transaction]:
    token = ""
    while True:
        request = pb.ListTransactionsRequest(office_id=office_id, page_size=_PAGE, page_token=token)
        listed = await operator.stub.ListTransactions(request)
        for transaction in listed.transactions:
            yield transaction
        token = listed.next_page_token
        if not token:
            return

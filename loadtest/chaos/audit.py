"""The audit after the faults: answers, ledger and store, each held against both others."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
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
from loadtest.chaos.books import Key, Kind, Occurrence, Tally, balance_faults, tally
from loadtest.chaos.load import Load
from loadtest.chaos.site import Site
from loadtest.load.offices import Offices, expected_balances
from loadtest.load.operator import Operator
from loadtest.processes import BenchError

SETTLE_SECONDS: Final = 90.0
"""For the journal to drain, for what a fault left behind to lapse, and for refills to be paid."""

_PAUSE_SECONDS: Final = 0.5
_PAGE: Final = 1_000


@dataclass
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

    tallies: Mapping[str, Tally] = field(default_factory=dict)
    offices: int = 0
    operations: int = 0
    refills: int = 0
    settled_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is wrong, but for what is documented."""
        return not self.faults and all(each.is_clean for each in self.tallies.values())


async def audit_site(
    site: Site,
    operator: Operator,
    offices: Offices,
    load: Load,
    occurrences: Sequence[Occurrence],
    settle_seconds: float = SETTLE_SECONDS,
) -> Audited:
    """Wait until nothing is on its way any longer, and compare.

    Args:
        site: The gateway and its store, healed.
        operator: Of it.
        offices: All that took part; nobody else may have touched them.
        load: Settled.
        occurrences: The faults that happened.
        settle_seconds: How long something may still be on its way.

    Raises:
        BenchError: Something could not be asked.
    """
    books, began = load.books, monotonic()
    audited = Audited(offices=len(offices.all()), operations=len(books.operations), faults=list(books.faults))
    if books.fault_count > len(books.faults):
        audited.faults.append(f"{books.fault_count - len(books.faults)} more wrong answers")
    unanswered = [each for each in books.operations.values() if each.micros is None]
    audited.faults += [f"{each.key.kind} {each.key.thing_id} was never answered" for each in unanswered]
    settings = load_settings(data_dir=str(site.gateway.data_dir), redis_url=site.store.url)
    try:
        async with gateway_installation(settings, alone=False) as installation:
            report = await _settled(installation, began + settle_seconds)
            debited = dict.fromkeys(offices.all(), 0)
            for operation in books.operations.values():
                if operation.key.kind is Kind.MESSAGE:
                    debited[operation.key.office_id] += operation.micros or 0
            opening = _opening(offices, debited)
            balances = await _settled_balances(operator, offices, opening, load, began + settle_seconds)
            audited.settled_seconds = round(monotonic() - began, 1)
            found = await _found(installation, operator, offices, load, audited)
    except (CommandError, TollgateError, grpc.aio.AioRpcError) as error:
        said = fault_of(error).message if isinstance(error, grpc.aio.AioRpcError) else str(error)
        raise BenchError(f"the books could not be audited: {said}") from None
    audited.faults += [f"tollgate audit: {difference}" for difference in report.differences]
    audited.faults += [f"tollgate audit: {office_id} was too busy" for office_id in report.too_busy]
    if report.live_calls:
        audited.faults.append(f"{report.live_calls} calls are still live")
    if report.outbox_entries:
        audited.faults.append(f"{report.outbox_entries} entries of the outbox are not in the ledger")
    for office_id, office in sorted(balances.items()):
        if office.reserved_micros or office.concurrent_calls:
            audited.faults.append(
                f"{office_id} still holds {office.reserved_micros} micros for {office.concurrent_calls} calls"
            )
    moved = {office_id: office.balance_micros for office_id, office in balances.items()}
    audited.faults += balance_faults(books.operations.values(), found, opening, moved)
    audited.tallies = tally(books.operations.values(), found, occurrences)
    return audited


def _opening(offices: Offices, debited: Mapping[str, int]) -> dict[str, int]:
    """What each office had at the beginning, and its refills: as many as what its messages cost asks for."""
    return {
        office_id: balance + debited[office_id] for office_id, balance in expected_balances(offices, debited).items()
    }


async def _settled(installation: Installation, deadline: float) -> AuditReport:
    """An audit with nothing on its way any longer; the last one made, if that takes too long."""
    while True:
        report = await audit(installation.database, installation.connection)
        on_its_way = report.outbox_entries or report.credits_to_come or report.live_calls
        if (report.is_clean and not on_its_way) or monotonic() > deadline:
            return report
        await asyncio.sleep(_PAUSE_SECONDS)


async def _settled_balances(
    operator: Operator, offices: Offices, opening: Mapping[str, int], load: Load, deadline: float
) -> dict[str, pb.Office]:
    """The offices once their refills have come; as they are, if that takes too long."""
    spent = dict.fromkeys(offices.refilled, 0)
    for operation in load.books.operations.values():
        if operation.key.office_id in spent:
            spent[operation.key.office_id] += operation.micros or 0
    while True:
        found = await operator.read(offices.all())
        is_refilled = all(
            found[office_id].balance_micros == opening[office_id] - micros for office_id, micros in spent.items()
        )
        if is_refilled or monotonic() > deadline:
            return found
        await asyncio.sleep(_PAUSE_SECONDS)


async def _found(
    installation: Installation, operator: Operator, offices: Offices, load: Load, audited: Audited
) -> dict[Key, int]:
    """What the ledger has of each operation, in micros."""
    found: dict[Key, int] = {}
    async for batch in AuditedUsage(installation.database).records(None):
        for record in batch:
            kind = Kind.CALL if record.kind is UsageKind.CALL else Kind.MESSAGE
            found[Key(kind, record.office_id, record.thing_id)] = record.cost_micros + record.refunded_micros
            if record.refunded_micros:
                found[Key(Kind.REFUND, record.office_id, record.thing_id)] = record.refunded_micros
    opened = frozenset(office_id for office_id, micros in offices.opening_micros().items() if micros)
    for office_id in offices.all():
        # The first credit is what the office was opened with.
        unknown = -1 if office_id in opened else 0
        async for transaction in _transactions(operator, office_id):
            key = load.owner.transactions.get(transaction.transaction_id)
            if transaction.refill_id:
                audited.refills += 1
            elif key is not None:
                found[Key(Kind.CREDIT, office_id, key)] = transaction.amount_micros
            else:
                unknown += 1
        if unknown:
            audited.faults.append(f"{office_id} has {unknown} credits that nobody was answered")
    return found


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

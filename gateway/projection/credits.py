"""Numbered credits from SQL into the store: in order, each once, whoever sends them."""

from dataclasses import dataclass
from typing import Final

import structlog

from gateway import metrics
from gateway.domain.credit import OWN_KEY_PREFIX, CreditStatus
from gateway.domain.money import MAX_AMOUNT_MICROS
from gateway.errors import FailedPrecondition, Internal, Unavailable
from gateway.ledger.credits import Credit, Credits
from gateway.ledger.errors import CreditAlreadyApplied, LedgerBroken
from gateway.projection.offices import OfficeLost
from gateway.store.balances import BalanceStore, CreditResult
from gateway.store.clock import Clock
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.outbox import find_credit
from gateway.store.records import OfficeRecord

log = structlog.get_logger(__name__)

_BATCH: Final = 100
_REFUSALS: Final = frozenset({Code.NOT_COVERED, Code.OUT_OF_RANGE, Code.NOT_PENDING})


class CreditStuck(Internal):
    """The store refuses a credit that has to be applied, since its money is here already: a person has to look."""

    reason = "CREDIT_STUCK"

    def __init__(self, particulars: str) -> None:
        super().__init__()
        self.add_note(particulars)


class BalanceOutOfRange(FailedPrecondition):
    """The balance would pass its bound; the message has the largest amount that would do."""

    reason = "BALANCE_OUT_OF_RANGE"

    def __init__(self, largest: int) -> None:
        super().__init__(
            f"amount_micros: the balance would pass {MAX_AMOUNT_MICROS} micros; at most {largest} can be added now. "
            "Nothing was changed; use a new idempotency_key.",
            field="amount_micros",
            metadata={"largest_amount_micros": str(largest)},
        )


@dataclass(frozen=True, slots=True)
class Application:
    """What became of a credit.

    Attributes:
        credit: As SQL has it now: APPLIED, or REFUSED and moved nothing.
        balance_micros: Of the office, after it.
        available_micros: Of the office, after it.
        refusal: Why the store refused it just now; None: it did not.
    """

    credit: Credit
    balance_micros: int
    available_micros: int
    refusal: Code | None = None

    @property
    def is_refused(self) -> bool:
        """Whether it was refused, now or before."""
        return self.credit.status is CreditStatus.REFUSED


class CreditApplication:
    """Sends credits to the store. The caller holds the office's lock: a process does not race with itself."""

    def __init__(self, ledger: Credits, store: BalanceStore, connection: StoreConnection, clock: Clock) -> None:
        self._credits = ledger
        self._store = store
        self._connection = connection
        self._clock = clock

    async def apply_through(self, office_id: str, number: int, *, actor: str) -> Application:
        """Apply an office's credits up to a number, those that the store has forgotten included; safe to repeat.

        Returns:
            What became of the credit of that number.

        Raises:
            OfficeLost: The store does not know the office.
            StoreUnavailable, DatabaseError: It was done or not; a repeat finds out.
            CreditStuck, LedgerBroken: A person has to look.
        """
        office = await self._read(office_id)
        last, outcome = office.credit_number, None
        while last < number:
            missing = await self._credits.credits_after(office_id, last, min(number - last, _BATCH))
            if not missing or missing[0].number != last + 1:
                raise LedgerBroken(f"Credit {last + 1} of the office {office_id!r} is not in the ledger.")
            for credit in missing:
                outcome = await self._apply_missing(credit, actor)
                last = credit.number
        if outcome is not None:
            return outcome
        credit = await self._credits.get(office_id, number)
        if not credit.is_confirmed:
            return await self._apply(credit, actor)
        return Application(credit, office.balance_micros, office.available_micros)

    async def _read(self, office_id: str) -> OfficeRecord:
        office = await self._store.read_office(office_id)
        if office is None:
            raise OfficeLost(office_id)
        return office

    async def _apply_missing(self, credit: Credit, actor: str) -> Application:
        """Apply a credit that the store did not hold when it was looked at.

        One that SQL has confirmed all the same is either one that another gateway has applied since, or one that the
        store lost in a failover: that one never happened. Only a look at the store after the one at SQL tells.
        """
        if not credit.is_confirmed:
            return await self._apply(credit, actor)
        office = await self._read(credit.office_id)
        if office.credit_number >= credit.number:
            return Application(credit, office.balance_micros, office.available_micros)
        metrics.CREDITS_LOST.inc()
        log.error("credit_lost_by_the_store", office_id=credit.office_id, number=credit.number)
        now_ms = self._clock.now_ms()
        anew = await self._credits.mark_lost(credit.office_id, credit.number, actor=actor, now_ms=now_ms)
        return await self._apply(anew, actor)

    async def _apply(self, credit: Credit, actor: str) -> Application:
        result = await self._send(credit)
        if result.code in _REFUSALS:
            return await self._refuse(credit, result, actor)
        return await self._confirm(credit, result)

    async def _refuse(self, credit: Credit, result: CreditResult, actor: str) -> Application:
        """Let the credit move nothing, and send it as that, so that the numbering goes on."""
        if credit.requested_micros > 0 and credit.idempotency_key.startswith(OWN_KEY_PREFIX):
            raise CreditStuck(f"{result.code.name} for credit {credit.number} of the office {credit.office_id!r}")
        try:
            credit = await self._credits.mark_refused(
                credit.office_id, credit.number, actor=actor, now_ms=self._clock.now_ms(), even_positive=True
            )
        except CreditAlreadyApplied:
            # Another gateway sent it too, and its sending went through.
            credit = await self._credits.get(credit.office_id, credit.number)
            return Application(credit, result.balance_micros, result.available_micros)
        outcome = await self._confirm(credit, await self._send(credit))
        return Application(
            outcome.credit,
            outcome.balance_micros,
            outcome.available_micros,
            result.code if outcome.is_refused else None,
        )

    async def _send(self, credit: Credit) -> CreditResult:
        refill_number = 0
        if credit.refill_id is not None and credit.status is not CreditStatus.REFUSED:
            refill_number = int(credit.refill_id.rpartition("/")[2])
        return await self._store.apply_credit(
            credit.office_id, credit.number, credit.amount_micros, refill_number=refill_number
        )

    async def _confirm(self, credit: Credit, result: CreditResult) -> Application:
        if result.code is Code.UNKNOWN_OFFICE:
            raise OfficeLost(credit.office_id)
        if result.code is Code.OUT_OF_ORDER:
            raise Unavailable("The balance store is being switched over; retry with the same key.")
        moved = credit.amount_micros
        if result.code is Code.REPLAYED:
            moved = await self._moved(credit, result)
        credit = await self._credits.mark_applied(credit.office_id, credit.number, moved, now_ms=self._clock.now_ms())
        return Application(credit, result.balance_micros, result.available_micros)

    async def _moved(self, credit: Credit, result: CreditResult) -> int:
        """What a credit moved that the store holds already: the store's word, not ours."""
        if result.moved_micros is not None:
            return result.moved_micros
        moved = await find_credit(self._connection, credit.office_id, credit.number)
        if moved is None:
            log.warning("credit_confirmed_unseen", office_id=credit.office_id, number=credit.number)
            return credit.amount_micros
        return moved

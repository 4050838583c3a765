"""Compares one office as SQL, outbox and store have it: pure, so that each check can be read and tried by itself."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from gateway.auditing.findings import Check, Difference, Figure
from gateway.auditing.pending import Pending
from gateway.domain.vocabulary import Reason
from gateway.ledger.auditing.standings import CreditSums, Standing
from gateway.store.records import CallRecord, OfficeRecord


@dataclass(frozen=True, slots=True)
class OfficeView:
    """An office from all sides, in one moment of the store and at one position of its outbox.

    Attributes:
        office_id: Which.
        standing: By SQL.
        pending: What the outbox holds beyond it.
        credits: Its credits, up to the number that the store holds and beyond.
        record: In the store; None: it is not there, or cannot be read.
        calls: Its live calls in the store; None: the due set names a call that is not there, or not live.
    """

    office_id: str
    standing: Standing
    pending: Pending
    credits: CreditSums
    record: OfficeRecord | None
    calls: Mapping[str, CallRecord | None]

    def differences(self) -> Iterator[Difference]:
        """Everything that does not agree, the weightiest first."""
        if self.record is None:
            if self.standing.was_in_store:
                yield self._difference(Check.OFFICE_MISSING, ("offices in SQL", 1), ("in the store", 0))
            return
        yield from self._money(self.record)
        yield from self._numbers(self.record)
        yield from self._reservations(self.record)
        yield from self._calls()

    def _money(self, record: OfficeRecord) -> Iterator[Difference]:
        """Invariants 1 and 4."""
        book, pending = self.standing.book, self.pending
        moved = book.moved_micros + pending.moved_micros
        yield from self._compare(
            Check.BALANCE,
            ("credits, usage and outbox make", self.credits.through_micros + moved),
            ("the store's balance is", record.balance_micros),
        )
        yield from self._compare(
            Check.CREDITS,
            ("credits applied come to", self.credits.through_micros),
            ("credits in book and outbox to", book.credits_micros + pending.credits_micros),
        )
        yield from self._compare(
            Check.BOOK,
            ("the book's credits and usage make", book.credits_micros + book.moved_micros),
            ("its last entry left", book.balance_micros),
        )
        yield from self._compare(Check.BOOK_GAPS, ("gaps allowed", 0), ("gaps in the book", book.gaps))
        first = book.balance_micros if pending.balance_before is None else pending.balance_before
        yield from self._compare(
            Check.OUTBOX, ("the book's last entry left", book.balance_micros), ("the outbox goes on from", first)
        )
        yield from self._compare(
            Check.OUTBOX, ("missing between entries may be", 0), ("missing is", pending.missing_micros)
        )
        if pending.entries:
            yield from self._compare(
                Check.OUTBOX,
                ("the last entry left", pending.balance_after),
                ("the store's balance is", record.balance_micros),
            )

    def _numbers(self, record: OfficeRecord) -> Iterator[Difference]:
        held = record.credit_number
        if held > self.credits.last_number:
            yield self._difference(
                Check.CREDIT_NUMBER,
                ("the ledger's newest credit is", self.credits.last_number),
                ("the store holds", held),
            )
        elif held < self.standing.confirmed_number:
            yield self._difference(
                Check.CREDIT_NUMBER,
                ("the store has confirmed credit", self.standing.confirmed_number),
                ("it holds", held),
            )

    def _reservations(self, record: OfficeRecord) -> Iterator[Difference]:
        """Invariants 2 and 3."""
        live = [call for call in self.calls.values() if call is not None]
        yield from self._compare(
            Check.RESERVED,
            ("live calls hold", sum(call.held_micros for call in live)),
            ("reserved is", record.reserved_micros),
        )
        if record.available_micros < 0:
            yield self._difference(Check.AVAILABLE, ("available is at least", 0), ("it is", record.available_micros))
        yield from self._compare(
            Check.CONCURRENT_CALLS,
            ("live calls that pay", sum(call.reason is Reason.FUNDED for call in live)),
            ("counted", record.concurrent_calls),
        )

    def _calls(self) -> Iterator[Difference]:
        """Each live call's hold and debit, and whether the calls that SQL has open are there."""
        lives = set()
        for call_id, call in self.calls.items():
            if call is None:
                yield self._difference(Check.CALL_MISSING, ("due in the store", 1), ("live there", 0), call_id)
                continue
            life = (call_id, call.authorized_ms)
            lives.add(life)
            price = call.rate.price_micros(call.granted_seconds) if call.rate is not None else 0
            yield from self._compare(
                Check.HELD,
                (f"{call.granted_seconds} s less the debit are", price - call.debited_micros),
                ("it holds", call.held_micros),
                call_id,
            )
            news = self.pending.calls.get(life)
            known = self.standing.open_calls.get(life, 0) if news is None else news.debited_micros
            yield from self._compare(
                Check.CALL_DEBIT,
                ("usage and outbox say", known),
                ("the store has debited", call.debited_micros),
                call_id,
            )
        for life in self.standing.open_calls:
            news = self.pending.calls.get(life)
            if life not in lives and (news is None or news.goes_on):
                yield self._difference(Check.CALL_MISSING, ("open in the usage", 1), ("live in the store", 0), life[0])

    def _compare(
        self, check: Check, expected: tuple[str, int], found: tuple[str, int], subject: str = ""
    ) -> Iterator[Difference]:
        if expected[1] != found[1]:
            yield self._difference(check, expected, found, subject)

    def _difference(
        self, check: Check, expected: tuple[str, int], found: tuple[str, int], subject: str = ""
    ) -> Difference:
        return Difference(check, self.office_id, subject, Figure(*expected), Figure(*found))

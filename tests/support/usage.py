"""Usage records as the journal writes them, for the tests of what reads them."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import insert

from gateway.domain.rate import Rate, Slot
from gateway.domain.usage import UsageKind, UsageState
from gateway.domain.vocabulary import Category, Direction, License, MessageKind, Reason, Service
from gateway.ledger.database import Database
from gateway.ledger.models import UnrecordedRefusalsRow, UsageRow
from gateway.store.records import NO_RATE

BRITISH: Final = Rate(200_000, (Slot(0, 120_000, 60, 60),))
"""The second row of tests.support.back.DECK, on its line 3."""

_ROWS_AT_A_TIME: Final = 5_000


def call(call_id: str, started_at: int, **fields: Any) -> dict[str, Any]:
    """A call to London of 61 s that ended, some of its values replaced."""
    values: dict[str, Any] = {
        "office_id": "o1",
        "thing_id": call_id,
        "life_at": started_at,
        "kind": UsageKind.CALL,
        "state": UsageState.CLOSED,
        "reason": Reason.FUNDED,
        "category": Category.INTERNATIONAL,
        "direction": Direction.OUTBOUND,
        "license": License.STANDARD,
        "service": Service.VOICE,
        "message_kind": None,
        "segments": 0,
        "calling_number": "+12025550123",
        "called_number": "+442071838750",
        "user_id": "user-7",
        "department_id": "department-3",
        "switch_id": "sw1",
        "started_at": started_at,
        "answered_at": started_at + 5_000,
        "closed_at": started_at + 66_000,
        "duration_seconds": 61,
        "billed_seconds": 61,
        "cost_micros": 440_000,
        "refunded_micros": 0,
        "written_off_micros": 0,
        "cause": "NORMAL_CLEARING",
        "deck_version": 1,
        "rate_line": 3,
        "rate": BRITISH.packed,
        "fingerprint": b"12345678",
        "record": b"",
        "request_id": None,
        "trace_id": None,
    }
    return values | fields


def free_call(call_id: str, started_at: int, **fields: Any) -> dict[str, Any]:
    """A local call that cost nothing."""
    values = {
        "reason": Reason.FREE,
        "category": Category.LOCAL,
        "called_number": "+12125550142",
        "cost_micros": 0,
        "rate_line": 2,
        "rate": NO_RATE,
    }
    return call(call_id, started_at, **(values | fields))


def message(message_id: str, started_at: int, **fields: Any) -> dict[str, Any]:
    """A message of two segments."""
    values = {
        "kind": UsageKind.MESSAGE,
        "category": Category.MESSAGE,
        "direction": None,
        "license": None,
        "service": None,
        "message_kind": MessageKind.SMS,
        "segments": 2,
        "answered_at": 0,
        "closed_at": started_at,
        "duration_seconds": 0,
        "billed_seconds": 0,
        "cost_micros": 60_000,
        "cause": "",
        "rate_line": 4,
        "rate": NO_RATE,
    }
    return call(message_id, started_at, **(values | fields))


def refusal(values: dict[str, Any], reason: Reason) -> dict[str, Any]:
    """The same, had it been refused."""
    nothing = {"duration_seconds": 0, "billed_seconds": 0, "cost_micros": 0, "answered_at": 0, "cause": ""}
    return values | nothing | {"reason": reason, "life_at": 0, "closed_at": values["started_at"], "fingerprint": b""}


async def record(database: Database, *rows: dict[str, Any]) -> None:
    """Write records."""
    await record_many(database, rows)


async def record_many(database: Database, rows: Iterable[dict[str, Any]]) -> None:
    """Write records, however many, some thousand at a time."""
    batch: list[dict[str, Any]] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_AT_A_TIME:
            await _write(database, batch)
            batch = []
    if batch:
        await _write(database, batch)


async def record_unrecorded(database: Database, kind: UsageKind, at: int, count: int, office_id: str = "o1") -> None:
    """Note refusals of which only the number is known."""
    async with database.write() as session:
        session.add(UnrecordedRefusalsRow(office_id=office_id, kind=kind, at=at, count=count))


async def _write(database: Database, rows: list[dict[str, Any]]) -> None:
    # The mapper would begin a statement of its own wherever a value is None that was given before.
    async with database.write() as session:
        await session.execute(insert(UsageRow), rows, execution_options={"render_nulls": True})

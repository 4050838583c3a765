"""A ledger on a real database, SQLite or PostgreSQL, and the things that most of its tests begin with."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from gateway.domain.credit import CreditKind, CreditRequest
from gateway.domain.office import OfficeSettings
from gateway.ledger import refills
from gateway.ledger.audit import AuditLog
from gateway.ledger.companies import Companies
from gateway.ledger.credits import Credits
from gateway.ledger.database import Database, open_database
from gateway.ledger.decks import Decks
from gateway.ledger.offices import Offices
from gateway.ledger.outbox import Outbox
from gateway.ledger.refills import RecordedTrigger, Refills, RefillTrigger
from gateway.ledger.sign_in_links import SignInLinks
from gateway.ledger.tokens import Tokens
from tests.support.migrated import place_migrated

T = TypeVar("T")

SQLITE_FILE = "ledger.db"
NOW = 1_700_000_000_000
WHO = "token:tester"


@dataclass(frozen=True)
class Ledger:
    database: Database
    companies: Companies
    offices: Offices
    credits: Credits
    tokens: Tokens
    sign_in_links: SignInLinks
    decks: Decks
    refills: Refills
    outbox: Outbox
    audit: AuditLog


def ledger_of(database: Database) -> Ledger:
    return Ledger(
        database,
        Companies(database),
        Offices(database, "USD"),
        Credits(database),
        Tokens(database),
        SignInLinks(database),
        Decks(database),
        Refills(database),
        Outbox(database),
        AuditLog(database),
    )


def sqlite_url(folder: Path) -> str:
    """The SQLite file in this folder."""
    return f"sqlite:///{folder / SQLITE_FILE}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.servers)])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """A new database of each kind in turn: what the ledger promises, it promises on both."""
    if request.param == "sqlite":
        place_migrated(request.getfixturevalue("tmp_path") / SQLITE_FILE)
        return sqlite_url(request.getfixturevalue("tmp_path"))
    return str(request.getfixturevalue("postgres_url"))


def with_ledger(place: Path | str, scenario: Callable[[Ledger], Awaitable[T]]) -> T:
    """Run a scenario on the ledger at this URL, or in this folder, which is there again at the next call."""
    url = sqlite_url(place) if isinstance(place, Path) else place

    async def run() -> T:
        database = await open_database(url)
        try:
            return await scenario(ledger_of(database))
        finally:
            await database.close()

    return asyncio.run(run())


async def raise_triggers(ledger: Ledger, *triggers: RefillTrigger) -> tuple[RecordedTrigger, ...]:
    """Record triggers, as the journal does."""
    return await ledger.database.transact(lambda session: refills.record(session, triggers, now_ms=NOW))


def settings(office_id: str = "o1", company_id: str = "c1", **others: object) -> OfficeSettings:
    values: dict[str, object] = {
        "office_id": office_id,
        "company_id": company_id,
        "name": "Springfield",
        "country": "US",
        "currency": "USD",
        "time_zone": "America/New_York",
    }
    return OfficeSettings(**values | others)  # type: ignore[arg-type]


async def with_office(ledger: Ledger, office_id: str = "o1", company_id: str = "c1") -> None:
    await ledger.companies.create(company_id, "Acme", actor=WHO, now_ms=NOW)
    await ledger.offices.create(settings(office_id, company_id), actor=WHO, now_ms=NOW)


def credit(
    amount_micros: int = 50_000_000,
    key: str = "k1",
    *,
    office_id: str = "o1",
    kind: CreditKind = CreditKind.ADJUSTMENT,
    reason: str = "a gift",
    refill_id: str | None = None,
) -> CreditRequest:
    return CreditRequest(office_id, amount_micros, kind, reason, key, refill_id)

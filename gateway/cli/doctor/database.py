"""The database: whether it is there, has this version's tables, answers in time, and has room."""

import time
from pathlib import Path
from statistics import median
from typing import Final, NamedTuple

from sqlalchemy import func, make_url, select, text

from gateway.cli.doctor.findings import Findings
from gateway.cli.doctor.machine import examine_room
from gateway.ledger.database import Database, database_as_it_is
from gateway.ledger.errors import DatabaseError
from gateway.ledger.migrations import Schema, SchemaState
from gateway.ledger.models import OfficeRow
from gateway.ledger.outbox import Outbox
from gateway.settings import Settings
from gateway.store.clock import JUMP_MS

QUESTIONS: Final = 20
SLOW_ANSWER_MS: Final = 50.0
"""A purchase asks some ten times; the journal, once for thousands of entries."""


class LedgerSight(NamedTuple):
    """What the store is held against.

    Attributes:
        epoch: The newest whose outboxes it has read.
        offices: How many there are.
    """

    epoch: int
    offices: int


async def examine_database(settings: Settings) -> tuple[Findings, LedgerSight | None]:
    """Look at the database; what it says of the store is None where it cannot be read."""
    findings = Findings("database")
    url = make_url(settings.sql_url)
    if url.get_backend_name() == "sqlite":
        path = Path(url.database or "")
        if not path.exists():  # noqa: ASYNC240 - nothing else runs
            # Opened, it would be made.
            findings.ok(f"{path} is not there yet: the first start makes it")
            return findings, None
        if path.parent != settings.data_dir:
            examine_room(path.parent, findings)
    try:
        database = database_as_it_is(settings.sql_url)
        try:
            return findings, await _examine(database, findings)
        finally:
            await database.close()
    except DatabaseError as error:
        cause = getattr(error.__cause__, "orig", None) or error.__cause__ or error
        findings.fail(
            f"{url.set(query={}).render_as_string(hide_password=True)} cannot be used: {_first_line(cause)}",
            "start it, or correct TOLLGATE_DATABASE_URL",
        )
    return findings, None


async def _examine(database: Database, findings: Findings) -> LedgerSight | None:
    schema = await database.look_at_schema()
    _judge_schema(schema, findings)
    took = []
    for _ in range(QUESTIONS):
        began = time.perf_counter()
        await database.ping()
        took.append((time.perf_counter() - began) * 1000)
    told = f"it answers in {median(took):.1f} ms (median of {QUESTIONS}), {max(took):.1f} ms at most"
    if median(took) > SLOW_ANSWER_MS:
        findings.warn(told, "put it nearer, or look at its load: pages, purchases and the journal wait for it")
    else:
        findings.ok(told)
    await _examine_clock(database, findings)
    if schema.state in {SchemaState.EMPTY, SchemaState.UNUSABLE}:
        return None
    async with database.read() as session:
        offices = await session.scalar(select(func.count()).select_from(OfficeRow)) or 0
    return LedgerSight(await Outbox(database).epoch(), offices)


def _judge_schema(schema: Schema, findings: Findings) -> None:
    match schema.state:
        case SchemaState.CURRENT:
            findings.ok(f"its tables are at revision {schema.revision}, the newest of this version")
        case SchemaState.EMPTY:
            findings.warn("it has no tables yet", "the first start makes them; is this the right database?")
        case SchemaState.BEHIND:
            findings.warn(
                f"its tables are at revision {schema.revision}, and this version has {schema.newest}",
                "the next start migrates them: back up before (docs/operating/upgrade.md)",
            )
        case SchemaState.NEWER:
            findings.warn(
                f"its tables are at revision {schema.revision} of a newer version; this one, with {schema.newest}, "
                "works on them",
                "finish the upgrade, or the way back (docs/operating/upgrade.md)",
            )
        case SchemaState.UNUSABLE:
            findings.fail(
                f"its tables are at revision {schema.revision} of a newer version, which this one, with "
                f"{schema.newest}, cannot work on",
                "install that version, or restore the backup from before (docs/operating/upgrade.md)",
            )


async def _examine_clock(database: Database, findings: Findings) -> None:
    """SQLite has this machine's."""
    async with database.read() as session:
        if session.get_bind().dialect.name == "sqlite":
            return
        before = time.time()
        seconds = float(await session.scalar(text("SELECT extract(epoch FROM clock_timestamp())")))
        offset = seconds - (before + time.time()) / 2
    told = f"its clock is {abs(offset):.3f} s {'ahead of' if offset > 0 else 'behind'} this one"
    if abs(offset) * 1000 > JUMP_MS:
        findings.warn(f"{told}; the gateway asks the store's", "run NTP (chrony, systemd-timesyncd) on both machines")
    else:
        findings.ok(told)


def _first_line(error: object) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

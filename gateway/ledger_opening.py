"""What the processes with SQL open alike: the ledger, and the tracer that it may be watched by."""

from contextlib import AsyncExitStack

from gateway.ledger.database import Database, open_database
from gateway.ledger.errors import DatabaseUnusable
from gateway.settings import Settings
from gateway.startup import StartupError
from gateway.tracing.ledger import TracedDatabase
from gateway.tracing.open import open_tracing
from gateway.tracing.tracer import Tracer, either


async def open_ledger(settings: Settings, process: str, stack: AsyncExitStack) -> tuple[Database, Tracer | None]:
    """Open the database that the settings name, and bring its tables up to date; the stack closes it.

    Raises:
        StartupError: It cannot be used, or OpenTelemetry is wanted and not installed.
    """
    tracer = open_tracing(settings, process)
    if tracer is not None:
        stack.push_async_callback(tracer.close)
    try:
        database = await open_database(settings.sql_url, either(tracer, Database, TracedDatabase))
    except DatabaseUnusable as error:
        raise StartupError(f"TOLLGATE_DATABASE_URL: {error.message}") from error
    stack.push_async_callback(database.close)
    return database, tracer

"""What the processes with SQL open alike."""

from gateway.ledger.database import Database, open_database
from gateway.ledger.errors import DatabaseUnusable
from gateway.settings import Settings
from gateway.startup import StartupError
from gateway.tracing.ledger import TracedDatabase
from gateway.tracing.tracer import Tracer, either


async def open_ledger(settings: Settings, tracer: Tracer | None) -> Database:
    """Open the database that the settings name, and bring its tables up to date; the caller closes it.

    Raises:
        StartupError: It cannot be used.
    """
    try:
        return await open_database(settings.sql_url, either(tracer, Database, TracedDatabase))
    except DatabaseUnusable as error:
        raise StartupError(f"TOLLGATE_DATABASE_URL: {error.message}") from error

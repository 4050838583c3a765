"""The migrations, and the few things that Tollgate itself asks of Alembic.

They travel in the package and run at every start, on the connection that is handed in. A new one is written by

    python -m gateway.ledger.migrations "what it does"

which compares the models with a fresh database and puts the difference into versions/. Read it before it is committed.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import Connection


class UnknownRevision(Exception):
    """The database is at a revision that this version of Tollgate does not have."""


def config(connection: Connection) -> Config:
    """Alembic's configuration for one connection; there is no alembic.ini."""
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    configuration.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    configuration.attributes["connection"] = connection
    return configuration


def upgrade(connection: Connection) -> None:
    """Bring the tables to the newest revision, within the transaction of the connection.

    Raises:
        UnknownRevision: The database was written by a newer version.
    """
    try:
        command.upgrade(config(connection), "head")
    except CommandError as error:
        if isinstance(error.__cause__, ResolutionError):
            raise UnknownRevision(str(error)) from error
        raise

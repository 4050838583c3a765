"""The migrations, and the few things that Tollgate itself asks of Alembic.

They travel in the package and run at every start, on the connection that is handed in. A new one is written by

    python -m gateway.ledger.migrations "what it does"

which compares the models with a fresh database and puts the difference into versions/. Read it before it is committed.

Revisions are numbers, and a version of Tollgate is as old as its newest one. A migration that only adds says so by
`EXPANDS_ONLY`: the version before it works on with the tables that it leaves. The oldest version that still can is
written down in the database, the floor, so that an older one knows whether it may work on a newer database: its own
migrations do not tell (docs/decisions/0030-operating-commands-and-upgrade.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection

EXPANDS_ONLY: Final = "expands_only"
"""The name that a migration which only adds sets to True."""

FLOOR: Final = "schema_floor"
"""The row of `sequence` that holds the floor."""

_FOLDER: Final = Path(__file__).parent

_SEQUENCE: Final = sa.table("sequence", sa.column("name", sa.String), sa.column("value", sa.BigInteger))


class UnknownRevision(Exception):
    """The database is at a revision that this version of Tollgate does not have, and cannot work on."""


class SchemaState(Enum):
    """How the tables of a database stand to this version."""

    EMPTY = auto()
    """There are none yet."""
    BEHIND = auto()
    """The next start migrates them."""
    CURRENT = auto()
    """They are this version's."""
    NEWER = auto()
    """A newer version has added to them, and this one works on as if it had not."""
    UNUSABLE = auto()
    """A newer version has changed them so that this one cannot work on them."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The tables of a database, as this version sees them.

    Attributes:
        state: How they stand to this version.
        revision: Theirs; empty: there are none.
        newest: The newest revision of this version.
        floor: The oldest version that can work on them, by its newest revision; None: nobody has written it down.
    """

    state: SchemaState
    revision: str
    newest: str
    floor: int | None


def config(connection: Connection) -> Config:
    """Alembic's configuration for one connection; there is no alembic.ini."""
    configuration = Config()
    configuration.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    configuration.set_main_option("path_separator", "os")
    configuration.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    configuration.attributes["connection"] = connection
    return configuration


def upgrade(connection: Connection) -> Schema:
    """Bring the tables to the newest revision, within the transaction of the connection.

    Those of a newer version are left as they are, where this one can work on them.

    Returns:
        The tables as they are now.

    Raises:
        UnknownRevision: A newer version has changed them so that this one cannot work on them.
    """
    found = look_at_schema(connection)
    if found.state is SchemaState.UNUSABLE:
        raise UnknownRevision(
            f"it is at revision {found.revision}, which needs a version that has {found.floor or found.revision}; this "
            f"one has {found.newest}"
        )
    if found.state is SchemaState.NEWER:
        return found
    # Alembic would read every migration again to find nothing to do, as at nearly every start.
    if found.state is not SchemaState.CURRENT:
        command.upgrade(config(connection), "head")
    floor = _raise_floor(connection, floor_of(_scripts().walk_revisions()))
    return Schema(SchemaState.CURRENT, found.newest, found.newest, floor)


def look_at_schema(connection: Connection) -> Schema:
    """See how the tables stand to this version; changes nothing."""
    scripts = _scripts()
    newest = scripts.get_current_head() or ""
    revision = MigrationContext.configure(connection).get_current_revision() or ""
    floor = _read_floor(connection) if revision else None
    if not revision:
        state = SchemaState.EMPTY
    elif revision == newest:
        state = SchemaState.CURRENT
    elif revision in {each.revision for each in scripts.walk_revisions()}:
        state = SchemaState.BEHIND
    elif floor is not None and floor <= int(newest):
        state = SchemaState.NEWER
    else:
        state = SchemaState.UNUSABLE
    return Schema(state, revision, newest, floor)


@cache
def _scripts() -> ScriptDirectory:
    """The migrations, which are read once a process."""
    return ScriptDirectory(str(_FOLDER))


def floor_of(revisions: Iterable[Script]) -> int:
    """The oldest version that can work on the tables that these migrations leave: the newest that does not only add."""
    return max((int(each.revision) for each in revisions if not getattr(each.module, EXPANDS_ONLY, False)), default=0)


def _read_floor(connection: Connection) -> int | None:
    if not sa.inspect(connection).has_table(_SEQUENCE.name):
        return None
    return connection.scalar(sa.select(_SEQUENCE.c.value).where(_SEQUENCE.c.name == FLOOR))


def _raise_floor(connection: Connection, floor: int) -> int:
    known = _read_floor(connection)
    if known is None:
        connection.execute(sa.insert(_SEQUENCE).values(name=FLOOR, value=floor))
    elif known < floor:
        connection.execute(sa.update(_SEQUENCE).where(_SEQUENCE.c.name == FLOOR).values(value=floor))
    return max(floor, known or 0)

"""Another version of Tollgate to run beside this one: a copy of the package, changed in what versions differ in.

No older commit is taken, which a shallow clone does not have: it is the newer version that is made up. What an old
and a new gateway share is the store and the database, so what differs is the function library (named by its content),
the records in the store (protobuf fields that this version does not know) and the tables.
"""

import shutil
from pathlib import Path
from typing import Final

from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from gateway.ledger import migrations

ROOT: Final = Path(__file__).parents[2]

NEWER_REVISION: Final = "9999"

_UNKNOWN_FIELD: Final = r'b"\xba\x3e\x05later"'
"""Field 999 of any message: five bytes of text."""

_WRITERS_OF_RECORDS: Final = ("gateway/api/calls.py", "gateway/api/messages.py", "gateway/store/records.py")
_SERIALIZED: Final = ".SerializeToString()"

_MIGRATION: Final = """\
\"\"\"What a version does that adds something.\"\"\"

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = "{before}"
branch_labels = None
depends_on = None
expands_only = True


def upgrade() -> None:
    \"\"\"Add a table, a column of each kind that may be added, and an index.\"\"\"
    op.create_table("later", sa.Column("name", sa.String(8), primary_key=True))
    op.add_column("office", sa.Column("motto", sa.String(64), nullable=True))
    op.add_column("usage_record", sa.Column("weight", sa.Integer, nullable=False, server_default="0"))
    op.add_column("credit", sa.Column("weight", sa.Integer, nullable=False, server_default="0"))
    op.create_index("ix_later", "usage_record", ["office_id", "weight"])
"""


def copy_of_this_version(tree: Path) -> Path:
    """Copy the package into a directory, over what is there; returns it, for PYTHONPATH."""
    # Others compile the package meanwhile, whose files come and go there.
    shutil.copytree(
        ROOT / "gateway", tree / "gateway", ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True
    )
    # As in a wheel, so that the scripts are the copy's own.
    shutil.copytree(ROOT / "scripts/lua", tree / "gateway/lua", dirs_exist_ok=True)
    return tree


def make_newer(tree: Path) -> None:
    """Turn a copy into a version that is newer than this one."""
    clock = tree / "gateway/lua/lib/clock.lua"
    clock.write_text(clock.read_text() + "-- A newer version has another opinion of this file.\n")
    for name in _WRITERS_OF_RECORDS:
        path = tree / name
        text = path.read_text()
        assert text.count(_SERIALIZED) == 1, name
        path.write_text(text.replace(_SERIALIZED, f"{_SERIALIZED} + {_UNKNOWN_FIELD}"))
    migration = _MIGRATION.format(revision=NEWER_REVISION, before=_head())
    (tree / f"gateway/ledger/migrations/versions/v{NEWER_REVISION}_later.py").write_text(migration)


def make_this_again(tree: Path) -> None:
    """Turn a newer copy back into this version, as an installer does that puts the old package in place."""
    shutil.rmtree(tree / "gateway")
    copy_of_this_version(tree)


def _head() -> str:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        head = ScriptDirectory.from_config(migrations.config(connection)).get_current_head()
    engine.dispose()
    assert head is not None
    return head

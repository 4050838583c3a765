"""A SQLite file with our tables in it, made once a process and copied: the migrations take half a second each time."""

import shutil
import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine

from gateway.ledger import migrations


def place_migrated(path: Path) -> None:
    """Put an empty database there, unless there is one."""
    if not path.exists():
        path.write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    folder = Path(tempfile.mkdtemp())
    try:
        engine = create_engine(f"sqlite:///{folder / 'migrated.db'}")
        with engine.begin() as connection:
            migrations.upgrade(connection)
        engine.dispose()
        return (folder / "migrated.db").read_bytes()
    finally:
        shutil.rmtree(folder)

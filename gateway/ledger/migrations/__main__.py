"""For developers: write the migration that leads from the newest revision to the models as they are."""

import argparse
import tempfile
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from gateway.ledger import migrations


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m gateway.ledger.migrations", description=__doc__)
    parser.add_argument("message", help="what the migration does, in a few words")
    message = parser.parse_args().message
    with tempfile.TemporaryDirectory() as folder:
        engine = create_engine(f"sqlite:///{Path(folder) / 'scratch.db'}")
        with engine.begin() as connection:
            migrations.upgrade(connection)
            configuration = migrations.config(connection)
            newest = ScriptDirectory.from_config(configuration).get_current_head()
            command.revision(configuration, message, autogenerate=True, rev_id=f"{int(newest or 0) + 1:04}")
        engine.dispose()


if __name__ == "__main__":
    main()

"""Commands that work on the database itself, for the operator, where the gateway's settings are; it may run or not."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from gateway.cli.errors import EXIT_FAILED, EXIT_UNAVAILABLE, EXIT_USAGE, CommandError
from gateway.errors import InvalidArgument, TollgateError, Unavailable
from gateway.ledger.database import Database, open_database
from gateway.ledger.errors import DatabaseUnusable
from gateway.settings import Settings, load_settings
from gateway.settings_problems import SettingsError

ACTOR: Final = "command"
"""Who did it, in the audit log: the machine's operator, whom no token names."""

ConfigFile = Annotated[Path | None, typer.Option("--config", help="The gateway's TOML file. [TOLLGATE_CONFIG]")]
DataDirectory = Annotated[Path | None, typer.Option("--data-dir", help="The gateway's. [TOLLGATE_DATA_DIR]")]


@asynccontextmanager
async def gateway_database(config: Path | None, data_dir: Path | None) -> AsyncIterator[Database]:
    """The database that the gateway of these settings uses.

    Raises:
        CommandError: There is none yet, or what was done with it failed.
    """
    async with database_of(gateway_settings(config, data_dir)) as database:
        yield database


def gateway_settings(config: Path | None, data_dir: Path | None) -> Settings:
    """The settings as a gateway that is started here has them.

    Raises:
        CommandError: There is a mistake in them.
    """
    try:
        return load_settings(config=config, data_dir=data_dir)
    except SettingsError as error:
        raise CommandError(str(error)) from None


@asynccontextmanager
async def database_of(settings: Settings) -> AsyncIterator[Database]:
    """The database of these settings; raises as `gateway_database`."""
    _check_exists(settings)
    try:
        database = await open_database(settings.sql_url)
    except DatabaseUnusable as error:
        raise CommandError(str(error)) from None
    try:
        yield database
    except TollgateError as error:
        raise CommandError(f"{error.message} ({error.code}, {error.reason})", _exit_code(error)) from None
    finally:
        await database.close()


def _check_exists(settings: Settings) -> None:
    scheme, _, path = settings.sql_url.partition(":///")
    if scheme.startswith("sqlite") and not Path(path.partition("?")[0]).exists():
        # Opened, it would be made: an empty one, beside the real one, wherever that is.
        raise CommandError(f"there is no database {path}: name the gateway's data directory or config file")


def _exit_code(error: TollgateError) -> int:
    if isinstance(error, InvalidArgument):
        return EXIT_USAGE
    return EXIT_UNAVAILABLE if isinstance(error, Unavailable) else EXIT_FAILED

"""`tollgate serve`: runs a gateway until it is told to stop."""

import asyncio
import inspect
import os
import secrets
import sys
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import structlog
import typer
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from gateway.cli.connection import ConnectionFile
from gateway.cli.errors import CommandError
from gateway.client.tls import Tls
from gateway.log import configure_logging
from gateway.settings import Settings, load_settings
from gateway.settings_problems import variable_name
from gateway.startup import StartupError
from gateway.supervisor import supervise
from gateway.tls_files import TlsFiles, read_material

_log = structlog.get_logger(__name__)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("serve")(_with_flags(serve))


def serve(**flags: str | None) -> None:
    """Run a gateway: the supervisor, its two processes and, unless a store is named, the embedded store.

    Every setting is a flag, a variable, and a key of the TOML file; the first of these that names it wins.
    """
    try:
        settings = load_settings(**flags)
        configure_logging(settings.log_level, settings.log_format, process="supervisor")
        sys.exit(run_gateway(settings))
    except StartupError as error:
        raise CommandError(str(error)) from None


def run_gateway(settings: Settings) -> int:
    """Supervise, and leave the connection file while the gateway answers.

    Raises:
        StartupError: It cannot start.
    """
    settings, token = with_operator_token(settings)
    # Before anything is started: its processes would find the same fault, one after the other.
    tls = _own_tls(settings)
    with ExitStack() as files:

        def leave_connection_file() -> None:
            file = ConnectionFile(os.getpid(), settings.listen, settings.admin_listen, token, settings.http_listen, tls)
            try:
                files.enter_context(file.left_in(settings.data_dir))
            except OSError as error:
                # Only a convenience for commands on this machine.
                _log.warning("connection_file_not_written", error=str(error))

        return asyncio.run(supervise(settings, ready=leave_connection_file))


def _own_tls(settings: Settings) -> Tls | None:
    """How commands on this machine ask: they trust the certificate itself, whatever name it is for.

    Raises:
        TlsError: It cannot be used.
    """
    files = TlsFiles.of(settings)
    if files is None:
        return None
    return Tls(files.certificate, server_name=read_material(files, datetime.now(UTC)).server_name)


def with_operator_token(settings: Settings) -> tuple[Settings, str]:
    """Give the gateway an operator's token if the operator set none, for nobody could do anything otherwise.

    Returns:
        The settings, and the token for the connection file: empty if the operator set one, which is not for us to
        write down.
    """
    if settings.operator_token is not None:
        return settings, ""
    token = secrets.token_urlsafe(32)
    return settings.model_copy(update={"operator_token": SecretStr(token)}), token


def _with_flags(command: Any) -> Any:
    """Give a command a flag for each setting."""
    parameters = [_flag(name, field) for name, field in Settings.model_fields.items()]
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command


def _flag(name: str, field: FieldInfo) -> inspect.Parameter:
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=f"{field.description} [{variable_name(name)}{_default(field)}]",
        show_default=False,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )


def _default(field: FieldInfo) -> str:
    extra: Final = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    text = str(extra.get("default_text", field.default))
    return "" if text in {"None", "()"} else f"; default: {text}"

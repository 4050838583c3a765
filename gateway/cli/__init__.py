"""The `tollgate` command.

Each command is in a module of its own that is imported only when it is asked for: asking for a balance need not load
the settings of a server, nor `rates lookup` gRPC.
"""

import sys
from collections.abc import Iterable, Sequence
from importlib import import_module, metadata
from typing import Annotated, Final, NoReturn

import typer

from gateway.cli.errors import EXIT_INTERRUPTED, CommandError
from gateway.grpc_environment import prepare_grpc

COMMANDS: Final = {
    "serve": "serve",
    "demo": "demo",
    "company": "companies",
    "office": "offices",
    "switch": "switches",
    "token": "tokens",
    "rates": "rates",
    "credits": "credits",
    "cards": "cards",
    "invoices": "invoices",
    "call": "place_call",
    "message": "send_message",
    "calls": "calls",
    "explain": "explain",
    "usage": "usage",
    "refills": "refills",
    "notices": "notices",
    "audit": "audit",
    "rebuild": "rebuild",
    "diameter": "diameter",
    "health": "health",
    "doctor": "doctor",
    "top": "top",
}
"""Each command, and group of commands, with the module that has it; in the order in which help shows them."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit; what went wrong is one clear line on standard error (docs/reference/cli.md)."""
    prepare_grpc()
    given = list(sys.argv[1:] if arguments is None else arguments)
    first = next((word for word in given if not word.startswith("-")), None)
    try:
        build_app([first] if first in COMMANDS else COMMANDS)(args=given, prog_name="tollgate")
    except CommandError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        # Ctrl-C while the command's modules are still being loaded, which is no news either.
        sys.exit(EXIT_INTERRUPTED)
    except OSError as error:
        # A file that was named and cannot be read or written.
        typer.secho(f"error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), fg="red", err=True)
        sys.exit(1)
    sys.exit(0)


def build_app(names: Iterable[str] = tuple(COMMANDS)) -> typer.Typer:
    """Put the command line together from the named commands; main gives it only the one that was asked for."""
    app = typer.Typer(
        help="Real-time call authorization for prepaid telephony.",
        no_args_is_help=True,
        # Tracebacks with the values of local variables would show tokens.
        pretty_exceptions_enable=False,
        # Plain help: prices and addresses in brackets are no mark-up.
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name in names:
        import_module(f"gateway.cli.{COMMANDS[name]}").register(app)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        try:
            version = metadata.version("tollgate")
        except metadata.PackageNotFoundError:
            version = "of a source tree"
        typer.echo(f"tollgate {version}")
        raise typer.Exit


def _root(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass

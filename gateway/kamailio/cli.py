"""The `tollgate-kamailio` command."""

import asyncio
import os
import signal
import sys
from enum import Enum
from typing import Annotated, NoReturn

import typer
import uvloop

from gateway.address import Address
from gateway.client import Tls, TlsFilesError
from gateway.kamailio.settings import PREFIX, Settings
from gateway.kamailio.sidecar import Sidecar
from gateway.log import LogFormat, LogLevel, configure_logging

app = typer.Typer(
    # Tracebacks with the values of local variables would show the token.
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class WhenUnavailable(Enum):
    """What becomes of calls and messages while no gateway answers."""

    REFUSE = "refuse"
    ALLOW = "allow"


def main() -> NoReturn:
    """Run the command."""
    app(prog_name="tollgate-kamailio")
    raise AssertionError("typer exits")


@app.command()
def run(
    token: Annotated[
        str,
        typer.Option(
            envvar="TOLLGATE_TOKEN",
            help="The switch's token; better in the environment than in a flag, which every user of the machine can "
            "read. `tollgate token create --role switch` makes one. Not given: a client certificate stands for it.",
        ),
    ] = "",
    gateway: Annotated[
        str, typer.Option(envvar="TOLLGATE_LISTEN", help="The gateway's address for switches.", metavar="HOST:PORT")
    ] = "127.0.0.1:50051",
    evapi: Annotated[
        str,
        typer.Option(
            envvar=f"{PREFIX}EVAPI", help="Kamailio's evapi: TOLLGATE_EVAPI of tollgate.cfg.", metavar="HOST:PORT"
        ),
    ] = "127.0.0.1:8448",
    rpc: Annotated[
        str,
        typer.Option(
            envvar=f"{PREFIX}RPC", help="Kamailio's JSON-RPC: TOLLGATE_RPC of tollgate.cfg.", metavar="HOST:PORT"
        ),
    ] = "127.0.0.1:8449",
    switch_id: Annotated[
        str, typer.Option(envvar=f"{PREFIX}SWITCH_ID", help="With an operator's token: which switch this is.")
    ] = "",
    tls: Annotated[
        bool,
        typer.Option(
            "--tls",
            envvar=f"{PREFIX}TLS",
            help="Check the gateway's certificate by the authorities that everybody trusts. TOLLGATE_TLS_CA names the "
            "file of another one, TOLLGATE_TLS_CLIENT_CERTIFICATE and TOLLGATE_TLS_CLIENT_KEY those of the certificate "
            "to show. With none of them everything goes in the clear, the token too.",
        ),
    ] = False,
    deadline_seconds: Annotated[
        float,
        typer.Option(
            envvar=f"{PREFIX}DEADLINE_SECONDS",
            min=0.05,
            max=30,
            help="How long a decision may take before the caller gets 503; less than TOLLGATE_WAIT_MS of tollgate.cfg.",
        ),
    ] = 1.5,
    when_unavailable: Annotated[
        WhenUnavailable,
        typer.Option(
            envvar=f"{PREFIX}WHEN_UNAVAILABLE",
            help="What becomes of calls and messages while no gateway answers. What is allowed is settled when one "
            "does; what the office cannot pay then is the operator's loss. Emergency calls always go on.",
        ),
    ] = WhenUnavailable.REFUSE,
    live_calls_seconds: Annotated[
        float,
        typer.Option(
            envvar=f"{PREFIX}LIVE_CALLS_SECONDS",
            min=0.5,
            max=40,
            help="How often Kamailio's dialogs are compared with what is known here and at the gateway.",
        ),
    ] = 30.0,
    log_level: Annotated[LogLevel, typer.Option(envvar=f"{PREFIX}LOG_LEVEL", help="Least severity.")] = "info",
    log_format: Annotated[LogFormat, typer.Option(envvar=f"{PREFIX}LOG_FORMAT", help="How lines look.")] = "json",
) -> None:
    """Authorize the calls and messages of one Kamailio with Tollgate, and settle them (docs/how-to/kamailio.md).

    Start it beside Kamailio, before or after it. It may be restarted at any time: calls go on, and what ended meanwhile
    is settled as soon as it is back. A second one beside it waits until the first ends.
    """
    configure_logging(log_level, log_format, process="kamailio")
    try:
        encryption = Tls.of_environment(os.environ) or (Tls() if tls else None)
    except TlsFilesError as error:
        raise typer.BadParameter(str(error)) from None
    if not token and (encryption is None or encryption.certificate is None):
        raise typer.BadParameter("--token, TOLLGATE_TOKEN: is missing, and so is a client certificate; set one of them")
    settings = Settings(
        gateway=str(_address("--gateway", gateway)),
        token=token,
        evapi=_address("--evapi", evapi),
        rpc=_address("--rpc", rpc),
        switch_id=switch_id,
        tls=encryption,
        deadline_seconds=deadline_seconds,
        allow=when_unavailable is WhenUnavailable.ALLOW,
        live_calls_seconds=live_calls_seconds,
    )
    uvloop.run(_run(settings))


def _address(flag: str, text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise typer.BadParameter(f"{flag}: {error}") from None


async def _run(settings: Settings) -> None:
    """Run until SIGTERM or Ctrl-C."""
    running = asyncio.create_task(Sidecar(settings).run())
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        sys.exit(0)


if __name__ == "__main__":
    main()

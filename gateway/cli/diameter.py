"""`tollgate diameter`: answers switches that speak Diameter Ro."""

from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.connection import Connection
from gateway.cli.errors import CommandError
from gateway.diameter.codes import FailureHandling
from gateway.diameter.terms import FreeCalls, Terms
from gateway.log import LogFormat, LogLevel, configure_logging


class OfficeBy(StrEnum):
    """How the office of a request is found."""

    SUBSCRIPTION = "subscription"
    SERVICE_CONTEXT = "service-context"
    AVP = "avp"


class FailureHandlingOption(StrEnum):
    """What a client does while it gets no answer."""

    TERMINATE = "terminate"
    CONTINUE = "continue"
    RETRY_AND_TERMINATE = "retry-and-terminate"


@dataclass(frozen=True, slots=True)
class Flags:
    """The command's own flags, as given.

    Attributes:
        origin_host: Of this node.
        origin_realm: Of this node.
        listen: Where peers connect.
        peers: Origin-Hosts that may connect; none: any.
        office_by: How the office of a request is found.
        offices: The table of subscribers.
        office_avp: The AVP that names the office.
        terms: On which credit is given.
        deadline_seconds: How long the gateway may take.
        state_file: Where sessions outlive a restart.
    """

    origin_host: str
    origin_realm: str
    listen: str
    peers: tuple[str, ...]
    office_by: OfficeBy
    offices: Path | None
    office_avp: str | None
    terms: Terms
    deadline_seconds: float
    state_file: Path | None


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("diameter")(diameter)


def diameter(
    origin_host: Annotated[
        str, typer.Option(envvar="TOLLGATE_DIAMETER_ORIGIN_HOST", help="Who this is in Diameter, e.g. ocs.example.org.")
    ],
    origin_realm: Annotated[
        str, typer.Option(envvar="TOLLGATE_DIAMETER_ORIGIN_REALM", help="Its realm, e.g. example.org.")
    ],
    listen: Annotated[
        str, typer.Option(envvar="TOLLGATE_DIAMETER_LISTEN", help="Where peers connect, by TCP.")
    ] = "127.0.0.1:3868",
    peer: Annotated[
        list[str] | None,
        typer.Option(
            envvar="TOLLGATE_DIAMETER_PEERS", help="Origin-Host of a peer that may connect; may be repeated. None: any."
        ),
    ] = None,
    office_by: Annotated[
        OfficeBy, typer.Option(envvar="TOLLGATE_DIAMETER_OFFICE_BY", help="How the office of a request is found.")
    ] = OfficeBy.SUBSCRIPTION,
    offices: Annotated[
        Path | None,
        typer.Option(
            envvar="TOLLGATE_DIAMETER_OFFICES",
            help="For `subscription`: a CSV file with the columns subscription_id, office_id and, if need be, license.",
        ),
    ] = None,
    office_avp: Annotated[
        str | None,
        typer.Option(
            envvar="TOLLGATE_DIAMETER_OFFICE_AVP", help="For `avp`: its code, or code:vendor, e.g. 1 for User-Name."
        ),
    ] = None,
    tick_seconds: Annotated[
        int,
        typer.Option(
            envvar="TOLLGATE_DIAMETER_TICK_SECONDS",
            min=0,
            max=86_400,
            help="Granted at a time where the client does not say how much it wants; 0: one tick of the rate.",
        ),
    ] = 0,
    validity_seconds: Annotated[
        int,
        typer.Option(
            envvar="TOLLGATE_DIAMETER_VALIDITY_SECONDS",
            min=0,
            max=86_400,
            help="Validity-Time: a grant is for at most so long, then the client reports. Keep it below the gateway's "
            "set-up time-out (180 s); 0: no limit.",
        ),
    ] = 120,
    failure_handling: Annotated[
        FailureHandlingOption,
        typer.Option(
            envvar="TOLLGATE_DIAMETER_FAILURE_HANDLING",
            help="Credit-Control-Failure-Handling: what clients do while they get no answer.",
        ),
    ] = FailureHandlingOption.TERMINATE,
    free_calls: Annotated[
        FreeCalls,
        typer.Option(
            envvar="TOLLGATE_DIAMETER_FREE_CALLS",
            help="Calls that cost nothing are granted time, or answered 4011: then nobody tells how long they were.",
        ),
    ] = FreeCalls.GRANT,
    currency_code: Annotated[
        int,
        typer.Option(
            envvar="TOLLGATE_DIAMETER_CURRENCY_CODE", min=1, max=999, help="ISO 4217, numeric, e.g. 978 for the euro."
        ),
    ] = 840,
    emergency_numbers: Annotated[
        str,
        typer.Option(
            envvar="TOLLGATE_DIAMETER_EMERGENCY_NUMBERS",
            help="Granted even while no gateway answers; digits, with commas between.",
        ),
    ] = "911,112,999,000",
    deadline_seconds: Annotated[
        float,
        typer.Option(
            envvar="TOLLGATE_DIAMETER_DEADLINE_SECONDS",
            min=0.1,
            max=30.0,
            help="How long the gateway may take; below the clients' Tx timer.",
        ),
    ] = 2.0,
    state_file: Annotated[
        Path | None,
        typer.Option(
            envvar="TOLLGATE_DIAMETER_STATE_FILE",
            help="Where sessions outlive a restart, made if it is not there. None: a restart forgets them (5002), and "
            "their calls are billed up to their last report.",
        ),
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(help="Address of CallAuthorization. [TOLLGATE_LISTEN; default: of the running gateway]"),
    ] = None,
    token: Annotated[
        str | None, typer.Option(help="The switch's bearer token; better in a variable. [TOLLGATE_TOKEN]")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Of a gateway on this machine, which knows its address. [TOLLGATE_DATA_DIR]")
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(envvar="TOLLGATE_LOG_LEVEL", help="What is logged.")] = "info",
    log_format: Annotated[LogFormat, typer.Option(envvar="TOLLGATE_LOG_FORMAT", help="How.")] = "json",
) -> None:
    """Answer switches that speak Diameter Ro (RFC 8506): Kamailio's ims_charging, an IMS, a packet or SMS core.

    Runs beside the gateway, as a switch of it, until it is told to stop. See docs/how-to/diameter.md.
    """
    if find_spec("diameter") is None:
        raise CommandError("the library for Diameter is not installed; pip install 'tollgate[diameter]'")
    flags = Flags(
        origin_host=origin_host,
        origin_realm=origin_realm,
        listen=listen,
        peers=tuple(peer or ()),
        office_by=office_by,
        offices=offices,
        office_avp=office_avp,
        terms=Terms(
            tick_seconds=tick_seconds,
            validity_seconds=validity_seconds,
            failure_handling=FailureHandling[failure_handling.name],
            free_calls=free_calls,
            currency_code=currency_code,
            emergency_numbers=frozenset(each.strip() for each in emergency_numbers.split(",") if each.strip()),
        ),
        deadline_seconds=deadline_seconds,
        state_file=state_file,
    )
    connection = Connection.resolve(server=server, token=token, data_dir=data_dir)
    configure_logging(log_level, log_format, process="diameter")
    # Only now, since it imports the library.
    import_module("gateway.cli.diameter_front").run(flags, connection)

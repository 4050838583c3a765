"""`tollgate health`: whether a gateway answers in full, for containers and load balancers."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import grpc
import typer
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from gateway.address import Address
from gateway.cli.connection import Connection
from gateway.cli.errors import EXIT_UNAVAILABLE, EXIT_USAGE, CommandError
from gateway.client.tls import Tls, TlsFilesError
from gateway.client_channel import open_channel

SERVING: Final = "serving"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("health")(health)


def health(
    server: Annotated[str | None, typer.Option(help="Address of CallAuthorization. [TOLLGATE_LISTEN]")] = None,
    admin_server: Annotated[str | None, typer.Option(help="Address of Credits. [TOLLGATE_ADMIN_LISTEN]")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Of a gateway on this machine, which knows its addresses. [TOLLGATE_DATA_DIR]")
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each answer.")] = 3.0,
) -> None:
    """Ask both services whether they can answer in full; needs no token. Exit code 0: yes, 4: no.

    TOLLGATE_TLS_CA, TOLLGATE_TLS_CLIENT_CERTIFICATE and TOLLGATE_TLS_CLIENT_KEY as for all commands.
    """
    connection = Connection.resolve(server=server, admin_server=admin_server, data_dir=data_dir)
    services = ((connection.listen, connection.listen_tls), (connection.admin_listen, connection.admin_tls))
    try:
        states = asyncio.run(_ask_both(services, timeout))
    except TlsFilesError as error:
        raise CommandError(str(error), EXIT_USAGE) from None
    for name, (address, state) in zip(("calls", "credits"), states, strict=True):
        typer.echo(f"{name:8}{address}  {state}")
    if any(state != SERVING for _, state in states):
        raise CommandError("the gateway does not serve", EXIT_UNAVAILABLE)


async def _ask_both(
    services: tuple[tuple[Address, Tls | None], ...], limit_seconds: float
) -> list[tuple[Address, str]]:
    answers = await asyncio.gather(*(ask_health(address, limit_seconds, tls) for address, tls in services))
    return [(address, answer) for (address, _), answer in zip(services, answers, strict=True)]


async def ask_health(address: Address, limit_seconds: float, tls: Tls | None = None) -> str:
    """What a service says of itself: SERVING, "not serving", or "no answer"; raises as `open_channel`."""
    async with open_channel(address, tls=tls) as channel:
        try:
            answer = await HealthStub(channel).Check(HealthCheckRequest(), timeout=limit_seconds)
        except grpc.RpcError:
            return "no answer"
    state: str = HealthCheckResponse.ServingStatus.Name(answer.status)
    return state.lower().replace("_", " ")

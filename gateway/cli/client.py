"""Commands that ask a gateway: the options they share, its two services at hand, and errors as one clear line."""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import grpc
import typer
from google.protobuf.message import Message

from gateway.cli.connection import Connection
from gateway.cli.errors import EXIT_FAILED, EXIT_NOT_ALLOWED, EXIT_UNAVAILABLE, EXIT_USAGE, CommandError
from gateway.cli.output import show_json
from gateway.client.tls import CA_VARIABLE, TlsFilesError
from gateway.client_channel import ANSWER_SECONDS, Fault, fault_of, open_channel
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from gateway.v1.credits_pb2_grpc import CreditsStub

if TYPE_CHECKING:
    # These exist for type checkers only; at run time one class serves both kinds of channel.
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub
    from gateway.v1.credits_pb2_grpc import CreditsAsyncStub

_EXIT_CODES: Final = {
    "INVALID_ARGUMENT": EXIT_USAGE,
    "UNAUTHENTICATED": EXIT_NOT_ALLOWED,
    "PERMISSION_DENIED": EXIT_NOT_ALLOWED,
    "UNAVAILABLE": EXIT_UNAVAILABLE,
    "RESOURCE_EXHAUSTED": EXIT_UNAVAILABLE,
    "DEADLINE_EXCEEDED": EXIT_UNAVAILABLE,
}


_NOT_TRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"


class Client:
    """The gateway that a command asks.

    Attributes:
        switch: CallAuthorization.
        credits: Credits.
        as_json: Whether the answer is to be JSON, for programs.
        names_server: Whether the command line says which gateway to ask.
    """

    def __init__(self, connection: Connection, *, as_json: bool = False, names_server: bool = False) -> None:
        """Open both channels; must run inside the event loop."""
        self.as_json = as_json
        self.names_server = names_server
        self._channels = (
            open_channel(connection.listen, connection.listen_token, connection.listen_tls),
            open_channel(connection.admin_listen, connection.admin_token, connection.admin_tls),
        )
        self.switch: CallAuthorizationAsyncStub = CallAuthorizationStub(self._channels[0])
        self.credits: CreditsAsyncStub = CreditsStub(self._channels[1])

    async def close(self) -> None:
        """Close both channels."""
        for channel in self._channels:
            await channel.close()

    def show(self, answer: Message, lines: Iterable[str]) -> None:
        """Print an answer: whole as JSON if that was asked for, else the lines."""
        if self.as_json:
            show_json(answer)
            return
        for line in lines:
            typer.echo(line)


def asks_gateway(function: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Make a command of a coroutine function that takes a `Client`.

    The command has the function's own parameters, and the options that say which gateway to ask and how to print.
    """

    @wraps(function)
    def command(
        server: str | None,
        admin_server: str | None,
        token: str | None,
        data_dir: Path | None,
        tls_ca: str | None,
        tls_client_certificate: str | None,
        tls_client_key: str | None,
        as_json: bool,
        **own: Any,
    ) -> None:
        connection = Connection.resolve(
            server=server,
            admin_server=admin_server,
            token=token,
            data_dir=data_dir,
            tls_ca=tls_ca,
            tls_client_certificate=tls_client_certificate,
            tls_client_key=tls_client_key,
        )

        async def run() -> None:
            client = Client(connection, as_json=as_json, names_server=bool(server or admin_server))
            try:
                await function(client, **own)
            finally:
                await client.close()

        try:
            asyncio.run(run())
        except TlsFilesError as error:
            raise CommandError(str(error), EXIT_USAGE) from None
        except grpc.RpcError as error:
            raise explain_fault(fault_of(error), connection) from None

    own = list(inspect.signature(function).parameters.values())[1:]
    # Typer reads the signature, where options may stand in any order.
    signature = inspect.Signature([*(each.replace(kind=_KEYWORD) for each in own), *_OPTIONS])
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {each.name: each.annotation for each in signature.parameters.values()}
    return command


def explain_fault(fault: Fault, connection: Connection) -> CommandError:
    """Say why there is no answer, and what would help, in the words of the command line."""
    if fault.is_from_gateway:
        return CommandError(_with_hint(fault), _EXIT_CODES.get(fault.code, EXIT_FAILED))
    address, option, variable = connection.listen, "--server", "TOLLGATE_LISTEN"
    # gRPC says in its message whom it could not reach, and nowhere else.
    if f":{connection.admin_listen.port}" in fault.message:
        address, option, variable = connection.admin_listen, "--admin-server", "TOLLGATE_ADMIN_LISTEN"
    if _NOT_TRUSTED in fault.message:
        return CommandError(
            f"the certificate of {address} is not trusted ({fault.message}); name the file of who signed it with "
            f"--tls-ca or {CA_VARIABLE}, and with {option} a host that is in it",
            EXIT_UNAVAILABLE,
        )
    if fault.code == "UNAVAILABLE":
        return CommandError(
            f"nothing answers at {address}; start a gateway with `tollgate serve`, or name the address of one with "
            f"{option} or {variable}; one that speaks TLS answers with --tls-ca, and may ask for a certificate",
            EXIT_UNAVAILABLE,
        )
    if fault.code == "DEADLINE_EXCEEDED":
        return CommandError(f"no answer within {ANSWER_SECONDS:g} s; try again", EXIT_UNAVAILABLE)
    if fault.code == "UNIMPLEMENTED":
        return CommandError(f"this gateway does not serve that yet ({fault.code}: {fault.message})")
    return CommandError(f"{fault.message} ({fault.code})", _EXIT_CODES.get(fault.code, EXIT_FAILED))


def _with_hint(fault: Fault) -> str:
    code = fault.code if fault.reason == fault.code else f"{fault.code}, {fault.reason}"
    if not fault.message.startswith(fault.field):
        code += f", field {fault.field}"
    if fault.code == "UNAUTHENTICATED":
        return (
            f"{fault.message} ({code}); name it with --token, TOLLGATE_TOKEN or TOLLGATE_OPERATOR_TOKEN, or the data "
            "directory of a gateway on this machine with --data-dir"
        )
    return f"{fault.message} ({code})"


def _option(name: str, kind: Any, default: object, *declaration: str, text: str) -> inspect.Parameter:
    annotation = Annotated[kind, typer.Option(*declaration, help=text, show_default=False)]
    return inspect.Parameter(name, _KEYWORD, default=default, annotation=annotation)


_KEYWORD: Final = inspect.Parameter.KEYWORD_ONLY

_OPTIONS: Final = (
    _option(
        "server",
        str | None,
        None,
        "--server",
        text="Address of CallAuthorization. [TOLLGATE_LISTEN; default: of the running gateway, or 127.0.0.1:50051]",
    ),
    _option(
        "admin_server",
        str | None,
        None,
        "--admin-server",
        text="Address of Credits. [TOLLGATE_ADMIN_LISTEN; default: of the running gateway, or 127.0.0.1:50052]",
    ),
    _option(
        "token",
        str | None,
        None,
        "--token",
        text="Bearer token; better in a variable, since every user of the machine can read a command line. "
        "[TOLLGATE_TOKEN or TOLLGATE_OPERATOR_TOKEN; default: of the running gateway]",
    ),
    _option(
        "data_dir",
        Path | None,
        None,
        "--data-dir",
        text="Data directory of a running gateway, which knows its addresses and a token. [TOLLGATE_DATA_DIR]",
    ),
    _option(
        "tls_ca",
        str | None,
        None,
        "--tls-ca",
        text="PEM file of who signed the gateway's certificate, or `public` for who everybody trusts; given: the "
        "connection is encrypted. [TOLLGATE_TLS_CA]",
    ),
    _option(
        "tls_client_certificate",
        str | None,
        None,
        "--tls-client-certificate",
        text="PEM file of the certificate to show. [TOLLGATE_TLS_CLIENT_CERTIFICATE]",
    ),
    _option(
        "tls_client_key",
        str | None,
        None,
        "--tls-client-key",
        text="PEM file of its private key. [TOLLGATE_TLS_CLIENT_KEY]",
    ),
    _option("as_json", bool, False, "--json", text="Print the whole answer as JSON; amounts are in micros."),
)

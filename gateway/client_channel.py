"""The client's side of gRPC: a channel that carries a token, and what an error of the gateway says.

For the command line, the demo and tests. The channels are grpc.aio's, so that a stub made on one is called as usual:
`await CreditsStub(channel).GetOffice(request)`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
import grpc.aio
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from gateway.address import Address
from gateway.client.channel_options import CHANNEL_OPTIONS
from gateway.client.tls import Tls, dial

ANSWER_SECONDS: Final = 10.0
"""How long an answer is waited for, unless the call names a time of its own; streams are waited for without end."""

MAX_MESSAGE_BYTES: Final = 80 << 20
"""A deck has at most 64 MiB; gRPC's own limit is 4."""

_DETAILS: Final = "grpc-status-details-bin"
_ANY_INTERFACE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - told apart, not listened on


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a request was not answered.

    Attributes:
        code: The gRPC code, e.g. INVALID_ARGUMENT.
        message: What is wrong and what cures it, in the gateway's words, or in gRPC's if no gateway answered.
        reason: ErrorInfo's, stable; empty if no gateway answered.
        field: The field at fault; empty if it is none's.
    """

    code: str
    message: str
    reason: str = ""
    field: str = ""

    @property
    def is_from_gateway(self) -> bool:
        """Whether a gateway said so; otherwise it was not reached, or is none."""
        return bool(self.reason)


def fault_of(error: grpc.RpcError) -> Fault:
    """Read an error that a call ended with, of grpc or of grpc.aio."""
    if not isinstance(error, grpc.Call | grpc.aio.AioRpcError):
        return Fault("UNKNOWN", str(error))
    code, message = error.code().name, error.details() or ""
    for key, value in error.trailing_metadata() or ():
        if key == _DETAILS and isinstance(value, bytes):
            for detail in Status.FromString(value).details:
                info = ErrorInfo()
                if detail.Unpack(info):
                    return Fault(code, message, info.reason, info.metadata.get("field", ""))
    return Fault(code, message)


def open_channel(address: Address, token: str = "", tls: Tls | None = None) -> grpc.aio.Channel:
    """Open a channel to a gateway; it connects with the first call.

    Args:
        address: Where the gateway listens; 0.0.0.0 and [::] are taken for this machine.
        token: Goes as bearer token with every call, in the clear where the channel is not encrypted. Empty: none.
        tls: How it is encrypted; None: it is not.

    Raises:
        TlsFilesError: A file of `tls` cannot be used.
    """
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    return dial(
        str(Address(_ANY_INTERFACE.get(address.host, address.host), address.port)),
        tls,
        (
            *CHANNEL_OPTIONS,
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ),
        (_UnaryCalls(metadata), _StreamedAnswers(metadata)),
    )


class _UnaryCalls(grpc.aio.UnaryUnaryClientInterceptor):
    """Adds the token and a time limit to calls with one answer."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    async def intercept_unary_unary(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[Any]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> Any:
        return await continuation(_with(client_call_details, self._metadata, ANSWER_SECONDS), request)


class _StreamedAnswers(grpc.aio.UnaryStreamClientInterceptor):
    """Adds the token to calls with a stream of answers."""

    def __init__(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self._metadata = metadata

    async def intercept_unary_stream(
        self,
        continuation: Callable[[grpc.aio.ClientCallDetails, Any], Awaitable[grpc.aio.UnaryStreamCall[Any, Any]]],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Any,
    ) -> grpc.aio.UnaryStreamCall[Any, Any]:
        return await continuation(_with(client_call_details, self._metadata, None), request)


def _with(
    details: grpc.aio.ClientCallDetails, metadata: tuple[tuple[str, str], ...], limit_seconds: float | None
) -> grpc.aio.ClientCallDetails:
    return grpc.aio.ClientCallDetails(
        details.method,
        details.timeout if details.timeout is not None else limit_seconds,
        grpc.aio.Metadata(*(details.metadata or ()), *metadata),
        details.credentials,
        details.wait_for_ready,
    )

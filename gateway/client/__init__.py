"""The client library for people who write switches: docs/how-to/write-a-switch.md.

    from gateway.client import Client, CutCall
    from gateway.v1 import authorization_pb2 as pb

    async with Client("127.0.0.1:50051", token) as client:
        granted = await client.authorize_call(
            office_id="acme-paris", call_id="c1", direction=pb.OUTBOUND, called_number="+442079460000"
        )

It needs nothing of the gateway but gateway.v1, which is generated from the contract.
"""

from gateway.client.client import Client
from gateway.client.commands import Command, CutCall, FundsLow, FundsRestored, UnknownCall
from gateway.client.errors import (
    AlreadyExists,
    ClientBusy,
    ClientClosed,
    ClientError,
    GatewayUnavailable,
    InvalidArgument,
    NotFound,
    OperationFailed,
    PermissionDenied,
    Unauthenticated,
)
from gateway.client.failure_handling import EMERGENCY_NUMBERS, FailureHandling, is_emergency
from gateway.client.link import LinkTimes
from gateway.client.live_calls import LiveCall
from gateway.client.tls import Tls, TlsFilesError

__all__ = [
    "EMERGENCY_NUMBERS",
    "AlreadyExists",
    "Client",
    "ClientBusy",
    "ClientClosed",
    "ClientError",
    "Command",
    "CutCall",
    "FailureHandling",
    "FundsLow",
    "FundsRestored",
    "GatewayUnavailable",
    "InvalidArgument",
    "LinkTimes",
    "LiveCall",
    "NotFound",
    "OperationFailed",
    "PermissionDenied",
    "Tls",
    "TlsFilesError",
    "Unauthenticated",
    "UnknownCall",
    "is_emergency",
]

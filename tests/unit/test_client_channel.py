"""What a client reads out of an error."""

import grpc
import grpc.aio
import pytest

from gateway.api.runner import status_of
from gateway.client_channel import Fault, fault_of
from gateway.errors import AlreadyExists, FailedPrecondition, InvalidArgument, TollgateError, Unavailable


def error_of(error: TollgateError) -> grpc.aio.AioRpcError:
    """The error as a client of grpc.aio meets it."""
    details = ("grpc-status-details-bin", status_of(error).SerializeToString())
    return grpc.aio.AioRpcError(
        grpc.StatusCode[error.code], grpc.aio.Metadata(), grpc.aio.Metadata(details), error.message
    )


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (
            InvalidArgument("segments", "is 300, it must be 1 to 255"),
            Fault("INVALID_ARGUMENT", "segments: is 300, it must be 1 to 255", "INVALID_ARGUMENT", "segments"),
        ),
        (
            AlreadyExists("taken", reason="ID_REUSED", field="call_id"),
            Fault("ALREADY_EXISTS", "taken", "ID_REUSED", "call_id"),
        ),
        (FailedPrecondition("no funds"), Fault("FAILED_PRECONDITION", "no funds", "FAILED_PRECONDITION")),
        (Unavailable("later", reason="RATES_NOT_LOADED"), Fault("UNAVAILABLE", "later", "RATES_NOT_LOADED")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_reason_and_field_are_read(error: TollgateError, fault: Fault) -> None:
    found = fault_of(error_of(error))
    assert found == fault
    assert found.is_from_gateway


def test_an_error_that_no_gateway_made() -> None:
    error = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "failed to connect"
    )
    assert fault_of(error) == Fault("UNAVAILABLE", "failed to connect")
    assert not fault_of(error).is_from_gateway


def test_an_error_without_a_code() -> None:
    assert fault_of(grpc.RpcError("broken")) == Fault("UNKNOWN", "broken")

"""What surrounds every rpc, once: who asks, how much is in flight, how long it may take, and how faults are said.

A wrapper that servicers call, not a grpc interceptor: grpc.aio's interceptors cost a coroutine and a handler object a
call, and cannot pass the identity on but by a context variable.
"""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Final, NoReturn, TypeAlias, TypeVar

import grpc
import grpc.aio
import structlog
from google.protobuf.any_pb2 import Any
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from gateway import metrics
from gateway.domain.identity import Identity
from gateway.errors import Internal, ResourceExhausted, TollgateError, Unauthenticated, Unavailable
from gateway.store.connection import StoreUnavailable
from gateway.store.directory import Directory

log = structlog.get_logger(__name__)

DOMAIN: Final = "tollgate"
_BEARER: Final = "Bearer "
_REPLY_MARGIN_SECONDS: Final = 0.02
"""Kept of a caller's deadline to say UNAVAILABLE in, since a deadline that passes says nothing."""

Request = TypeVar("Request")
Response = TypeVar("Response")
ServicerContext: TypeAlias = grpc.aio.ServicerContext[Request, Response]


class Runner:
    """Runs the rpcs of one server.

    Args:
        directory: Knows the tokens.
        max_in_flight: Requests answered at once; more are refused, but for those that `run` is told not to refuse.
        store_timeout_seconds: How long an answer of the store may take: a shorter deadline of the caller counts.
    """

    def __init__(self, directory: Directory, *, max_in_flight: int, store_timeout_seconds: float) -> None:
        self._directory = directory
        self._max_in_flight = max_in_flight
        self._patience = store_timeout_seconds + _REPLY_MARGIN_SECONDS
        self._in_flight = 0

    async def run(
        self,
        name: str,
        context: ServicerContext[Request, Response],
        request: Request,
        operation: Callable[[Request, Identity], Awaitable[Response]],
        *,
        sheddable: bool = True,
    ) -> Response:
        """Answer one unary rpc: identify, then run the operation; every fault becomes a status with ErrorInfo.

        Args:
            name: Of the rpc, for metrics.
            context: Of the rpc.
            request: What is asked.
            operation: Answers it for an identity.
            sheddable: False: answered however much is in flight (emergency).
        """
        started = perf_counter()
        code = "OK"
        self._in_flight += 1
        try:
            if sheddable and self._in_flight > self._max_in_flight:
                raise ResourceExhausted("Too many requests are in flight; retry with the same id after a moment.")
            identity = await self.identify(context)
            remaining = context.time_remaining()
            if remaining is None or remaining > self._patience:
                return await operation(request, identity)
            try:
                async with asyncio.timeout(max(0.0, remaining - _REPLY_MARGIN_SECONDS)):
                    return await operation(request, identity)
            except TimeoutError as error:
                raise StoreUnavailable("no answer within the caller's deadline") from error
        except TollgateError as error:
            code = error.code
            await self.abort(context, error)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            code = "CANCELLED"
            raise
        except Exception as error:
            code = "INTERNAL"
            log.exception("an rpc failed", rpc=name)
            await self.abort(context, Internal(), cause=error)
        finally:
            self._in_flight -= 1
            metrics.observe_rpc(name, code, perf_counter() - started)

    async def identify(self, context: ServicerContext[Request, Response]) -> Identity:
        """Return who holds the token in the metadata.

        Raises:
            Unauthenticated: None, or none that is known.
        """
        for key, value in context.invocation_metadata() or ():
            if key == "authorization" and isinstance(value, str) and value.startswith(_BEARER):
                secret = value[len(_BEARER) :]
                return self._directory.identified(secret) or await self._directory.identify(secret)
        raise Unauthenticated

    async def abort(
        self,
        context: ServicerContext[Request, Response],
        error: TollgateError,
        *,
        cause: BaseException | None = None,
    ) -> NoReturn:
        """End an rpc with the status of an error; raises grpc's AbortError."""
        if isinstance(error, Unavailable | Internal):
            log.warning("not answered", reason=error.reason, detail=str(getattr(error, "detail", cause or error)))
        status = status_of(error)
        await context.abort(
            grpc.StatusCode[error.code],
            error.message,
            (("grpc-status-details-bin", status.SerializeToString()),),
        )


def status_of(error: TollgateError) -> Status:
    """The google.rpc.Status of an error, with its ErrorInfo."""
    metadata = dict(error.metadata)
    if error.field:
        metadata["field"] = error.field
    detail = Any()
    detail.Pack(ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    return Status(code=grpc.StatusCode[error.code].value[0], message=error.message, details=[detail])

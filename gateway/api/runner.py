"""What surrounds every rpc, once: who asks, how much is in flight, how long it may take, and how faults are said.

A wrapper that servicers call, not a grpc interceptor: grpc.aio's interceptors cost a coroutine and a handler object a
call, and cannot pass the identity on but by a context variable.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from time import perf_counter
from typing import Any, Final, NoReturn, TypeAlias, TypeVar

import grpc
import grpc.aio
import structlog
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from gateway import metrics
from gateway.api.answers import too_many_in_flight
from gateway.api.sign_ins import SignIns, address_of
from gateway.domain.identity import Identity
from gateway.errors import (
    Internal,
    InvalidArgument,
    RateLimited,
    ResourceExhausted,
    TollgateError,
    Unauthenticated,
    Unavailable,
)
from gateway.store.directory import Directory
from gateway.store.faults import StoreUnavailable

log = structlog.get_logger(__name__)

DOMAIN: Final = "tollgate"
_BEARER: Final = "Bearer "
_REPLY_SHARE: Final = 0.2
_LONGEST_REPLY_SECONDS: Final = 0.1
"""Kept of a caller's deadline to say UNAVAILABLE in, at most so long, since a deadline that passes says nothing."""

_RECHECK_SECONDS: Final = 0.5
MAX_STREAMS: Final = 1_000
"""Open server streams of one process; more are refused."""

_CANCELLED: Final = (asyncio.CancelledError, grpc.aio.AbortError)

Request = TypeVar("Request")
Response = TypeVar("Response")
ServicerContext: TypeAlias = grpc.aio.ServicerContext[Request, Response]


class Runner:
    """Runs the rpcs of one server.

    Args:
        directory: Knows the tokens.
        sign_ins: Looks at those that rpcs begin with.
        max_in_flight: Requests answered at once; more are refused, but for those that `run` is told not to refuse.
        store_timeout_seconds: How long an answer of the store may take: a shorter deadline of the caller counts.
        recheck_seconds: How often an open stream's token is looked at again.
    """

    def __init__(
        self,
        directory: Directory,
        sign_ins: SignIns,
        *,
        max_in_flight: int,
        store_timeout_seconds: float,
        recheck_seconds: float = _RECHECK_SECONDS,
    ) -> None:
        self._directory = directory
        self._sign_ins = sign_ins
        self._max_in_flight = max_in_flight
        self._patience = store_timeout_seconds + _LONGEST_REPLY_SECONDS
        self._recheck_seconds = recheck_seconds
        self._in_flight = 0
        self._streams = 0
        self._ending = asyncio.Event()

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
                raise too_many_in_flight()
            identity = await self.identify(context)
            remaining = context.time_remaining()
            if remaining is None or remaining > self._patience:
                return await operation(request, identity)
            try:
                kept = min(_REPLY_SHARE * remaining, _LONGEST_REPLY_SECONDS)
                async with asyncio.timeout(remaining - kept):
                    return await operation(request, identity)
            except TimeoutError as error:
                raise StoreUnavailable("no answer within the caller's deadline") from error
        except (Exception, asyncio.CancelledError) as error:
            code = _code_of(error)
            await self._fail(name, context, error)
        finally:
            self._in_flight -= 1
            metrics.observe_rpc(name, code, perf_counter() - started)

    async def run_session(
        self,
        context: ServicerContext[Request, Response],
        serve: Callable[[ServicerContext[Request, Response], Identity], Awaitable[None]],
    ) -> None:
        """Serve one Session: identify whoever opens it; what ends it against the rules becomes a status."""
        code = "OK"
        try:
            await serve(context, await self.identify(context))
        except (Exception, asyncio.CancelledError) as error:
            code = _code_of(error)
            await self._fail("Session", context, error)
        finally:
            metrics.RPCS.labels("Session", code).inc()

    async def run_stream(
        self,
        name: str,
        context: ServicerContext[Request, Response],
        request: Request,
        operation: Callable[[Request, Identity], AsyncGenerator[Response | None, None]],
    ) -> None:
        """Answer one server-streaming rpc, as `run` does a unary one, writing to the context as the responses come.

        An operation that may have nothing to say for long yields None once it is listening: the client then has the
        initial metadata, and knows that whatever happens from now on will reach it.

        The stream ends when the client does, when its token is revoked or expires, and when the server stops: a stream
        that nothing ends would hold up the stop of the server for as long as requests may take.
        """
        code = "OK"
        self._streams += 1
        try:
            if self._streams > MAX_STREAMS:
                raise ResourceExhausted("Too many streams are open; close some, or retry later.")
            identity = await self.identify(context)
            async with aclosing(operation(request, identity)) as responses:
                await self._write(context, responses)
        except (Exception, asyncio.CancelledError) as error:
            code = _code_of(error)
            await self._fail(name, context, error)
        finally:
            self._streams -= 1
            metrics.RPCS.labels(name, code).inc()

    def end_streams(self) -> None:
        """End every open stream, and each that is opened from now on, with UNAVAILABLE: the server stops."""
        self._ending.set()

    async def _write(
        self, context: ServicerContext[Any, Any], responses: AsyncGenerator[Response | None, None]
    ) -> None:
        """Write what there is to say, until the guard finds a reason to end the stream.

        The guard interrupts, so that a response costs no look at the clock and no task of its own.
        """
        writing = asyncio.current_task()
        assert writing is not None  # noqa: S101  # an rpc is a task

        def interrupt(guard: asyncio.Task[None]) -> None:
            if not guard.cancelled() and guard.exception() is not None:
                writing.cancel()

        guarding = asyncio.create_task(self._guard(context))
        guarding.add_done_callback(interrupt)
        try:
            async for response in responses:
                if response is None:
                    await context.send_initial_metadata(())
                else:
                    await context.write(response)
        except asyncio.CancelledError:
            if not guarding.done() or guarding.cancelled():
                raise
            writing.uncancel()
            guarding.result()
        finally:
            guarding.cancel()

    async def _guard(self, context: ServicerContext[Any, Any]) -> None:
        """Look whether a stream may go on, until it may not.

        Raises:
            Unauthenticated: Its token was revoked, or has expired.
            Unavailable: The server stops.
        """
        while True:
            try:
                async with asyncio.timeout(self._recheck_seconds):
                    await self._ending.wait()
            except TimeoutError:
                # While the store does not answer a token that was good stays good, as it does for other requests.
                with suppress(Unavailable):
                    await self.recheck(context)
            else:
                raise Unavailable("This gateway is stopping; connect again and resume.", reason="STOPPING")

    async def identify(self, context: ServicerContext[Request, Response]) -> Identity:
        """Return who holds the token in the metadata of an rpc that begins.

        Raises:
            Unauthenticated: None, or none that is known.
            TooManyFailures: Too many of those came from there.
        """
        return await self._sign_ins.identify(_secret_in(context), lambda: address_of(context.peer()), "rpc")

    async def recheck(self, context: ServicerContext[Request, Response]) -> Identity:
        """The same for one that goes on: what was valid before is no wrong token.

        Raises:
            Unauthenticated: It was revoked, or has expired.
        """
        secret = _secret_in(context)
        return self._directory.identified(secret) or await self._directory.identify(secret)

    async def _fail(self, name: str, context: ServicerContext[Request, Response], error: BaseException) -> NoReturn:
        """End an rpc for what went wrong in it; a cancellation, or an end that grpc knows of, goes on as it is."""
        if isinstance(error, TollgateError):
            await self.abort(context, error)
        if isinstance(error, _CANCELLED):
            raise error
        log.error("an rpc failed", rpc=name, exc_info=error)
        await self.abort(context, Internal(), cause=error)

    async def abort(
        self,
        context: ServicerContext[Request, Response],
        error: TollgateError,
        *,
        cause: BaseException | None = None,
    ) -> NoReturn:
        """End an rpc with the status of an error; raises grpc's AbortError."""
        if isinstance(error, Unavailable | Internal):
            detail = getattr(error, "detail", None) or cause or error.__cause__ or error
            notes = "; ".join(getattr(error, "__notes__", ()))
            log.warning("not answered", reason=error.reason, detail=f"{detail}; {notes}" if notes else str(detail))
        status = status_of(error)
        await context.abort(
            grpc.StatusCode[error.code],
            error.message,
            (("grpc-status-details-bin", status.SerializeToString()),),
        )


def _secret_in(context: ServicerContext[Any, Any]) -> str:
    """The token in the metadata.

    Raises:
        Unauthenticated: There is none.
    """
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value.startswith(_BEARER):
            return value[len(_BEARER) :]
    raise Unauthenticated


def _code_of(error: BaseException) -> str:
    """The gRPC code that an rpc is counted under."""
    if isinstance(error, TollgateError):
        return error.code
    return "CANCELLED" if isinstance(error, _CANCELLED) else "INTERNAL"


def status_of(error: TollgateError) -> Status:
    """The google.rpc.Status of an error, with its ErrorInfo and, where there is a time to wait for, a RetryInfo."""
    metadata = dict(error.metadata)
    if error.field:
        metadata["field"] = error.field
    status = Status(code=grpc.StatusCode[error.code].value[0], message=error.message)
    status.details.add().Pack(ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if isinstance(error, InvalidArgument):
        violations = [BadRequest.FieldViolation(field=field, description=what) for field, what in error.violations]
        status.details.add().Pack(BadRequest(field_violations=violations))
    if isinstance(error, RateLimited):
        hint = RetryInfo()
        hint.retry_delay.FromMicroseconds(math.ceil(error.retry_after_seconds * 1e6))
        status.details.add().Pack(hint)
    return status

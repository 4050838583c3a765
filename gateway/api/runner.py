"""What surrounds every rpc, once: who asks, how much is in flight, how long it may take, and how faults are said.

A wrapper that servicers call, not a grpc interceptor: grpc.aio's interceptors cost a coroutine and a handler object a
call, and cannot pass the identity on but by a context variable.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from time import perf_counter
from typing import Any, Final, NamedTuple, NoReturn, TypeAlias, TypeVar

import grpc
import grpc.aio
import structlog
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from google.rpc.status_pb2 import Status

from gateway import metrics
from gateway.api.answers import too_many_in_flight
from gateway.domain.identity import Identity
from gateway.errors import Internal, InvalidArgument, ResourceExhausted, TollgateError, Unauthenticated, Unavailable
from gateway.request_context import REQUEST_ID, TRACEPARENT, request_id, request_id_from
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

_ANOTHER_SWITCH: Final = (
    "The token is not of the switch that the certificate is of: send that switch's own token, or none."
)

Request = TypeVar("Request")
Response = TypeVar("Response")
ServicerContext: TypeAlias = grpc.aio.ServicerContext[Request, Response]


class Caller(NamedTuple):
    """What the metadata of an rpc say of its caller; a part that is not there is empty."""

    token: str
    request_id: str
    traceparent: str


def caller_of(context: ServicerContext[Request, Response]) -> Caller:
    """Read the metadata, once for all that is wanted of them."""
    token = given_id = traceparent = ""
    for key, value in context.invocation_metadata() or ():
        if key == "authorization":
            if isinstance(value, str) and value.startswith(_BEARER):
                token = token or value[len(_BEARER) :]
        elif key == REQUEST_ID:
            given_id = str(value)
        elif key == TRACEPARENT:
            traceparent = str(value)
    return Caller(token, given_id, traceparent)


class Runner:
    """Runs the rpcs of one server.

    Args:
        directory: Knows the tokens.
        max_in_flight: Requests answered at once; more are refused, but for those that `run` is told not to refuse.
        store_timeout_seconds: How long an answer of the store may take: a shorter deadline of the caller counts.
        knows_certificates: Whether clients may be known by a certificate that they show, too.
        recheck_seconds: How often an open stream's token is looked at again.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        max_in_flight: int,
        store_timeout_seconds: float,
        knows_certificates: bool = False,
        recheck_seconds: float = _RECHECK_SECONDS,
    ) -> None:
        self._directory = directory
        self._max_in_flight = max_in_flight
        self._patience = store_timeout_seconds + _LONGEST_REPLY_SECONDS
        self._knows_certificates = knows_certificates
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
        caller = self._accept(context)
        try:
            if sheddable and self._in_flight > self._max_in_flight:
                raise too_many_in_flight()
            identity = await self._identify(context, caller.token)
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
        caller = self._accept(context)
        try:
            await serve(context, await self._identify(context, caller.token))
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
        caller = self._accept(context)
        try:
            if self._streams > MAX_STREAMS:
                raise ResourceExhausted("Too many streams are open; close some, or retry later.")
            identity = await self._identify(context, caller.token)
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
                    await self.identify(context)
            else:
                raise Unavailable("This gateway is stopping; connect again and resume.", reason="STOPPING")

    async def identify(self, context: ServicerContext[Request, Response]) -> Identity:
        """Return who holds the token in the metadata, or else has shown a certificate.

        Raises:
            Unauthenticated: None, or none that is known; or the token is not of the switch that the certificate is of.
            Unavailable: It cannot be told now.
        """
        return await self._identify(context, caller_of(context).token)

    async def _identify(self, context: ServicerContext[Request, Response], token: str) -> Identity:
        names = certificate_names(context) if self._knows_certificates else ()
        switch = self._directory.certified(names) if names else None
        if token:
            identity = self._directory.identified(token) or await self._directory.identify(token)
            if switch is not None and switch.switch_id != identity.switch_id:
                raise Unauthenticated(_ANOTHER_SWITCH)
            return identity
        if switch is not None:
            return switch
        if names:
            raise Unauthenticated(
                f"No switch has a certificate of the name {' or '.join(names)}, and no token came: register it with "
                "tollgate token create --certificate, or send a token that is in force."
            )
        raise Unauthenticated

    def _accept(self, context: ServicerContext[Request, Response]) -> Caller:
        """Give an rpc its id: it is in every line of the log about it, and in the trailing metadata of its answer."""
        caller = caller_of(context)
        chosen = request_id_from(caller.request_id)
        # An rpc is a task of its own, so nobody has to take it away again.
        request_id.set(chosen)
        context.set_trailing_metadata(((REQUEST_ID, chosen),))
        return caller

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
            # In place of those that were set before.
            (("grpc-status-details-bin", status.SerializeToString()), (REQUEST_ID, request_id.get())),
        )


def certificate_names(context: ServicerContext[Any, Any]) -> list[str]:
    """The names in the certificate that the client has shown, and the handshake has checked; none without one.

    The common name counts for nothing (RFC 9525, section 2), and a name that stands for many is nobody's.
    """
    told = context.auth_context()
    # Of another form than a name may have, it is none that anybody registers.
    dns = (name.decode("ascii", "replace").lower() for name in told.get("peer_dns", ()))
    return [*dns, *(name.decode("ascii", "replace") for name in told.get("peer_uri", ()))]


def _code_of(error: BaseException) -> str:
    """The gRPC code that an rpc is counted under."""
    if isinstance(error, TollgateError):
        return error.code
    return "CANCELLED" if isinstance(error, _CANCELLED) else "INTERNAL"


def status_of(error: TollgateError) -> Status:
    """The google.rpc.Status of an error, with its ErrorInfo."""
    metadata = dict(error.metadata)
    if error.field:
        metadata["field"] = error.field
    status = Status(code=grpc.StatusCode[error.code].value[0], message=error.message)
    status.details.add().Pack(ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata))
    if isinstance(error, InvalidArgument):
        violations = [BadRequest.FieldViolation(field=field, description=what) for field, what in error.violations]
        status.details.add().Pack(BadRequest(field_violations=violations))
    return status

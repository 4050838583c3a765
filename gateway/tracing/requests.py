"""Requests that come in by gRPC, traced: unary rpcs, and the operations of a Session."""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import TracebackType
from typing import Any, Final, NamedTuple

import grpc
import structlog

from gateway.api.runner import Request, Response, Runner, ServicerContext, caller_of
from gateway.api.session import Running, Session
from gateway.domain.identity import Identity
from gateway.errors import TollgateError
from gateway.request_context import operation_id_from, request_id
from gateway.tracing.tracer import Attribute, Beginning, Kind, Span, Tracer
from gateway.v1 import authorization_pb2 as pb

log = structlog.get_logger(__name__)

_GRPC: Final[dict[str, Attribute]] = {"rpc.system": "grpc"}
_FAULTS: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN})
"""Ours; with any other code it is the caller who is at fault, or went away."""


class TracedRunner(Runner):
    """Runs rpcs, a span for each unary one; a stream lasts for days, and its operations have spans of their own."""

    def __init__(self, tracer: Tracer, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._tracer = tracer

    async def run(
        self,
        name: str,
        context: ServicerContext[Request, Response],
        request: Request,
        operation: Callable[[Request, Identity], Awaitable[Response]],
        *,
        sheddable: bool = True,
    ) -> Response:
        """As `Runner.run`."""
        beginning = self._tracer.sampled(caller_of(context).traceparent)
        if beginning is None:
            return await super().run(name, context, request, operation, sheddable=sheddable)
        attributes = _GRPC | {"rpc.method": name} | _about(request)
        with self._tracer.span(name, kind=Kind.SERVER, beginning=beginning, attributes=attributes) as span:
            try:
                return await super().run(name, context, request, operation, sheddable=sheddable)
            finally:
                code = _code_of(context.code())
                span.set("rpc.grpc.status_code", code.value[0])
                if code in _FAULTS:
                    span.fail(code.name)
                _tell(span, name, request)


class TracedSession(Session):
    """A Session that traces some of its operations: those whose caller does, and others by chance."""

    def __init__(self, tracer: Tracer, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._tracer = tracer
        self._chosen: dict[int, _Chosen] = {}
        self._batch_size = 0

    def work_on(self, running: Running) -> Coroutine[Any, Any, Any]:
        """An operation that begins now."""
        work = super().work_on(running)
        chosen = self._chosen.pop(running.tag, None) if self._chosen else None
        if chosen is None:
            return work
        return _InOneContext(self._trace(chosen, running, work), copy_context())

    def _begin_all(self, request: pb.SessionRequest) -> None:
        self._batch_size = len(request.operations)
        super()._begin_all(request)

    def _begin(self, operation: pb.Operation, tag: int, kind: str) -> None:
        beginning = self._tracer.sampled(operation.traceparent)
        if beginning is not None:
            chosen_id = operation_id_from(operation.request_id, self.request_id, tag)
            self._chosen[tag] = _Chosen(beginning, chosen_id, self._batch_size)
        super()._begin(operation, tag, kind)

    async def _trace(self, chosen: "_Chosen", running: Running, work: Coroutine[Any, Any, Any]) -> Any:
        request_id.set(chosen.request_id)
        # As the unary rpc is called that does the same: authorize_call, AuthorizeCall.
        name = running.kind.title().replace("_", "")
        attributes = _GRPC | {"rpc.method": name, "tollgate.batch_operations": chosen.batch} | _about(running.request)
        with self._tracer.span(name, kind=Kind.SERVER, beginning=chosen.beginning, attributes=attributes) as span:
            code = grpc.StatusCode.OK
            try:
                return await work
            except Exception as error:
                code = grpc.StatusCode[error.code if isinstance(error, TollgateError) else "INTERNAL"]
                raise
            finally:
                span.set("rpc.grpc.status_code", code.value[0])
                _tell(span, name, running.request)


class _Chosen(NamedTuple):
    """An operation that is to be traced.

    Attributes:
        beginning: Of its trace.
        request_id: The switch's, or the stream's with the operation's tag.
        batch: How many operations came with it.
    """

    beginning: Beginning
    request_id: str
    batch: int


class _InOneContext(Coroutine[Any, Any, Any]):
    """A coroutine that runs in one context, whoever drives it on: a Session's operations have no task to have one."""

    def __init__(self, work: Coroutine[Any, Any, Any], context: Context) -> None:
        self._work = work
        self._context = context

    def send(self, value: Any) -> Any:
        return self._context.run(self._work.send, value)

    def throw(
        self,
        kind: Any,
        error: BaseException | object = None,
        trace: TracebackType | None = None,
    ) -> Any:
        return self._context.run(self._work.throw, kind, error, trace)

    def close(self) -> None:
        self._context.run(self._work.close)

    def __await__(self) -> Generator[Any, Any, Any]:
        return (yield from self._work.__await__())

    def __del__(self) -> None:
        # What nobody drives to its end, since the process stops, leaves its span in the context that it was begun in.
        self.close()


def _code_of(code: Any) -> grpc.StatusCode:
    """The code of an rpc, which grpc.aio gives as a number where its types promise the enum; None: none was set."""
    return next((each for each in grpc.StatusCode if code in (each, each.value[0])), grpc.StatusCode.OK)


def _about(request: object) -> dict[str, Attribute]:
    """What a request names that is nobody's secret and finds it again: office, call or message."""
    names = ("office_id", "call_id", "message_id")
    return {f"tollgate.{name}": value for name in names if (value := getattr(request, name, ""))}


def _tell(span: Span, name: str, request: object) -> None:
    """Name the request in its span, and its trace in the log."""
    span.set("tollgate.request_id", request_id.get())
    log.debug(
        "request_traced", rpc=name, **{key.removeprefix("tollgate."): value for key, value in _about(request).items()}
    )

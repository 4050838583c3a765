"""What a decision is made of, traced: rating, and the script that decides.

A request that is traced takes its ids along into the store, and so into the outbox and the ledger.
"""

from collections.abc import Awaitable, Coroutine
from typing import Any, Final

from gateway.api.rating import RatedCall, RatedMessage, Rater
from gateway.domain.trace import Trace
from gateway.domain.vocabulary import Direction, License, MessageKind, Service
from gateway.request_context import current_trace, request_id
from gateway.store.balances import BalanceStore, CallGrant, CallRequest, MessageGrant, MessageRequest
from gateway.store.codes import CODES
from gateway.store.connection import StoreConnection
from gateway.store.offices import CachedOffice
from gateway.store.wire import Reply
from gateway.tracing.tracer import Attribute, Kind, Span, Tracer
from gateway.v1.records_pb2 import Details

_WITHOUT_CODE: Final = "trim_outbox"
"""The one script that answers with a number of its own."""


class TracedConnection(StoreConnection):
    """A connection whose scripts have a span each, within a trace that is recorded."""

    def __init__(self, tracer: Tracer, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._tracer = tracer

    def run(self, operation: str, keys: tuple[bytes, ...], args: tuple[bytes | str | int, ...]) -> Awaitable[Any]:
        """As `StoreConnection.run`."""
        if current_trace.get() is None:
            return super().run(operation, keys, args)
        return self._run_traced(operation, keys, args)

    async def _run_traced(self, operation: str, keys: tuple[bytes, ...], args: tuple[bytes | str | int, ...]) -> Any:
        attributes: dict[str, Attribute] = {
            "db.system.name": "redis",
            "db.operation.name": "FCALL",
            "db.stored_procedure.name": operation,
            "tollgate.shard": int(keys[0].partition(b"{")[2].partition(b"}")[0]),
        }
        with self._tracer.span(f"FCALL {operation}", kind=Kind.CLIENT, attributes=attributes) as span:
            reply = super().run(operation, keys, args)
            address = self.address_of(keys[0])
            if address is not None:
                span.set("server.address", str(address))
            try:
                answer = await reply
            finally:
                if isinstance(reply, Reply) and reply.redirections:
                    span.set("tollgate.redirections", reply.redirections)
            if operation != _WITHOUT_CODE:
                span.set("tollgate.code", CODES[answer[0]].name)
            return answer


class TracedBalanceStore(BalanceStore):
    """The balances; what is begun in a trace that is recorded carries its ids in its details."""

    def authorize_call(
        self, office: CachedOffice, request: CallRequest, *, dry_run: bool = False
    ) -> Coroutine[Any, Any, CallGrant]:
        """As `BalanceStore.authorize_call`."""
        trace = current_trace.get()
        if trace is not None:
            request = request._replace(details=request.details + _ids(trace))
        return super().authorize_call(office, request, dry_run=dry_run)

    def authorize_message(
        self, office: CachedOffice, request: MessageRequest, *, dry_run: bool = False
    ) -> Coroutine[Any, Any, MessageGrant]:
        """As `BalanceStore.authorize_message`."""
        trace = current_trace.get()
        if trace is not None:
            request = request._replace(details=request.details + _ids(trace))
        return super().authorize_message(office, request, dry_run=dry_run)


class TracedRater(Rater):
    """A rater with a span for each request, within a trace that is recorded."""

    def __init__(self, tracer: Tracer, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tracer = tracer

    def rate_call(
        self,
        office: CachedOffice,
        direction: Direction,
        license_: License,
        service: Service,
        calling_number: str,
        called_number: str,
    ) -> RatedCall:
        """As `Rater.rate_call`."""
        if current_trace.get() is None:
            return super().rate_call(office, direction, license_, service, calling_number, called_number)
        with self._tracer.span("rating") as span:
            rated = super().rate_call(office, direction, license_, service, calling_number, called_number)
            _tell(span, rated)
            return rated

    def rate_message(self, office: CachedOffice, kind: MessageKind, called_number: str) -> RatedMessage:
        """As `Rater.rate_message`."""
        if current_trace.get() is None:
            return super().rate_message(office, kind, called_number)
        with self._tracer.span("rating") as span:
            rated = super().rate_message(office, kind, called_number)
            _tell(span, rated)
            return rated


def _ids(trace: Trace) -> bytes:
    """The ids of the request that is being traced, as more of its details.

    Bytes of protobuf that stand behind each other are one message, so the details need not be packed anew.
    """
    return Details(request_id=request_id.get(), trace=trace.packed).SerializeToString()


def _tell(span: Span, rated: RatedCall | RatedMessage) -> None:
    span.set("tollgate.verdict", rated.verdict.name)
    if rated.row is not None:
        span.set("tollgate.deck_version", rated.deck_version)
        span.set("tollgate.rate_line", rated.row.row_id)

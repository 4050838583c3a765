"""The ledger, traced: SQL transactions, and the batches that the journal writes."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.trace import Trace
from gateway.ledger.database import Database
from gateway.ledger.journal import CallMoved, Journal, MessageSent, Refused, ShardBatch, Taken
from gateway.request_context import current_trace
from gateway.tracing.tracer import ROOT, Kind, Tracer

MAX_LINKS: Final = 128
"""Requests that a batch names; the SDK keeps as many."""


class TracedDatabase(Database):
    """A database whose transactions have a span each, within a trace that is recorded."""

    def __init__(self, tracer: Tracer, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tracer = tracer

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """As `Database.read`."""
        if current_trace.get() is None:
            async with super().read() as session:
                yield session
            return
        with self._tracer.span("SQL read", kind=Kind.CLIENT, attributes=self._attributes):
            async with super().read() as session:
                yield session

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        """As `Database.write`; the wait for the write lock of SQLite is in the span."""
        if current_trace.get() is None:
            async with super().write() as session:
                yield session
            return
        with self._tracer.span("SQL transaction", kind=Kind.CLIENT, attributes=self._attributes):
            async with super().write() as session:
                yield session

    @property
    def _attributes(self) -> dict[str, str]:
        return {"db.system.name": self.dialect}


class TracedJournal(Journal):
    """A journal with a span for each batch that has entries of traced requests, linked to them; of others by chance."""

    def __init__(self, tracer: Tracer, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tracer = tracer

    async def take(self, batches: Mapping[int, ShardBatch], *, now_ms: int) -> Taken:
        """As `Journal.take`."""
        links = list(islice(_traces(batches), MAX_LINKS))
        beginning = ROOT if links else self._tracer.sampled()
        if beginning is None:
            return await super().take(batches, now_ms=now_ms)
        attributes = {
            "tollgate.shards": len(batches),
            "tollgate.entries": sum(len(batch.entries) for batch in batches.values()),
        }
        with self._tracer.span("journal batch", beginning=beginning, links=links, attributes=attributes) as span:
            taken = await super().take(batches, now_ms=now_ms)
            span.set("tollgate.written", len(taken.entries))
            return taken


def _traces(batches: Mapping[int, ShardBatch]) -> Iterator[Trace]:
    """The spans of the traced requests whose entries are in a batch."""
    for batch in batches.values():
        for entry in batch.entries:
            fact = entry.fact
            if isinstance(fact, CallMoved):
                subject = fact.begun.subject if fact.begun is not None else None
            else:
                subject = fact.subject if isinstance(fact, MessageSent | Refused) else None
            if subject is not None and subject.trace:
                yield Trace.unpack(subject.trace)

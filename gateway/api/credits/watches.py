"""WatchBalance and WatchRefills: streams to those whose money it is."""

import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from gateway import metrics
from gateway.api.credits.access import OfficeAccess
from gateway.api.credits.fields import enum_of, instant
from gateway.domain.identity import Identity
from gateway.errors import InvalidArgument, ResourceExhausted
from gateway.feeds.balances import BalanceFeed
from gateway.feeds.refills import RefillEvent, RefillFeed, Subscription
from gateway.ledger.offices import Offices
from gateway.ledger.refills import Refills, RefillTrigger
from gateway.store.faults import StoreUnavailable
from gateway.store.offices import OfficeCache
from gateway.v1 import credits_pb2 as pb

_CURSOR: Final = re.compile(r"[0-9]{1,18}")
_BATCH: Final = 500
_REMEMBERED: Final = 10_000
"""Refills of one stream that are known to have been delivered: of two that come twice, the second is dropped."""


class BalanceWatch:
    """WatchBalance."""

    def __init__(self, offices: Offices, feed: BalanceFeed) -> None:
        self._access = OfficeAccess(offices)
        self._feed = feed

    async def watch(
        self, request: pb.WatchBalanceRequest, identity: Identity
    ) -> AsyncGenerator[pb.WatchBalanceResponse, None]:
        """The balance of an office, at once and then whenever it changed.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.readable`.
            Unavailable: It cannot be read now.
        """
        await self._access.readable(request.office_id, identity)
        async with aclosing(self._feed.watch(request.office_id)) as samples:
            async for sample, at_ms in samples:
                yield pb.WatchBalanceResponse(
                    balance_micros=sample.balance_micros,
                    reserved_micros=sample.reserved_micros,
                    available_micros=sample.available_micros,
                    refill_state=enum_of(sample.refill_state),
                    at=instant(at_ms),
                )


class RefillWatch:
    """WatchRefills.

    Args:
        feed: The triggers as they happen.
        refills: Those that happened before.
        offices: Says which company an office belongs to.
        cache: Says so without SQL.
    """

    def __init__(self, feed: RefillFeed, refills: Refills, offices: Offices, cache: OfficeCache) -> None:
        self._feed = feed
        self._refills = refills
        self._offices = offices
        self._cache = cache

    async def watch(
        self, request: pb.WatchRefillsRequest, identity: Identity
    ) -> AsyncGenerator[pb.WatchRefillsResponse | None, None]:
        """The triggers behind a cursor, then those to come; on one stream each refill once, whichever way it came.

        Raises:
            PermissionDenied: The bearer may read no office.
            InvalidArgument: The cursor is none, or ahead of everything.
            ResourceExhausted: The watcher is too slow: it may resume behind its cursor.
            DatabaseError: What happened before cannot be read.
        """
        identity.readable_company_id()
        after = await self._read_cursor(request.after)
        await self._feed.ready()
        metrics.REFILL_WATCHERS.inc()
        try:
            with self._feed.subscribe() as subscription:
                yield None
                stream = _RefillStream(self._refills, self._company_of, identity, after)
                async with aclosing(stream.responses(subscription)) as responses:
                    async for response in responses:
                        yield response
        finally:
            metrics.REFILL_WATCHERS.dec()

    async def _company_of(self, office_id: str, durable: bool) -> str | None:
        """The company of an office; for an announcement without SQL, so that it is not kept waiting."""
        cached = self._cache.cached(office_id)
        if cached is not None:
            return cached.company_id
        if durable:
            office = await self._offices.find(office_id)
            return None if office is None else office.company_id
        try:
            cached = await self._cache.get(office_id)
        except StoreUnavailable:
            return None  # It comes again durably.
        return None if cached is None else cached.company_id

    async def _read_cursor(self, text: str) -> int:
        if not text:
            return 0
        if not _CURSOR.fullmatch(text):
            raise InvalidArgument("after", "must be the cursor of an earlier response, or empty for the beginning")
        cursor = int(text)
        if cursor and cursor > await self._refills.last_seq():
            raise InvalidArgument("after", "is ahead of every trigger that there is: begin anew with an empty one")
        return cursor


class _RefillStream:
    """One watcher's way through the triggers. `_cursor` is the last durable one that was dealt with."""

    def __init__(
        self,
        refills: Refills,
        company_of: Callable[[str, bool], Awaitable[str | None]],
        identity: Identity,
        after: int,
    ) -> None:
        self._refills = refills
        self._company_of = company_of
        self._company_id = identity.readable_company_id()
        self._office_ids = identity.readable_office_ids()
        self._cursor = after
        self._delivered: OrderedDict[str, None] = OrderedDict()

    async def responses(self, subscription: Subscription) -> AsyncGenerator[pb.WatchRefillsResponse, None]:
        """What happened before the subscription began, then what it brings."""
        while recorded := await self._refills.after(
            self._cursor, _BATCH, company_id=self._company_id, office_ids=self._office_ids
        ):
            for one in recorded:
                self._cursor = one.seq
                if self._is_new(one.trigger):
                    yield self._response(one.trigger)
        # What was recorded meanwhile comes through the subscription as well, and is known by its place.
        self._cursor = max(self._cursor, subscription.begins_behind)
        while (event := await subscription.next()) is not None:
            if await self._is_for_us(event) and self._is_new(event.trigger):
                if event.seq is not None:
                    self._cursor = event.seq
                yield self._response(event.trigger)
            elif event.seq is not None:
                self._cursor = max(self._cursor, event.seq)
        raise ResourceExhausted(
            "The stream was not read fast enough; connect again with the last cursor.", reason="WATCHER_TOO_SLOW"
        )

    async def _is_for_us(self, event: RefillEvent) -> bool:
        if event.seq is not None and event.seq <= self._cursor:
            return False
        office_id = event.trigger.office_id
        if self._office_ids is not None and office_id not in self._office_ids:
            return False
        if self._company_id is None:
            return True
        return await self._company_of(office_id, event.seq is not None) == self._company_id

    def _is_new(self, trigger: RefillTrigger) -> bool:
        if trigger.refill_id in self._delivered:
            return False
        self._delivered[trigger.refill_id] = None
        if len(self._delivered) > _REMEMBERED:
            self._delivered.popitem(last=False)
        return True

    def _response(self, trigger: RefillTrigger) -> pb.WatchRefillsResponse:
        return pb.WatchRefillsResponse(
            cursor=str(self._cursor),
            refill_id=trigger.refill_id,
            office_id=trigger.office_id,
            amount_micros=trigger.amount_micros,
            threshold_micros=trigger.threshold_micros,
            available_micros=trigger.available_micros,
            triggered_at=instant(trigger.raised_at),
        )

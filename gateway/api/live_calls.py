"""LiveCalls: a switch says which calls it has, and is told which of them the gateway does not know or has cut."""

import asyncio
import hashlib
from typing import Final, Protocol

from gateway.api.calls import Calls
from gateway.api.validation import check_seconds
from gateway.domain.identity import Identity
from gateway.domain.ids import validate_id, validate_office_id
from gateway.errors import InvalidArgument, PermissionDenied
from gateway.slices import slices
from gateway.store.balances import BalanceStore
from gateway.store.clock import Clock
from gateway.store.codes import Code
from gateway.store.commands import CUT_CALL, FUNDS_LOW, PublishedCommand
from gateway.store.faults import StoreUnavailable
from gateway.store.offices import OfficeCache
from gateway.store.switch_lists import SwitchLists
from gateway.v1 import authorization_pb2 as pb

MAX_CALLS: Final = 1_000

CALLS_AT_ONCE: Final = 32
"""Confirmed in one flush. What is pipelined a store carries out in one go: decisions wait behind these for a
millisecond, and behind a whole part of a list they waited for 37.
"""

_UNKNOWN: Final = "unknown_call"


class Listing(Protocol):
    """Who lists its calls: a Session, or what stands for a switch that is asked by its callback.

    Attributes:
        list_began_ms: When the list began that is still coming in, in Unix milliseconds; None: none is.
        list_is_whole: Whether all of that list so far was heard.
    """

    list_began_ms: int | None
    list_is_whole: bool

    @property
    def identity(self) -> Identity:
        """The switch."""
        ...

    def command(self, command: pb.Command) -> None:
        """Tell the switch what to do."""
        ...


class LiveCallsListener:
    """Confirms calls by the lists of their switches.

    Args:
        store: The balances.
        offices: The offices this process knows.
        lists: Where complete lists are noted.
        clock: The store's.
        calls: Knows the emergency calls that were granted here.
    """

    def __init__(
        self, store: BalanceStore, offices: OfficeCache, lists: SwitchLists, clock: Clock, calls: Calls
    ) -> None:
        self._store = store
        self._offices = offices
        self._lists = lists
        self._clock = clock
        self._calls = calls

    async def hear(self, live_calls: pb.LiveCalls, listing: Listing) -> None:
        """Take one part of a list; a part that is not followed by more completes it.

        Raises:
            InvalidArgument: An entry cannot be a call. Nothing of this part was taken.
        """
        if len(live_calls.calls) > MAX_CALLS:
            raise InvalidArgument(
                "live_calls.calls", f"has {len(live_calls.calls)} entries, send at most {MAX_CALLS} with more = true"
            )
        for call in live_calls.calls:
            validate_office_id(call.office_id)
            validate_id(call.call_id, "call_id")
            check_seconds(call.used_seconds, "used_seconds")
        if listing.list_began_ms is None:
            listing.list_began_ms, listing.list_is_whole = self._clock.now_ms(), True
        try:
            for some in slices(list(live_calls.calls), CALLS_AT_ONCE):
                for command in await asyncio.gather(*[self._hear(call, listing.identity) for call in some]):
                    if command is not None:
                        listing.command(command)
            if not live_calls.more and listing.list_is_whole:
                await self._lists.record(listing.identity.switch_id, listing.list_began_ms)
        except StoreUnavailable:
            # A list that was not heard whole says nothing about the calls that it lacks.
            listing.list_is_whole = False
        if not live_calls.more:
            listing.list_began_ms = None

    async def _hear(self, call: pb.LiveCall, identity: Identity) -> pb.Command | None:
        """Confirm one call; returns what the switch must be told of it."""
        office_id, call_id = call.office_id, call.call_id
        if self._calls.is_emergency_call(office_id, call_id, identity):
            return None
        try:
            identity.may_use_office_as_switch(office_id)
        except PermissionDenied:
            return command_of(_UNKNOWN, office_id, call_id, 0)
        office = await self._offices.get(office_id)
        if office is None:
            return command_of(_UNKNOWN, office_id, call_id, 0)
        heard = await self._store.hear_call(office, call_id, call.used_seconds, switch_id=identity.switch_id)
        if heard.code in (Code.NOT_FOUND, Code.FORBIDDEN):
            return command_of(_UNKNOWN, office_id, call_id, 0)
        if heard.code is Code.ENDED:
            return command_of(CUT_CALL, office_id, call_id, heard.final)
        if heard.final in (pb.FINAL_REASON_INSUFFICIENT_FUNDS, pb.FINAL_REASON_SPEND_LIMIT):
            return command_of(FUNDS_LOW, office_id, call_id, heard.granted_seconds)
        return None


def command_of(kind: str, office_id: str, call_id: str, value: int) -> pb.Command:
    """A command in the contract's terms; repeated, it has the same command_id.

    Args:
        kind: cut_call, funds_low, funds_restored or unknown_call.
        office_id: Of the call.
        call_id: The call.
        value: A FinalReason for cut_call, granted seconds for funds_low and funds_restored.
    """
    name = hashlib.blake2b(f"{kind}\n{office_id}\n{call_id}\n{value}".encode(), digest_size=12).hexdigest()
    command = pb.Command(command_id=name, office_id=office_id, call_id=call_id)
    match kind:
        case "cut_call":
            command.cut_call.reason = value  # type: ignore[assignment]  # the numbers are the contract's
        case "funds_low":
            command.funds_low.granted_seconds = value
        case "funds_restored":
            command.funds_restored.granted_seconds = value
        case _:
            command.unknown_call.SetInParent()
    return command


def published_command(published: PublishedCommand) -> pb.Command:
    """A command that a script published, in the contract's terms."""
    return command_of(published.kind, published.office_id, published.call_id, published.value)

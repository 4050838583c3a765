"""Commands to switches on their way from the scripts that raise them to the gateways that hold the Sessions.

Published by the script that decided (lib/command.lua), so that no gateway's death between deciding and telling loses
one; what must not be missed is published again by the due loop until the call ends.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

from gateway.store.connection import StoreConnection
from gateway.store.faults import StoreFault, StoreUnavailable
from gateway.store.keys import COMMANDS_CHANNEL
from gateway.store.subscription import subscribed

log = structlog.get_logger(__name__)

CUT_CALL: Final = "cut_call"
FUNDS_LOW: Final = "funds_low"
FUNDS_RESTORED: Final = "funds_restored"

_RETRY_SECONDS: Final = 0.5


class PublishedCommand(NamedTuple):
    """A command as lib/command.lua publishes it; `value` is a FinalReason for cut_call, else granted seconds."""

    switch_id: str
    kind: str
    office_id: str
    call_id: str
    value: int

    @classmethod
    def parse(cls, message: bytes) -> "PublishedCommand":
        """Read a message of the channel: five lines."""
        switch_id, kind, office_id, call_id, value = message.decode().split("\n")
        return cls(switch_id, kind, office_id, call_id, int(value))


async def follow_commands(connection: StoreConnection, deliver: Callable[[PublishedCommand], None]) -> None:
    """Hand on every command that is published, for ever; subscribes again by itself."""
    while True:
        try:
            async for message in subscribed(connection, COMMANDS_CHANNEL, lambda: log.info("commands are heard")):
                try:
                    deliver(PublishedCommand.parse(message))
                except ValueError:
                    log.exception("a command could not be read")
        except (StoreUnavailable, StoreFault) as error:
            log.warning("commands are not heard", error=str(getattr(error, "detail", error)))
        await asyncio.sleep(_RETRY_SECONDS)

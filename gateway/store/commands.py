"""Commands to switches on their way from the scripts that raise them to the gateways that hold the Sessions.

Published by the script that decided (lib/command.lua), so that no gateway's death between deciding and telling loses
one; what must not be missed is published again by the due loop until the call ends.
"""

import asyncio
from collections.abc import Callable
from typing import Final, NamedTuple

import redis.asyncio
import structlog
from redis.exceptions import RedisError

from gateway.store.keys import COMMANDS_CHANNEL

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


async def follow_commands(url: str, deliver: Callable[[PublishedCommand], None]) -> None:
    """Hand on every command that is published, for ever; reconnects by itself."""
    while True:
        client = redis.asyncio.from_url(url)
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as channel:
                await channel.subscribe(COMMANDS_CHANNEL)
                async for message in channel.listen():
                    try:
                        deliver(PublishedCommand.parse(message["data"]))
                    except ValueError:
                        log.exception("a command could not be read")
        except (OSError, RedisError) as error:
            log.warning("commands are not heard", error=str(error))
        finally:
            await client.aclose()
        await asyncio.sleep(_RETRY_SECONDS)

"""Unary requests on several connections, each asked until it is answered; the connections end at different workers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from time import monotonic
from typing import Any, Final

import grpc.aio

from gateway.address import Address
from gateway.client.channel_options import CHANNEL_OPTIONS
from gateway.client.timing import Backoff
from gateway.client_channel import fault_of
from loadtest.scene import OPERATOR_TOKEN

DEADLINE_SECONDS: Final = 2.0
"""Of one attempt; more than the gateway waits for its store."""

PATIENCE_SECONDS: Final = 90.0
"""How long something is asked again and again: longer than a gateway takes to start."""

_METADATA: Final = (("authorization", f"Bearer {OPERATOR_TOKEN}"),)

# Said by a gateway: it could not answer, ask again. (Whatever was said by none is asked again, too.)
_RETRIED: Final = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "CANCELLED"})


class Refused(Exception):
    """A gateway answered that it will not do this.

    Attributes:
        code: The gRPC code.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class Unanswered(Exception):
    """No gateway has answered for `PATIENCE_SECONDS`, or until it was pointless."""


class Asker:
    """Asks until there is an answer, each attempt on a connection by chance.

    Args:
        stubs: On connections of their own.
        not_answered: Told of each attempt without an answer.
        chance: Chooses connections and pauses.
    """

    def __init__(self, stubs: Sequence[Any], not_answered: Callable[[], None], chance: Random) -> None:
        self._stubs = stubs
        self._not_answered = not_answered
        self._chance = chance

    async def ask(self, rpc: str, request: Any, *, pointless: asyncio.Event | None = None) -> Any:
        """The answer.

        Args:
            rpc: By name.
            request: Of it.
            pointless: Set: make no other attempt.

        Raises:
            Refused: A gateway will not do it.
            Unanswered: There is none.
        """
        began, backoff = monotonic(), Backoff(self._chance, 0.02, 0.5)
        while True:
            method: Callable[..., Any] = getattr(self._chance.choice(self._stubs), rpc)
            try:
                return await method(request, timeout=DEADLINE_SECONDS, metadata=_METADATA)
            except grpc.aio.AioRpcError as error:
                fault = fault_of(error)
                if fault.is_from_gateway and fault.code not in _RETRIED:
                    raise Refused(fault.code, fault.message) from None
                self._not_answered()
                if monotonic() - began > PATIENCE_SECONDS or (pointless is not None and pointless.is_set()):
                    raise Unanswered(f"{rpc}: {fault.code}: {fault.message}") from None
            await asyncio.sleep(backoff.next_seconds())


@asynccontextmanager
async def open_asker(
    address: Address,
    stub: Callable[[grpc.aio.Channel], Any],
    connections: int,
    chance: Random,
    not_answered: Callable[[], None],
) -> AsyncIterator[Asker]:
    """Ask a service until the block ends.

    Args:
        address: Of the service.
        stub: Makes a stub of it.
        connections: So many.
        chance: As of `Asker`.
        not_answered: As of `Asker`.
    """
    options = (
        *CHANNEL_OPTIONS,
        # Each its own connection, and soon another one when it breaks.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.initial_reconnect_backoff_ms", 50),
        ("grpc.min_reconnect_backoff_ms", 50),
        ("grpc.max_reconnect_backoff_ms", 500),
    )
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(grpc.aio.insecure_channel(str(address), options=options))
            for _ in range(connections)
        ]
        yield Asker([stub(channel) for channel in channels], not_answered, chance)

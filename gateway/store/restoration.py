"""The store's side of a rebuild: whether it may be rebuilt, and putting back what it has lost."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from gateway.errors import FailedPrecondition
from gateway.store.clock import Clock
from gateway.store.connection import StoreConnection
from gateway.store.keys import EPOCH_KEY, GATEWAYS_KEY, JOURNALERS_KEY, REBUILD_KEY
from gateway.store.outbox import read_epoch

ALIVE_MS: Final = 5_000
"""A gateway that runs says so in the store every second."""

_A_FLUSH: Final = 1_000
_OF_SHARDS: Final = "tg:{*}:*"
_HARMLESS: Final = frozenset({b"barrier", b"clock", b"journal", b"lease"})
"""What gateways leave in shards without any office."""


class StoreInUse(FailedPrecondition):
    """The store has something that a rebuild would contradict: it is for stores that were lost."""

    reason = "STORE_IN_USE"


class Value(NamedTuple):
    """A value that goes back into the store, until it expires."""

    key: bytes
    packed: bytes
    expires_in_ms: int


@dataclass(frozen=True, slots=True)
class RebuildState:
    """A store that may be rebuilt.

    Attributes:
        epoch: It has now; 0: none.
        begun: The epoch of a rebuild that was broken off; 0: there was none.
    """

    epoch: int
    begun: int


class StoreRestoration:
    """Puts things back, a flush at a time.

    Args:
        connection: To the store.
        clock: Its clock.
    """

    def __init__(self, connection: StoreConnection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock

    async def state(self) -> RebuildState:
        """See that nobody uses the store, and that it is empty or a rebuild of it was broken off.

        Raises:
            StoreInUse: A gateway runs on it, or it has offices, calls or entries; the message says what to do.
            StoreUnavailable: The store did not answer.
        """
        since = self._clock.now_ms() - ALIVE_MS
        alive = await self._connection.ask_all(("ZCOUNT", key, since, "+inf") for key in (GATEWAYS_KEY, JOURNALERS_KEY))
        if any(alive):
            raise StoreInUse(
                f"A gateway runs on this store: stop every gateway, wait {ALIVE_MS // 1000} seconds, and try again."
            )
        begun = int(await self._connection.ask("GET", REBUILD_KEY) or 0)
        if not begun and (key := await self._find_key_of_shards()) is not None:
            raise StoreInUse(
                f"This store is not empty: it has {key.decode(errors='replace')!r}. A rebuild is for a store that has "
                "lost everything; `tollgate audit` says whether one that has not agrees with the ledger. If what it "
                "holds is worth less than the ledger, stop every gateway, empty it by FLUSHALL, and try again."
            )
        return RebuildState(await read_epoch(self._connection), begun)

    async def begin(self, epoch: int) -> None:
        """Say that the store is being rebuilt, so that no gateway starts on it, and which epoch begins.

        Raises:
            StoreInUse: Another rebuild runs.
            StoreUnavailable: It was said or not: begin again.
        """
        await self._connection.ask("SET", REBUILD_KEY, epoch, "NX")
        if int(await self._connection.ask("GET", REBUILD_KEY) or 0) != epoch:
            raise StoreInUse("Another rebuild of this store runs: let it finish.")
        await self._connection.ask("SET", EPOCH_KEY, epoch)

    async def put(self, values: Sequence[Value]) -> None:
        """Put values back.

        Raises:
            StoreUnavailable: Some are there and some are not; put them again.
        """
        for start in range(0, len(values), _A_FLUSH):
            await self._connection.ask_all(
                [("SET", key, packed, "PX", max(1, ms)) for key, packed, ms in values[start : start + _A_FLUSH]]
            )

    async def finish(self) -> None:
        """Open the store to gateways.

        Raises:
            StoreUnavailable: It is open or not: finish it again.
        """
        await self._connection.ask("DEL", REBUILD_KEY)

    async def _find_key_of_shards(self) -> bytes | None:
        async for keys in self._connection.scan(_OF_SHARDS):
            for key in keys:
                if key.split(b":", 2)[2] not in _HARMLESS:
                    return bytes(key)
        return None

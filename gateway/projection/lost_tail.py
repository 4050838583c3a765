"""What a store has lost with its last seconds, told from what it has lost altogether.

A store that crashed, or was failed over, has forgotten what was written last, in the order of its writing: an office
that was made then is gone, with all that it did, of which the ledger has not taken anything yet. Such an office may be
made anew. One of which the ledger has entries, or of a store that is behind the ledger, was lost otherwise: whoever
made it anew would make up a balance.
"""

from gateway.ledger.outbox import BEGINNING, Outbox
from gateway.store.connection import StoreConnection
from gateway.store.inspection import entry_order, last_generated
from gateway.store.keys import shard_of
from gateway.store.outbox import read_epoch


class LostTail:
    """Says which offices went with a store's last seconds.

    Args:
        outbox: How far the ledger has read, and of whom.
        connection: To the store.
    """

    def __init__(self, outbox: Outbox, connection: StoreConnection) -> None:
        self._outbox = outbox
        self._connection = connection

    async def has_taken(self, office_id: str) -> bool:
        """Whether an office that the store had can only have gone with its last seconds.

        Raises:
            StoreUnavailable, DatabaseError: It cannot be told now.
        """
        return not await self._outbox.has_entries_of(office_id) and await self._is_not_behind(shard_of(office_id))

    async def _is_not_behind(self, shard: int) -> bool:
        """Whether the server of a shard has all that the ledger has read from it, and that is something.

        An emptied store, or an old copy, has not.
        """
        shards = next((each.shards for each in self._connection.servers().values() if shard in each.shards), ())
        epoch, positions = await read_epoch(self._connection), await self._outbox.positions()
        read = {each: positions[each] for each in shards if each in positions and positions[each].last_id != BEGINNING}
        if not read or any(position.epoch != epoch for position in read.values()):
            return False
        for each, position in read.items():
            if entry_order(await last_generated(self._connection, each)) < entry_order(position.last_id):
                return False
        return True

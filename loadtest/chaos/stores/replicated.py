"""What stores have in common that promote a replica when a primary dies."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from loadtest.chaos.stores.form import Store
from loadtest.chaos.stores.server import MortalServer
from loadtest.processes import BenchError
from tests.support.clusters import NODE_TIMEOUT_MS, SENTINEL_TIMEOUT_MS
from tests.support.servers import wait_until

MAX_LAG_SECONDS: Final = 2
"""min-replicas-max-lag of every server."""

MAY_LOSE_SECONDS: Final = MAX_LAG_SECONDS + 2.0
"""How long a primary goes on whose replica has fallen silent. It compares whole seconds, and once a second: each may
let one more pass."""

ON_ITS_WAY_SECONDS: Final = min(NODE_TIMEOUT_MS, SENTINEL_TIMEOUT_MS) / 2_000
"""What is answered so soon after a primary's death was decided by it, and on its way: nobody takes its place before it
has not answered for all of the time-out, of which this is the half."""

OPTIONS: Final[Mapping[str, str]] = {
    # Of every server, whatever it is at first: each is a primary some time.
    "min-replicas-to-write": "1",
    "min-replicas-max-lag": str(MAX_LAG_SECONDS),
    "repl-diskless-sync-delay": "0",
}

_PROMOTION_SECONDS: Final = 30.0


class ReplicatedStore(Store):
    """Primaries and their replicas.

    Attributes:
        servers: All of them; which are primaries changes.
    """

    servers: Sequence[MortalServer]

    @abstractmethod
    def primary_of(self, office_id: str) -> MortalServer:
        """Who has an office now, as those see it who live. It blocks."""

    @abstractmethod
    def bring_back(self, server: MortalServer) -> None:
        """Start a dead server as a replica, some other being the primary in its place."""

    def offices_of(self, server: MortalServer, office_ids: Iterable[str]) -> frozenset[str]:
        """Those of the offices that a server is the primary of."""
        return frozenset(office_id for office_id in office_ids if self.primary_of(office_id) is server)

    def wait_promoted(self, dead: MortalServer, office_id: str) -> None:
        """Return when another server has an office.

        Raises:
            BenchError: None has in time.
        """
        if not wait_until(lambda: self.primary_of(office_id) is not dead, _PROMOTION_SECONDS):
            raise BenchError(f"no replica was promoted within {_PROMOTION_SECONDS:g} s")

    def _at(self, port: int) -> MortalServer:
        return next(server for server in self.servers if server.port == port)

    def _start(self, server: MortalServer, **options: str) -> None:
        server.start(**options)
        server.wait_ready()


def are_followed(primaries: Sequence[MortalServer], servers: Sequence[MortalServer], replicas: int) -> bool:
    """Whether so many replicas follow each primary, and all have read what they were sent.

    A primary counts one that has yet to load it.
    """
    good = [int(primary.info("replication").get("min_slaves_good_slaves", 0)) for primary in primaries]
    followers = [server.info("replication") for server in servers if server not in primaries]
    return good == [replicas] * len(primaries) and all(each["master_link_status"] == "up" for each in followers)

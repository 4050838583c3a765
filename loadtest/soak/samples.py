"""What a gateway takes up while it works: memory, handles and threads of each process, and what waits to be written."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, Final, NoReturn
from urllib.request import urlopen

import redis
from prometheus_client.parser import text_string_to_metric_families

from gateway.address import Address
from gateway.store.embedded.address import SOCKET_NAME, StoreAddress
from loadtest.load.fronts import children_of, command_line_of
from loadtest.load.gateway import LoadedGateway
from loadtest.machine import resident_bytes
from loadtest.processes import BenchError

GAUGES: Final = ("tollgate_outbox_entries", "tollgate_journal_lag_seconds")
"""What the gateway itself says of what waits."""

_ROLE: Final = re.compile(rb"gateway\.process\0(\w+)")
_TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """What one process takes up.

    Attributes:
        resident_bytes: Its memory in RAM.
        handles: Open file descriptors.
        threads: Of it.
    """

    resident_bytes: int
    handles: int
    threads: int

    @classmethod
    def of(cls, pid: int) -> "Footprint":
        """Look at a process.

        Raises:
            OSError: It is gone.
        """
        process = Path(f"/proc/{pid}")
        handles, threads = (sum(1 for _ in (process / each).iterdir()) for each in ("fd", "task"))
        return cls(resident_bytes(pid), handles, threads)


@dataclass(frozen=True, slots=True)
class Sample:
    """One look.

    Attributes:
        at_seconds: Since the first.
        processes: Name -> what it takes up: `supervisor`, `front`, `back`, `journaler`, `store`.
        store_bytes: What the store says it uses.
        gauges: Of `GAUGES`, their values.
    """

    at_seconds: float
    processes: Mapping[str, Footprint]
    store_bytes: int
    gauges: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """For the result's file."""
        return asdict(self)


@dataclass
class Sampler:
    """Looks at a gateway of one front, again and again.

    Args:
        gateway: One of its own.
        every_seconds: How often.
    """

    gateway: LoadedGateway
    every_seconds: float
    samples: list[Sample] = field(default_factory=list)

    async def run(self) -> NoReturn:
        """Look until cancelled.

        Raises:
            BenchError: A process is gone, or the gateway does not say its metrics.
        """
        since = monotonic()
        while True:
            self.samples.append(await asyncio.to_thread(self._look, since))
            await asyncio.sleep(max(0.0, since + len(self.samples) * self.every_seconds - monotonic()))

    def _look(self, since: float) -> Sample:
        own = self.gateway
        if own.supervisor_pid is None or own.data_dir is None or own.metrics is None:
            raise BenchError("only a gateway that was started for it can be looked into")
        try:
            processes = {name: Footprint.of(pid) for name, pid in _processes(own.supervisor_pid, own.data_dir)}
            store = redis.Redis.from_url(StoreAddress(own.data_dir / SOCKET_NAME).url)
            with store:
                store_bytes = int(store.info("memory")["used_memory"])
            return Sample(round(monotonic() - since, 1), processes, store_bytes, _gauges(own.metrics))
        except (OSError, redis.RedisError, ValueError) as error:
            raise BenchError(f"the gateway cannot be looked at: {error}") from error


def _processes(supervisor_pid: int, data_dir: Path) -> Iterator[tuple[str, int]]:
    yield "supervisor", supervisor_pid
    for pid in children_of(supervisor_pid):
        if role := _ROLE.search(command_line_of(pid)):
            yield role[1].decode(), pid
    yield "store", int((data_dir / "store.pid").read_text())


def _gauges(metrics: Address) -> dict[str, float]:
    with urlopen(f"http://{metrics}/metrics", timeout=_TIMEOUT_SECONDS) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    found = {each.name: each.value for family in families for each in family.samples if each.name in GAUGES}
    missing = set(GAUGES) - found.keys()
    if missing:
        raise ValueError(f"no {', '.join(sorted(missing))} among its metrics")
    return found

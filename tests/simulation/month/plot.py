"""The plot of the month: which offices there are, what happens when, and the end, when everything is settled."""

import random
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from gateway.store.keys import SHARDS, due_key, office_keys
from gateway.store.records import CallRecord, unpack_call
from tests.simulation.month.gateways import Gateways, SureManualClock, patiently, running_gateways
from tests.simulation.month.owners import Office, Owners
from tests.simulation.month.switch import Switch
from tests.simulation.month.timeline import Life, Timeline
from tests.support.servers import StoreServer

ZONES: Final = (
    "America/New_York", "America/Los_Angeles", "Europe/London", "Asia/Kathmandu", "Pacific/Kiritimati",
    "Pacific/Pago_Pago", "America/St_Johns", "Australia/Sydney", "UTC", "Asia/Tokyo",
)  # fmt: skip
BEFORE, MONTH, AFTER = "2026-02", "2026-03", "2026-04"
"""In it the clocks change in North America (on the 8th) and in Europe (on the 29th)."""

BEGIN: Final = datetime(2026, 2, 27, tzinfo=ZoneInfo("UTC"))
FIRST: Final = datetime(2026, 3, 1)
LAST: Final = datetime(2026, 4, 1)
CHANGES: Final = (datetime(2026, 3, 8, 2), datetime(2026, 3, 29, 1))
DAY_MS: Final = 86_400_000
BURST_MS: Final = 300_000
OUTAGE: Final = (datetime(2026, 3, 17, tzinfo=ZoneInfo("UTC")), datetime(2026, 3, 18, tzinfo=ZoneInfo("UTC")))
LOOKS_AT_RESERVED: Final = 10


@dataclass(frozen=True)
class Size:
    """How large a month is: `things` are calls and messages, which come in bursts."""

    offices: int
    things: int
    bursts: int
    purchases: int


class Month:
    """A month under way.

    Args:
        gateways: That it is played on.
        clock: The time.
        seed: Of every choice.
        size: How much happens.
    """

    def __init__(self, gateways: Gateways, clock: SureManualClock, seed: int, size: Size) -> None:
        self.gateways = gateways
        self.clock = clock
        self.offices: list[Office] = []
        self.looks = 0
        self._dice = random.Random(seed)
        self._size = size
        self._switch = Switch(gateways.fronts, clock)
        self._owners = Owners(gateways.backs, clock)
        self._timeline = Timeline(clock, self._beside)
        self._outage = ExitStack()
        self._numbers = 0

    async def play(self) -> None:
        """Open the offices, let the month happen, and settle what is left."""
        for number in range(self._size.offices):
            self.offices.append(await self._owners.open(number, ZONES[number % len(ZONES)], self._dice))
        self._plan()
        try:
            await self._timeline.run()
        finally:
            self._outage.close()
        await self._settle()

    def _plan(self) -> None:
        rich = [office for office in self.offices if not office.terms.is_poor]
        poor = [office for office in self.offices if office.terms.is_poor]
        bursts = list(self._bursts())
        for _ in range(self._size.things):
            self._begin(self._dice.choice(bursts), self._dice.choice(rich), self._thing)
        for _ in range(max(len(poor), 3)):
            self._begin(self._dice.choice(bursts), self._dice.choice(poor), self._storm)
        for _ in range(self._size.purchases):
            office = self._dice.choice(rich)
            self._begin(self._dice.choice(bursts), office, self._owners.adjust)
            if office.can_buy:
                self._begin(self._dice.choice(bursts), office, self._owners.buy)
            if self._dice.random() < 0.1:
                self._begin(self._dice.choice(bursts), office, self._owners.suspend)
        self._timeline.begin(_ms(OUTAGE[0]), self._database_away())

    def _begin(self, burst_ms: int, office: Office, make: "MakeLife") -> None:
        self._numbers += 1
        dice = random.Random(self._dice.getrandbits(64))
        life = make(office, f"n{self._numbers}", dice)
        self._timeline.begin(burst_ms + dice.randrange(-BURST_MS, BURST_MS), life)

    def _bursts(self) -> Iterator[int]:
        """When things happen: at the edges of every zone's month, where clocks change, and at any time between."""
        for zone in map(ZoneInfo, ZONES):
            for edge in (FIRST, LAST, *CHANGES):
                yield _ms(edge.replace(tzinfo=zone))
        for _ in range(self._size.bursts):
            yield _ms(BEGIN) + self._dice.randrange(34 * DAY_MS)

    def _thing(self, office: Office, name: str, dice: random.Random) -> Life:
        if dice.random() < 0.5:
            return self._switch.call(office.account, name, dice)
        return self._switch.message(office.account, name, dice)

    def _storm(self, office: Office, name: str, dice: random.Random) -> Life:
        return self._switch.storm(office.account, name, dice)

    async def _database_away(self) -> Life:
        self._outage.enter_context(self.gateways.without_database())
        yield _ms(OUTAGE[1])
        self._outage.close()

    def _beside(self) -> Iterator[Awaitable[object]]:
        """What goes on beside the switches: the loops, and now and then a look at what is reserved."""
        yield from self.gateways.turns(self._dice)
        if self._dice.random() < 0.002 * max(1, 10_000 / self._size.things) and self.looks < LOOKS_AT_RESERVED:
            self.looks += 1
            yield self._look_at_reserved()

    async def _look_at_reserved(self) -> None:
        """Invariants 2 and 3, of every office in one moment of its shard."""
        for shard in range(SHARDS):
            offices = [office for office in self.offices if due_key(shard) == office_keys(office.office_id).due]
            if offices:
                await self._look_at_shard(shard, offices)

    async def _look_at_shard(self, shard: int, offices: list[Office]) -> None:
        store = self.gateways.fronts[0].connection
        # One script, since calls go on meanwhile: the office, and every live call of its shard.
        seen = await store.ask("EVAL", _LOOK, 1, due_key(shard), f"tg:{{{shard}}}:call:")
        calls = dict(zip([name.decode() for name in seen[0]], seen[1], strict=True))
        held = {office.office_id: 0 for office in offices}
        for name, packed in calls.items():
            record = unpack_call(packed)
            assert isinstance(record, CallRecord)
            held[name.partition(":")[0]] += record.held_micros
        del held
        raise NotImplementedError

    async def _settle(self) -> None:
        raise NotImplementedError


def _ms(at: datetime) -> int:
    return int(at.timestamp()) * 1000

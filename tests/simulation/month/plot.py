"""The plot of the month: which offices there are, what happens when, and the end, when everything is settled."""

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias
from zoneinfo import ZoneInfo

from gateway.auditing import audit
from gateway.store.keys import SHARDS, due_key
from gateway.store.records import CallRecord
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
END: Final = datetime(2026, 4, 3, tzinfo=ZoneInfo("UTC"))
"""It is April everywhere."""

CHANGES: Final = (datetime(2026, 3, 8, 2), datetime(2026, 3, 29, 1))
DAY_MS: Final = 86_400_000
BURST_MS: Final = 100_000
OUTAGE: Final = (datetime(2026, 3, 17, tzinfo=ZoneInfo("UTC")), datetime(2026, 3, 18, tzinfo=ZoneInfo("UTC")))
AUDITS: Final = 3
AUDIT_EVERY, LOOK_EVERY = 100, 50
ROUNDS: Final = 8

MakeLife: TypeAlias = Callable[[Office, str, random.Random], Life]


@dataclass(frozen=True)
class Size:
    """How large a month is.

    Attributes:
        offices: How many.
        things: Calls and messages.
        bursts: In which they come; some are at the edges of months.
        purchases: And as many adjustments.
        pace: How often loops take turns, 1 being once in ten to a hundred instants, each by its chance.
    """

    offices: int
    things: int
    bursts: int
    purchases: int
    pace: float


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
        self.audits = 0
        self._dice = random.Random(seed)
        self._size = size
        self._switch = Switch(gateways.fronts, clock)
        self._owners = Owners(gateways.backs, clock)
        self._timeline = Timeline(clock, self._beside, self._at_rest)
        self._outage = ExitStack()
        self._numbers = 0

    @property
    def instants(self) -> int:
        """How many there were."""
        return self._timeline.instants

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
        bursts = self._bursts()
        for _ in range(self._size.things):
            self._begin(self._dice.choice(bursts), self._dice.choice(rich), self._thing)
        for _ in range(max(len(poor), 3)):
            self._begin(self._dice.choice(bursts), self._dice.choice(poor), self._storm)
        for _ in range(self._size.purchases):
            office = self._dice.choice(rich)
            self._begin(self._dice.choice(bursts), office, self._owners.adjust)
            if office.can_buy:
                self._begin(self._dice.choice(bursts), office, self._owners.buy)
        for office in rich[::10]:
            office.account.is_suspended_at_times = True
            self._begin(self._dice.choice(bursts), office, self._owners.suspend)
        self._timeline.begin(_ms(OUTAGE[0]), self._database_away())

    def _begin(self, burst_ms: int, office: Office, make: MakeLife) -> None:
        self._numbers += 1
        dice = random.Random(self._dice.getrandbits(64))
        life = make(office, f"n{self._numbers}", dice)
        self._timeline.begin(burst_ms + dice.randrange(-BURST_MS, BURST_MS), life)

    def _bursts(self) -> list[int]:
        """When things happen: at the edges of the zones' months, where clocks change, and at any time between."""
        edges = [_ms(edge.replace(tzinfo=ZoneInfo(zone))) for zone in ZONES for edge in (FIRST, LAST, *CHANGES)]
        at_edges = self._dice.sample(edges, min(len(edges), self._size.bursts // 2))
        between = self._size.bursts - len(at_edges)
        return at_edges + [_ms(BEGIN) + self._dice.randrange(34 * DAY_MS) for _ in range(between)]

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
        """What goes on beside the switches: the loops, and now and then an audit, which disturbs nobody."""
        yield from self.gateways.turns(self._dice, self._size.pace)
        if self.audits < AUDITS and self.instants % AUDIT_EVERY == 0:
            self.audits += 1
            yield patiently(self._audit)

    async def _at_rest(self) -> None:
        """Invariants 2 and 3, of every office, now and then, between two instants."""
        if self.instants % LOOK_EVERY:
            return
        self.looks += 1
        held = {office.office_id: 0 for office in self.offices}
        store, connection = self.gateways.fronts[0].store, self.gateways.fronts[0].connection
        for shard in range(SHARDS):
            for member in await connection.ask("ZRANGE", due_key(shard), 0, -1):
                office_id, _, call_id = member.decode().partition(":")
                call = await store.read_call(office_id, call_id)
                assert isinstance(call, CallRecord)
                held[office_id] += call.held_micros
        for office_id, of_calls in held.items():
            record = await store.read_office(office_id)
            assert record is not None
            assert record.available_micros >= 0
            assert record.reserved_micros == of_calls

    async def _audit(self) -> None:
        back = self.gateways.backs[0].back
        report = await audit(back.database, back.connection, pause_seconds=0.0)
        assert not report.differences, [str(each) for each in report.differences]

    async def _settle(self) -> None:
        """Nothing begins any more: what goes on ends, lapses, is paid for and written down."""
        self.clock.set(max(self.clock.now_ms(), _ms(END)))
        for office in self.offices:
            if office.is_troubled:
                await self._owners.turn_refill_off(office)
        for _ in range(ROUNDS):
            self.clock.move(3_600)
            await self.gateways.take_turns()


def _ms(at: datetime) -> int:
    return int(at.timestamp()) * 1000


@asynccontextmanager
async def played_month(server: StoreServer, folder: Path, seed: int, size: Size) -> AsyncIterator[Month]:
    """Play a month to its end; the gateways are still there to be asked."""
    clock = SureManualClock(_ms(BEGIN))
    async with running_gateways(server, folder, clock) as gateways:
        month = Month(gateways, clock, seed, size)
        await month.play()
        yield month

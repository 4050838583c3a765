"""The balance store as tests use it: a clock that they move, short ways to the scripts, what the store holds then."""

import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from gateway.domain.rate import Rate, Slot
from gateway.domain.vocabulary import OfficeState, RefillState
from gateway.store.balances import (
    BY_CLOCK,
    BalanceStore,
    CallCut,
    CallGrant,
    CallLapse,
    CallProgress,
    CallRequest,
    CallSettlement,
    Lifetimes,
    MessageGrant,
    MessageRefund,
    MessageRequest,
    PutOfficeResult,
)
from gateway.store.codes import Code
from gateway.store.connection import StoreConnection
from gateway.store.keys import due_key, office_keys, outbox_key, shard_of
from gateway.store.location import StoreLocation
from gateway.store.offices import CachedOffice
from gateway.store.records import CallRecord, CallStub, OfficeRecord, OfficeSettingsRecord
from gateway.store.scripts import load_library
from gateway.v1.records_pb2 import Details, OfficeProfile
from tests.support.store_keys import all_keys, flush_all

NOON: Final = 1_750_075_200_000
"""2025-06-16 12:00:00 UTC, where the clocks of tests begin."""

OFFICE: Final = "springfield"
"""The office of a test that needs only one."""

MESSAGE_DETAILS: Final = Details(called_number="+12125550142", category=5, segments=1).SerializeToString()
"""Of a message of which a test says no more than what it costs."""

DAY_MS: Final = 86_400_000

FAR_AWAY_MS: Final = NOON + 100 * 365 * DAY_MS
"""Later than the clock of any test."""

SIXTY_SIXTY: Final = Rate(0, (Slot(0, 120_000, 60, 60),))
BY_THE_SECOND: Final = Rate(0, (Slot(0, 120_000, 60, 1),))
SIX_SIX: Final = Rate(0, (Slot(0, 60_000, 60, 6),))
THIRTY_SIX: Final = Rate(0, (Slot(0, 120_000, 60, 30), Slot(30, 120_000, 60, 6)))
FEE_THEN_MINUTE_THEN_SECONDS: Final = Rate(200_000, (Slot(0, 100_000, 60, 60), Slot(60, 50_000, 60, 1)))

PATIENT_SECONDS: Final = 15.0
"""The store's time-out in tests that are not about it: a busy machine is no failure."""


class ManualClock:
    """A clock that stands still until it is moved."""

    def __init__(self, now_ms: int = NOON) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms

    def move(self, seconds: float) -> None:
        self._now_ms += round(seconds * 1000)

    def set(self, now_ms: int) -> None:
        self._now_ms = now_ms


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An entry of the outbox: what each has, and what only its kind has."""

    kind: str
    office: str
    id: str
    at: int
    amount: int
    balance: int
    more: Mapping[str, bytes]

    @classmethod
    def read(cls, fields: list[bytes]) -> "OutboxEntry":
        values = dict(zip((name.decode() for name in fields[::2]), fields[1::2], strict=True))
        kind, office, entry_id = (values.pop(name).decode() for name in ("kind", "office", "id"))
        at, amount, balance = struct.unpack("<qqq", values.pop("moved"))
        for packed, (layout, names) in _PACKED.items():
            if packed in values:
                numbers = struct.unpack(layout, values.pop(packed))
                values |= {name: str(number).encode() for name, number in zip(names, numbers, strict=True)}
        return cls(kind, office, entry_id, at, amount, balance, values)


_PACKED: Final = {
    "call": ("<qqIq", ("authorized_at", "debited", "confirmed", "answered_at")),
    "end": ("<IIq", ("duration", "billed", "written_off")),
}
"""Fields of the outbox that are packed -> their layout, and what is in them; the tests' own reading of lib/outbox."""


def fingerprint(content: int) -> bytes:
    """The fingerprint of a request; equal numbers stand for equal requests."""
    return content.to_bytes(8, "little")


def office_bytes(
    *,
    version: int = 1,
    state: OfficeState = OfficeState.ACTIVE,
    credit_limit: int = 0,
    max_calls: int = 0,
    max_price: int = 0,
    daily_limit: int = 0,
    threshold: int = 5_000_000,
    refill_amount: int = 50_000_000,
    generation: int = 0,
    time_zone: str = "UTC",
) -> bytes:
    """Settings as put_office.lua takes them."""
    record = OfficeSettingsRecord(
        version, state, credit_limit, max_calls, max_price, daily_limit, threshold, refill_amount, generation
    )
    return record.pack(OfficeProfile(country="US", tariff="", time_zone=time_zone, company_id="acme"))


class Till:
    """A balance store on a real server, with the office `OFFICE` unless a method is told another."""

    def __init__(self, connection: StoreConnection, clock: ManualClock, lifetimes: Lifetimes) -> None:
        self.connection = connection
        self.clock = clock
        self.balances = BalanceStore(connection, clock, lifetimes)
        self._versions: dict[str, int] = {}
        self._zones: dict[str, str] = {}

    # What is done to the store.

    async def open_office(
        self,
        balance: int = 0,
        *,
        office_id: str = OFFICE,
        refill: bool = False,
        time_zone: str = "UTC",
        **settings: Any,
    ) -> CachedOffice:
        """Make an office and credit it; refill off unless wanted."""
        put = await self.put_office(office_id=office_id, refill=refill, time_zone=time_zone, create=True, **settings)
        assert put.code == Code.OK
        if balance:
            credit = await self.balances.apply_credit(office_id, 1, balance)
            assert (credit.code, credit.balance_micros) == (Code.OK, balance)
        return self.cached(office_id)

    async def put_office(
        self,
        *,
        office_id: str = OFFICE,
        refill: bool = False,
        create: bool = False,
        version: int | None = None,
        time_zone: str | None = None,
        **settings: Any,
    ) -> PutOfficeResult:
        """Put settings, in the next version unless one is given."""
        chosen = self._versions.get(office_id, 0) + 1 if version is None else version
        zone = time_zone or self._zones.get(office_id, "UTC")
        packed = office_bytes(version=chosen, time_zone=zone, **settings)
        put = await self.balances.put_office(office_id, packed, refill_enabled=refill, create=create)
        if put.code == Code.OK:
            self._versions[office_id], self._zones[office_id] = chosen, zone
        return put

    def cached(self, office_id: str = OFFICE, *, version: int | None = None) -> CachedOffice:
        """The office as a gateway caches it."""
        held = self._versions.get(office_id, 1) if version is None else version
        zone = self._zones.get(office_id, "UTC")
        return CachedOffice(office_id, office_keys(office_id), held, "US", "", zone, "acme", False)

    async def authorize(
        self,
        call_id: str = "c1",
        rate: Rate | None = SIXTY_SIXTY,
        *,
        office_id: str = OFFICE,
        requested: int = 0,
        verdict: Code = Code.FUNDED,
        content: int = 1,
        max_duration: int = 14_400,
        by_gateway: bool = False,
        price_per_minute: int | None = None,
        switch_id: str = "sw1",
        details: Details | None = None,
        dry_run: bool = False,
        version: int | None = None,
    ) -> CallGrant:
        if price_per_minute is None:
            price_per_minute = 0 if rate is None else rate.price_per_minute_micros
        request = CallRequest(
            call_id,
            verdict,
            fingerprint(content),
            requested,
            max_duration,
            by_gateway,
            rate,
            price_per_minute,
            switch_id,
            (details or Details(called_number="+18765550100")).SerializeToString(),
        )
        return await self.balances.authorize_call(self.cached(office_id, version=version), request, dry_run=dry_run)

    async def authorize_free(self, call_id: str = "c1", **others: Any) -> CallGrant:
        return await self.authorize(call_id, None, verdict=Code.FREE, **others)

    async def authorize_emergency(self, call_id: str = "c1", **others: Any) -> CallGrant:
        return await self.authorize(call_id, None, verdict=Code.EMERGENCY, max_duration=86_400, **others)

    async def answer(self, call_id: str = "c1", *, office_id: str = OFFICE, **others: Any) -> CallProgress:
        return await self.balances.answer_call(self.cached(office_id), call_id, **others)

    async def tick(self, used: int, call_id: str = "c1", *, office_id: str = OFFICE, **others: Any) -> CallProgress:
        """A tick of the switch."""
        return await self.balances.tick_call(
            self.cached(office_id),
            call_id,
            used,
            requested_seconds=others.get("requested", 0),
            switch_id=others.get("switch_id", ""),
        )

    async def hear(
        self, used: int, call_id: str = "c1", *, office_id: str = OFFICE, switch_id: str = ""
    ) -> CallProgress:
        """The call is on its switch's list."""
        return await self.balances.hear_call(self.cached(office_id), call_id, used, switch_id=switch_id)

    async def tick_by_clock(self, call_id: str = "c1", *, office_id: str = OFFICE) -> CallProgress:
        return await self.balances.tick_call(self.cached(office_id), call_id, BY_CLOCK)

    async def cut(self, call_id: str = "c1", *, office_id: str = OFFICE, forced: bool = False) -> CallCut:
        return await self.balances.cut_call(self.cached(office_id), call_id, forced=forced)

    async def end(
        self, duration: int, call_id: str = "c1", *, office_id: str = OFFICE, cause: str = "", switch_id: str = ""
    ) -> CallSettlement:
        return await self.balances.end_call(self.cached(office_id), call_id, duration, cause=cause, switch_id=switch_id)

    async def lapse(self, call_id: str = "c1", *, office_id: str = OFFICE, forced: bool = False) -> CallLapse:
        """Forced: the switch has listed its calls twice without it."""
        missing_since_ms = FAR_AWAY_MS if forced else 0
        return await self.balances.lapse_call(self.cached(office_id), call_id, missing_since_ms=missing_since_ms)

    async def message(
        self,
        price: int,
        message_id: str = "m1",
        *,
        office_id: str = OFFICE,
        verdict: Code = Code.FUNDED,
        content: int = 1,
        dry_run: bool = False,
        version: int | None = None,
        details: bytes = MESSAGE_DETAILS,
    ) -> MessageGrant:
        request = MessageRequest(message_id, verdict, fingerprint(content), price, details)
        office = self.cached(office_id, version=version)
        return await self.balances.authorize_message(office, request, dry_run=dry_run)

    async def refund(self, message_id: str = "m1", *, office_id: str = OFFICE) -> MessageRefund:
        return await self.balances.refund_message(self.cached(office_id), message_id)

    async def credit(self, amount: int, number: int = 2, *, office_id: str = OFFICE, refill: int = 0) -> Code:
        return (await self.balances.apply_credit(office_id, number, amount, refill_number=refill)).code

    # What the store holds.

    async def office(self, office_id: str = OFFICE) -> OfficeRecord:
        record = await self.balances.read_office(office_id)
        assert record is not None
        return record

    async def money(self, office_id: str = OFFICE) -> tuple[int, int, int]:
        """Balance, reserved, available."""
        office = await self.office(office_id)
        return office.balance_micros, office.reserved_micros, office.available_micros

    async def refill_state(self, office_id: str = OFFICE) -> RefillState:
        return (await self.office(office_id)).refill_state

    async def call(self, call_id: str = "c1", office_id: str = OFFICE) -> CallRecord:
        """A live or lapsed call."""
        record = await self.balances.read_call(office_id, call_id)
        assert isinstance(record, CallRecord)
        return record

    async def stub(self, call_id: str = "c1", office_id: str = OFFICE) -> CallStub:
        """An ended call or a spent id."""
        record = await self.balances.read_call(office_id, call_id)
        assert isinstance(record, CallStub)
        return record

    async def call_expires_in_ms(self, call_id: str = "c1", office_id: str = OFFICE) -> int:
        """-1: never; -2: there is none."""
        return int(await self.connection.ask("PTTL", office_keys(office_id).call_prefix + call_id.encode()))

    async def message_expires_in_ms(self, message_id: str = "m1", office_id: str = OFFICE) -> int:
        """-1: never; -2: there is none."""
        return int(await self.connection.ask("PTTL", office_keys(office_id).message_prefix + message_id.encode()))

    async def due(self, call_id: str = "c1", office_id: str = OFFICE) -> int | None:
        """When the due loop looks at the call; None: it does not."""
        member = f"{office_id}:{call_id}"
        score = await self.connection.ask("ZSCORE", due_key(shard_of(office_id)), member)
        return None if score is None else int(score)

    async def outbox(self, office_id: str = OFFICE) -> list[OutboxEntry]:
        """All entries of the office's shard."""
        entries = await self.connection.ask("XRANGE", outbox_key(shard_of(office_id)), "-", "+")
        return [OutboxEntry.read(fields) for _, fields in entries]

    async def kinds(self, office_id: str = OFFICE) -> list[str]:
        return [entry.kind for entry in await self.outbox(office_id)]

    async def shard_clock(self, office_id: str = OFFICE) -> int:
        return int(await self.connection.ask("GET", office_keys(office_id).clock) or 0)

    async def dump(self) -> dict[bytes, bytes]:
        """Everything in the store, byte for byte."""
        names = sorted(await all_keys(self.connection))
        return {name: await self.connection.ask("DUMP", name) for name in names}


@asynccontextmanager
async def open_till(
    url: str, *, lifetimes: Lifetimes | None = None, flush: bool = True, clock: ManualClock | None = None
) -> AsyncIterator[Till]:
    """A till on the server at this URL, emptied first; a second one on the same server must not flush."""
    connection = StoreConnection(StoreLocation.parse(url), load_library(), timeout_seconds=PATIENT_SECONDS)
    await connection.start()
    try:
        await connection.wait_connected()
        if flush:
            await flush_all(connection)
        yield Till(connection, clock or ManualClock(), lifetimes or Lifetimes())
    finally:
        await connection.close()

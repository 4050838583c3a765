"""Full outboxes for the journal: what calls and messages of many offices leave behind, by the ordinary scripts.

Of ten calls and messages of an office in a wave, six calls are ended before their first tick (one entry each), two are
ticked and end some waves later (two entries), one message is sent and one call is refused: as where most calls are
short, and entries of one call lie far apart. Every wave is two minutes behind the one before.
"""

from collections.abc import Iterator
from typing import Final

from gateway.store.codes import Code
from gateway.store.keys import SHARDS, outbox_key
from gateway.store.offices import CachedOffice
from gateway.store.records import OfficeRecord
from gateway.store.scripts import load_library
from loadtest.pipeline import Pipeline
from loadtest.store_cases import (
    MESSAGE_MICROS,
    MINUTE_MICROS,
    OPENING_MICROS,
    RATE,
    Step,
    SteppedClock,
    Workload,
    call_id_of,
    call_request,
    message_request,
    read_offices,
    recorded,
    recording_store,
    run_step,
)

SHORT_CALLS: Final = 6
LONG_CALLS: Final = 2
SHORT_SECONDS: Final = 37
TICKED_SECONDS: Final = 50
LONG_SECONDS: Final = 110
WAVE_MS: Final = 120_000
ENDED_WAVES_LATER: Final = 4
"""Further apart than the entries that the journal reads of a shard at a time."""

RECORDS_A_WAVE: Final = SHORT_CALLS + LONG_CALLS + 2
ENTRIES_A_WAVE: Final = SHORT_CALLS + 2 * LONG_CALLS + 2

Streams = dict[bytes, bytes]
"""The outboxes as the store dumps them, by key."""


class OutboxMix:
    """Fills the outboxes of a store once, and puts the same entries there again as often as they are wanted.

    Args:
        pipeline: To the store.
        offices: Whose.
        waves: How many.

    Attributes:
        opening: The outboxes with the offices' first credits.
        filled: The outboxes with everything after that.
    """

    def __init__(self, pipeline: Pipeline, offices: int, waves: int) -> None:
        pipeline.ask("FUNCTION", "LOAD", "REPLACE", load_library().source)
        self._pipeline = pipeline
        self._clock = SteppedClock(pipeline.now_ms())
        self._store = recording_store(self._clock)
        self._waves = waves
        workload = Workload(offices, self._clock.ms)
        self.offices = workload.funded
        for step in workload.opening():
            run_step(pipeline, step)
        self.opening = self._take()
        for step in self._steps():
            run_step(pipeline, step)
        self.filled = self._take()

    @property
    def records(self) -> int:
        """Usage records that the journal must make of it."""
        return self._waves * RECORDS_A_WAVE * len(self.offices)

    @property
    def entries(self) -> int:
        """Entries in `filled`."""
        return self._waves * ENTRIES_A_WAVE * len(self.offices)

    @property
    def cost_micros(self) -> int:
        """What an office was debited in all."""
        calls = SHORT_CALLS * RATE.price_micros(SHORT_SECONDS) + LONG_CALLS * RATE.price_micros(LONG_SECONDS)
        return self._waves * (calls + MESSAGE_MICROS)

    @property
    def expected(self) -> dict[str, int]:
        """Office -> its balance after all."""
        return {office.office_id: OPENING_MICROS - self.cost_micros for office in self.offices}

    def found(self) -> dict[str, OfficeRecord | None]:
        """The offices as the store has them."""
        return read_offices(self._pipeline, self.offices)

    def put(self, streams: Streams) -> None:
        """Make the outboxes what they were."""
        for key, dumped in streams.items():
            self._pipeline.ask("RESTORE", key, 0, dumped, "REPLACE")

    def left(self) -> int:
        """Entries in the outboxes."""
        return sum(self._pipeline.ask("XLEN", outbox_key(shard)) for shard in range(SHARDS))

    def _take(self) -> Streams:
        keys = [outbox_key(shard) for shard in range(SHARDS)]
        streams = {key: dumped for key in keys if (dumped := self._pipeline.ask("DUMP", key))}
        self._pipeline.ask("DEL", *keys)
        return streams

    def _steps(self) -> Iterator[Step]:
        for wave in range(self._waves):
            yield from self._short_calls(wave)
            yield from self._begin_long_calls(wave)
            yield from self._others(wave)
            if wave >= ENDED_WAVES_LATER:
                yield from self._end_long_calls(wave - ENDED_WAVES_LATER)
            self._clock.ms += WAVE_MS
        for wave in range(max(0, self._waves - ENDED_WAVES_LATER), self._waves):
            yield from self._end_long_calls(wave)

    def _named(self, kind: str, wave: int, count: int) -> list[tuple[CachedOffice, str]]:
        return [
            (office, call_id_of(f"{kind}{number}", wave, index))
            for number in range(count)
            for index, office in enumerate(self.offices)
        ]

    def _short_calls(self, wave: int) -> Iterator[Step]:
        calls = self._named("short", wave, SHORT_CALLS)
        begin = [recorded(self._store.authorize_call(office, call_request(name))) for office, name in calls]
        yield Step("authorize_call", "", begin, (Code.FUNDED,))
        end = [recorded(self._store.end_call(office, name, SHORT_SECONDS, cause="16")) for office, name in calls]
        yield Step("end_call", "", end, (Code.OK, SHORT_SECONDS, RATE.price_micros(SHORT_SECONDS)))

    def _begin_long_calls(self, wave: int) -> Iterator[Step]:
        calls = self._named("long", wave, LONG_CALLS)
        begin = [recorded(self._store.authorize_call(office, call_request(name))) for office, name in calls]
        yield Step("authorize_call", "", begin, (Code.FUNDED,))
        answer = [recorded(self._store.answer_call(office, name, switch_id="sbc-1")) for office, name in calls]
        yield Step("answer_call", "", answer, (Code.OK,))
        tick = [
            recorded(self._store.tick_call(office, name, TICKED_SECONDS, switch_id="sbc-1")) for office, name in calls
        ]
        yield Step("tick_call", "by the switch", tick, (Code.OK, 120, 0, MINUTE_MICROS))

    def _end_long_calls(self, wave: int) -> Iterator[Step]:
        calls = self._named("long", wave, LONG_CALLS)
        end = [
            recorded(self._store.end_call(office, name, LONG_SECONDS, cause="16", switch_id="sbc-1"))
            for office, name in calls
        ]
        yield Step("end_call", "", end, (Code.OK, LONG_SECONDS, RATE.price_micros(LONG_SECONDS)))

    def _others(self, wave: int) -> Iterator[Step]:
        messages = self._named("text", wave, 1)
        sent = [recorded(self._store.authorize_message(office, message_request(name))) for office, name in messages]
        yield Step("authorize_message", "", sent, (Code.FUNDED, MESSAGE_MICROS))
        calls = self._named("refused", wave, 1)
        refused = [
            recorded(self._store.authorize_call(office, call_request(name, verdict=Code.NO_RATE, rate=None)))
            for office, name in calls
        ]
        yield Step("authorize_call", "no rate", refused, (Code.NO_RATE,))

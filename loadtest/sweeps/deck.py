"""The sweep of the deck: lookups and classifications by the number of prefixes, and a Session with each deck.

Lookups and classifications run in this process, as in the front. The yardstick of a lookup is one in a dict of as many
prefixes; that of a classification is the library's own way: parse, check, number type and region by `phonenumbers`.
"""

import asyncio
import random
from collections.abc import Iterator
from time import perf_counter, process_time
from typing import Any, Final

import phonenumbers

from gateway.address import Address
from gateway.domain.deck import CallQuery, Deck, parse_deck
from gateway.domain.deck.cells import COLUMNS
from gateway.domain.numbers import NumberInfo, identify, warm_up
from gateway.domain.vocabulary import Direction, License, Service
from loadtest.books import Books
from loadtest.callers import PREFIXES
from loadtest.figures import Figure, Latency, latency_json, rounded
from loadtest.machine import process_cpu_seconds, resident_bytes
from loadtest.processes import BenchError, running_child, running_store
from loadtest.scene import FUNDS_MICROS, running_front
from loadtest.session import RawRate
from loadtest.session_load import office_name, running_load
from loadtest.sweeps.crowd import IN_FLIGHT, ratios
from loadtest.sweeps.effort import SweepEffort
from loadtest.sweeps.room import FRONT_BYTES, why_not

BYTES_A_PREFIX: Final = 3_000
"""In the benchmark while it reads the CSV, in the front and in the store, together: a generous guess."""

OFFICES: Final = 1_000
COUNTRY: Final = "US"
SAMPLES: Final = tuple(f"+{prefix}" for prefix in ("4420794", "331426", "4930", "525555", "8150", "61255", "9198200"))
"""Heads of numbers that exist, of lengths in `_DIGITS` with digits behind."""

_DIGITS: Final = {"+4420794": 5, "+331426": 5, "+4930": 7, "+525555": 6, "+8150": 8, "+61255": 6, "+9198200": 5}


def deck_csv(prefixes: int) -> str:
    """A deck of so many prefixes, of 2 to 8 digits, priced by the minute; those that the generator calls are priced."""
    digits: dict[str, None] = dict.fromkeys((prefix[1:] for prefix in PREFIXES), None)
    chance = random.Random(5)
    while len(digits) < prefixes:
        length = chance.choice((4, 5, 6, 7, 8, 8, 8))
        digits[str(chance.randrange(2 * 10 ** (length - 1), 10**length))] = None
    head = ",".join(COLUMNS)
    lines = (
        f",VOICE,OUTBOUND,,,{prefix},,0,{0.01 + 0.001 * (number % 90):.3f},60,60,0,60,prefix {number}"
        for number, prefix in enumerate(digits)
    )
    return "\n".join((head, ",VOICE,OUTBOUND,,,,,0,0.10,60,60,0,60,anywhere", *lines)) + "\n"


async def sweep_deck(effort: SweepEffort, books: Books) -> dict[str, Any]:
    """Each size of deck: lookups and classifications here, then a Session of a gateway that prices by it.

    Raises:
        BenchError: A number has no price, an operation was answered wrongly, or the books are wrong.
    """
    for _ in warm_up():
        await asyncio.sleep(0)
    taken, left_out, fresh = [], [], unseen_numbers()
    for prefixes in effort.prefixes:
        if reason := why_not(FRONT_BYTES + prefixes * BYTES_A_PREFIX, prefixes * BYTES_A_PREFIX):
            left_out.append({"size": prefixes, "why": reason})
            continue
        text = deck_csv(prefixes)
        here = await asyncio.to_thread(_measure_here, text, effort, fresh)
        taken.append({"size": prefixes, **here, **await _measure_session(text, effort, books)})
    return {
        "rounds": effort.rounds,
        "seconds_a_round": effort.seconds,
        "numbers": effort.deck_numbers,
        "points": taken,
        "left_out": left_out,
    }


def unseen_numbers() -> Iterator[str]:
    """Numbers without end, each of them once: what was seen before is answered from a cache."""
    chance, seen = random.Random(6), set[str]()
    while True:
        head = chance.choice(SAMPLES)
        number = head + "".join(chance.choices("0123456789", k=_DIGITS[head]))
        if number not in seen:
            seen.add(number)
            yield number


def _measure_here(text: str, effort: SweepEffort, fresh: Iterator[str]) -> dict[str, Any]:
    cpu = process_time()
    deck = parse_deck(text, 1)
    parsed = process_time() - cpu
    packed = deck.to_bytes()
    cpu = process_time()
    Deck.from_bytes(packed)
    loaded = process_time() - cpu
    plain = dict.fromkeys((row.prefix for row in deck.rows()), 1)
    lookups, dict_lookups, classified, by_library = [], [], [], []
    for _ in range(max(3, effort.rounds)):
        numbers = [next(fresh) for _ in range(effort.deck_numbers)]
        begin = perf_counter()
        infos = [identify(number, COUNTRY) for number in numbers]
        classified.append(_micros(begin, len(numbers)))
        queries = [_query(number, info) for number, info in zip(numbers, infos, strict=True)]
        begin = perf_counter()
        rows = [deck.lookup_call(query) for query in queries]
        lookups.append(_micros(begin, len(numbers)))
        if None in rows:
            raise BenchError(f"{numbers[rows.index(None)]} has no price in a deck with a row for anywhere")
        begin = perf_counter()
        for number in numbers:
            _longest(plain, number[1:])
        dict_lookups.append(_micros(begin, len(numbers)))
        slow = [next(fresh) for _ in range(effort.library_numbers)]
        begin = perf_counter()
        for number in slow:
            classify_by_library(number)
        by_library.append(_micros(begin, len(slow)))
    return {
        "lookup_micros": Figure.of(lookups).to_json(),
        "dict_lookup_micros": Figure.of(dict_lookups).to_json(),
        "classify_micros": Figure.of(classified).to_json(),
        "library_classify_micros": Figure.of(by_library).to_json(),
        "parse_seconds": rounded(parsed),
        "load_seconds": rounded(loaded),
        "packed_bytes": len(packed),
    }


def classify_by_library(number: str) -> tuple[str | None, int, bool]:
    """Region, number type and validity as `phonenumbers` gives them: what a program without plans of its own does."""
    parsed = phonenumbers.parse(number, COUNTRY)
    return (
        phonenumbers.region_code_for_number(parsed),
        phonenumbers.number_type(parsed),
        phonenumbers.is_valid_number(parsed),
    )


def _query(number: str, info: NumberInfo | None) -> CallQuery:
    if info is None:
        raise BenchError(f"{number} is no number")
    return CallQuery("", Service.VOICE, Direction.OUTBOUND, License.STANDARD, COUNTRY, info)


def _longest(prefixes: dict[str, int], digits: str) -> int | None:
    for length in range(len(digits), 0, -1):
        found = prefixes.get(digits[:length])
        if found is not None:
            return found
    return prefixes.get("")


def _micros(begin: float, count: int) -> float:
    return 1e6 * (perf_counter() - begin) / count


async def _measure_session(text: str, effort: SweepEffort, books: Books) -> dict[str, Any]:
    offices = [office_name(index) for index in range(OFFICES)]
    async with (
        running_store() as store,
        running_child("empty", "loadtest.yardsticks") as empty,
        running_front(store, offices, deck=text) as front,
        running_load({"gateway": front.address, "empty": Address.parse(empty.said["listen"])}, OFFICES) as load,
    ):
        raw = await asyncio.to_thread(RawRate, store, effort.raw_offices)
        try:
            rates: dict[str, list[float]] = {"gateway": [], "empty": [], "raw": []}
            latencies: list[Latency] = []
            cpu: list[float] = []
            for number in range(-1, effort.rounds):
                for target in ("gateway", "empty") if number % 2 else ("empty", "gateway"):
                    before = process_cpu_seconds(front.process.pid)
                    said = await load.ask("closed", target=target, in_flight=IN_FLIGHT, seconds=effort.seconds)
                    if number < 0:  # warms up
                        continue
                    rates[target].append(said["operations"] / said["seconds"])
                    if target == "gateway":
                        latencies.append(Latency(**said["latency_ms"]))
                        used = process_cpu_seconds(front.process.pid) - before
                        cpu.append(1e6 * used / said["operations"])
                if number >= 0:
                    rates["raw"].append((await asyncio.to_thread(raw.measure))[0])
                    await asyncio.to_thread(raw.drop_outboxes)
            said = await load.ask("books", target="gateway")
            expected = {office_id: FUNDS_MICROS - said["debited"].get(office_id, 0) for office_id in offices}
            await books.audit_store("deck", expected, front.store)
            await asyncio.to_thread(raw.audit, books, "deck")
            held = resident_bytes(front.process.pid)
        finally:
            raw.close()
    return {
        "gateway_per_second": Figure.of(rates["gateway"]).to_json(),
        "empty_stream_per_second": Figure.of(rates["empty"]).to_json(),
        "raw_per_second": Figure.of(rates["raw"]).to_json(),
        "ratio_to_raw": ratios(rates["gateway"], rates["raw"]),
        "latency": latency_json(latencies),
        "front_cpu_micros": Figure.of(cpu).to_json(),
        "front_bytes": held,
    }

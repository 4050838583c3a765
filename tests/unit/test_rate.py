import struct
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.rate import MAX_PRICE_MICROS, MessageRate, Rate, RateError, Slot

DIVISORS = [n for n in range(1, 3_601) if 3_600 % n == 0]

WHOLE_MINUTES = Rate(0, (Slot(0, 120_000, 60, 60),))
BY_THE_SECOND = Rate(0, (Slot(0, 120_000, 60, 1),))
SIX_SIX = Rate(0, (Slot(0, 60_000, 60, 6),))
FEE_AND_SLOTS = Rate(200_000, (Slot(0, 100_000, 60, 60), Slot(60, 50_000, 60, 1)))
MINIMUM_30 = Rate(0, (Slot(0, 120_000, 60, 30), Slot(30, 120_000, 60, 6)))
FREE = Rate(0, (Slot(0, 0, 60, 60),))
FREE_FIRST_MINUTE = Rate(0, (Slot(0, 0, 60, 60), Slot(60, 100_000, 60, 60)))


@st.composite
def rates(draw: st.DrawFn) -> Rate:
    """Any valid rate whose slots begin within some minutes."""
    slots = []
    start = 0
    prices = st.one_of(st.just(0), st.integers(0, 300_000), st.integers(0, MAX_PRICE_MICROS))
    for _ in range(draw(st.integers(1, 5))):
        increment = draw(st.integers(1, 70))
        slots.append(Slot(start, draw(prices), draw(st.sampled_from(DIVISORS)), increment))
        start += increment * draw(st.integers(1, 5))
    return Rate(draw(prices), tuple(slots))


def slow_price(rate: Rate, seconds: int) -> int:
    """The price by its definition: increment by increment, in exact fractions, rounded up once."""
    if seconds <= 0:
        return 0
    price, time = Fraction(0), 0
    while time < seconds:
        slot = [slot for slot in rate.slots if slot.from_second <= time][-1]
        price += Fraction(slot.price_micros * slot.increment_seconds, slot.per_seconds)
        time += slot.increment_seconds
    return rate.connect_fee_micros + ceil(price)


def slow_longest(rate: Rate, budget: int, target: int) -> int:
    """The inverse by its definition: every second is tried."""
    affordable = [
        seconds
        for seconds in range(1, target + 1)
        if (seconds == target or rate.round_up(seconds) == seconds) and slow_price(rate, seconds) <= budget
    ]
    return max(affordable, default=0)


@pytest.mark.parametrize(
    ("rate", "seconds", "micros"),
    [
        (WHOLE_MINUTES, 0, 0),
        (WHOLE_MINUTES, 1, 120_000),
        (WHOLE_MINUTES, 60, 120_000),
        (WHOLE_MINUTES, 61, 240_000),
        (BY_THE_SECOND, 50, 100_000),
        (BY_THE_SECOND, 55, 110_000),
        (BY_THE_SECOND, 90, 180_000),
        (SIX_SIX, 50, 54_000),
        (SIX_SIX, 95, 96_000),
        (FEE_AND_SLOTS, 0, 0),
        (FEE_AND_SLOTS, 59, 300_000),
        (FEE_AND_SLOTS, 72, 310_000),
        (FEE_AND_SLOTS, 73, 310_834),
        (MINIMUM_30, 1, 60_000),
        (FREE, 86_400, 0),
        (FREE_FIRST_MINUTE, 60, 0),
        (FREE_FIRST_MINUTE, 61, 100_000),
        (Rate(0, (Slot(0, MAX_PRICE_MICROS, 1, 1),)), 86_400, 86_400 * MAX_PRICE_MICROS),
        (Rate(1, (Slot(0, 1, 3_600, 1),)), 1, 2),
    ],
)
def test_price_of_the_worked_cases(rate: Rate, seconds: int, micros: int) -> None:
    assert rate.price_micros(seconds) == micros


@pytest.mark.parametrize(
    ("rate", "budget", "target", "seconds"),
    [
        (WHOLE_MINUTES, 180_000, 60, 60),
        (WHOLE_MINUTES, 180_000, 110, 60),
        (BY_THE_SECOND, 180_000, 110, 90),
        (SIX_SIX, 90_000, 110, 90),
        (FEE_AND_SLOTS, 310_000, 110, 72),
        (FEE_AND_SLOTS, 299_999, 60, 0),
        (FEE_AND_SLOTS, 199_999, 60, 0),
        (MINIMUM_30, 40_000, 60, 0),
        (MINIMUM_30, 60_000, 60, 30),
        (FREE, 0, 14_400, 14_400),
        (FREE_FIRST_MINUTE, 0, 120, 60),
        # A maximum duration need not be a whole increment: 90 s are paid for by the second minute begun.
        (WHOLE_MINUTES, 240_000, 90, 90),
        (WHOLE_MINUTES, 239_999, 90, 60),
        (WHOLE_MINUTES, 119_999, 60, 0),
        (WHOLE_MINUTES, 10**15, 0, 0),
        (WHOLE_MINUTES, -1, 60, 0),
        (FREE, -1, 60, 0),
    ],
)
def test_longest_time_of_the_worked_cases(rate: Rate, budget: int, target: int, seconds: int) -> None:
    assert rate.longest_seconds(budget, target) == seconds


@given(rates(), st.integers(0, 400))
def test_price_is_that_of_the_definition(rate: Rate, seconds: int) -> None:
    assert rate.price_micros(seconds) == slow_price(rate, seconds)


@given(rates(), st.integers(0, 200), st.integers(0, 200), st.integers(-1, 1))
def test_longest_time_is_that_of_the_definition(rate: Rate, paid: int, target: int, around: int) -> None:
    # Budgets at, just below and just above the price of a time are where an inverse goes wrong.
    budget = slow_price(rate, paid) + around
    assert rate.longest_seconds(budget, target) == slow_longest(rate, budget, target)


@given(rates(), st.integers(0, 10**12), st.integers(0, 86_400))
def test_longest_time_is_paid_for_and_the_next_increment_is_not(rate: Rate, budget: int, target: int) -> None:
    seconds = rate.longest_seconds(budget, target)
    assert 0 <= seconds <= target
    assert rate.price_micros(seconds) <= budget
    if seconds < target:
        assert rate.round_up(seconds) == seconds
        assert rate.price_micros(min(rate.round_up(seconds + 1), target)) > budget


@given(rates(), st.integers(0, 86_400), st.integers(0, 86_400))
def test_price_never_falls(rate: Rate, one: int, other: int) -> None:
    assert rate.price_micros(min(one, other)) <= rate.price_micros(max(one, other))


@given(rates(), st.integers(0, 86_400))
def test_rounding_up_changes_no_price_and_is_done_once(rate: Rate, seconds: int) -> None:
    rounded = rate.round_up(seconds)
    assert seconds <= rounded
    assert rate.round_up(rounded) == rounded
    assert rate.price_micros(rounded) == rate.price_micros(seconds)


@given(rates(), st.integers(1, 3_600))
def test_packed_form_reads_back(rate: Rate, tick_seconds: int) -> None:
    assert Rate.unpack(rate.packed, tick_seconds) == Rate(rate.connect_fee_micros, rate.slots, tick_seconds)


def test_packed_form_is_what_the_scripts_unpack() -> None:
    assert FEE_AND_SLOTS.packed == struct.pack(
        "<IB IIHI IIHI".replace(" ", ""), 200_000, 2, 0, 100_000, 60, 60, 60, 50_000, 60, 1
    )
    assert FEE_AND_SLOTS.packed is FEE_AND_SLOTS.packed


@pytest.mark.parametrize(
    "packed",
    [b"", b"\0" * 4, b"\0" * 5, WHOLE_MINUTES.packed[:-1], WHOLE_MINUTES.packed + b"\0", b"\0\0\0\0\2" + b"\0" * 28],
)
def test_refuses_bytes_that_are_no_rate(packed: bytes) -> None:
    with pytest.raises(RateError):
        Rate.unpack(packed)


@pytest.mark.parametrize(
    ("rate", "micros"),
    [
        (WHOLE_MINUTES, 120_000),
        (FEE_AND_SLOTS, 100_000),
        (FREE_FIRST_MINUTE, 100_000),
        (FREE, 0),
        (Rate(5, (Slot(0, 1, 3_600, 1),)), 1),
        (Rate(0, (Slot(0, 10, 1, 1),)), 600),
    ],
)
def test_price_per_minute_is_of_the_dearest_slot_without_the_fee(rate: Rate, micros: int) -> None:
    assert rate.price_per_minute_micros == micros


@pytest.mark.parametrize(
    ("rate", "is_free"),
    [(FREE, True), (WHOLE_MINUTES, False), (FREE_FIRST_MINUTE, False), (Rate(1, (Slot(0, 0, 60, 60),)), False)],
)
def test_free_means_neither_price_nor_fee(rate: Rate, is_free: bool) -> None:
    assert rate.is_free is is_free


def test_first_increment_is_the_least_that_can_be_sold() -> None:
    assert MINIMUM_30.first_increment == 30


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ((-1, 0, 60, 60), "from_second"),
        ((86_401, 0, 60, 60), "from_second"),
        ((0, -1, 60, 60), "price_micros"),
        ((0, MAX_PRICE_MICROS + 1, 60, 60), "price_micros"),
        ((0, 0, 0, 60), "per_seconds"),
        ((0, 0, -60, 60), "per_seconds"),
        ((0, 0, 7, 60), "per_seconds"),
        ((0, 0, 7_200, 60), "per_seconds"),
        ((0, 0, 60, 0), "increment_seconds"),
        ((0, 0, 60, 86_401), "increment_seconds"),
    ],
)
def test_refuses_a_slot_out_of_range(fields: tuple[int, int, int, int], field: str) -> None:
    with pytest.raises(RateError) as caught:
        Slot(*fields)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("fee", "slots", "tick", "field", "slot"),
    [
        (-1, [(0, 60)], 60, "connect_fee_micros", None),
        (MAX_PRICE_MICROS + 1, [(0, 60)], 60, "connect_fee_micros", None),
        (0, [(0, 60)], 0, "tick_seconds", None),
        (0, [(0, 60)], 3_601, "tick_seconds", None),
        (0, [], 60, "slots", None),
        (0, [(n * 60, 60) for n in range(9)], 60, "slots", None),
        (0, [(60, 60)], 60, "from_second", 0),
        (0, [(0, 60), (0, 60)], 60, "from_second", 1),
        (0, [(0, 60), (120, 60), (60, 60)], 60, "from_second", 2),
        (0, [(0, 60), (90, 60)], 60, "increment_seconds", 0),
        (0, [(0, 60), (60, 7), (120, 60)], 60, "increment_seconds", 1),
    ],
)
def test_refuses_a_rate_out_of_range(
    fee: int, slots: list[tuple[int, int]], tick: int, field: str, slot: int | None
) -> None:
    with pytest.raises(RateError) as caught:
        Rate(fee, tuple(Slot(start, 1, 60, increment) for start, increment in slots), tick)
    assert (caught.value.field, caught.value.slot) == (field, slot)


def test_a_message_costs_its_price_per_segment() -> None:
    assert MessageRate(8_500).price_of_segments_micros(3) == 25_500
    assert not MessageRate(8_500).is_free
    assert MessageRate(0).is_free


@pytest.mark.parametrize("micros", [-1, MAX_PRICE_MICROS + 1])
def test_refuses_a_message_price_out_of_range(micros: int) -> None:
    with pytest.raises(RateError, match="price_micros"):
        MessageRate(micros)

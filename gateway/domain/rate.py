"""What a call or a message costs: exact prices, and the longest time that an amount pays for.

This is the one model of rating; scripts/lua/lib holds its twin, which unpacks `Rate.packed`. A property test holds
the two equal, so a change here is a change there.

A price is a sum of fractions of a micro (seconds times price, over per_seconds). Every per_seconds divides 3,600, so
the sum is kept as a whole number of 3,600ths of a micro and rounded up once, at the end. Rounding each slot, or
summing doubles, is off by a micro now and then (three slots: 660 of 200,000 cases).
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Final, Self

MAX_PRICE_MICROS: Final = 10**9
"""The dearest price or connect fee: 1,000 units. It keeps every price of a day below 10^15 micros."""

MAX_SLOTS: Final = 8
MAX_SECONDS: Final = 86_400
MAX_TICK_SECONDS: Final = 3_600
DEFAULT_TICK_SECONDS: Final = 60

_PARTS: Final = 3_600
"""The common denominator: a part is a 3,600th of a micro."""

_HEADER: Final = struct.Struct("<IB")
_SLOT: Final = struct.Struct("<IIHI")


class RateError(ValueError):
    """A rate breaks one of its limits.

    Attributes:
        field: The field at fault, by its name in `Slot` or `Rate`.
        message: What is wrong with it, without its name.
        slot: The index of the slot at fault; None where the fault is not one slot's, or the slot stands alone.
    """

    def __init__(self, field: str, message: str, slot: int | None = None) -> None:
        super().__init__(f"{field} {message}")
        self.field = field
        self.message = message
        self.slot = slot


@dataclass(frozen=True, slots=True)
class Slot:
    """One time band of a rate: from a second on, so much per so many seconds, billed in whole increments.

    Attributes:
        from_second: Where the slot begins, counted from the answer, 0 to 86,400.
        price_micros: The price of `per_seconds`, 0 to 10^9.
        per_seconds: What the price is for, a divisor of 3,600.
        increment_seconds: The billing step, 1 to 86,400: time inside the slot is rounded up to a multiple of it.

    Raises:
        RateError: A field is out of its range.
    """

    from_second: int
    price_micros: int
    per_seconds: int
    increment_seconds: int

    def __post_init__(self) -> None:
        _check_range("from_second", self.from_second, 0, MAX_SECONDS)
        _check_range("price_micros", self.price_micros, 0, MAX_PRICE_MICROS)
        _check_range("per_seconds", self.per_seconds, 1, _PARTS)
        if _PARTS % self.per_seconds:
            raise RateError("per_seconds", f"is {self.per_seconds}, which does not divide {_PARTS}")
        _check_range("increment_seconds", self.increment_seconds, 1, MAX_SECONDS)

    def round_up(self, seconds: int) -> int:
        """Round a time inside the slot, counted from the slot's own start, up to whole increments."""
        return -(-seconds // self.increment_seconds) * self.increment_seconds

    @property
    def parts_per_second(self) -> int:
        """The price of one second, in 3,600ths of a micro."""
        return self.price_micros * (_PARTS // self.per_seconds)


@dataclass(frozen=True)
class Rate:
    """The price of a call as a function of its seconds: never falling, 0 at 0, a connect fee from the first second.

    Not slotted itself, since it caches what every authorization asks of it.

    Attributes:
        connect_fee_micros: Debited once per answered call, 0 to 10^9.
        slots: 1 to 8 time bands in ascending order, the first from second 0; the last one has no end. Each but the
            last is as long as a whole number of its increments.
        tick_seconds: How much a live call reserves at a time, 1 to 3,600. It has no part in the price.

    Raises:
        RateError: A limit is broken.
    """

    connect_fee_micros: int
    slots: tuple[Slot, ...]
    tick_seconds: int = DEFAULT_TICK_SECONDS

    def __post_init__(self) -> None:
        _check_range("connect_fee_micros", self.connect_fee_micros, 0, MAX_PRICE_MICROS)
        _check_range("tick_seconds", self.tick_seconds, 1, MAX_TICK_SECONDS)
        if not 1 <= len(self.slots) <= MAX_SLOTS:
            raise RateError("slots", f"are {len(self.slots)}, a rate has 1 to {MAX_SLOTS}")
        if self.slots[0].from_second != 0:
            raise RateError("from_second", f"of the first slot is {self.slots[0].from_second}, it must be 0", slot=0)
        for index, (slot, following) in enumerate(pairwise(self.slots)):
            start, end, increment = slot.from_second, following.from_second, slot.increment_seconds
            if end <= start:
                raise RateError("from_second", f"{end} does not come after {start}", slot=index + 1)
            if (end - start) % increment:
                message = f"{increment} does not divide the {end - start} s of the slot from {start} to {end}"
                raise RateError("increment_seconds", message, slot=index)

    @property
    def first_increment(self) -> int:
        """The shortest time that can be sold, in seconds."""
        return self.slots[0].increment_seconds

    @cached_property
    def is_free(self) -> bool:
        """Whether no call can cost anything: neither a price in any slot nor a fee."""
        return self.connect_fee_micros == 0 and all(slot.price_micros == 0 for slot in self.slots)

    @cached_property
    def price_per_minute_micros(self) -> int:
        """60 seconds of the dearest slot, without the connect fee, rounded up to the micro."""
        return max(_whole_micros(60 * slot.parts_per_second) for slot in self.slots)

    def price_micros(self, seconds: int) -> int:
        """Return what a call of so many seconds costs in all, in micros; nothing if it was not answered.

        A debit is always a difference of two such prices, so that it does not matter how a call is cut into ticks.

        Args:
            seconds: Talk time, 0 or more.
        """
        if seconds <= 0:
            return 0
        parts = 0
        for slot, length in self._bands():
            inside = seconds - slot.from_second
            if length is not None and inside > length:
                parts += length * slot.parts_per_second
                continue
            parts += slot.round_up(inside) * slot.parts_per_second
            break
        return self.connect_fee_micros + _whole_micros(parts)

    def round_up(self, seconds: int) -> int:
        """Round talk time up to a whole increment of the slot it falls in; 0 stays 0.

        The last second of a slot belongs to it: with a first minute in one step, 60 stays 60.
        """
        if seconds <= 0:
            return 0
        slot = next(slot for slot in reversed(self.slots) if slot.from_second < seconds)
        return slot.from_second + slot.round_up(seconds - slot.from_second)

    def longest_seconds(self, budget_micros: int, target_seconds: int) -> int:
        """Return the longest time up to a target that costs no more than a budget: the inverse of the price.

        The time is a whole number of increments, or the target itself: a maximum duration need not fit the
        increments, and its price is then that of the increment begun. In closed form: one division a slot, however
        long the call or small the increment.

        Args:
            budget_micros: What the whole call may cost, connect fee included.
            target_seconds: The longest time of interest, 0 or more.

        Returns:
            Seconds, 0 to the target; 0 if the budget does not cover the fee and the first increment.
        """
        if target_seconds <= 0 or budget_micros < 0:
            return 0
        if self.price_micros(target_seconds) <= budget_micros:
            return target_seconds
        # The sum is rounded up only once, so it is within the budget if and only if the exact parts are.
        parts = (budget_micros - self.connect_fee_micros) * _PARTS
        if parts < 0:
            return 0
        for slot, length in self._bands():
            per_increment = slot.increment_seconds * slot.parts_per_second
            if length is not None and length * slot.parts_per_second <= parts:
                parts -= length * slot.parts_per_second
                continue
            # The target is out of reach, so this slot is neither free nor paid for to the target.
            return slot.from_second + parts // per_increment * slot.increment_seconds
        raise AssertionError("the last slot has no end")  # pragma: no cover

    @cached_property
    def packed(self) -> bytes:
        """The form that the scripts unpack, little-endian, without padding.

        `<I B`: connect_fee_micros, number of slots; then per slot `<I I H I`: from_second, price_micros, per_seconds,
        increment_seconds. The tick is not in it: it travels beside.
        """
        return _HEADER.pack(self.connect_fee_micros, len(self.slots)) + b"".join(
            _SLOT.pack(slot.from_second, slot.price_micros, slot.per_seconds, slot.increment_seconds)
            for slot in self.slots
        )

    @classmethod
    def unpack(cls, packed: bytes, tick_seconds: int = DEFAULT_TICK_SECONDS) -> Self:
        """Read `packed` back.

        Raises:
            RateError: The bytes are cut short or too long, or what they say is not a rate.
        """
        size = len(packed)
        if size < _HEADER.size or size != _HEADER.size + packed[_HEADER.size - 1] * _SLOT.size:
            raise RateError("packed", f"has {size} bytes, which is not a header and its slots")
        connect_fee_micros, _ = _HEADER.unpack_from(packed)
        slots = tuple(Slot(*fields) for fields in _SLOT.iter_unpack(packed[_HEADER.size :]))
        return cls(connect_fee_micros, slots, tick_seconds)

    def _bands(self) -> Iterator[tuple[Slot, int | None]]:
        """Yield each slot with its length in seconds, None for the last."""
        for slot, following in pairwise(self.slots):
            yield slot, following.from_second - slot.from_second
        yield self.slots[-1], None


@dataclass(frozen=True, slots=True)
class MessageRate:
    """The price of a message.

    Attributes:
        price_micros: Per segment, 0 to 10^9.

    Raises:
        RateError: The price is out of range.
    """

    price_micros: int

    def __post_init__(self) -> None:
        _check_range("price_micros", self.price_micros, 0, MAX_PRICE_MICROS)

    @property
    def is_free(self) -> bool:
        """Whether no message can cost anything."""
        return self.price_micros == 0

    def price_of_segments_micros(self, segments: int) -> int:
        """Return what a message of so many segments costs, in micros."""
        return self.price_micros * segments


def _whole_micros(parts: int) -> int:
    """Round 3,600ths of a micro up to micros."""
    return -(-parts // _PARTS)


def _check_range(field: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise RateError(field, f"is {value:,}, it must be {lowest:,} to {highest:,}")

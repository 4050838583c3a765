"""The price of a call step by step, for people: the same sum as `Rate.price_micros`, written out."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise

from gateway.domain.money import format_amount
from gateway.domain.rate import Rate, Slot


def price_steps(rate: Rate, seconds: int) -> Iterator[str]:
    """Yield a line for the fee, one for each slot that was begun, and the sum."""
    if seconds <= 0:
        yield "not answered or no time used yet: 0.00"
        return
    if rate.connect_fee_micros:
        yield f"connect fee: {format_amount(rate.connect_fee_micros)}"
    total = Fraction(rate.connect_fee_micros)
    ends: list[int | None] = [following.from_second for _, following in pairwise(rate.slots)]
    for slot, end in zip(rate.slots, [*ends, None], strict=True):
        if seconds <= slot.from_second:
            break
        inside = (seconds if end is None else min(seconds, end)) - slot.from_second
        cost = Fraction(slot.round_up(inside) * slot.price_micros, slot.per_seconds)
        total += cost
        yield _slot_step(slot, inside, cost)
    price = rate.price_micros(seconds)
    rounded = "" if total == price else ", rounded up to the micro"
    yield f"price of {seconds} s: {format_amount(price)}{rounded}"


def _slot_step(slot: Slot, inside: int, cost: Fraction) -> str:
    billed = slot.round_up(inside)
    rounding = f", in steps of {slot.increment_seconds} s: {billed} s" if billed != inside else ""
    price = f"{format_amount(slot.price_micros)} per {slot.per_seconds} s"
    return f"from {slot.from_second} s: {inside} s{rounding}; at {price}: {_amount(cost)}"


def _amount(micros: Fraction) -> str:
    if micros.denominator == 1:
        return format_amount(int(micros))
    return f"{format_amount(int(micros))} and {micros - int(micros)} of a micro"

"""Telephone numbers: normalising, classifying, emergencies (docs/decisions/0002-number-classification.md).

Pure functions over the metadata of `phonenumbers`, compiled once per process. `warm_up` does that ahead of traffic.
"""

from collections.abc import Iterator

from gateway.domain.numbers.category import call_category
from gateway.domain.numbers.emergency import ALWAYS_EMERGENCY, compile_emergency_numbers, is_emergency
from gateway.domain.numbers.kinds import NON_GEOGRAPHIC_REGION, UNKNOWN_REGION, NumberInfo, NumberType, number_types
from gateway.domain.numbers.parsing import classify, identify, normalise
from gateway.domain.numbers.plan import COUNTRIES, compile_plans

__all__ = [
    "ALWAYS_EMERGENCY",
    "COUNTRIES",
    "NON_GEOGRAPHIC_REGION",
    "UNKNOWN_REGION",
    "NumberInfo",
    "NumberType",
    "call_category",
    "classify",
    "identify",
    "is_emergency",
    "normalise",
    "number_types",
    "warm_up",
]


def warm_up() -> Iterator[None]:
    """Compile all that is otherwise compiled at first use, in slices; the emergency numbers are the first.

    Run it to its end at start-up (`for _ in warm_up(): await asyncio.sleep(0)`): about 0.4 s in all.
    """
    compile_emergency_numbers()
    yield
    for _ in compile_plans():
        yield

"""From what a switch sends to E.164, and from there to what the number is.

The answers are cached by their arguments, because traffic comes back to the same numbers; the caches are bounded.
"""

from functools import lru_cache
from typing import Final, TypeAlias

from gateway.domain.numbers.kinds import UNKNOWN_REGION, NumberInfo, NumberType
from gateway.domain.numbers.plan import CALLING_CODES, Plan, plan_of, plans_of_calling_code, split_calling_code

MAX_RAW_LENGTH: Final = 64
MAX_E164_DIGITS: Final = 15

Parts: TypeAlias = tuple[str, str]
"""A calling code, and a national significant number that follows it."""

_CACHED_NUMBERS: Final = 1 << 15
_PUNCTUATION: Final = str.maketrans("", "", " -.()/\u00a0\u2010\u2011\u2012\u2013")


def normalise(raw: str, country: str) -> str | None:
    """Return a number in E.164 with plus, or None if it cannot be one.

    Read are E.164, the country's prefix for calling abroad ("00", "011") followed by an international number, and
    the country's national format with or without its trunk prefix. Spaces, dashes, dots, slashes and parentheses are
    ignored; letters, other signs and more than 64 characters are refused.

    A number is accepted if it has the length and the general form of its country's numbers. It need not be in a
    range that the metadata knows: ranges are opened faster than software is updated, and a prepaid gateway that
    refused them would refuse calls which the carrier connects.

    Args:
        raw: The number as sent. Anonymous callers come as "" or a word, and give None.
        country: The office's ISO country; any text that is no country leaves only the "+" form.
    """
    if len(raw) > MAX_RAW_LENGTH:
        return None
    return _normalise(raw, country)


def identify(raw: str, country: str) -> NumberInfo | None:
    """Normalise and classify in one step, which takes less time than two; None if it cannot be a number.

    Args:
        raw: As `normalise` takes it.
        country: As both take it.
    """
    if len(raw) > MAX_RAW_LENGTH:
        return None
    return _identify(raw, country)


@lru_cache(maxsize=_CACHED_NUMBERS)
def classify(called_e164: str, country: str) -> NumberInfo:
    """Say what a number is, seen from a country.

    Where countries share a calling code the region is the one the library names: by the leading digits, else by the
    plan that knows the number, the main country's first. A number that no plan knows gets the main country.

    Args:
        called_e164: A number as `normalise` returns it. Anything else is of region "ZZ" and kind UNKNOWN.
        country: The ISO country to look from. A text that is no country makes every number foreign.
    """
    digits = called_e164[1:]
    parts = split_calling_code(digits) if called_e164[:1] == "+" and _is_digits(digits) else None
    if parts is None:
        return NumberInfo(called_e164, UNKNOWN_REGION, NumberType.UNKNOWN, is_domestic=False)
    return _classify(called_e164, parts, country)


def _classify(e164: str, parts: Parts, country: str) -> NumberInfo:
    calling_code, national = parts
    plan, kind = _home(calling_code, national)
    return NumberInfo(e164, plan.region, kind, is_domestic=_is_domestic(calling_code, national, plan, country))


def _home(calling_code: str, national: str) -> tuple[Plan, NumberType]:
    """Return the plan that a number belongs to, and its kind there."""
    plans = plans_of_calling_code(calling_code)
    for plan in plans:
        claimed = plan.claims(national)
        if claimed or claimed is None:
            kind = plan.kind(national)
            if claimed or kind is not NumberType.UNKNOWN:
                return plan, kind
    return plans[0], NumberType.UNKNOWN


def _is_domestic(calling_code: str, national: str, home: Plan, country: str) -> bool:
    """Whether a number is in a country's own plan, be it the plan's alone or shared with its neighbours."""
    if home.region == country:
        return True
    if country not in CALLING_CODES[calling_code]:
        return False
    own = plan_of(country)
    return own is not None and own.kind(national) is not NumberType.UNKNOWN


@lru_cache(maxsize=_CACHED_NUMBERS)
def _identify(raw: str, country: str) -> NumberInfo | None:
    parts = _read(raw, country)
    return None if parts is None else _classify("+" + parts[0] + parts[1], parts, country)


@lru_cache(maxsize=_CACHED_NUMBERS)
def _normalise(raw: str, country: str) -> str | None:
    parts = _read(raw, country)
    return None if parts is None else "+" + parts[0] + parts[1]


def _read(raw: str, country: str) -> Parts | None:
    digits = raw[1:]
    if raw[:1] == "+" and _is_digits(digits):
        return _international(digits)
    text = raw.translate(_PUNCTUATION)
    digits = text.removeprefix("+")
    if not _is_digits(digits):
        return None
    if len(digits) < len(text):
        return _international(digits)
    plan = plan_of(country)
    if plan is None:
        return None
    abroad = plan.after_international_prefix(digits)
    if abroad is not None:
        return _international(abroad)
    national = plan.without_calling_code(digits)
    return _significant(plan, digits if national is None else national)


def _international(digits: str) -> Parts | None:
    parts = split_calling_code(digits)
    if parts is None:
        return None
    calling_code, national = parts
    # "+44 (0)20 ..." is a common way to write a number, so a national prefix is looked for here, too.
    return _significant(plans_of_calling_code(calling_code)[0], national)


def _significant(plan: Plan, national: str) -> Parts | None:
    """Leave out the national prefix, if any country of the calling code finds what is left well-formed."""
    significant = plan.significant(national)
    calling_code = plan.calling_code
    if len(calling_code) + len(significant) > MAX_E164_DIGITS:
        return None
    for each in plans_of_calling_code(calling_code):
        if each.is_well_formed(significant):
            return calling_code, significant
    return None


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()

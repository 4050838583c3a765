"""Numbers against the library's own answers: every example number it has, and thousands made from them."""

import random
from collections.abc import Iterator
from functools import cache

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st
from phonenumbers import PhoneNumber, PhoneNumberFormat, PhoneNumberType
from phonenumbers.phonemetadata import PhoneMetadata
from phonenumbers.shortnumberinfo import SUPPORTED_SHORT_REGIONS, is_emergency_number

from gateway.domain.numbers import (
    ALWAYS_EMERGENCY,
    NumberInfo,
    NumberType,
    call_category,
    classify,
    identify,
    is_emergency,
    normalise,
    number_types,
    warm_up,
)
from gateway.domain.vocabulary import Category, Direction, Service

KINDS = {getattr(PhoneNumberType, kind.name): kind for kind in NumberType if kind is not NumberType.LOCAL}

FIXED_SET = (
    "+14155550100",
    "+14165550100",
    "+18765230123",
    "+18005550100",
    "+442079460000",
    "+447400123456",
    "+448001111111",
    "+4915123456789",
    "+33123456789",
    "+78005553535",
    "+77012345678",
    "+80012345678",
    "+870301234567",
)


@cache
def examples() -> tuple[str, ...]:
    """Return every example number of every region, type and non-geographic calling code."""
    numbers = [
        phonenumbers.example_number_for_type(region, kind)
        for region in sorted(phonenumbers.SUPPORTED_REGIONS)
        for kind in KINDS
    ]
    found = {e164(number) for number in numbers if number is not None}
    for calling_code in phonenumbers.COUNTRY_CODES_FOR_NON_GEO_REGIONS:
        metadata = PhoneMetadata.metadata_for_nongeo_region(calling_code)
        for description in vars(metadata).values():
            if getattr(description, "example_number", None):
                found.add(f"+{calling_code}{description.example_number}")
    return tuple(sorted(found))


def variations() -> Iterator[str]:
    """Yield numbers like the examples with some digits changed: many types, and many that are no numbers."""
    source = random.Random(20)
    for example in examples():
        for _ in range(4):
            digits = list(example)
            for place in source.sample(range(2, len(digits)), 4):
                digits[place] = source.choice("0123456789")
            yield "".join(digits)


def e164(number: PhoneNumber) -> str:
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)


def assert_agrees(info: NumberInfo, number: PhoneNumber, country: str) -> None:
    region = phonenumbers.region_code_for_number(number)
    assert info.kind is KINDS[phonenumbers.number_type(number)]
    assert region in (None, info.region)
    assert info.is_domestic == (info.region == country or phonenumbers.is_valid_number_for_region(number, country))


def test_there_are_as_many_examples_as_the_library_promises() -> None:
    assert len(examples()) > 741


def test_every_example_as_called_number_is_what_the_library_says() -> None:
    for example in examples():
        number = phonenumbers.parse(example)
        normalised = normalise(example, "US")
        assert normalised == e164(number)
        for country in ("US", "JM", "GB", "KZ"):
            assert_agrees(classify(normalised, country), number, country)


def test_every_example_as_calling_number_sees_a_fixed_set_as_the_library_does() -> None:
    called = [(text, phonenumbers.parse(text)) for text in FIXED_SET]
    for country in {classify(example, "").region for example in examples()}:
        for text, number in called:
            assert_agrees(classify(text, country), number, country)


def test_numbers_like_the_examples_are_what_the_library_says() -> None:
    accepted = 0
    for text in variations():
        normalised = normalise(text, "US")
        try:
            number = phonenumbers.parse(text)
        except phonenumbers.NumberParseException:
            assert normalised is None, text
            continue
        if normalised is None:
            assert not phonenumbers.is_valid_number(number), text
            continue
        accepted += 1
        assert normalised == e164(number)
        assert_agrees(classify(normalised, "GB"), number, "GB")
    assert accepted > 2_000


def test_every_example_is_read_in_its_national_format() -> None:
    for example in examples():
        number = phonenumbers.parse(example)
        region = phonenumbers.region_code_for_number(number)
        if region not in (None, "001"):
            for style in (PhoneNumberFormat.NATIONAL, PhoneNumberFormat.INTERNATIONAL):
                text = phonenumbers.format_number(number, style)
                assert normalise(text, region) == e164(phonenumbers.parse(text, region)), text


@pytest.mark.parametrize("country", ["US", "GB", "AU", "JP", "BR", "KE"])
def test_every_example_is_read_as_dialled_from_abroad(country: str) -> None:
    for example in examples():
        text = phonenumbers.format_out_of_country_calling_number(phonenumbers.parse(example), country)
        assert normalise(text, country) == e164(phonenumbers.parse(text, country)), text


@pytest.mark.parametrize(
    ("raw", "country", "expected"),
    [
        ("+14155550100", "", "+14155550100"),
        ("+1 (415) 555-0100", "GB", "+14155550100"),
        ("+1.415.555.0100", "GB", "+14155550100"),
        ("415-555-0100", "US", "+14155550100"),
        ("1 415 555 0100", "US", "+14155550100"),
        ("011 44 20 7946 0000", "US", "+442079460000"),
        ("00 1 415 555 0100", "GB", "+14155550100"),
        ("020 7946 0000", "GB", "+442079460000"),
        ("+44 (0)20 7946 0000", "US", "+442079460000"),
        ("02 1234 5678", "IT", "+390212345678"),
        ("0011 44 20 7946 0000", "AU", "+442079460000"),
        ("8 10 1 415 555 0100", "RU", "+14155550100"),
        ("8 495 123-45-67", "KZ", "+74951234567"),
        # An area code newer than the metadata, and the 555 that everybody writes in examples.
        ("+15555550100", "US", "+15555550100"),
    ],
)
def test_normalises(raw: str, country: str, expected: str) -> None:
    assert normalise(raw, country) == expected


@pytest.mark.parametrize(
    ("raw", "country"),
    [
        ("", "US"),
        ("   ", "US"),
        ("+", "US"),
        ("anonymous", "US"),
        ("unavailable", ""),
        ("12", "US"),
        ("+1", "US"),
        ("+1415555010", "US"),
        ("+141555501000", "US"),
        ("+10155550100", "US"),
        ("+999123456789", "US"),
        ("+0123456789", "US"),
        ("++14155550100", "US"),
        ("+1415+5550100", "US"),
        ("1-800-FLOWERS", "US"),
        ("+1415555O100", "US"),
        ("+14155550100;ext=5", "US"),
        ("tel:+14155550100", "US"),
        ("sip:+14155550100@example.com", "US"),
        ("+1415555\n0100", "US"),
        ("+1415555\x000100", "US"),
        ("+١٤١٥٥٥٥٠١٠٠", "US"),
        ("\ud800", "US"),
        ("4155550100", ""),
        ("4155550100", "XX"),
        ("011", "US"),
        ("011 999 123456", "US"),
        ("442079460000", "US"),
        (" " * 60 + "+14155550100", "US"),
        ("9" * 1_000_000, "US"),
    ],
)
def test_refuses_what_is_no_number(raw: str, country: str) -> None:
    assert normalise(raw, country) is None


@given(st.text(max_size=80), st.sampled_from(["US", "GB", "DE", "AR", "JP", "", "??"]))
def test_whatever_comes_out_is_a_number(raw: str, country: str) -> None:
    number = normalise(raw, country)
    assert number is None or (number[0] == "+" and 4 <= len(number) <= 16 and number[1:].isdecimal())
    assert isinstance(is_emergency(raw, country), bool)
    assert classify(raw, country).e164 == raw


def in_two_steps(raw: str, country: str) -> NumberInfo | None:
    number = normalise(raw, country)
    return None if number is None else classify(number, country)


@given(
    st.one_of(st.text(max_size=80), st.from_regex(r"(\+|00|011)?[-0-9 ]{1,18}", fullmatch=True)),
    st.sampled_from(["US", "CA", "GB", "GG", "DE", "AR", "JP", "IT", "RU", "", "??"]),
)
def test_identifies_in_one_step_what_two_steps_find(raw: str, country: str) -> None:
    assert identify(raw, country) == in_two_steps(raw, country)


@pytest.mark.parametrize("country", ["US", "CA", "JM", "GB", "GG", "DE", "RU", "KZ", "IT", ""])
def test_identifies_known_numbers_however_they_are_written(country: str) -> None:
    for number in FIXED_SET:
        for raw in (number, f"{number[:3]} ({number[3:6]}) {number[6:]}", f"011{number[1:]}", f"00{number[1:]}"):
            assert identify(raw, country) == in_two_steps(raw, country)
        found = identify(number, country)
        assert found is not None
        assert found == classify(number, country)


@pytest.mark.parametrize(
    ("called", "country", "region", "kind", "is_domestic"),
    [
        ("+14155550100", "US", "US", NumberType.FIXED_LINE_OR_MOBILE, True),
        ("+14165550100", "US", "CA", NumberType.FIXED_LINE_OR_MOBILE, False),
        ("+18765230123", "US", "JM", NumberType.FIXED_LINE_OR_MOBILE, False),
        ("+18765230123", "JM", "JM", NumberType.FIXED_LINE_OR_MOBILE, True),
        ("+17872345678", "US", "PR", NumberType.FIXED_LINE_OR_MOBILE, False),
        ("+18005550100", "US", "US", NumberType.TOLL_FREE, True),
        ("+18005550100", "CA", "US", NumberType.TOLL_FREE, True),
        ("+18005550100", "JM", "US", NumberType.TOLL_FREE, True),
        ("+18005550100", "GB", "US", NumberType.TOLL_FREE, False),
        ("+19002345678", "CA", "US", NumberType.PREMIUM_RATE, True),
        ("+80012345678", "US", "001", NumberType.TOLL_FREE, False),
        ("+448001111111", "GG", "GB", NumberType.TOLL_FREE, True),
        ("+441481256789", "GB", "GG", NumberType.FIXED_LINE, False),
        ("+77710009998", "RU", "KZ", NumberType.MOBILE, False),
        ("+15555550100", "US", "US", NumberType.UNKNOWN, True),
        ("+15555550100", "CA", "US", NumberType.UNKNOWN, False),
        ("+18760000000", "US", "JM", NumberType.UNKNOWN, False),
        ("", "US", "ZZ", NumberType.UNKNOWN, False),
        ("14155550100", "US", "ZZ", NumberType.UNKNOWN, False),
        ("+999", "US", "ZZ", NumberType.UNKNOWN, False),
        ("anonymous", "US", "ZZ", NumberType.UNKNOWN, False),
        ("+14155550100", "", "US", NumberType.FIXED_LINE_OR_MOBILE, False),
        ("+14155550100", "nowhere", "US", NumberType.FIXED_LINE_OR_MOBILE, False),
    ],
)
def test_classifies(called: str, country: str, region: str, kind: NumberType, is_domestic: bool) -> None:
    assert classify(called, country) == NumberInfo(called, region, kind, is_domestic)


@pytest.mark.parametrize(
    ("kind", "is_domestic", "direction", "types"),
    [
        (NumberType.MOBILE, True, Direction.OUTBOUND, "MOBILE LOCAL"),
        (NumberType.MOBILE, False, Direction.OUTBOUND, "MOBILE"),
        (NumberType.FIXED_LINE_OR_MOBILE, True, Direction.OUTBOUND, "FIXED_LINE_OR_MOBILE FIXED_LINE LOCAL"),
        (NumberType.TOLL_FREE, True, Direction.OUTBOUND, "TOLL_FREE"),
        (NumberType.TOLL_FREE, False, Direction.OUTBOUND, ""),
        (NumberType.TOLL_FREE, False, Direction.INBOUND, "TOLL_FREE"),
        (NumberType.PREMIUM_RATE, True, Direction.OUTBOUND, "PREMIUM_RATE"),
        (NumberType.SHARED_COST, True, Direction.OUTBOUND, "SHARED_COST LOCAL"),
        (NumberType.UNKNOWN, True, Direction.OUTBOUND, "LOCAL"),
        (NumberType.UNKNOWN, False, Direction.OUTBOUND, ""),
    ],
)
def test_types_that_deck_rows_may_name(kind: NumberType, is_domestic: bool, direction: Direction, types: str) -> None:
    assert " ".join(number_types(kind, is_domestic, direction)) == types
    assert NumberInfo("+1", "US", kind, is_domestic).types(direction) == number_types(kind, is_domestic, direction)


@pytest.mark.parametrize(
    ("direction", "service", "called", "calling", "category"),
    [
        (Direction.OUTBOUND, Service.VOICE, "+14155550100", None, Category.LOCAL),
        (Direction.OUTBOUND, Service.VOICE, "+19002345678", None, Category.LOCAL),
        (Direction.OUTBOUND, Service.VOICE, "+18765230123", None, Category.INTERNATIONAL),
        (Direction.OUTBOUND, Service.VOICE, "+14165550100", "+14155550100", Category.INTERNATIONAL),
        (Direction.OUTBOUND, Service.VOICE, "+18005550100", None, Category.TOLL_FREE),
        (Direction.OUTBOUND, Service.VOICE, "+448001111111", None, Category.INTERNATIONAL),
        (Direction.OUTBOUND, Service.VOICE, "+80012345678", None, Category.INTERNATIONAL),
        (Direction.OUTBOUND, Service.FAX, "+442079460000", None, Category.FAX),
        (Direction.INBOUND, Service.FAX, "+14155550100", None, Category.FAX),
        (Direction.INBOUND, Service.VOICE, "+18005550100", "+442079460000", Category.TOLL_FREE),
        (Direction.INBOUND, Service.VOICE, "+448001111111", None, Category.TOLL_FREE),
        (Direction.INBOUND, Service.VOICE, "+14155550100", "+14155550101", Category.LOCAL),
        (Direction.INBOUND, Service.VOICE, "+14155550100", "+442079460000", Category.INTERNATIONAL),
        (Direction.INBOUND, Service.VOICE, "+14155550100", None, Category.LOCAL),
    ],
)
def test_category_of_a_call_of_an_office_in_the_us(
    direction: Direction, service: Service, called: str, calling: str | None, category: Category
) -> None:
    caller = None if calling is None else classify(calling, "US")
    assert call_category(direction, service, classify(called, "US"), caller) is category


@pytest.mark.parametrize("country", ["US", "GB", "JP", "TK", "", "no country", None])
@pytest.mark.parametrize("number", [*sorted(ALWAYS_EMERGENCY), "9-1-1", "1 1 2", "+911"])
def test_the_best_known_numbers_are_emergencies_everywhere(number: str, country: str | None) -> None:
    assert is_emergency(number, country)


def test_emergency_numbers_of_each_country_are_those_of_the_library() -> None:
    for country in set(SUPPORTED_SHORT_REGIONS) - {"GN"}:
        for number in ("110", "119", "100", "101", "15", "17", "190", "933", "995", "1122", "10111"):
            assert is_emergency(number, country) == is_emergency_number(number, country), (number, country)
            assert is_emergency(number, None) >= is_emergency(number, country)


@pytest.mark.parametrize(
    ("dialled", "country"),
    [
        ("", None),
        ("+", None),
        ("9", None),
        ("91", "US"),
        ("9111", "US"),
        ("110", "US"),
        ("933", "US"),
        ("+14155550911", "US"),
        ("1911", "US"),
        ("nine-one-one", None),
        ("９１１", "US"),  # noqa: RUF001 - digits of another script are what is tested
        ("\ud800", None),
        ("911" * 1_000_000, None),
        (" " * 1_000_000 + "911", None),
    ],
)
def test_other_texts_are_no_emergency_and_no_error(dialled: str, country: str | None) -> None:
    assert not is_emergency(dialled, country)


def test_a_country_whose_emergency_numbers_are_unknown_has_those_of_all() -> None:
    for country in (None, "GN", "TK", "XX"):
        assert is_emergency("110", country)
        assert is_emergency("190", country)


def test_warming_up_goes_in_slices() -> None:
    assert sum(1 for _ in warm_up()) > 200

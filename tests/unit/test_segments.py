"""How many segments a text is sent in, by the limits of 3GPP TS 23.038 and 23.040."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.segments import GSM_CODEC, count_octets, count_segments, count_septets

# 3GPP TS 23.038, 6.2.1 and 6.2.1.1, written out again: the library's tables are held against these.
DEFAULT_ALPHABET = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION_TABLE = "\f^{}\\[~]|€"


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 80 + "a", 2),
        ("€" * 152, 2),
        ("€" * 153, 3),
        ("a" * 152 + "€" + "a" * 151, 2),
        ("a" * 152 + "€" + "a" * 152, 3),
        ("é" * 160, 1),
        ("ê" * 70, 1),
        ("ê" * 71, 2),
        ("ê" * 134, 2),
        ("ê" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("😀" * 66, 2),
        ("😀" * 67, 3),
        ("a" * 69 + "😀", 2),
        ("`" * 70, 1),
        ("ç" * 71, 2),
        ("a" * 153 * 300, 300),
    ],
    ids=range(24),
)
def test_the_segments_of_a_text(text: str, segments: int) -> None:
    assert count_segments(text) == segments


def test_the_alphabet_is_that_of_the_standard() -> None:
    assert [DEFAULT_ALPHABET.index(c) for c in "@\n\rΔ¡¿à"] == [0x00, 0x0A, 0x0D, 0x10, 0x40, 0x60, 0x7F]
    for code, character in enumerate(DEFAULT_ALPHABET):
        if code != 0x1B:
            assert character.encode(GSM_CODEC) == bytes([code])
    for code, character in zip(b"\x0a\x14\x28\x29\x2f\x3c\x3d\x3e\x40\x65", EXTENSION_TABLE, strict=True):
        assert character.encode(GSM_CODEC) == bytes([0x1B, code])
    # What the 7-bit alphabet has not: not one other character of the Basic Multilingual Plane.
    others = {chr(code) for code in range(0x10000)} - set(DEFAULT_ALPHABET) - set(EXTENSION_TABLE) - {"\x1b"}
    assert "".join(others).encode(GSM_CODEC, "ignore") == b""


@given(st.text(alphabet=DEFAULT_ALPHABET + EXTENSION_TABLE + "中😀", max_size=1_000))
def test_segments_are_as_few_as_whole_characters_allow(text: str) -> None:
    is_gsm = set(text) <= set(DEFAULT_ALPHABET + EXTENSION_TABLE)
    single, joined = (160, 153) if is_gsm else (70, 67)

    def width(character: str) -> int:
        return 2 if (character in EXTENSION_TABLE and is_gsm) or character > "\uffff" else 1

    total = sum(map(width, text))
    filled: list[int] = [0]
    for character in text:
        if filled[-1] + width(character) > joined:
            filled.append(0)
        filled[-1] += width(character)
    assert count_segments(text) == (1 if total <= single else len(filled))


@pytest.mark.parametrize(
    ("octets", "header", "segments"),
    [
        (0, 0, 1),
        (140, 0, 1),
        (141, 0, 2),
        (268, 0, 2),
        (269, 0, 3),
        (134, 6, 1),
        (135, 6, 2),
        (133, 7, 1),
        (134, 7, 2),
        (256, 7, 2),
        (257, 7, 3),
    ],
)
def test_the_segments_of_octets(octets: int, header: int, segments: int) -> None:
    assert count_octets(octets, header) == segments


@pytest.mark.parametrize(
    ("septets", "header", "segments"),
    [
        (b"a" * 153, 6, 1),
        (b"a" * 154, 6, 2),
        (b"a" * 152, 7, 1),
        (b"a" * 153, 7, 2),
        (b"\x1b" * 160, 0, 1),
        (b"a" * 160 + b"\x1b", 0, 2),
    ],
)
def test_the_segments_of_septets(septets: bytes, header: int, segments: int) -> None:
    assert count_septets(septets, header) == segments


@pytest.mark.parametrize("header", [134, 140, 255])
def test_a_header_that_leaves_no_room(header: int) -> None:
    with pytest.raises(ValueError, match="leaves no room"):
        count_octets(1, header)
    with pytest.raises(ValueError, match="leaves no room"):
        count_septets(b"a", header)

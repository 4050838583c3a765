"""Commands as they are packed by hand: byte for byte what hiredis makes of the same parts."""

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.store.packing import Part, pack_script

KEYS = (b"tg:{7}:clock", b"tg:{7}:office:o", b"tg:{7}:call:o:c-1", b"tg:{7}:due", b"tg:{7}:outbox")
PARTS = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.binary()
)


def by_hiredis(function: bytes, keys: tuple[bytes, ...], args: tuple[Part, ...]) -> bytes:
    packed: bytes = hiredis.pack_command(("FCALL", function, len(keys), *keys, *args))  # type: ignore[arg-type]
    return packed


@given(st.lists(PARTS, min_size=17, max_size=17), st.lists(st.binary(), min_size=5, max_size=5))
def test_an_authorization(args: list[Part], keys: list[bytes]) -> None:
    packed = pack_script("authorize_call", b"authorize_call_0123456789ab", tuple(keys), tuple(args))
    assert packed == by_hiredis(b"authorize_call_0123456789ab", tuple(keys), tuple(args))


@given(st.lists(PARTS, max_size=20), st.lists(st.binary(), min_size=5, max_size=5))
def test_another_script_about_a_call(args: list[Part], keys: list[bytes]) -> None:
    assert pack_script("end_call", b"end", tuple(keys), tuple(args)) == by_hiredis(b"end", tuple(keys), tuple(args))


@given(st.lists(PARTS, max_size=9), st.lists(st.binary(), max_size=4))
def test_any_other_script(args: list[Part], keys: list[bytes]) -> None:
    assert pack_script("put_office", b"put", tuple(keys), tuple(args)) == by_hiredis(b"put", tuple(keys), tuple(args))


@pytest.mark.parametrize(
    ("first", "second"),
    [((1, "1"), ("1", 1)), ((b"1", 1), (1, b"1")), (("", "a"), ("a", "")), ((0, 10), (1, 0)), ((-1, 0), (0, -1))],
)
def test_what_is_remembered_is_not_taken_for_something_else(first: tuple[Part, ...], second: tuple[Part, ...]) -> None:
    for rest in (first, second, first):
        args = (1_790_000_000_000, b"o", "c-1", 739_000, 5, *rest)
        assert pack_script("tick_call", b"tick", KEYS, args) == by_hiredis(b"tick", KEYS, args)


@pytest.mark.parametrize("count", [0, 4, 16, 18])
def test_too_few_or_too_many_arguments_are_a_fault_and_no_broken_command(count: int) -> None:
    with pytest.raises(ValueError, match="values to unpack"):
        pack_script("authorize_call", b"authorize", KEYS, tuple(range(count)))

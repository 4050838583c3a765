"""The id of a request, and the caller's trace, as they come and go."""

import pytest

from gateway.domain.trace import Trace
from gateway.request_context import (
    current_trace,
    operation_id_from,
    outgoing_headers,
    read_traceparent,
    request_id_from,
)

TRACE = Trace(bytes.fromhex("0af7651916cd43dd8448eb211c80319c"), bytes.fromhex("b7ad6b7169203331"))
IDS = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"


@pytest.mark.parametrize("given", ["a", "x" * 128, "5f0a:~/!"])
def test_a_callers_id_is_kept(given: str) -> None:
    assert request_id_from(given) == given


@pytest.mark.parametrize("given", ["", "x" * 129, "with blank", "line\nbreak", "\x00", "naïve"])
def test_what_is_no_id_is_replaced(given: str) -> None:
    made = request_id_from(given)
    assert made != given
    assert request_id_from(made) == made


@pytest.mark.parametrize(
    ("given", "stream", "expected"),
    [
        ("mine", "s", "mine"),
        ("", "s", "s/7"),
        ("x" * 129, "s", "s/7"),
        ("no id", "s", "s/7"),
        ("", "s" * 128, "s" * 126 + "/7"),
    ],
)
def test_an_operation_of_a_session_has_the_streams_id_and_its_tag(given: str, stream: str, expected: str) -> None:
    assert operation_id_from(given, stream, 7) == expected


def test_no_two_made_ids_are_the_same() -> None:
    assert len({request_id_from("") for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize(
    ("text", "is_recorded"),
    [
        (f"00-{IDS}-01", True),
        (f"00-{IDS}-00", False),
        (f"00-{IDS}-03", True),
        (f"cc-{IDS}-01-of-later", True),
    ],
)
def test_a_traceparent_is_read(text: str, is_recorded: bool) -> None:
    assert read_traceparent(text) == (TRACE, is_recorded)


@pytest.mark.parametrize(
    "text",
    [
        "", "00", f"00-{IDS}", f"ff-{IDS}-01", f"00-{IDS}-1", f"00-{IDS.upper()}-01", f" 00-{IDS}-01",
        f"00-{32 * '0'}-b7ad6b7169203331-01", f"00-0af7651916cd43dd8448eb211c80319c-{16 * '0'}-01", f"00-{IDS}-01\n",
    ],
)  # fmt: skip
def test_what_is_no_traceparent_is_none(text: str) -> None:
    assert read_traceparent(text) is None


def test_a_trace_goes_on_outside_only_where_it_is_recorded() -> None:
    assert outgoing_headers() == {}
    token = current_trace.set(TRACE)
    try:
        assert outgoing_headers() == {"traceparent": f"00-{IDS}-01"}
    finally:
        current_trace.reset(token)

"""What a browser sends, read: much of it was never written by a page of ours."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlencode

import pytest
from starlette.requests import Request
from starlette.types import Message

from gateway.errors import InvalidArgument
from gateway.page.forms import Form

MENU: Mapping[str, int] = {"local": 2, "fax": 6}


def request(query: str = "", body: bytes = b"") -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request({"type": "http", "method": "POST", "headers": [], "query_string": query.encode()}, receive)


def posted(body: bytes) -> Form:
    return asyncio.run(Form.of_body(request(body=body)))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"name=Ann", "Ann"),
        (b"name=+Ann+", "Ann"),
        (b"name=%C3%84nne%20%26%20Co", "Änne & Co"),
        (b"name=first&name=last", "last"),
        (b"other=x", ""),
        (b"name=", ""),
        (b"name", ""),
        (b"", ""),
        (b"&&&=&", ""),
        (b"NAME=Ann", ""),
        (b"name=%FF", "\ufffd"),
        (b"\xff\xfe", ""),
        (b"name=%", "%"),
        (b'{"name": "Ann"}', ""),
        (b"name=a;name=b", "a;name=b"),
    ],
)
def test_the_last_of_a_field_counts(body: bytes, text: str) -> None:
    assert posted(body).text("name") == text


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("q=a", "a"),
        ("q=a&q=b", "b"),
        ("q=%20a%20", "a"),
        ("", ""),
        ("q", ""),
        ("p=a", ""),
        ("q=%3Cscript%3E", "<script>"),
    ],
)
def test_a_query_is_a_form_too(query: str, text: str) -> None:
    assert Form.of_query(request(query)).text("q") == text


@pytest.mark.parametrize("count", [51, 100, 10_000])
def test_a_form_with_more_fields_than_any_of_ours_is_refused(count: int) -> None:
    with pytest.raises(InvalidArgument, match="too many fields"):
        posted(urlencode([(f"f{number}", "1") for number in range(count)]).encode())
    assert posted(urlencode([(f"f{number}", "1") for number in range(50)]).encode()).is_on("f49")


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("50", 50_000_000),
        ("50.00", 50_000_000),
        (" $50.00 ", 50_000_000),
        ("1,000", 1_000_000_000),
        ("$1,234,567.89", 1_234_567_890_000),
        ("0.000001", 1),
        ("-5", -5_000_000),
    ],
)
def test_an_amount_is_read_exactly(text: str, micros: int) -> None:
    assert Form({"amount": text}).amount("amount") == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "$",
        ",",
        "fifty",
        "50.",
        ".5",
        "1e3",
        "50 USD",
        "$$50",
        "50$",
        "\u20ac50",
        "0x10",
        "nan",
        "\u0665\u0660",
        "0.0000001",
        "1000000000.01",
        "9" * 40,
        "1\n2",
        "<script>",
        # A comma that separates no thousands is a decimal point in half of the world: 1,23 is not 123.
        "1,23",
        "0,50",
        "10,5",
        "1,0000",
        "1000,000",
        ",000",
        "1,,000",
        "1,000,",
        "1.000,00",
        "1.0,000",
    ],
)
def test_what_is_no_amount_is_refused_by_the_name_of_its_field(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"must be an amount such as 50\.00") as refused:
        Form({"threshold": text}).amount("threshold")
    assert refused.value.field == "threshold"


@pytest.mark.parametrize(("text", "micros"), [("50000000", 50_000_000), ("0", 0), ("9" * 16, 10**16 - 1)])
def test_micros_come_from_a_page_of_ours(text: str, micros: int) -> None:
    assert Form({"amount": text}).micros("amount") == micros


@pytest.mark.parametrize(
    "text",
    ["", "50.00", "-1", "+1", "1e6", "1_000", "1,000", "\u0665", "\u00b2", "0x1", "a", "1 0", "9" * 17, "9" * 5_000],
)
def test_micros_of_nobody_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="go back and choose one"):
        Form({"amount": text}).micros("amount")


@pytest.mark.parametrize(("text", "value"), [("fax", 6), (" local ", 2), ("", 0), (" ", 0)])
def test_a_word_of_a_menu_stands_for_its_number(text: str, value: int) -> None:
    assert Form({"category": text}).choice("category", MENU, 0) == value


@pytest.mark.parametrize("text", ["FAX", "6", "0", "local,fax", "none", "__class__", "<b>", "\u200b"])
def test_no_word_of_a_menu_is_refused_with_those_that_are(text: str) -> None:
    with pytest.raises(InvalidArgument, match="must be one of local, fax") as refused:
        Form({"category": text}).choice("category", MENU, 0)
    assert refused.value.field == "category"


@pytest.mark.parametrize(
    ("fields", "is_on"), [({"box": "1"}, True), ({"box": "on"}, True), ({"box": ""}, False), ({}, False)]
)
def test_a_box_is_ticked_or_not(fields: Mapping[str, str], is_on: bool) -> None:
    assert Form(fields).is_on("box") is is_on

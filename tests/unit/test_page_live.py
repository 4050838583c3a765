"""Events as they go over the wire (WHATWG HTML, section 9.2.6): what a browser would make of them is what was meant."""

import pytest

from gateway.page.live import Event


def parsed(stream: str) -> list[tuple[str, str]]:
    """The events that a browser dispatches, with their names: one without data it does not."""
    events = []
    for block in stream.split("\n\n"):
        fields = [line.partition(":") for line in block.split("\n")]
        name = "".join(value.removeprefix(" ") for field, _, value in fields if field == "event")
        data = [value.removeprefix(" ") for field, _, value in fields if field == "data"]
        if data:
            events.append((name, "\n".join(data)))
    return events


@pytest.mark.parametrize(
    ("html", "data"),
    [
        ("<p>so</p>", "<p>so</p>"),
        ("<p>so</p>\n", "<p>so</p>"),
        ("<p>\nso\n</p>", "<p>\nso\n</p>"),
        # Whatever ends a line anywhere ends none of the stream's: what a name brings with it begins no other event.
        ("a\r\nb\rc", "a\nb\nc"),
        ("a\n\nevent: gone\ndata: b", "a\n\nevent: gone\ndata: b"),
        ("a\r\revent: gone", "a\n\nevent: gone"),
        ("data: a", "data: a"),
        (": a", ": a"),
        (" a", " a"),
        ("\u00e9\u2028\u4e16", "\u00e9\n\u4e16"),
        ("", ""),
        ("\n", ""),
    ],
)
def test_a_part_of_a_page_is_one_event(html: str, data: str) -> None:
    assert parsed(Event("funds", html).encoded().decode()) == [("funds", data)]

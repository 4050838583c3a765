"""Events as they go over the wire (WHATWG HTML, section 9.2.6): what a browser would make of them is what was meant."""

from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.responses import StreamingResponse

from gateway.domain.identity import Identity, hash_secret
from gateway.domain.vocabulary import Role
from gateway.page import live
from gateway.page.desk import Desk
from gateway.page.live import Event, LiveStreams
from gateway.page.sessions import SESSION_SECONDS, Sessions
from tests.support.balances import ManualClock


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


async def test_a_stream_ends_with_the_session_that_opened_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "RECHECK_SECONDS", 0.0)
    clock = ManualClock()
    sessions = Sessions(b"k" * 32, clock, secure=False)
    session = sessions.begin(hash_secret("tg_token"))

    async def bearer(_: str) -> Any:
        return Identity(Role.OPERATOR, "t0")

    async def events() -> AsyncGenerator[Event, None]:
        for number in range(10):
            yield Event("funds", str(number))
            if number == 1:
                clock.move(SESSION_SECONDS)

    known: Any = SimpleNamespace(bearer=bearer)
    nothing: Any = None
    desk = Desk(nothing, known, sessions, clock, currency="USD")
    visit: Any = SimpleNamespace(session=session)
    response = LiveStreams(desk).response(visit, events())
    assert isinstance(response, StreamingResponse)
    sent = b"".join([bytes(part) async for part in response.body_iterator if not isinstance(part, str)])
    assert parsed(sent.decode()) == [
        ("funds", "0"),
        ("funds", "1"),
        ("funds", "2"),
        ("gone", "Your session has ended: sign in again."),
    ]

"""SIP MESSAGE through a real Kamailio: paid for by the segment, blocked, or given back."""

import asyncio

import pytest

from tests.support.kamailio_scene import LONDON, SMS, Installation, Scene, scene
from tests.support.sip import Call, SipMessage

pytestmark = [pytest.mark.switches, pytest.mark.xdist_group("kamailio")]

TEXT = ("Content-Type", "text/plain;charset=UTF-8")


async def sent(here: Scene, body: str, called: str = LONDON, content_type: tuple[str, str] = TEXT) -> Call:
    """Send a message."""
    message = here.call(called)
    message.send("MESSAGE", content_type, body=body.encode())
    return message


async def refused(message: Call) -> SipMessage:
    """What a message was refused with."""
    return await message.response("MESSAGE", *range(300, 700))


@pytest.mark.parametrize(
    ("body", "segments"),
    [
        ("Hello", 1),
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ('"},{"x":1\r\n\\', 1),
        ("a" * 153 * 107, 107),
        ("€" * 5461, 72),
    ],
)
async def test_a_message_is_paid_for_by_the_segment(kamailio_parts: Installation, body: str, segments: int) -> None:
    async with scene(kamailio_parts) as here:
        message = await sent(here, body)
        arrived = await here.arrives(message, "MESSAGE")
        assert arrived.body == body.encode()
        assert not arrived.header("X-Tollgate-Office")
        here.callee.reply(arrived, 200)
        await message.response("MESSAGE", 200)
        assert await here.billed() == [segments * SMS]
        [record] = await here.operator.usage(here.office)
        assert record.segments == segments


async def test_a_message_that_cannot_be_paid_is_402_and_not_sent(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts, SMS - 1) as here:
        message = await sent(here, "Hello")
        answer = await refused(message)
        assert (answer.status, answer.header("X-Tollgate-Reason")) == (402, "INSUFFICIENT_FUNDS")
        assert await here.operator.balance(here.office) == SMS - 1
        assert here.strays(message) == []


@pytest.mark.parametrize(
    ("called", "content_type", "body", "status"),
    [
        ("+88213300000", TEXT, "Hello", 403),
        ("12", TEXT, "Hello", 404),
        ("lisa!", TEXT, "Hello", 404),
        (LONDON, ("Content-Type", "application/im-iscomposing+xml"), "<isComposing/>", 415),
        (LONDON, TEXT, "a" * 16385, 413),
    ],
)
async def test_what_else_is_refused(
    kamailio_parts: Installation, called: str, content_type: tuple[str, str], body: str, status: int
) -> None:
    async with scene(kamailio_parts) as here:
        assert (await refused(await sent(here, body, called, content_type))).status == status
        assert await here.operator.balance(here.office) == 10_000_000


@pytest.mark.parametrize("status", [404, 480, 503, 603])
async def test_a_message_that_is_not_delivered_is_given_back_once(kamailio_parts: Installation, status: int) -> None:
    async with scene(kamailio_parts) as here:
        message = await sent(here, "Hello")
        arrived = await here.arrives(message, "MESSAGE")
        here.callee.reply(arrived, status)
        here.callee.reply(arrived, status)
        assert (await refused(message)).status in (status, 500)  # A proxy makes 500 of 503.
        [record] = await here.operator.wait_usage(here.office, 1)
        while not record.refunded:
            await asyncio.sleep(0.05)
            [record] = await here.operator.usage(here.office)
        assert (record.refunded_micros, record.cost_micros) == (SMS, 0)
        assert await here.operator.balance(here.office) == 10_000_000


async def test_a_message_that_is_retransmitted_is_sent_and_paid_once(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        message = await sent(here, "Hello")
        for _ in range(3):
            message.send("MESSAGE", TEXT, body=b"Hello", branch=message.requests["MESSAGE"])
        arrived = await here.arrives(message, "MESSAGE")
        here.callee.reply(arrived, 200)
        await message.response("MESSAGE", 200)
        assert await here.billed() == [SMS]
        # What Kamailio sent again itself, on a slow machine, is the same request.
        again = {each.header("Via") for each in here.strays(message)}
        assert again <= {arrived.header("Via")}


async def test_a_message_to_an_emergency_number_is_never_asked_about(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts, 0) as here:
        message = await sent(here, "Help", "911")
        here.callee.reply(await here.arrives(message, "MESSAGE"), 200)
        await message.response("MESSAGE", 200)


async def test_a_hundred_messages_spend_what_there_is_and_no_more(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts, 37 * SMS) as here:

        def deliver(message: SipMessage) -> bool:
            here.callee.reply(message, 200)
            return True

        here.callee.endpoint.on_message = deliver
        messages = []
        for _ in range(100):
            messages.append(await sent(here, "Hello"))
            await asyncio.sleep(0.002)
        statuses = [(await each.response("MESSAGE", *range(200, 700))).status for each in messages]
        assert (statuses.count(200), statuses.count(402)) == (37, 63)
        assert await here.operator.balance(here.office) == 0

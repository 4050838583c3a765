"""A phone that vanishes: nobody's BYE ever comes, and the call ends all the same."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.kamailio_scene import SECOND, Installation, installation, scene
from tests.support.sip import SipMessage

pytestmark = [pytest.mark.switches, pytest.mark.xdist_group("kamailio-keepalive")]

ASKED_AFTER_SECONDS = 30
"""The least that Kamailio takes."""


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Installation]:
    with installation(tmp_path, TOLLGATE_KEEPALIVE_SECONDS=str(ASKED_AFTER_SECONDS)) as running:
        yield running


async def test_a_call_whose_byes_are_lost_ends_when_its_phones_are_asked(parts: Installation) -> None:
    async with scene(parts) as here:
        call = here.call()
        await here.answered(call)
        answered_at = time.monotonic()

        def has_forgotten(message: SipMessage) -> bool:
            # The callee was restarted: it knows of no call.
            here.callee.reply(message, 481)
            return True

        here.callee.endpoint.on_message = has_forgotten
        options = await here.caller.expect("OPTIONS", limit_seconds=ASKED_AFTER_SECONDS + 10)
        call.reply(options, 200)
        call.reply(await here.caller.expect("BYE", limit_seconds=20), 200)
        lasted = time.monotonic() - answered_at
        [cost] = await here.billed()
        assert ASKED_AFTER_SECONDS * SECOND <= cost <= (lasted + 2) * SECOND

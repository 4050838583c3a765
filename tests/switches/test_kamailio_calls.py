"""Calls through a real Kamailio: what the caller is answered, and what is billed."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.kamailio_scene import LONDON, SECOND, Installation, installation, scene

pytestmark = [pytest.mark.switches, pytest.mark.xdist_group("kamailio-calls")]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("kamailio-calls")) as running:
        yield running


async def test_an_answered_call_is_billed_by_its_talk_time_rounded_up(parts: Installation) -> None:
    async with scene(parts) as here:
        call = here.call()
        invite = await here.answered(call)
        assert invite.uri.startswith(f"sip:{LONDON}@")
        assert not invite.header("X-Tollgate-Office")
        await asyncio.sleep(1.4)
        await here.hung_up(call)
        assert await here.billed() == [2 * SECOND]

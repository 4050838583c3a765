"""A hundred calls of every kind at once, placed and answered by sipp, and the books to the micro."""

import asyncio
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from tests.support.kamailio import TRUSTED, Process
from tests.support.kamailio_scene import SECOND, Installation
from tests.support.operator import Operator, assert_audit_is_clean
from tests.support.sipp import assert_all_went_well, placed_calls, running_callee

pytestmark = [pytest.mark.switches, pytest.mark.xdist_group("kamailio")]

ANSWERS, IS_BUSY, IS_AWAY, WAITS = "+442079460950", "+442079460951", "+442079460952", "+442079460953"


async def test_a_hundred_calls_of_every_kind_are_settled_to_the_micro(
    kamailio_parts: Installation, tmp_path: Path
) -> None:
    async with Operator.of(kamailio_parts.gateway.admin_server) as operator:
        rich = await operator.create_office(100_000_000)
        poor = await operator.create_office(SECOND - 1)
        cut = [await operator.create_office(4 * SECOND) for _ in range(10)]
        saved = [await operator.create_office(3 * SECOND) for _ in range(10)]
        proxy = kamailio_parts.kamailio.address

        def place(
            scenario: str, calls: list[tuple[str, str]], *, pause_seconds: float = 0, status: int = 0
        ) -> AbstractContextManager[Process]:
            return placed_calls(
                tmp_path, scenario, calls, proxy, host=TRUSTED, pause_seconds=pause_seconds, status=status
            )

        with running_callee(tmp_path, kamailio_parts.carrier), ExitStack() as stack:
            started = [
                stack.enter_context(calls)
                for calls in (
                    place("answered", [(rich, ANSWERS)] * 40, pause_seconds=2.4),
                    place("refused", [(rich, IS_BUSY)] * 10, status=486),
                    place("refused", [(rich, IS_AWAY)] * 10, status=480),
                    place("refused", [(poor, ANSWERS)] * 10, status=402),
                    place("cancelled", [(rich, WAITS)] * 10),
                    place("hung_up", [(office, ANSWERS) for office in cut]),
                    place("answered", [(office, ANSWERS) for office in saved], pause_seconds=4.4),
                )
            ]
            for office in saved:
                await wait_answered(operator, office)
                await operator.adjust(office, 100 * SECOND)
            for calls in started:
                await asyncio.to_thread(assert_all_went_well, calls)

        assert (await operator.wait_settled(rich)).balance_micros == 100_000_000 - 40 * 3 * SECOND
        assert (await operator.wait_settled(poor)).balance_micros == SECOND - 1
        for office in cut:
            assert (await operator.wait_settled(office)).balance_micros == 0
            [record] = await operator.wait_usage(office, 1)
            assert record.billed_seconds == 4
            assert record.duration_seconds in (4, 5), "cut within a second of what was granted"
        for office in saved:
            assert (await operator.wait_settled(office)).balance_micros == (103 - 5) * SECOND
        records = await operator.wait_usage(rich, 70)
        assert sorted(record.cost_micros for record in records) == [0] * 30 + [3 * SECOND] * 40
    await asyncio.to_thread(assert_audit_is_clean, kamailio_parts.gateway.data_dir)


async def wait_answered(operator: Operator, office: str) -> None:
    """Wait until the call of an office is answered."""
    for _ in range(500):
        if any(call.HasField("answered_at") for call in await operator.live_calls(office)):
            return
        await asyncio.sleep(0.02)
    raise AssertionError(f"the call of {office} is not answered")

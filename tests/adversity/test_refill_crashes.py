"""A crash at every step of an automatic refill: whoever starts next finishes it, with one charge and one credit.

As in test_purchase_crashes.py, a crash is an exception at one step, before or after it, and a back thrown away.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from gateway.domain.payment import RefillStatus
from gateway.domain.vocabulary import RefillState
from tests.support.back import OFFICE, BackUnderTest, Fault, running_back
from tests.support.balances import ManualClock
from tests.support.billing import DOLLARS, finish
from tests.support.money_steps import REFILL, Where
from tests.support.refills import attempts, dip, pay, status_of, told, wait_out, with_refill
from tests.support.servers import StoreServer

FAILING: Final[Mapping[str, Where]] = {
    "the card is charged": REFILL["the card is charged"],
    "the outcome is recorded": REFILL["the outcome is recorded"],
    "the store is told of the failure": lambda back: (back.store, "fail_refill"),
    "the failure is recorded": lambda back: (back.back.billing.refills, "close"),
}


pytestmark = pytest.mark.slow  # Short each, and many.


class Crash(Exception):
    """The process died here."""


async def crash(back: BackUnderTest, where: Where, done: bool) -> None:
    fault = Fault(*where(back), done=done, error=Crash())
    with pytest.raises(Crash):
        await pay(back)
    assert fault.has_struck


async def go_on(back: BackUnderTest) -> None:
    """What the loops of a process do that starts after a crash."""
    for _ in range(4):
        await pay(back)
        await finish(back, turns=1)


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", REFILL)
async def test_a_refill_that_died_is_finished_once(valkey: StoreServer, tmp_path: Path, step: str, done: bool) -> None:
    clock = ManualClock()
    async with running_back(valkey, tmp_path, clock=clock) as back:
        await with_refill(back)
        await dip(back)
        await crash(back, REFILL[step], done)
    async with running_back(valkey, tmp_path, flush=False, clock=clock) as back:
        await go_on(back)
        if await back.till.refill_state() is RefillState.WAITING:
            # The charge was never made, which the look-up has made sure of: another attempt.
            await wait_out(back)
            await go_on(back)
        assert [status for _, status in attempts(back)].count("SUCCEEDED") == 1
        assert await status_of(back) is RefillStatus.CREDITED
        office = await back.till.office()
        assert (office.balance_micros, office.refill_state, office.refill_number) == (
            54 * DOLLARS, RefillState.ARMED, 1,
        )  # fmt: skip
        assert (await back.ledger.credits.total(OFFICE)).last_number == 2
        assert (await told(back)).count("REFILL_DONE") == 1


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", FAILING)
async def test_a_failure_whose_report_died_counts_once(
    valkey: StoreServer, tmp_path: Path, step: str, done: bool
) -> None:
    clock = ManualClock()
    async with running_back(valkey, tmp_path, clock=clock) as back:
        await with_refill(back, "tok_declined")
        await dip(back)
        await crash(back, FAILING[step], done)
    async with running_back(valkey, tmp_path, flush=False, clock=clock) as back:
        clock.move(60)
        while await back.back.background.billing.turn():
            pass
        await pay(back)
        office = await back.till.office()
        was_made = step != "the card is charged" or done
        assert (office.refill_state, office.refill_failures) == (RefillState.WAITING, int(was_made))
        assert await status_of(back) is RefillStatus.FAILED
        assert await told(back) == ["REFILL_FAILED"] * was_made
        assert office.balance_micros == 4 * DOLLARS

"""kill -9 at every step of a purchase and of a refill: whatever is started next finishes it, with one charge and one
credit, and the audit is clean, before as after.

What test_purchase_crashes.py and test_refill_crashes.py do with an exception, done to processes: nothing is closed,
rolled back or told to anybody, and what is on the disk is all that is left.
"""

from pathlib import Path
from typing import Final

import pytest

from gateway.auditing import audit
from gateway.domain.payment import ChargePurpose, RefillStatus
from gateway.domain.vocabulary import RefillState
from tests.support.back import OFFICE, BackUnderTest, running_back
from tests.support.balances import ManualClock
from tests.support.billing import DOLLARS, buy, card_charges, confirmed_card, finish
from tests.support.dying_gateway import let_die, run_until_dead
from tests.support.money_steps import PURCHASE, REFILL
from tests.support.refills import dip, pay, status_of, wait_out, with_refill
from tests.support.servers import StoreServer

pytestmark = pytest.mark.slow

WHEN: Final = pytest.mark.parametrize("done", [False, True], ids=["before", "after"])


async def is_clean(back: BackUnderTest) -> None:
    report = await audit(back.back.database, back.back.connection)
    assert report.is_clean, [str(each) for each in report.differences]


def paid(back: BackUnderTest, purpose: ChargePurpose) -> int:
    """How often the card was charged, by the sandbox's own file."""
    return sum(each.status == "SUCCEEDED" for each in card_charges(back, purpose))


async def go_on(back: BackUnderTest) -> None:
    """What the loops of a process do that starts after the death; another attempt where none was made."""
    for _ in range(2):
        for _ in range(4):
            await pay(back)
            await finish(back, turns=1)
        if await back.till.refill_state() is not RefillState.WAITING:
            return
        await wait_out(back)


@WHEN
@pytest.mark.parametrize("step", PURCHASE)
async def test_a_purchase(valkey: StoreServer, tmp_path: Path, step: str, done: bool) -> None:
    clock = ManualClock()
    async with running_back(valkey, tmp_path, clock=clock) as back:
        await back.open_office()
        card = await confirmed_card(back)
    let_die(valkey, tmp_path, clock.now_ms(), "buy", (step, done), card)
    was_written = step != "the purchase and its charge are written down" or done
    async with running_back(valkey, tmp_path, flush=False, clock=clock) as back:
        await is_clean(back)
        clock.move(60)
        while await back.back.background.billing.turn() or await back.back.background.applier.turn():
            pass
        assert paid(back, ChargePurpose.PURCHASE) == was_written
        assert (await back.get_office()).balance_micros == 50 * DOLLARS * was_written
        # Whoever bought has heard nothing, and asks again with the same key.
        assert (await buy(back, card)).balance_micros == 50 * DOLLARS
        await finish(back)
        await back.journaler.turn()
        assert paid(back, ChargePurpose.PURCHASE) == 1
        assert (await back.ledger.credits.total(OFFICE)).last_number == 1
        await back.store_is_as_credits_say()
        await is_clean(back)


async def is_refilled_once(back: BackUnderTest) -> None:
    assert paid(back, ChargePurpose.REFILL) == 1
    assert await status_of(back) is RefillStatus.CREDITED
    office = await back.till.office()
    assert (office.balance_micros, office.refill_state, office.refill_number) == (54 * DOLLARS, RefillState.ARMED, 1)
    total = await back.ledger.credits.total(OFFICE)
    assert (total.last_number, total.unconfirmed) == (2, 0)
    await back.journaler.turn()
    await is_clean(back)


@WHEN
@pytest.mark.parametrize("step", REFILL)
async def test_a_refill(valkey: StoreServer, tmp_path: Path, step: str, done: bool) -> None:
    clock = ManualClock()
    async with running_back(valkey, tmp_path, clock=clock) as back:
        await with_refill(back)
        await dip(back)
    let_die(valkey, tmp_path, clock.now_ms(), "refill", (step, done))
    async with running_back(valkey, tmp_path, flush=False, clock=clock) as back:
        await is_clean(back)
        await go_on(back)
        await is_refilled_once(back)


async def test_a_refill_whose_every_gateway_dies_a_step_further(valkey: StoreServer, tmp_path: Path) -> None:
    """Each begins with what the one before has left, and dies at its own step, if it is still to be done."""
    clock = ManualClock()
    async with running_back(valkey, tmp_path, clock=clock) as back:
        await with_refill(back)
        await dip(back)
    deaths = 0
    for step in REFILL:
        for done in (False, True):
            exit_code = run_until_dead(valkey, tmp_path, clock.now_ms(), "refill and finish", (step, done))
            assert exit_code in (0, -9)
            deaths += exit_code == -9
            clock.move(4 * 3_600)
    assert deaths > len(REFILL)
    async with running_back(valkey, tmp_path, flush=False, clock=clock) as back:
        await go_on(back)
        await is_refilled_once(back)

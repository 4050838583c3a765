"""A month of offices: calls, messages, refills and purchases on two gateways, and at its end every sum is right.

Run again what failed with MONTH_SEED=<seed>, which every run prints.
"""

import asyncio
import os
import random
from pathlib import Path
from typing import Final

import pytest
import uvloop

from tests.simulation.month.checks import Totals, check
from tests.simulation.month.plot import Size, played_month
from tests.support.servers import StartStore

SEED_VARIABLE: Final = "MONTH_SEED"
SMALL: Final = Size(offices=24, things=800, bursts=8, purchases=24, pace=1.0)
LARGE: Final = Size(offices=200, things=100_000, bursts=80, purchases=200, pace=0.6)


@pytest.mark.xdist_group("month")
@pytest.mark.parametrize("size", [SMALL, pytest.param(LARGE, marks=pytest.mark.slow)], ids=["small", "large"])
def test_a_month_adds_up(start_store: StartStore, tmp_path: Path, size: Size) -> None:
    seed = int(os.environ.get(SEED_VARIABLE) or random.randrange(2**32))
    print(f"again with {SEED_VARIABLE}={seed}")
    # Synced with every write, so that the journal waits for no second to pass.
    server = start_store(appendfsync="always")

    async def play() -> Totals:
        async with played_month(server, tmp_path, seed, size) as month:
            totals = await check(month)
            assert month.looks
            assert month.audits
            return totals

    # As the processes of a gateway run.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        totals = runner.run(play())
    print(totals)
    assert totals.records > 0.9 * size.things
    assert totals.refused
    assert totals.refills
    assert totals.purchases

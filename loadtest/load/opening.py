"""What every load begins with: offices with funds, and a switch's token by which a gateway decides for them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from loadtest.load.gateway import LoadedGateway
from loadtest.load.offices import Offices
from loadtest.load.operator import Operator
from loadtest.scene import open_stub_with, wait_until_decides


@asynccontextmanager
async def opened(gateway: LoadedGateway, offices: Offices, run_id: str) -> AsyncIterator[tuple[Operator, str]]:
    """Open the offices, and wait until the gateway knows them.

    Args:
        gateway: That is to be loaded.
        offices: With funds and without.
        run_id: Names the switch.

    Yields:
        The operator, and the secret of the switch's token, which is good until the block ends.

    Raises:
        BenchError: The gateway does not decide for them.
    """
    async with Operator.of(gateway) as operator, operator.switch_token(run_id) as token:
        await operator.open_offices(offices)
        async with open_stub_with(gateway.server, token) as stub:
            await wait_until_decides(stub, offices.funded[0])
        yield operator, token

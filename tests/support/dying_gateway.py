"""A back in a process of its own that is killed, by SIGKILL and its own hand, at a chosen step of what it is doing.

The processes are forked off a server that has imported the gateway already, so that each costs a fraction of a second.
"""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

from tests.support.back import BackUnderTest, running_back
from tests.support.balances import ManualClock
from tests.support.billing import buy, finish
from tests.support.money_steps import PURCHASE, REFILL, Where
from tests.support.refills import pay
from tests.support.servers import StoreServer

DEADLINE_SECONDS: Final = 60.0

Step: TypeAlias = tuple[str, bool]
"""The name of a step, and whether death comes after it was done."""


async def _buy(back: BackUnderTest, card: str) -> None:
    await buy(back, card)


async def _refill(back: BackUnderTest, card: str) -> None:
    await pay(back)


async def _refill_and_finish(back: BackUnderTest, card: str) -> None:
    for _ in range(4):
        await pay(back)
        await back.back.background.waker.turn()
        await finish(back, turns=1)


DEEDS: Final[Mapping[str, tuple[Callable[[BackUnderTest, str], Awaitable[None]], Mapping[str, Where]]]] = {
    "buy": (_buy, PURCHASE),
    "refill": (_refill, REFILL),
    "refill and finish": (_refill_and_finish, REFILL),
}
"""What a gateway may be doing, and the steps of that."""


class GatewayLived(AssertionError):
    """The process came to its end instead of to the step at which it was to die."""


def let_die(server: StoreServer, folder: Path, now_ms: int, deed: str, step: Step, card: str = "") -> None:
    """Have a gateway do something on a store and a ledger, and be killed at a step of it.

    Raises:
        GatewayLived: It was not.
    """
    exit_code = run_until_dead(server, folder, now_ms, deed, step, card)
    if exit_code != -signal.SIGKILL:
        raise GatewayLived(f"exit code {exit_code}")


def run_until_dead(server: StoreServer, folder: Path, now_ms: int, deed: str, step: Step, card: str = "") -> int | None:
    """The same, where the step may have been done before; returns the exit code, -9 for a death."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=_live, args=(server, folder, now_ms, deed, step, card))
    process.start()
    try:
        process.join(DEADLINE_SECONDS)
        return process.exitcode
    finally:
        process.kill()
        process.join()
        process.close()


def _live(server: StoreServer, folder: Path, now_ms: int, deed: str, step: Step, card: str) -> None:
    asyncio.run(_do(server, folder, ManualClock(now_ms), deed, step, card))


async def _do(server: StoreServer, folder: Path, clock: ManualClock, deed: str, step: Step, card: str) -> None:
    doing, steps = DEEDS[deed]
    async with running_back(server, folder, flush=False, clock=clock) as back:
        name, done = step
        _arm(*steps[name](back), done=done)
        await doing(back, card)


def _arm(of: object, operation: str, *, done: bool) -> None:
    original: Callable[..., Awaitable[Any]] = getattr(of, operation)

    async def die(*arguments: object, **named: object) -> None:
        if done:
            await original(*arguments, **named)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(of, operation, die)

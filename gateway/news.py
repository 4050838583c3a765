"""News that the journaler has for the back of the same gateway: a byte each, through a pipe that the supervisor holds.

They only save waiting. What they tell of is in SQL, where the loops of every back find it in their next turn, so that
news which are lost, of a back that is just being started or on another machine, cost no more than that.
"""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from enum import IntEnum
from typing import Final

from gateway.parent_watch import take_descriptor

NEWS_VARIABLE: Final = "TOLLGATE_NEWS_FD"
"""Has the end of the pipe that is for this process: the journaler writes, the back reads."""

_A_READ: Final = 4_096


class News(IntEnum):
    """What the back is to look at."""

    REFILLS_RECORDED = 1
    GUARDS_TRIPPED = 2


def open_news() -> tuple[int, int]:
    """The pipe, for the supervisor: its end for the back and its end for the journaler.

    Neither waits, since a back that is away reads nothing, and a journaler must not stand still for it.
    """
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    return reader, writer


def news_teller() -> Callable[[News], None]:
    """What the journaler tells its news by; where there is no supervisor, nobody hears them."""
    descriptor = take_descriptor(NEWS_VARIABLE)

    def tell(news: News) -> None:
        if descriptor is not None:
            # Full, when nobody has read for thousands of news; whoever begins to will look by itself.
            with suppress(BlockingIOError):
                os.write(descriptor, bytes([news]))

    return tell


async def follow_news(hear: Callable[[News], None]) -> None:
    """Pass on what the journaler tells, for ever; the same news many times over only once."""
    descriptor = take_descriptor(NEWS_VARIABLE)
    for_ever = asyncio.Event()
    if descriptor is None:
        await for_ever.wait()
        return
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            told = os.read(descriptor, _A_READ)
        except BlockingIOError:
            return
        if not told:  # The supervisor is gone, and this process is about to be.
            loop.remove_reader(descriptor)
        for each in sorted(set(told)):
            hear(News(each))

    loop.add_reader(descriptor, read)
    try:
        await for_ever.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)

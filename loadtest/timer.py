"""A timer of microseconds for the event loop, whose own timers have a millisecond: Linux's timerfd."""

import asyncio
import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

_MONOTONIC: Final = 1
_ABSOLUTE: Final = 1


class _Times(ctypes.Structure):
    """struct itimerspec: the interval, then the first time."""

    _fields_ = [(name, ctypes.c_long) for name in ("every_s", "every_ns", "first_s", "first_ns")]


@contextmanager
def repeating_timer(first: float, every: float, callback: Callable[[], None]) -> Iterator[None]:
    """Call back again and again until the block ends.

    Args:
        first: When for the first time, by `perf_counter`.
        every: Seconds between two calls; calls that are late are one.
        callback: Called by the running event loop.
    """
    libc, loop = ctypes.CDLL(None, use_errno=True), asyncio.get_running_loop()
    descriptor = libc.timerfd_create(_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")

    def expired() -> None:
        os.read(descriptor, 8)
        callback()

    try:
        times = _Times(*_split(every), *_split(first))
        if libc.timerfd_settime(descriptor, _ABSOLUTE, ctypes.byref(times), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        loop.add_reader(descriptor, expired)
        yield
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def _split(seconds: float) -> tuple[int, int]:
    whole = int(seconds)
    return whole, int((seconds - whole) * 1e9)

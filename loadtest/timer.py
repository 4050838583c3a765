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


class Alarm:
    """Goes off once for each time that it is set.

    Args:
        libc: The C library.
        descriptor: Of the timerfd.
    """

    def __init__(self, libc: ctypes.CDLL, descriptor: int) -> None:
        self._libc = libc
        self._descriptor = descriptor

    def set(self, at: float) -> None:
        """Have it go off at a time by `perf_counter`, at once if that is over; an earlier setting is forgotten."""
        seconds = int(at)
        # All zeroes would switch it off.
        times = _Times(0, 0, seconds, max(1, int((at - seconds) * 1e9)))
        if self._libc.timerfd_settime(self._descriptor, _ABSOLUTE, ctypes.byref(times), None):
            raise OSError(ctypes.get_errno(), "timerfd_settime")


@contextmanager
def open_alarm(callback: Callable[[], None]) -> Iterator[Alarm]:
    """An alarm that is there until the block ends.

    Args:
        callback: Called by the running event loop when it goes off.
    """
    libc, loop = ctypes.CDLL(None, use_errno=True), asyncio.get_running_loop()
    descriptor = libc.timerfd_create(_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")

    def expired() -> None:
        try:
            os.read(descriptor, 8)
        except BlockingIOError:  # set anew after it had gone off
            return
        callback()

    try:
        loop.add_reader(descriptor, expired)
        yield Alarm(libc, descriptor)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)

"""A terminal that is drawn on until somebody presses q."""

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

QUIT = b"q"


@contextmanager
def quit_key() -> Iterator[asyncio.Event]:
    """An event that q sets while the block runs, without Enter; of a standard input that is no terminal, never."""
    pressed = asyncio.Event()
    if not sys.stdin.isatty():
        yield pressed
        return
    descriptor = sys.stdin.fileno()
    loop = asyncio.get_running_loop()
    before = termios.tcgetattr(descriptor)

    def read() -> None:
        typed = os.read(descriptor, 64)
        # Nothing: the terminal is gone.
        if not typed or QUIT in typed.lower():
            pressed.set()
            loop.remove_reader(descriptor)

    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, read)
    try:
        yield pressed
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

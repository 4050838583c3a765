"""Writing an answer that comes in parts: a file has all of it under its name, or what it had before."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import BinaryIO, Final, Protocol

import typer

from gateway.cli.errors import CommandError

_TELL_EVERY_SECONDS: Final = 0.5


class Sink(Protocol):
    """What parts are written to."""

    def write(self, part: bytes, /) -> object:
        """Take the next part."""


@contextmanager
def written_whole(path: Path | None, things: str) -> Iterator[Sink]:
    """A file that gets its name when the block ends well; with an exception there is none, and an old one stays.

    Progress goes to standard error while somebody looks at it, and at the end in any case where a file was written.

    Args:
        path: Where to; None is standard output. What is no file, such as a pipe, is written as it comes.
        things: What the lines are, of which the first is a heading, for the progress.

    Raises:
        CommandError: The path is a directory.
        OSError: It cannot be written.
    """
    if path is None:
        with _told(sys.stdout.buffer, things, "to standard output") as sink:
            yield sink
        sys.stdout.buffer.flush()
        return
    if path.is_dir():
        raise CommandError(f"{path} is a directory; name a file in it")
    if path.exists() and not path.is_file():
        with path.open("wb") as file, _told(file, things, f"to {path}") as sink:
            yield sink
        return
    # Beside the file, since only within a directory does a rename replace it in one step; a link stays one.
    target = path.resolve()
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as file:
            with _told(file, things, f"to {path}") as sink:
                yield sink
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _told(file: BinaryIO, things: str, where: str) -> Iterator[Sink]:
    progress = _Progress(file, things)
    yield progress
    progress.finish(where)


class _Progress:
    """Passes parts on, and says how many lines there were."""

    def __init__(self, file: BinaryIO, things: str) -> None:
        self._file = file
        self._things = things
        self._lines = -1
        self._bytes = 0
        self._is_watched = sys.stderr.isatty()
        self._told_at = monotonic()

    def write(self, part: bytes, /) -> None:
        self._file.write(part)
        self._lines += part.count(b"\n")
        self._bytes += len(part)
        if self._is_watched and monotonic() - self._told_at >= _TELL_EVERY_SECONDS:
            self._told_at = monotonic()
            typer.echo(f"\r{self._so_far()}", err=True, nl=False)

    def finish(self, where: str) -> None:
        typer.echo(f"{chr(13) if self._is_watched else ''}{self._so_far()} {where}", err=True)

    def _so_far(self) -> str:
        return f"{max(self._lines, 0):,} {self._things}, {self._bytes / 1e6:,.1f} MB"

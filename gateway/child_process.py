"""One process of the gateway as its supervisor sees it: started, ready, dead, started again, drained."""

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from io import FileIO
from typing import NoReturn

import structlog

from gateway.backoff import Backoff
from gateway.parent_watch import EXIT_GIVE_UP, READY_VARIABLE
from gateway.startup import StartupError

SLOW_START_SECONDS = 30.0
"""After this a start that takes long is logged, and waited for all the same: it may be a migration."""

_DRAIN_MARGIN_SECONDS = 5.0

_log = structlog.get_logger(__name__)


class ChildGaveUpError(StartupError):
    """A child says that it cannot run as the gateway is set up, and it never has; its own log line says why."""


class ChildProcess:
    """Keeps one child running.

    Args:
        name: For the log.
        command: Program and arguments. No secret: every user of the machine can read them.
        environment: The child's whole environment, the variables of descriptors excepted.
        handed_down: Descriptors that the child looks for, by the variables that name them (parent_watch.py).
        inherited: Others that it only keeps open.
        on_end: Called with the process id when a process of this child has ended.
        says: What it calls itself in the line by which it reports that it is ready; None: its name.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        handed_down: Mapping[str, int],
        inherited: Sequence[int] = (),
        on_end: Callable[[int], None] = lambda _: None,
        *,
        says: str | None = None,
    ) -> None:
        self.name = name
        self._says = says or name
        self.ready = asyncio.Event()
        self._command = command
        self._environment = environment
        self._handed_down = handed_down
        self._inherited = inherited
        self._on_end = on_end
        self._process: asyncio.subprocess.Process | None = None
        self._is_up = False
        self._has_run = False
        self._is_replaced = False
        self._backoff = Backoff()

    async def run(self) -> NoReturn:
        """Start the child, and again whenever it ends, with growing pauses, until cancelled. Then call `drain`.

        `ready` is set from the first time on that the child reports so.

        Raises:
            ChildGaveUpError: It ended with EXIT_GIVE_UP before it was ready for the first time.
            OSError: Its program cannot be executed.
        """
        while True:
            await self._start_and_wait()
            if self._is_replaced:
                self._is_replaced = False
                continue
            delay = self._backoff.next_delay_seconds()
            _log.error("child_restarts", child=self.name, delay_seconds=delay)
            await asyncio.sleep(delay)

    async def replace(self, drain_seconds: float) -> None:
        """End the process in order, and return when its successor is ready, for however long that takes.

        Args:
            drain_seconds: How long it may take to finish what it has accepted; then it is killed.
        """
        process = self._process
        # Also of one that has just died by itself: its successor is waited for like any other.
        self.ready.clear()
        if process is not None and self.running:
            self._is_replaced = True
            self.terminate()
            try:
                async with asyncio.timeout(drain_seconds + _DRAIN_MARGIN_SECONDS):
                    await process.wait()
            except TimeoutError:
                _log.error("child_killed", child=self.name, hurried=False)
                self.kill()
        await self.ready.wait()

    def terminate(self) -> None:
        """Ask the child to finish what it has accepted and end."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End the child at once."""
        self._signal(signal.SIGKILL)

    async def wait(self) -> None:
        """Return when no process of this child is running."""
        if self._process is not None:
            await self._process.wait()

    @property
    def running(self) -> bool:
        """Whether a process of this child is running now."""
        return self._process is not None and self._process.returncode is None

    @property
    def exit_code(self) -> int | None:
        """How the last process ended, negative for a signal; None while it runs or before any did."""
        return self._process.returncode if self._process is not None else None

    @property
    def ended_cleanly(self) -> bool:
        """Whether the last process ended with 0, or of SIGTERM before it was ready and had accepted anything."""
        return self.exit_code == 0 or (self.exit_code == -signal.SIGTERM and not self._is_up)

    async def _start_and_wait(self) -> None:
        self._is_up = False
        ready_reader, ready_writer = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env={
                    **self._environment,
                    **{variable: str(each) for variable, each in self._handed_down.items()},
                    READY_VARIABLE: str(ready_writer),
                },
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(ready_writer, *self._handed_down.values(), *self._inherited),
                # Ctrl-C in a terminal goes to every process of the foreground; only the supervisor is to hear it. No
                # session of its own: Linux shares processors out by session, and a process that seldom runs then waits
                # tens of milliseconds behind others (decision 35).
                process_group=0,
            )
        except BaseException:
            os.close(ready_reader)
            raise
        finally:
            os.close(ready_writer)
        _log.info("child_started", child=self.name, pid=self._process.pid)
        with os.fdopen(ready_reader, "rb", buffering=0) as pipe:
            readiness = asyncio.create_task(self._watch_readiness(pipe))
            try:
                code = await self._process.wait()
            finally:
                readiness.cancel()
                with suppress(asyncio.CancelledError):
                    await readiness
        self._on_end(self._process.pid)
        # One that has run as the gateway is set up can do so again, once what it needs is back (a database, say). The
        # others are not to end for it meanwhile.
        if code == EXIT_GIVE_UP and not self._has_run:
            raise ChildGaveUpError(f"the {self.name} process cannot run as the gateway is set up; its log says why")
        if self._is_replaced:
            _log.info("child_replaced", child=self.name, pid=self._process.pid, exit_code=code)
        else:
            _log.error("child_died", child=self.name, pid=self._process.pid, exit_code=code)

    async def _watch_readiness(self, pipe: FileIO) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
        try:
            line = await self._read_ready_line(reader)
        finally:
            transport.close()
        words = line.decode(errors="replace").split()
        if words[:2] == ["ready", self._says]:
            self._is_up = self._has_run = True
            self._backoff.started()
            self.ready.set()
            _log.info("child_ready", child=self.name, **dict(word.split("=", 1) for word in words[2:] if "=" in word))
        elif words:
            _log.error("child_said_nonsense", child=self.name, line=" ".join(words))

    async def _read_ready_line(self, reader: asyncio.StreamReader) -> bytes:
        reading = asyncio.create_task(reader.readline())
        try:
            while not (await asyncio.wait([reading], timeout=SLOW_START_SECONDS))[0]:
                _log.warning("child_start_is_slow", child=self.name)
            return reading.result()
        finally:
            reading.cancel()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

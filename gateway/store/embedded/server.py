"""The embedded store's life: adopted or started, watched, started again, shut down."""

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from typing import NoReturn

import structlog

from gateway.backoff import Backoff
from gateway.startup import StartupError
from gateway.store.embedded.address import StoreAddress, choose_socket_path, forget_socket, recorded_socket_path
from gateway.store.embedded.binary import find_server_binary
from gateway.store.embedded.directory import STORE_LOCK, DataDirectory, try_lock
from gateway.store.embedded.launch import CHANGEABLE_OPTIONS, LOG_NAME, PID_NAME, launch_server, log_tail
from gateway.store.embedded.probe import Probe, ProbeRefusedError

SILENCE_SECONDS = 60.0
"""How long a store process may be there without answering on its socket. Loading a large file is no silence: it
answers LOADING, for as long as it takes."""

SHUTDOWN_SECONDS = 60.0
"""How long the store may take to write out and end."""

TERM_SECONDS = 10.0

POLL_SECONDS = 0.02

_log = structlog.get_logger(__name__)


class EmbeddedStoreError(StartupError):
    """The embedded store did not start, or holds its directory without answering."""


class EmbeddedStore:
    """The Valkey of one data directory.

    Two locks guard the directory. The gateway's says who may run a store there. The store's is inherited by the
    store process and by nobody else, so that "does a store live on this directory?" is answered by the kernel, and
    neither a stale pid file nor a store that is still loading or shutting down can lead to a second one. A store
    that outlived a killed gateway holds it, and is adopted.

    Use: `claim` (or at once `start`), run `supervise` as a task and cancel it, `stop`.

    Args:
        data_dir: The directory; made when missing.
        binary: The server to run instead of the one that `find_server_binary` finds.
        silence_seconds: How long a process that holds the directory may not answer before `start` gives up.
    """

    def __init__(self, data_dir: Path, *, binary: Path | None = None, silence_seconds: float = SILENCE_SECONDS) -> None:
        self._directory = DataDirectory(data_dir)
        self._binary = binary
        self._silence_seconds = silence_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._probe: Probe | None = None
        self._backoff = Backoff()

    @property
    def address(self) -> StoreAddress:
        """Where the store listens; it stays the same over restarts of the store."""
        return StoreAddress(recorded_socket_path(self._directory.path))

    @property
    def lock_descriptor(self) -> int | None:
        """The descriptor that holds the directory, for the gateway's child processes to inherit."""
        return self._directory.lock_descriptor

    async def claim(self) -> None:
        """Hold the data directory without starting anything yet.

        Raises:
            DataDirectoryError: Another gateway holds it, or it cannot be used.
        """
        await self._directory.hold()

    async def start(self) -> StoreAddress:
        """Adopt the store that lives on the directory, else start one; return when it answers.

        After a failure everything is released again, and nothing that this call started is left running.

        Raises:
            BinaryMissingError: There is no server program.
            DataDirectoryError: Another gateway holds the directory, or it cannot be used.
            EmbeddedStoreError: The store did not come up; the text has the end of its log.
        """
        try:
            await self.claim()
            await self._adopt_or_launch()
        except BaseException:
            await self._end_unready_process()
            self.release()
            raise
        return self.address

    async def supervise(self) -> NoReturn:
        """Start the store again whenever it dies, with growing pauses, until cancelled. Call `start` first."""
        while True:
            if self._probe is not None:
                await self._probe.wait_closed()
                await self._forget_probe()
                _log.warning("store_died", exit_code=self._reap())
            await asyncio.sleep(self._backoff.next_delay_seconds())
            try:
                await self._adopt_or_launch()
            except (StartupError, OSError) as error:
                await self._end_unready_process()
                _log.error("store_did_not_start", error=str(error))

    async def stop(self) -> None:
        """Shut the store down, whoever started it, and release the directory.

        Everything acknowledged is in the append-only file then. Call it after `supervise` was cancelled and when no
        process uses the store any more.

        Raises:
            EmbeddedStoreError: It did not end in time, or refused, as it does when it cannot write its file; it is
                left running, and the next gateway adopts it.
        """
        if self.lock_descriptor is None:
            # Whatever runs there is not ours to stop.
            return
        try:
            await self._shut_down()
        finally:
            await self._forget_probe()
            self.release()

    def release(self) -> None:
        """Let a directory go that was claimed and on which nothing was started; `start` and `stop` do it themselves."""
        self._directory.release()

    async def _adopt_or_launch(self) -> None:
        """Return with a probe of the one store of this directory.

        Never starts a store while another process holds the store lock: it may be loading, or still writing out.
        """
        loop = asyncio.get_running_loop()
        launched = False
        answered_at = loop.time()
        while True:
            lock = try_lock(self._directory.path / STORE_LOCK)
            if lock is not None:
                try:
                    if launched:
                        raise EmbeddedStoreError(self._failure(f"ended at once (exit code {self._reap()})"))
                    self._launch(lock)
                    launched = True
                finally:
                    os.close(lock)
            probe, answered = await self._try_probe()
            if probe is not None and await self._take_over(probe, launched):
                return
            now = loop.time()
            answered_at = now if answered else answered_at
            if now - answered_at > self._silence_seconds:
                raise EmbeddedStoreError(self._failure("runs but does not answer; end it with kill, it loses nothing"))
            await asyncio.sleep(POLL_SECONDS)

    def _launch(self, lock: int) -> None:
        binary = self._binary or find_server_binary()
        self._reap()
        forget_socket(self._directory.path)
        socket_path = choose_socket_path(self._directory.path)
        try:
            self._process = launch_server(binary, self._directory.path, socket_path, lock)
        except OSError as error:
            raise EmbeddedStoreError(f"the embedded store cannot be started: {error}") from error

    async def _try_probe(self) -> tuple[Probe | None, bool]:
        """One attempt: the connection if the store is ready, and whether anything answered at all."""
        try:
            probe = await Probe.connect(recorded_socket_path(self._directory.path))
        except OSError:
            return None, False
        try:
            await probe.command("PING")
        except ProbeRefusedError:
            # LOADING, or BUSY in a script.
            await probe.close()
            return None, True
        except OSError:
            await probe.close()
            return None, False
        except BaseException:
            await probe.close()
            raise
        return probe, True

    async def _take_over(self, probe: Probe, launched: bool) -> bool:
        """Make the answering store ours; False if it went away meanwhile."""
        try:
            await self._check_identity(probe)
            if not launched:
                # It may have been started by another release of the gateway, or changed by hand.
                for name, value in CHANGEABLE_OPTIONS.items():
                    await probe.command("CONFIG", "SET", name, value)
        except OSError:
            await probe.close()
            return False
        except ProbeRefusedError as error:
            await probe.close()
            raise EmbeddedStoreError(self._failure(f"refused its options: {error}")) from error
        except BaseException:
            await probe.close()
            raise
        self._probe = probe
        self._backoff.started()
        event = "store_started" if launched else "store_adopted"
        _log.info(event, pid=self._pid(), directory=str(self._directory.path))
        return True

    async def _check_identity(self, probe: Probe) -> None:
        _, answer = await probe.command("CONFIG", "GET", "dir")
        if not self._directory.is_at(answer):
            raise EmbeddedStoreError(
                f"{self.address.socket_path} belongs to a store on {os.fsdecode(answer)}; stop that store, or give "
                "this gateway a TOLLGATE_DATA_DIR of its own"
            )

    async def _shut_down(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + SHUTDOWN_SECONDS
        refusal = await self._ask_to_shut_down()
        while (lock := try_lock(self._directory.path / STORE_LOCK)) is None:
            if loop.time() > deadline:
                raise EmbeddedStoreError(
                    self._failure(f"did not end within {SHUTDOWN_SECONDS:g} s of SHUTDOWN{refusal and ': ' + refusal}")
                )
            await asyncio.sleep(POLL_SECONDS)
            if refusal:
                refusal = await self._ask_to_shut_down()
        try:
            forget_socket(self._directory.path)
        finally:
            os.close(lock)
        await self._wait_for_process(SHUTDOWN_SECONDS)
        _log.info("store_stopped", directory=str(self._directory.path))

    async def _ask_to_shut_down(self) -> str:
        """Ask once, and return why the store refused, if it did.

        It refuses while it cannot write its file, and for the moment in which it writes the first one.
        """
        try:
            # Over a connection of its own, without a PING first: a store that is still loading takes SHUTDOWN too.
            probe = await Probe.connect(self.address.socket_path)
        except OSError:
            # It has ended already; or it is ours and so young that it does not listen yet.
            if self._process is not None and self._probe is None:
                self._process.send_signal(signal.SIGTERM)
            return ""
        try:
            await probe.command("SHUTDOWN")
        except OSError:
            # Closing the connection is how it says yes.
            return ""
        except ProbeRefusedError as error:
            return str(error)
        finally:
            await probe.close()
        return ""

    async def _end_unready_process(self) -> None:
        """End a process of ours that did not come up; by SIGTERM first, since it may be about to write."""
        if self._process is None or self._probe is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        if not await self._wait_for_process(TERM_SECONDS):
            self._process.kill()
            await self._wait_for_process(TERM_SECONDS)

    async def _wait_for_process(self, limit_seconds: float) -> bool:
        """Collect our process when it ends, so that no zombie stays; whether it did within the limit."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_seconds
        while self._process is not None and self._reap() is None:
            if loop.time() > deadline:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    async def _forget_probe(self) -> None:
        if self._probe is not None:
            await self._probe.close()
            self._probe = None

    def _reap(self) -> int | None:
        """Collect the exit code of a process of ours that has ended; None for an adopted one."""
        if self._process is None:
            return None
        code = self._process.poll()
        if code is not None:
            self._process = None
        return code

    def _pid(self) -> int | None:
        try:
            return int((self._directory.path / PID_NAME).read_text())
        except (OSError, ValueError):
            return None

    def _failure(self, what: str) -> str:
        path = self._directory.path
        return f"the embedded store (pid {self._pid()}) {what}; end of {path / LOG_NAME}:\n{log_tail(path)}"

"""What the machine gives: Python, open files, a private data directory with room, the embedded store's program."""

import asyncio
import os
import platform
import resource
import shutil
import stat
from pathlib import Path
from typing import Final

from gateway.cli.connection import ConnectionFile
from gateway.cli.doctor.findings import Findings
from gateway.interpreter import is_optimised
from gateway.settings import Settings
from gateway.store.embedded.binary import BinaryMissingError, find_jemalloc, find_server_binary
from gateway.store.embedded.directory import DataDirectory

FEW_FILES: Final = 4_096
"""Each Session, call of a switch over HTTP and browser is a file; Debian gives 1,024 where nobody asks for more."""

LITTLE_ROOM_SHARE: Final = 0.1
NO_ROOM_BYTES: Final = 256 << 20
"""The append-only file is rewritten beside itself, and SQL keeps what it will not overwrite yet."""

_RUN_SECONDS: Final = 10.0


def examine_interpreter() -> Findings:
    """Whether this Python is as quick as it can be: the processor time of a decision is the interpreter's."""
    findings = Findings("python")
    version = f"Python {platform.python_version()}"
    if is_optimised():
        findings.ok(f"{version}, built with optimisations")
    else:
        findings.warn(
            f"{version} was built without optimisations: a decision takes a fourth more of a processor",
            "use the distribution's Python or the container image; "
            "with pyenv, PYTHON_CONFIGURE_OPTS='--enable-optimizations --with-lto' before pyenv install",
        )
    return findings


def examine_file_limit(gateway: ConnectionFile | None) -> Findings:
    """How many files may be open: of the gateway that runs, else of what is started here."""
    findings = Findings("files")
    limit = _limit_of(gateway.pid) if gateway is not None else None
    whose = "the gateway" if limit is not None else "this shell"
    if limit is None:
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit == resource.RLIM_INFINITY or limit >= FEW_FILES:
        findings.ok(f"{whose} may have {'any number of' if limit == resource.RLIM_INFINITY else limit} files open")
    else:
        findings.warn(
            f"{whose} may have {limit} files open; each Session, hook and browser is one",
            f"LimitNOFILE=65536 in the unit, or ulimit -n {FEW_FILES} before the start",
        )
    return findings


def examine_data_directory(settings: Settings) -> Findings:
    """Whether it is private, this user's, and has room."""
    findings = Findings("data")
    path = settings.data_dir
    if not path.exists():
        findings.ok(f"{path} is not there yet: the first start makes it")
        return findings
    try:
        fault = DataDirectory(path).find_fault()
        status = path.stat()
    except OSError as error:
        findings.fail(f"{path} cannot be looked at ({error.strerror})", "run this as the user of the gateway")
        return findings
    mode = stat.S_IMODE(status.st_mode)
    if fault is not None:
        findings.fail_as_told(fault)
    elif mode & 0o077 and status.st_uid == os.getuid():
        findings.fail(
            f"{path} has mode {mode:04o}: other users can read balances and hashes of tokens", f"chmod 700 {path}"
        )
    elif not os.getuid() and status.st_uid:
        findings.warn(
            f"{path} is user {status.st_uid}'s, and this is root, who may do what that user may not",
            "run this as the user of the gateway",
        )
    elif not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        findings.fail(
            f"this user may not write to {path}, which is user {status.st_uid}'s",
            "run this, and the gateway, as that user",
        )
    else:
        findings.ok(f"{path} has mode {mode:04o}")
    examine_room(path, findings)
    return findings


def examine_room(path: Path, findings: Findings) -> None:
    """Whether the disk that has a path has room."""
    try:
        usage = shutil.disk_usage(path)
    except OSError as error:
        findings.fail(f"the disk of {path} cannot be looked at ({error.strerror})", "see whether it is mounted")
        return
    free = f"{path} has {usage.free / 2**30:,.1f} GiB free, {100 * usage.free / usage.total:.0f} % of its disk"
    if usage.free < NO_ROOM_BYTES:
        findings.fail(f"{free}: writing stops when there is none", "free some, or a larger disk")
    elif usage.free < LITTLE_ROOM_SHARE * usage.total:
        findings.warn(free, "free some, or a larger disk")
    else:
        findings.ok(free)


async def examine_binary(settings: Settings) -> Findings:
    """Whether the embedded store's program is there and runs, where there is to be one."""
    findings = Findings("binary")
    if settings.redis_url is not None:
        return findings
    try:
        binary = find_server_binary()
    except BinaryMissingError as error:
        findings.fail_as_told(error)
        return findings
    try:
        version = await _first_line(binary, "--version")
    except (OSError, TimeoutError) as error:
        findings.fail(
            f"{binary} does not run ({error or 'no answer'})",
            "install valkey-server or redis-server, or set TOLLGATE_REDIS_URL",
        )
        return findings
    if find_jemalloc() is None:
        findings.warn(
            f"{binary} runs: {version}; without jemalloc, which makes it 1.4 to 1.7 times as fast",
            "apt-get install libjemalloc2",
        )
    else:
        findings.ok(f"{binary} runs: {version}")
    return findings


async def _first_line(program: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(_RUN_SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise OSError(f"exit code {process.returncode}")
    return output.decode(errors="replace").partition("\n")[0].strip()


def _limit_of(pid: int) -> int | None:
    """The soft limit of a process; None: it cannot be read."""
    try:
        return resource.prlimit(pid, resource.RLIMIT_NOFILE)[0]
    except (OSError, AttributeError):
        return None

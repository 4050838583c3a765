"""`tollgate audit` on the demo's own data, as a process of its own: what anybody may run beside a gateway."""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE
from pathlib import Path
from typing import Any, Final

from gateway.cli.demo.books import BooksError

AUDIT_SECONDS: Final = 60.0


async def audited(data_dir: Path) -> str:
    """Have ledger, outbox and store compared; returns what was found, in a line.

    Raises:
        BooksError: They do not agree; the text has the first difference.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "gateway.cli", "audit", "--json", "--data-dir", str(data_dir)),
        stdin=DEVNULL,
        stdout=PIPE,
        stderr=PIPE,
        # Ctrl-C is for the demo, which ends this.
        process_group=0,
    )
    try:
        async with asyncio.timeout(AUDIT_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        raise BooksError(f"audit: no answer within {AUDIT_SECONDS:.0f} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return verdict_of(process.returncode, out.decode(), err.decode())


def verdict_of(exit_code: int | None, out: str, err: str) -> str:
    """Read what the command printed; raises as `audited`."""
    try:
        report: dict[str, Any] = json.loads(out)
    except ValueError:
        raise BooksError(f"audit: {err.strip() or out.strip() or f'exit code {exit_code}'}") from None
    if exit_code or not report["is_clean"]:
        first = "".join(f"; the first: {json.dumps(each)}" for each in report["differences"][:1])
        raise BooksError(f"audit: {err.strip()}{first}")
    return (
        f"audit: ledger, outbox and store agree to the micro ({report['offices']} offices, "
        f"{report['usage_records']} usage records)"
    )

"""What the reader may type in another terminal while the demo's gateway stays up."""

import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gateway.cli.demo.cast import CORNER, HARBOR, present_month
from gateway.cli.demo.last_call import LastCall


def things_to_try(last_call: LastCall, directory: Path, *, is_found: bool) -> Iterator[str]:
    """Commands that work as they stand.

    Args:
        last_call: The call that talks meanwhile.
        directory: The data directory.
        is_found: Whether commands find the demo by themselves.
    """
    data_dir = f" --data-dir {shlex.quote(str(directory))}"
    for arguments in (
        f"call {last_call.office_id} {last_call.another_number} --duration 75",
        f"credits balance {last_call.office_id}",
        f"credits transactions {HARBOR}",
        f"usage summary {CORNER} {present_month(CORNER)}",
        f"explain {last_call.call_id}",
    ):
        yield f"{_own_name()} {arguments}{'' if is_found else data_dir}"
    # It asks no gateway, and so finds none: it reads ledger and store themselves.
    yield f"{_own_name()} audit{data_dir}"


def _own_name() -> str:
    """How to call this command from where the reader is."""
    started = Path(sys.argv[0])
    if started.name != "tollgate":
        return f"{shlex.quote(sys.executable)} -m gateway.cli"
    found = shutil.which("tollgate")
    if found is not None and Path(found).resolve() == started.resolve():
        return "tollgate"
    with suppress(ValueError):
        return shlex.quote(str(started.absolute().relative_to(Path.cwd())))
    return shlex.quote(str(started.absolute()))

"""A child of the supervisor that does nothing but keep the contract, or break it in the way its second word says.

`python -m tests.support.fake_child NAME BEHAVIOUR`: ready, crash (once ready), crash-once PATH, give-up, give-up-later
PATH (crashes, gives up, then stays), stubborn (ignores SIGTERM), silent (never ready), dirty (ends with 3), loud
(writes a line), environment PATH (writes what it was given).
"""

import json
import os
import signal
import sys
from pathlib import Path

from gateway.address import Address
from gateway.parent_watch import EXIT_GIVE_UP, exit_with_parent, report_ready


def main(name: str, behaviour: str, argument: str = "") -> int:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    if behaviour == "environment":
        Path(argument).write_text(json.dumps({"environment": dict(os.environ), "command": sys.orig_argv}))
    exit_with_parent()
    start = count_start(Path(argument)) if behaviour == "give-up-later" else 0
    if behaviour == "give-up" or start == 2:
        return EXIT_GIVE_UP
    if behaviour == "loud":
        print(f"{name} is loud", flush=True)
    if behaviour != "silent":
        report_ready(name, listen=Address("127.0.0.1", 4711))
    if behaviour == "crash" or start == 1:
        return 9
    if behaviour == "crash-once" and not Path(argument).exists():
        Path(argument).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        signal.sigwait([signal.SIGTERM])
        if behaviour != "stubborn":
            return 3 if behaviour == "dirty" else 0


def count_start(file: Path) -> int:
    """The how manieth start this is, by a file that has a byte for each."""
    with file.open("ab") as starts:
        starts.write(b".")
        return starts.tell()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

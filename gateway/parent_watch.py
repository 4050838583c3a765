"""The child's side of the bond with the supervisor: it says when it is ready, and it ends when its parent does.

What `gateway.process front|back|journaler` finds and owes:

- its settings in `TOLLGATE_*` variables, complete; `TOLLGATE_REDIS_URL` is always given, and names the socket of the
  embedded store where there is one;
- `TOLLGATE_PARENT_FD`: a pipe that ends when the supervisor ends, however it ends. Call `exit_with_parent` first;
- `TOLLGATE_NEWS_FD`, back and journaler: what the one has for the other (news.py);
- `TOLLGATE_READY_FD`: a pipe for one line. Call `report_ready` when every listener is bound and answers;
- SIGTERM means drain: stop accepting, finish what was accepted within `drain_seconds`, exit with 0. It is in a session
  of its own, so that Ctrl-C reaches the supervisor alone;
- `EXIT_GIVE_UP` as exit code says that another start would fail just the same, so that the supervisor ends, too, unless
  the child has been ready before. After any other end it is started again.
"""

import os
import threading
from collections.abc import Callable

from gateway.address import Address

PARENT_VARIABLE = "TOLLGATE_PARENT_FD"
READY_VARIABLE = "TOLLGATE_READY_FD"

EXIT_ORPHANED = 70
EXIT_GIVE_UP = 78  # EX_CONFIG of sysexits.h


def exit_with_parent(on_loss: Callable[[], None] = lambda: os._exit(EXIT_ORPHANED)) -> None:
    """End this process the moment the supervisor is gone; does nothing where there is no supervisor.

    It ends at once, without a drain: the next gateway is waiting for the ports and the data directory, and whoever
    got no answer repeats the request with the same id. A thread waits, not the event loop, which may be busy.

    Args:
        on_loss: What to do instead; called on that thread.
    """
    descriptor = take_descriptor(PARENT_VARIABLE)
    if descriptor is None:
        return

    def watch() -> None:
        # Nobody writes into the pipe: read returns when its last writer has closed it.
        while os.read(descriptor, 1):
            pass
        on_loss()

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def report_ready(name: str, **listeners: Address) -> None:
    """Tell the supervisor that this process does its work now; does nothing where there is none, or the second time.

    Args:
        name: front, back or journaler.
        **listeners: Addresses as bound, by setting name. The supervisor logs them: a port 0 has a number now.
    """
    descriptor = take_descriptor(READY_VARIABLE)
    if descriptor is None:
        return
    words = ["ready", name, *(f"{setting}={address}" for setting, address in listeners.items())]
    try:
        os.write(descriptor, " ".join(words).encode() + b"\n")
    finally:
        os.close(descriptor)


def take_descriptor(variable: str) -> int | None:
    """A descriptor that was handed down; it is neither found twice nor inherited by a child of this process."""
    text = os.environ.pop(variable, None)
    if text is None:
        return None
    descriptor = int(text)
    os.set_inheritable(descriptor, False)
    return descriptor

"""What gRPC's core is told by the environment.

It reads it once, when `grpc` is first imported, so a program says it before, and its children find it there.
"""

import os
from typing import Final

GRPC_ENVIRONMENT: Final = {
    # By its own epoll loop instead of its EventEngine a message takes one thread less on its way: some 60 us less of a
    # server's time, and as much of a client's (docs/decisions/0033-interpreter-and-grpc-io.md).
    "GRPC_EXPERIMENTS": "-event_engine_client,-event_engine_listener",
}
"""By variable."""


def prepare_grpc() -> None:
    """Say it; what is set already stays as it is: whoever runs the program may know better."""
    for name, value in GRPC_ENVIRONMENT.items():
        os.environ.setdefault(name, value)

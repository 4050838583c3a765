"""Benchmarks of Tollgate: `python -m loadtest.bench`; how the numbers are taken is in loadtest/README.md."""

import os

from gateway.grpc_environment import prepare_grpc

# Before anything here imports grpc: load generators and empty handlers have what a gateway has.
prepare_grpc()

# Processes are started beside open channels and become other programs at once: gRPC has nothing to do at a fork, and
# would only say so in the midst of the tables. It reads this when it is imported, too.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

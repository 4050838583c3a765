"""Benchmarks of Tollgate: `python -m loadtest.bench`; how the numbers are taken is in loadtest/README.md."""

import os

from gateway.grpc_environment import GRPC_ENVIRONMENT

# Load generators and empty handlers have what the processes of a gateway have. And processes are started beside open
# channels and become other programs at once: gRPC has nothing to do at a fork, and would only say so in the midst of
# the tables. It reads all of that when it is imported.
for _name, _value in {**GRPC_ENVIRONMENT, "GRPC_ENABLE_FORK_SUPPORT": "0"}.items():
    os.environ.setdefault(_name, _value)

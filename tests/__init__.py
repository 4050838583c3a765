"""Tests of Tollgate. What they start has what the processes of a gateway have."""

import os

from gateway.grpc_environment import GRPC_ENVIRONMENT

# Before anything here imports grpc.
for _name, _value in GRPC_ENVIRONMENT.items():
    os.environ.setdefault(_name, _value)

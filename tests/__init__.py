"""Tests of Tollgate. What they start in their own process has what the processes of a gateway have."""

from gateway.grpc_environment import prepare_grpc

# Before anything here imports grpc.
prepare_grpc()

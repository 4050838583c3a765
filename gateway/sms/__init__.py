"""Tollgate before SMS gateways that ask nobody: `tollgate-kannel` before Kannel's sendsms (docs/how-to/kannel.md)."""

from gateway.grpc_environment import prepare_grpc

# A program of its own, in which nothing has imported grpc yet.
prepare_grpc()

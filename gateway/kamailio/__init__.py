"""tollgate-kamailio: stands between a Kamailio and the gateway (docs/how-to/kamailio.md).

    Kamailio -- evapi: netstrings of JSON --> SwitchLink -> Sidecar -> gateway.client -> the gateway
             <-- decisions, warnings ------
             <-- JSON-RPC over HTTP -------- Rpc: dialogs are listed and ended

Kamailio knows its calls best, so nothing here is kept beyond a restart: what a dialog costs whom stands in a variable
of the dialog, and what Kamailio could not tell waits in a hash table of its own until somebody asks.
"""

from gateway.grpc_environment import prepare_grpc

# A program of its own, in which nothing has imported grpc yet.
prepare_grpc()

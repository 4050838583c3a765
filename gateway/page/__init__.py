"""The Credits page: what the owners of the balances see and do in a browser. It asks the same operations as Credits."""

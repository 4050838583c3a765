"""The embedded store: a Valkey that the package brings and runs in the gateway's data directory."""

from gateway.store.embedded.address import StoreAddress
from gateway.store.embedded.server import EmbeddedStore, EmbeddedStoreError

__all__ = ["EmbeddedStore", "EmbeddedStoreError", "StoreAddress"]

"""HTTP/JSON for switches that do not speak gRPC: hooks that they post to, and callbacks that are posted to them."""

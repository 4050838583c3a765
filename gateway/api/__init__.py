"""The gRPC side: servicers, interceptors, and the translation between messages and the domain."""

"""Generated from proto/gateway/v1 by `make proto`; never edited."""

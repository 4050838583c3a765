"""Tollgate before SMS gateways that ask nobody: `tollgate-kannel` before Kannel's sendsms (docs/how-to/kannel.md)."""

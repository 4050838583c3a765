"""Rebuilding a store that has lost everything from what the ledger knows."""

from gateway.rebuilding.rebuild import RebuildReport, rebuild

__all__ = ["RebuildReport", "rebuild"]

"""The audit: whether ledger, outbox and store agree to the micro, in a gateway that runs or one that does not."""

from gateway.auditing.auditor import audit
from gateway.auditing.findings import AuditReport, Check, Difference, Figure

__all__ = ["AuditReport", "Check", "Difference", "Figure", "audit"]

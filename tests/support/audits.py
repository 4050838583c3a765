"""The audit as tests use it: clean or not, and what differs."""

from gateway.auditing import AuditReport, audit
from tests.support.back import BackUnderTest


async def audited(back: BackUnderTest, office_id: str | None = None) -> AuditReport:
    """The report of an audit that pauses for nothing, since nothing runs beside it."""
    return await audit(back.back.database, back.back.connection, office_id=office_id, pause_seconds=0)


async def assert_clean(back: BackUnderTest) -> AuditReport:
    """Ledger, outbox and store agree."""
    report = await audited(back)
    assert report.is_clean, [*map(str, report.differences), *report.too_busy]
    return report

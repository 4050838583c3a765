"""What every report of the usage records asks for, written so that both databases answer it from an index."""

from typing import Final

from sqlalchemy import ColumnElement, literal

from gateway.domain.usage import UsageState
from gateway.domain.vocabulary import Decision, Reason
from gateway.ledger.models import UsageRow

# Written into the statement, since a database uses a partial index only where it sees the condition of that index.
IS_OVER: Final = UsageRow.state != literal(UsageState.OPEN, UsageRow.state.type, literal_execute=True)

IS_REFUSED: Final = UsageRow.reason.in_([each for each in Reason if each.decision is Decision.DENIED])
IS_LET_THROUGH: Final = UsageRow.reason.in_([each for each in Reason if each.decision is Decision.GRANTED])


def of_range(
    office_id: str | ColumnElement[str], first_ms: int | ColumnElement[int], end_ms: int | ColumnElement[int]
) -> tuple[ColumnElement[bool], ...]:
    """What started in a time. One bound a side: SQLite seeks by one, and tries others on every record."""
    return (
        UsageRow.office_id == office_id,
        UsageRow.started_at >= first_ms,
        UsageRow.started_at < end_ms,
        IS_OVER,
    )

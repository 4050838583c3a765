"""Months to choose from."""

from datetime import UTC, datetime


def months_back(last: str, most: int, first: str = "") -> list[str]:
    """Months as YYYY-MM, from the last one back.

    Args:
        last: The newest.
        most: How many, at most.
        first: None before this one; empty: as far back as `most` goes.
    """
    at = datetime.strptime(last, "%Y-%m").replace(tzinfo=UTC)
    months = [last]
    while len(months) < most:
        at = at.replace(year=at.year - (at.month == 1), month=(at.month - 2) % 12 + 1)
        month = at.strftime("%Y-%m")
        if month < first:
            break
        months.append(month)
    return months

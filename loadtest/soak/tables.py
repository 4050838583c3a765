"""A soak as a table."""

from collections.abc import Mapping
from typing import Any

from loadtest.soak.verdict import MOST_GROWTH, MOST_LAG_SECONDS, MOST_MORE
from loadtest.tables import Table


def table_of(result: Mapping[str, Any]) -> Table:
    """Each measure: its second quarter, its last, the highest, and whether it is flat."""
    figures = result["figures"]
    return Table(
        f"{result['seconds'] / 60:g} minutes at {figures['rate_per_second']:,.0f} operations/s",
        ("what", "unit", "second quarter", "last quarter", "highest", "flat"),
        tuple(
            (
                each["name"],
                each["unit"],
                f"{each['second']:,.1f}",
                f"{each['last']:,.1f}",
                f"{each['highest']:,.1f}",
                "yes" if each["is_flat"] else "no",
            )
            for each in result["measures"]
        ),
        f"Medians of {len(result['samples'])} looks. Flat: memory at most {MOST_GROWTH - 1:.0%} above its second "
        f"quarter, at most {MOST_MORE} handles or threads more, the journal's lag never above {MOST_LAG_SECONDS:g} s "
        "in the last quarter.",
    )

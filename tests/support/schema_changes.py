"""What a migration takes away: what the version before it could not work on any more."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, inspect


@dataclass(frozen=True)
class Tables:
    """The tables of a database as they are."""

    columns: dict[tuple[str, str], Any]
    rules: frozenset[tuple[str, str]]

    @property
    def names(self) -> set[str]:
        return {table for table, _ in self.columns}


def tables_of(connection: Connection) -> Tables:
    """Read them."""
    found = inspect(connection)
    columns: dict[tuple[str, str], Any] = {}
    rules: set[tuple[str, str]] = set()
    for table in found.get_table_names():
        columns |= {(table, column["name"]): column for column in found.get_columns(table)}
        rules |= {(table, f"unique {sorted(each['column_names'])}") for each in found.get_unique_constraints(table)}
        rules |= {(table, f"unique {each['column_names']}") for each in found.get_indexes(table) if each["unique"]}
        rules |= {(table, f"reference to {each['referred_table']}") for each in found.get_foreign_keys(table)}
        rules |= {(table, f"check {each['sqltext']}") for each in found.get_check_constraints(table)}
    return Tables(columns, frozenset(rules))


def contractions(before: Tables, after: Tables) -> Iterator[str]:
    """What the version before can no longer do: read a column, or write a row as it did."""
    for (table, name), column in before.columns.items():
        now = after.columns.get((table, name))
        if now is None:
            yield f"{table}.{name} is gone"
        elif str(now["type"]) != str(column["type"]):
            yield f"{table}.{name} was {column['type']} and is {now['type']}"
        elif column["nullable"] and not now["nullable"]:
            yield f"{table}.{name} may no longer be empty"
        elif column["default"] is not None and now["default"] is None:
            yield f"{table}.{name} has lost its default"
    for (table, name), column in after.columns.items():
        is_new = table in before.names and (table, name) not in before.columns
        if is_new and not column["nullable"] and column["default"] is None:
            yield f"{table}.{name} must be given, which the version before does not know"
    for table, rule in sorted(after.rules - before.rules):
        if table in before.names:
            yield f"{table} has a new rule: {rule}"

"""The root of the tables, and what their columns have in common.

Conventions, for whoever adds a table:

- Money is BigInteger micros. Instants are BigInteger Unix milliseconds (`..._at`, UTC by nature): one type that both
  databases compare and index alike, with no time zone for a driver to lose.
- Enums are stored by name in a VARCHAR without a CHECK, so that a new member needs no migration and a query reads
  like English.
- Every constraint has a name (the convention below), so that a migration can drop it on either database.
- What the outbox tells is a fact: its tables have no foreign key to an office, since an entry that could not be
  recorded would stop the journal of its whole shard.
"""

from enum import Enum as PyEnum

from sqlalchemy import JSON, BigInteger, Enum, Integer, MetaData
from sqlalchemy.orm import DeclarativeBase


def enum_column(values: type[PyEnum]) -> Enum:
    """The type of a column that holds a member's name."""
    return Enum(values, native_enum=False, length=32, create_constraint=False)


JsonColumn = JSON(none_as_null=True)

BigKey = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers a row by itself only where the key is declared INTEGER, which holds 64 bits there."""


class Base(DeclarativeBase):
    """The root of the tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )

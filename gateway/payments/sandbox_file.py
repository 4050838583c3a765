"""What the sandbox remembers: one SQLite file, on the disk before the sandbox answers.

It stands for a remote party, so nothing that happens to the gateway may make it forget a charge. It is used by one
thread (sandbox.py), and may be shared by several processes.
"""

import contextlib
import hashlib
import hmac
import json
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from gateway.payments.errors import ProviderKeyReused, ProviderUnusable

_BUSY_SECONDS: Final = 5.0

_FIRST_SCHEMA: Final = """
CREATE TABLE secret (webhooks TEXT NOT NULL, ids TEXT NOT NULL);
CREATE TABLE request (idempotency_key TEXT PRIMARY KEY, content TEXT NOT NULL);
CREATE TABLE customer (customer_id TEXT PRIMARY KEY, owner_id TEXT NOT NULL);
CREATE TABLE method (method_id TEXT PRIMARY KEY, customer_id TEXT NOT NULL, token TEXT NOT NULL);
CREATE TABLE setup (
    setup_id TEXT PRIMARY KEY, customer_id TEXT NOT NULL, token TEXT NOT NULL, status TEXT NOT NULL
);
CREATE TABLE charge (
    charge_id TEXT PRIMARY KEY, idempotency_key TEXT NOT NULL UNIQUE, method_id TEXT NOT NULL,
    amount_micros INTEGER NOT NULL, currency TEXT NOT NULL, description TEXT NOT NULL, metadata TEXT NOT NULL,
    status TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL, can_retry INTEGER NOT NULL,
    unknown_look_ups INTEGER NOT NULL, disputed_at INTEGER, refund_id TEXT
);
CREATE INDEX charge_method ON charge (method_id, status);
CREATE TABLE event (
    event_id TEXT PRIMARY KEY, body BLOB NOT NULL, due_at INTEGER NOT NULL, next_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL
);
CREATE INDEX event_next ON event (next_at);
"""

_ENTRIES: Final = """
CREATE TABLE entry (
    entry_id TEXT PRIMARY KEY, owner_id TEXT NOT NULL, return_url TEXT NOT NULL, cancel_url TEXT NOT NULL,
    token TEXT NOT NULL
);
"""

_SCHEMAS: Final = (_FIRST_SCHEMA, _ENTRIES)
"""What each version of the file has beside that of the one before."""

_VERSION: Final = len(_SCHEMAS)

# Letters only: an id with many digits in a row might be taken for a card number.
_ID_LETTERS: Final = str.maketrans("0123456789", "ghijklmnop")


class Status(StrEnum):
    """Where a charge, or a card that its owner has to confirm, stands."""

    WAITING = "WAITING"
    """For its owner."""
    SUCCEEDED = "SUCCEEDED"
    DECLINED = "DECLINED"
    NOT_CHARGED = "NOT_CHARGED"


@dataclass(frozen=True, slots=True)
class ChargeRecord:
    """One attempt to charge, as the sandbox keeps it; `code`, `message` and `can_retry` say why it was not charged.

    Attributes:
        unknown_look_ups: How many more times it is not to be known what became of it.
        disputed_at: From when on it is disputed.
    """

    charge_id: str
    idempotency_key: str
    method_id: str
    amount_micros: int
    currency: str
    description: str
    metadata: Mapping[str, str]
    status: Status
    code: str = ""
    message: str = ""
    can_retry: bool = False
    unknown_look_ups: int = 0
    disputed_at: int | None = None
    refund_id: str | None = None


@dataclass(frozen=True, slots=True)
class MethodRecord:
    """A card that was added."""

    method_id: str
    customer_id: str
    token: str


@dataclass(frozen=True, slots=True)
class SetupRecord:
    """A card whose owner has to confirm that it may be added."""

    setup_id: str
    customer_id: str
    token: str
    status: Status


@dataclass(frozen=True, slots=True)
class EntryRecord:
    """A card that somebody is to enter, which here means to choose; the token is empty until they have."""

    entry_id: str
    owner_id: str
    return_url: str
    cancel_url: str
    token: str = ""


@dataclass(frozen=True, slots=True)
class EventRecord:
    """A webhook to be sent."""

    event_id: str
    body: bytes
    due_at: int
    next_at: int
    attempts: int = 0


_CHARGE_COLUMNS: Final = tuple(each.name for each in fields(ChargeRecord))


class SandboxFile:
    """The sandbox's tables; what reads and writes them is to stand within a `transaction()`.

    Raises:
        sqlite3.Error: By every method: the file cannot be read or written.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        with self.transaction():
            mine: tuple[str, str] = self._one("SELECT webhooks, ids FROM secret")
        self.webhook_secret, self._id_secret = mine

    @classmethod
    def open(cls, path: Path) -> "SandboxFile":
        """Open the file, or make it.

        Raises:
            ProviderUnusable: It was made by a newer version.
            sqlite3.Error: It cannot be opened, or is no such file.
        """
        connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("BEGIN IMMEDIATE")
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise ProviderUnusable(
                    f"The sandbox's file {path} was made by a newer version: use that one, or move the file away."
                )
            for schema in _SCHEMAS[version:]:
                for statement in schema.split(";"):
                    connection.execute(statement)
            if version == 0:
                mine = (f"whsec_{secrets.token_hex(24)}", secrets.token_hex(24))
                connection.execute("INSERT INTO secret VALUES (?, ?)", mine)
            connection.execute(f"PRAGMA user_version = {_VERSION}")
            connection.execute("COMMIT")
            return cls(connection)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """All of the block is kept, or, if it raises, nothing; nobody else writes meanwhile."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def check_writable(self) -> None:
        """Write something that changes nothing."""
        self._write("UPDATE secret SET webhooks = webhooks")

    def make_id(self, prefix: str, seed: str) -> str:
        """An id that is the same for the same seed, and that nobody outside can guess."""
        digest = hmac.new(self._id_secret.encode(), f"{prefix}:{seed}".encode(), hashlib.sha256).hexdigest()
        return f"{prefix}_{digest[:24].translate(_ID_LETTERS)}"

    def claim_key(self, idempotency_key: str, content: Mapping[str, Any]) -> None:
        """Take a key for a request, whatever becomes of it; a repeat of the same request has it already.

        Raises:
            ProviderKeyReused: Another request has it.
        """
        text = json.dumps(content, sort_keys=True)
        self._write("INSERT OR IGNORE INTO request VALUES (?, ?)", idempotency_key, text)
        if self._one("SELECT content FROM request WHERE idempotency_key = ?", idempotency_key) != (text,):
            raise ProviderKeyReused(idempotency_key)

    def has_customer(self, customer_id: str) -> bool:
        """Whether somebody's cards are kept under this id."""
        return self._one("SELECT 1 FROM customer WHERE customer_id = ?", customer_id) is not None

    def keep_customer(self, customer_id: str, owner_id: str) -> None:
        """Make a customer, once."""
        self._write("INSERT OR IGNORE INTO customer VALUES (?, ?)", customer_id, owner_id)

    def keep_method(self, method: MethodRecord) -> None:
        """Keep a card, once."""
        values = (method.method_id, method.customer_id, method.token)
        self._write("INSERT OR IGNORE INTO method VALUES (?, ?, ?)", *values)

    def method(self, method_id: str) -> MethodRecord | None:
        """A card that was added."""
        row = self._one("SELECT method_id, customer_id, token FROM method WHERE method_id = ?", method_id)
        return row and MethodRecord(*row)

    def keep_setup(self, setup: SetupRecord) -> None:
        """Keep a card that waits for its owner, or what its owner said."""
        values = (setup.setup_id, setup.customer_id, setup.token, setup.status)
        self._write("INSERT OR REPLACE INTO setup VALUES (?, ?, ?, ?)", *values)

    def setup(self, setup_id: str) -> SetupRecord | None:
        """A card whose owner has to confirm it, or did."""
        row = self._one("SELECT setup_id, customer_id, token, status FROM setup WHERE setup_id = ?", setup_id)
        if row is None:
            return None
        setup_id, customer_id, token, status = row
        return SetupRecord(setup_id, customer_id, token, Status(status))

    def keep_entry(self, entry: EntryRecord) -> None:
        """Keep the entry of a card, or what was chosen."""
        values = (entry.entry_id, entry.owner_id, entry.return_url, entry.cancel_url, entry.token)
        self._write("INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?)", *values)

    def entry(self, entry_id: str) -> EntryRecord | None:
        """The entry of a card, by its id."""
        row = self._one(
            "SELECT entry_id, owner_id, return_url, cancel_url, token FROM entry WHERE entry_id = ?", entry_id
        )
        return row and EntryRecord(*row)

    def keep_charge(self, charge: ChargeRecord) -> None:
        """Write a charge down, or what has become of it."""
        values = {name: getattr(charge, name) for name in _CHARGE_COLUMNS} | {"metadata": json.dumps(charge.metadata)}
        names, marks = ", ".join(_CHARGE_COLUMNS), ", ".join("?" for _ in _CHARGE_COLUMNS)
        # Names of our own fields: nothing from outside gets into the statement.
        self._write(f"INSERT OR REPLACE INTO charge ({names}) VALUES ({marks})", *values.values())  # noqa: S608

    def charge(self, charge_id: str) -> ChargeRecord | None:
        """A charge by its id."""
        return self._charge("charge_id", charge_id)

    def charge_of_key(self, idempotency_key: str) -> ChargeRecord | None:
        """A charge by the key of its attempt."""
        return self._charge("idempotency_key", idempotency_key)

    def statement(self) -> Iterator[ChargeRecord]:
        """The charges that succeeded, oldest first: what the cards' owners find on their statements."""
        columns = ", ".join(_CHARGE_COLUMNS)
        statement = f"SELECT {columns} FROM charge WHERE status = 'SUCCEEDED' ORDER BY rowid"  # noqa: S608
        yield from map(_charge_of, self._connection.execute(statement))

    def count_charged(self, method_id: str) -> int:
        """How many charges of a card have succeeded."""
        row = self._one("SELECT count(*) FROM charge WHERE method_id = ? AND status = 'SUCCEEDED'", method_id)
        return int(row[0]) if row else 0

    def keep_event(self, event: EventRecord) -> None:
        """Have a webhook sent, or sent again later."""
        values = (event.event_id, event.body, event.due_at, event.next_at, event.attempts)
        self._write("INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?)", *values)

    def drop_event(self, event_id: str) -> None:
        """Have a webhook sent no more."""
        self._write("DELETE FROM event WHERE event_id = ?", event_id)

    def next_event(self, now_ms: int) -> EventRecord | None:
        """The webhook whose turn it is."""
        row = self._one(
            "SELECT event_id, body, due_at, next_at, attempts FROM event WHERE next_at <= ? "
            "ORDER BY next_at, rowid LIMIT 1",
            now_ms,
        )
        return row and EventRecord(*row)

    def _charge(self, column: str, value: str) -> ChargeRecord | None:
        row = self._one(f"SELECT {', '.join(_CHARGE_COLUMNS)} FROM charge WHERE {column} = ?", value)  # noqa: S608
        return row and _charge_of(row)

    def _one(self, statement: str, *values: object) -> Any:
        return self._connection.execute(statement, values).fetchone()

    def _write(self, statement: str, *values: object) -> None:
        self._connection.execute(statement, values)


def _charge_of(row: tuple[Any, ...]) -> ChargeRecord:
    charge = ChargeRecord(*row)
    return replace(
        charge,
        metadata=json.loads(str(charge.metadata)),
        status=Status(charge.status),
        can_retry=bool(charge.can_retry),
    )

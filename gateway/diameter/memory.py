"""Sessions in a file, so that a restart forgets none of them, nor what was used in it.

SQLite without waiting for the disk: what a killed process wrote stands, and a machine that loses its power loses what
clients reported in its last second or so.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import structlog

from gateway.diameter.calls import CallSession
from gateway.diameter.messages import MessageSession
from gateway.diameter.requests import Kind
from gateway.diameter.sessions import KEEP_SECONDS, Session
from gateway.v1 import authorization_pb2 as pb

log = structlog.get_logger(__name__)

_VERSION: Final = 1
_SCHEMA: Final = """
CREATE TABLE session (
    session_id TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    request BLOB,
    reason INTEGER NOT NULL,
    is_known INTEGER NOT NULL,
    debited_micros INTEGER NOT NULL,
    used INTEGER NOT NULL,
    counted INTEGER NOT NULL,
    ended_by INTEGER,
    is_settled INTEGER NOT NULL,
    kept_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE state (state_id INTEGER NOT NULL);
"""
_KEEP: Final = "INSERT OR REPLACE INTO session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class BadStateFile(Exception):
    """The file is not one of ours, or another process has it."""


class SessionMemory:
    """The file.

    Args:
        path: Made if it is not there.
        unix: Seconds since 1970.

    Raises:
        BadStateFile: It cannot be used.
    """

    def __init__(self, path: Path, unix: Callable[[], float] = time.time) -> None:
        self._unix = unix
        try:
            self._file = sqlite3.connect(path, isolation_level=None, timeout=1.0)
            # Held for as long as this process lives: two that count the same sessions would count them twice.
            self._file.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._file.execute("PRAGMA journal_mode = WAL")
            self._file.execute("PRAGMA synchronous = OFF")
            self.state_id = self._open()
        except sqlite3.Error as error:
            raise BadStateFile(f"{path}: {error}") from None

    def keep(self, session: Session) -> None:
        """Write down what is known of a session; a disk that is full keeps no call from going on."""
        try:
            self._file.execute(_KEEP, self._row(session))
        except sqlite3.Error as error:
            log.error("diameter_session_not_kept", session_id=session.session_id, error=str(error))

    def forget(self, session_id: str) -> None:
        """Strike a session out."""
        try:
            self._file.execute("DELETE FROM session WHERE session_id = ?", (session_id,))
        except sqlite3.Error as error:
            log.error("diameter_session_not_forgotten", session_id=session_id, error=str(error))

    def restore(self) -> Iterator[Session]:
        """The sessions of the processes before this one, the one that was kept last at the end."""
        self._file.execute("DELETE FROM session WHERE kept_at < ?", (self._unix() - KEEP_SECONDS,))
        for row in self._file.execute("SELECT * FROM session ORDER BY kept_at").fetchall():
            yield _session(*row[:-1])

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def _open(self) -> int:
        self._file.execute("BEGIN IMMEDIATE")
        (version,) = self._file.execute("PRAGMA user_version").fetchone()
        if version not in {0, _VERSION}:
            raise sqlite3.DatabaseError(f"it is of version {version}; this is version {_VERSION}")
        if not version:
            for statement in _SCHEMA.split(";")[:-1]:
                self._file.execute(statement)
            self._file.execute(f"PRAGMA user_version = {_VERSION}")
            self._file.execute("INSERT INTO state VALUES (?)", (int(self._unix()),))
        (state_id,) = self._file.execute("SELECT state_id FROM state").fetchone()
        self._file.execute("COMMIT")
        return int(state_id)

    def _row(self, session: Session) -> tuple[object, ...]:
        kind, request, reason, is_known, debited_micros = Kind.CALL, None, 0, False, 0
        match session:
            case CallSession():
                request = session.request.SerializeToString() if session.request is not None else None
                reason, is_known = session.reason, session.is_known
            case MessageSession():
                kind, request, debited_micros = (
                    session.kind,
                    session.request.SerializeToString(),
                    session.debited_micros,
                )
        return (
            session.session_id,
            kind.value,
            request,
            reason,
            is_known,
            debited_micros,
            session.used,
            session.counted,
            session.ended_by,
            session.is_settled,
            self._unix(),
        )


def _session(
    session_id: str,
    kind: str,
    request: bytes | None,
    reason: "pb.Reason.ValueType",
    is_known: int,
    debited_micros: int,
    used: int,
    counted: int,
    ended_by: int | None,
    is_settled: int,
) -> Session:
    session: Session
    if Kind(kind) is Kind.CALL:
        authorized = None if request is None else pb.AuthorizeCallRequest.FromString(request)
        session = CallSession(session_id=session_id, request=authorized, reason=reason, is_known=bool(is_known))
    else:
        session = MessageSession(
            session_id=session_id,
            request=pb.AuthorizeMessageRequest.FromString(request or b""),
            kind=Kind(kind),
            debited_micros=debited_micros,
        )
    session.used, session.counted, session.ended_by = used, counted, ended_by
    session.is_begun, session.is_settled = True, bool(is_settled)
    return session

"""The usage records that a batch of entries makes and moves on: one row a call, a message or a refusal.

A batch may tell of one call many times. What it tells is folded first, so that each row is written once.
"""

from typing import Any, Final

from sqlalchemy import Insert, Table, bindparam, delete, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.credit import OWN_KEY_PREFIX, CreditKind, CreditRequest
from gateway.domain.trace import Trace
from gateway.domain.usage import UsageKind, UsageState
from gateway.domain.vocabulary import Reason
from gateway.ledger.credits import number_credit
from gateway.ledger.journal.facts import CallMoved, Entry, LateRefund, MessageRefunded, MessageSent, Refused, Subject
from gateway.ledger.models import UnrecordedRefusalsRow, UsageRow

ACTOR: Final = "journal"
A_REFUSAL: Final = 0
"""The `life_at` of a refusal: a later grant of the same id replaces it."""

_MAX_CAUSE: Final = 200
_USAGE: Final[Table] = UsageRow.__table__  # type: ignore[assignment]  # a table, not any FromClause

_Key = tuple[str, str, int]
_Row = dict[str, Any]


class UsageRows:
    """What a batch makes of the usage records; `add` the entries in their order, then `write` once."""

    def __init__(self) -> None:
        self._new: dict[_Key, _Row] = {}
        self._moved: dict[_Key, _Row] = {}
        self._refunds: list[tuple[str, MessageRefunded]] = []
        self._late: list[tuple[str, LateRefund]] = []
        self._unrecorded: list[_Row] = []
        self._sent: dict[tuple[str, str], _Key] = {}

    def add(self, entry: Entry) -> None:
        """Take what an entry tells; one that is about no call or message changes nothing."""
        fact = entry.fact
        if isinstance(fact, CallMoved):
            self._add_call(entry, fact)
        elif isinstance(fact, MessageSent):
            key = (entry.office_id, fact.message_id, entry.at)
            self._new[key] = _row(key, UsageKind.MESSAGE, fact.reason, fact.subject, entry.at) | {
                "cost_micros": fact.price_micros,
                "fingerprint": fact.fingerprint,
            }
            self._sent[key[:2]] = key
        elif isinstance(fact, MessageRefunded):
            self._refund(entry.office_id, fact)
        elif isinstance(fact, LateRefund):
            self._late.append((entry.office_id, fact))
        elif isinstance(fact, Refused):
            key = (entry.office_id, fact.thing_id, A_REFUSAL)
            self._new[key] = _row(key, fact.kind, fact.reason, fact.subject, entry.at)
            if fact.unrecorded_before:
                self._unrecorded.append(
                    {
                        "office_id": entry.office_id,
                        "kind": fact.kind,
                        "at": entry.at,
                        "count": fact.unrecorded_before,
                    }
                )

    async def write(self, session: AsyncSession, *, now_ms: int) -> None:
        """Write it all, in the transaction of the batch."""
        new = self._without_replaced_refusals()
        if new:
            # A grant replaces the refusal of the same id, and so does another refusal.
            await session.execute(_FORGET_REFUSAL, [{"of": key[0], "thing": key[1]} for key in new])
            await session.execute(_insert(session), list(new.values()))
        going_on = [row for row in self._moved.values() if "closed_at" not in row]
        closed = [row for row in self._moved.values() if "closed_at" in row]
        if going_on:
            await session.execute(_MOVE_ON, going_on)
        if closed:
            await session.execute(_CLOSE, closed)
        for office_id, refund in self._refunds:
            await _refund(session, office_id, refund)
        for office_id, late in self._late:
            await _credit_late_refund(session, office_id, late.message_id, now_ms=now_ms)
        if self._unrecorded:
            await session.execute(insert(UnrecordedRefusalsRow), self._unrecorded)

    def _add_call(self, entry: Entry, fact: CallMoved) -> None:
        key = (entry.office_id, fact.call_id, fact.authorized_at)
        progress: _Row = {
            "state": fact.state,
            "answered_at": fact.answered_at,
            "duration_seconds": fact.confirmed_seconds,
            "cost_micros": fact.debited_micros,
        }
        if fact.ended is not None:
            progress |= {
                "duration_seconds": fact.ended.duration_seconds,
                "billed_seconds": fact.ended.billed_seconds,
                "written_off_micros": fact.ended.written_off_micros,
                "cause": fact.ended.cause[:_MAX_CAUSE],
                "closed_at": entry.at,
                "record": b"",  # Rebuild makes no call again that is over.
            }
        if fact.begun is not None:
            begun = fact.begun
            self._new[key] = _row(key, UsageKind.CALL, begun.reason, begun.subject, fact.authorized_at) | {
                "rate": begun.rate,
                "fingerprint": begun.fingerprint,
                "record": begun.record,
            }
        if key in self._new:
            self._new[key] |= progress
        else:
            names = {"of": key[0], "thing": key[1], "life": key[2]}
            self._moved[key] = self._moved.get(key, names) | progress

    def _refund(self, office_id: str, fact: MessageRefunded) -> None:
        key = self._sent.get((office_id, fact.message_id))
        if key is None:
            self._refunds.append((office_id, fact))
        else:
            self._new[key] |= {"cost_micros": 0, "refunded_micros": fact.amount_micros}

    def _without_replaced_refusals(self) -> dict[_Key, _Row]:
        granted = {key[:2] for key in self._new if key[2] != A_REFUSAL}
        return {key: row for key, row in self._new.items() if key[2] != A_REFUSAL or key[:2] not in granted}


_OF_A_THING: Final = (_USAGE.c.office_id == bindparam("of"), _USAGE.c.thing_id == bindparam("thing"))
_FORGET_REFUSAL: Final = delete(_USAGE).where(*_OF_A_THING, _USAGE.c.life_at == A_REFUSAL)
_MOVED: Final = ("state", "answered_at", "duration_seconds", "cost_micros")
_CLOSED: Final = (*_MOVED, "billed_seconds", "written_off_micros", "cause", "closed_at", "record")
_MOVE_ON: Final = (
    update(_USAGE)
    .where(*_OF_A_THING, _USAGE.c.life_at == bindparam("life"))
    .values({name: bindparam(name) for name in _MOVED})
)
_CLOSE: Final = _MOVE_ON.values({name: bindparam(name) for name in _CLOSED})


def _insert(session: AsyncSession) -> Insert:
    """The statement for new rows.

    Two lives of one id that began in the same millisecond become one row, with the cost of both: that takes a shard
    whose clock stands still (it was once set far ahead), and it must not stop the journal.
    """
    if session.get_bind().dialect.name == "postgresql":
        statement: Any = postgresql.insert(_USAGE)
    else:
        statement = sqlite.insert(_USAGE)
    both = _USAGE.c.cost_micros + statement.excluded.cost_micros
    keys = [_USAGE.c.office_id, _USAGE.c.thing_id, _USAGE.c.life_at]
    conflict: Insert = statement.on_conflict_do_update(index_elements=keys, set_={"cost_micros": both})
    return conflict


def _row(key: _Key, kind: UsageKind, reason: Reason, subject: Subject, started_at: int) -> _Row:
    """A row of something that is over and cost nothing; who calls says what is otherwise."""
    return {
        "office_id": key[0],
        "thing_id": key[1],
        "life_at": key[2],
        "kind": kind,
        "state": UsageState.CLOSED,
        "reason": reason,
        "category": subject.category,
        "direction": subject.direction,
        "license": subject.license,
        "service": subject.service,
        "message_kind": subject.message_kind,
        "segments": subject.segments,
        "calling_number": subject.calling_number,
        "called_number": subject.called_number,
        "user_id": subject.user_id,
        "department_id": subject.department_id,
        "switch_id": subject.switch_id,
        "started_at": started_at,
        "answered_at": 0,
        "closed_at": started_at if kind is UsageKind.MESSAGE or key[2] == A_REFUSAL else 0,
        "duration_seconds": 0,
        "billed_seconds": 0,
        "cost_micros": 0,
        "refunded_micros": 0,
        "written_off_micros": 0,
        "cause": "",
        "deck_version": subject.deck_version,
        "rate_line": subject.rate_line,
        "rate": b"",
        "fingerprint": b"",
        "record": b"",
        "request_id": subject.request_id or None,
        "trace_id": Trace.unpack(subject.trace).trace_id.hex() or None,
    }


async def _refund(session: AsyncSession, office_id: str, refund: MessageRefunded) -> None:
    """Mark the message that was sent last under this id: of an id that was used again, the store knows only that."""
    row = await _last_sent(session, office_id, refund.message_id)
    if row is not None:
        row.cost_micros, row.refunded_micros = 0, refund.amount_micros


async def _credit_late_refund(session: AsyncSession, office_id: str, message_id: str, *, now_ms: int) -> None:
    """Give a message back that only the ledger knows, as a numbered credit, once."""
    row = await _last_sent(session, office_id, message_id)
    if row is None or not row.cost_micros:
        return
    request = CreditRequest(
        office_id=office_id,
        amount_micros=row.cost_micros,
        kind=CreditKind.MESSAGE_REFUND,
        reason=f"message {message_id} was given back by its carrier",
        idempotency_key=f"{OWN_KEY_PREFIX}message-refund:{row.seq}",
    )
    row.cost_micros, row.refunded_micros = 0, row.cost_micros
    await number_credit(session, request, actor=ACTOR, now_ms=now_ms)


async def _last_sent(session: AsyncSession, office_id: str, message_id: str) -> UsageRow | None:
    query = (
        select(UsageRow)
        .where(
            UsageRow.office_id == office_id,
            UsageRow.thing_id == message_id,
            UsageRow.kind == UsageKind.MESSAGE,
            UsageRow.life_at != A_REFUSAL,
        )
        .order_by(UsageRow.life_at.desc())
        .limit(1)
    )
    return (await session.scalars(query)).one_or_none()

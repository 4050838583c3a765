"""The journal: what the outboxes tell, written into the ledger together with how far they were read."""

from gateway.ledger.journal.facts import (
    CallBegun,
    CallEnded,
    CallMoved,
    CreditApplied,
    Entry,
    Fact,
    LateRefund,
    MessageRefunded,
    MessageSent,
    Refused,
    Subject,
)
from gateway.ledger.journal.writer import Gap, Journal, ShardBatch, Taken

__all__ = [
    "CallBegun",
    "CallEnded",
    "CallMoved",
    "CreditApplied",
    "Entry",
    "Fact",
    "Gap",
    "Journal",
    "LateRefund",
    "MessageRefunded",
    "MessageSent",
    "Refused",
    "ShardBatch",
    "Subject",
    "Taken",
]

"""Every metric there is. None has an office or a number as a label.

Front and back write to files of one directory (prometheus_client's multiprocess mode); the back serves their sum.
"""

from functools import cache
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from gateway.domain.fraud_guard import GuardKind
from gateway.domain.payment import ChargePurpose, ChargeStatus, RefillStatus
from gateway.domain.vocabulary import FinalReason, Reason

_LATENCY_BUCKETS: Final = (
    0.00025, 0.0005, 0.00075, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
)  # fmt: skip

RPCS: Final = Counter(
    "tollgate_rpcs_total", "Rpcs answered, by rpc and gRPC code; a stream when it ends.", ["rpc", "code"]
)
RPC_SECONDS: Final = Histogram(
    "tollgate_rpc_seconds", "Time from a unary request's arrival to its answer.", ["rpc"], buckets=_LATENCY_BUCKETS
)
DECISIONS: Final = Counter(
    "tollgate_decisions_total", "Decisions about calls and messages, replays not counted.", ["operation", "reason"]
)
DEBITED: Final = Counter("tollgate_debited_micros_total", "Debited by ticks, ends, lapses and messages.")
REFUNDED: Final = Counter("tollgate_refunded_micros_total", "Given back by ends and message refunds.")
WRITTEN_OFF: Final = Counter("tollgate_written_off_micros_total", "Prices of ended calls that no funds were there for.")
RESERVED: Final = Gauge(
    "tollgate_reserved_micros", "Held for live calls now, over all offices.", multiprocess_mode="mostrecent"
)
LIVE_CALLS: Final = Gauge("tollgate_live_calls", "Calls that are ringing or talking.", multiprocess_mode="mostrecent")
REFILL_TRIGGERS: Final = Counter("tollgate_refill_triggers_total", "Refill triggers raised.")
REFILL_WATCHERS: Final = Gauge("tollgate_refill_watchers", "Open WatchRefills streams.", multiprocess_mode="livesum")
OUTBOX_ENTRIES: Final = Gauge(
    "tollgate_outbox_entries",
    "Entries in the outboxes of all shards: what the ledger does not have yet.",
    multiprocess_mode="mostrecent",
)
JOURNALED: Final = Counter("tollgate_journal_entries_total", "Outbox entries written into the ledger.")
JOURNAL_LAG: Final = Gauge(
    "tollgate_journal_lag_seconds",
    "Age of the oldest outbox entry that the ledger does not have; 0: it has all.",
    multiprocess_mode="mostrecent",
)
BOOK_GAPS: Final = Counter(
    "tollgate_book_gaps_total", "Outbox entries whose balance did not follow from the one before: run tollgate audit."
)
OFFICES_MISSING: Final = Gauge(
    "tollgate_offices_missing",
    "Offices that the store had and has lost, to be restored from the ledger.",
    multiprocess_mode="mostrecent",
)
CREDITS_LOST: Final = Counter(
    "tollgate_credits_lost_total", "Credits that the store had confirmed and lost again, sent anew."
)
CREDITS_STUCK: Final = Counter(
    "tollgate_credits_stuck_total",
    "Attempts to apply a credit that ended in a contradiction for a person to look into.",
)
NOTICES: Final = Counter(
    "tollgate_notices_total", "Attempts to send a notice, by channel and outcome: sent, failed or given_up.",
    ["channel", "outcome"],
)  # fmt: skip
NOTICES_WAITING: Final = Gauge(
    "tollgate_notices_waiting", "Deliveries of notices that are neither sent nor given up, by channel.", ["channel"],
    multiprocess_mode="mostrecent",
)  # fmt: skip
HTTP_REQUESTS: Final = Counter(
    "tollgate_http_requests_total", "HTTP requests answered, by route and class of status.", ["route", "status"]
)
CHARGES: Final = Counter(
    "tollgate_charges_total",
    "What became of charges of cards, by purpose and outcome; UNKNOWN ones are looked up, and counted each time.",
    ["purpose", "outcome"],
)
CHARGES_UNDECIDED: Final = Gauge(
    "tollgate_charges_undecided", "Charges whose outcome is not known yet.", multiprocess_mode="mostrecent"
)
CHARGES_CONTRADICTED: Final = Counter(
    "tollgate_charges_contradicted_total",
    "Charges recorded as failed that the provider says have succeeded, for a person to look into.",
)
REFILLS: Final = Counter(
    "tollgate_refills_ended_total",
    "Attempts at an automatic refill that ended without a credit: not needed, failed, capped for the day, or braked by "
    "a fraud guard.",
    ["outcome"],
)
CHARGEBACKS: Final = Counter("tollgate_chargebacks_total", "Charges that a cardholder's bank took back.")
FRAUD_GUARD_TRIPS: Final = Counter(
    "tollgate_fraud_guard_trips_total", "Fraud guards of offices that reached their limit, by guard.", ["guard"]
)
OFFICES_GUARDED: Final = Gauge(
    "tollgate_offices_guarded",
    "Offices that a fraud guard keeps from some calls now.",
    multiprocess_mode="mostrecent",
)
HOOK_SECONDS: Final = Histogram(
    "tollgate_hook_seconds",
    "Time from a hook's whole request to its answer, of those that were answered, by rpc.",
    ["rpc"],
    buckets=_LATENCY_BUCKETS,
)
CALLBACKS: Final = Counter(
    "tollgate_callbacks_total",
    "Posts to callbacks of switches, by what for and outcome: answered or failed.",
    ["kind", "outcome"],
)
SESSIONS: Final = Gauge("tollgate_sessions", "Open Sessions.", multiprocess_mode="livesum")
SESSION_OPERATIONS: Final = Counter("tollgate_session_operations_total", "Operations that came by a Session.", ["kind"])
SESSION_ERRORS: Final = Counter(
    "tollgate_session_errors_total", "Operations of a Session that got an error instead of an answer, by gRPC code.",
    ["code"],
)  # fmt: skip
COMMANDS: Final = Counter("tollgate_commands_total", "Commands handed to the Sessions of a switch.", ["kind"])
CUTS: Final = Counter("tollgate_cuts_total", "Calls marked cut, by final reason.", ["reason"])
LAPSES: Final = Counter("tollgate_lapses_total", "Calls that lapsed.")
DUE_LAG_SECONDS: Final = Histogram(
    "tollgate_due_lag_seconds",
    "How long after its time a due call was looked at.",
    buckets=(0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 15.0, 60.0),
)
CUT_LATE_SECONDS: Final = Histogram(
    "tollgate_cut_late_seconds",
    "How long after its granted time a call was marked cut, and its switch told.",
    buckets=(0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 15.0, 60.0),
)
TRACE_SPANS: Final = Counter(
    "tollgate_trace_spans_total",
    "Spans handed to the collector of traces, by outcome: sent, or lost since it did not take them.",
    ["outcome"],
)
CLOCK_OFFSET: Final = Gauge(
    "tollgate_clock_offset_seconds",
    "The store's clock less this machine's.",
    multiprocess_mode="mostrecent",
)
STORE_CONNECTED: Final = Gauge(
    "tollgate_store_connected", "1 while the process has a connection to the store.", ["process"],
    multiprocess_mode="livemin",
)  # fmt: skip
TLS_EXPIRES: Final = Gauge(
    "tollgate_tls_expires_timestamp_seconds",
    "When the listeners' certificate that is in use expires, in Unix time; 0: they do not speak TLS.",
    multiprocess_mode="livemin",
)


# What is not there cannot be seen to grow: what happens seldom is shown as 0 before it happens first.
for _code in ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "INTERNAL"):
    SESSION_ERRORS.labels(_code)
for _final_reason in FinalReason:
    CUTS.labels(_final_reason.name)
for _status in (RefillStatus.NOT_NEEDED, RefillStatus.FAILED, RefillStatus.CAPPED, RefillStatus.BRAKED):
    REFILLS.labels(_status.value)
for _guard in GuardKind:
    FRAUD_GUARD_TRIPS.labels(_guard.value)
for _outcome_of_spans in ("sent", "lost"):
    TRACE_SPANS.labels(_outcome_of_spans)
for _purpose in ChargePurpose:
    for _outcome in (ChargeStatus.SUCCEEDED, ChargeStatus.DECLINED, ChargeStatus.NOT_CHARGED):
        CHARGES.labels(_purpose.value, _outcome.value)

# labels() takes a lock and a dictionary a call; decisions are too many for that.
_DECISIONS: Final[dict[tuple[str, int], Counter]] = {
    (operation, reason): DECISIONS.labels(operation, reason.name)
    for operation in ("call", "message")
    for reason in Reason
}


def count_decision(operation: str, reason: int) -> None:
    """Count a decision about a "call" or a "message"; the reason by its number, as the scripts give it."""
    _DECISIONS[operation, reason].inc()


@cache
def _session_counter(kind: str) -> Counter:
    return SESSION_OPERATIONS.labels(kind)


def count_session_operations(kind: str, count: int) -> None:
    """Count operations of a Session by their name in the contract."""
    _session_counter(kind).inc(count)


def count_session_error(code: str) -> None:
    """Count an operation of a Session that could not be answered, by its gRPC code."""
    SESSION_ERRORS.labels(code).inc()


def count_command(kind: str) -> None:
    """Count a command by its name in the contract."""
    COMMANDS.labels(kind).inc()


def count_notice(channel: str, outcome: str) -> None:
    """Count an attempt to send a notice: "sent", "failed" or "given_up"."""
    NOTICES.labels(channel, outcome).inc()


@cache
def _rpc_counter(rpc: str, code: str) -> Counter:
    return RPCS.labels(rpc, code)


@cache
def _rpc_histogram(rpc: str) -> Histogram:
    return RPC_SECONDS.labels(rpc)


def observe_rpc(rpc: str, code: str, seconds: float) -> None:
    """Count an rpc and its time."""
    _rpc_counter(rpc, code).inc()
    _rpc_histogram(rpc).observe(seconds)


@cache
def _hook_histogram(rpc: str) -> Histogram:
    return HOOK_SECONDS.labels(rpc)


def observe_hook(rpc: str, seconds: float) -> None:
    """Note the time of a hook by the rpc that it is."""
    _hook_histogram(rpc).observe(seconds)


def count_callback(kind: str, outcome: str) -> None:
    """Count a post to a callback: a command by its name in the contract, or list_calls; answered or failed."""
    CALLBACKS.labels(kind, outcome).inc()


def count_spans(outcome: str, count: int) -> None:
    """Count spans of traces: "sent" or "lost"."""
    TRACE_SPANS.labels(outcome).inc(count)


def count_http_request(route: str, status: int) -> None:
    """Count an HTTP request by its route as the code has it, and its status (0: no answer could be given)."""
    HTTP_REQUESTS.labels(route, f"{status // 100}xx" if status else "none").inc()

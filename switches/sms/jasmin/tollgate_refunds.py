"""Gives the money of failed messages back: hears what Jasmin publishes, keeps what is owed in a file, asks until done.

Runs beside Jasmin in Jasmin's own virtual environment, with pika, on the host of interceptord (they share the journal):

    /opt/jasmin/bin/python tollgate_refunds.py

It copies what Jasmin publishes into a durable queue of its own, `tollgate`:

    submit.sm.<connector>   a message was accepted: ties Jasmin's id to Tollgate's
    dlr.submit_sm_resp      the SMSC took it, or refused it
    dlr.deliver_sm          a delivery receipt
    tollgate.dropped        Jasmin gave it up before sending (a dead letter: the policy in docs/how-to/jasmin.md)

What Tollgate granted and Jasmin then did not queue (no route, throttled, stopped connector) is given back after a
minute. Tollgate gives back once, however often it is asked, so whatever is not known to be done is asked again.

Settings are environment variables: TOLLGATE_URL, TOLLGATE_TOKEN, TOLLGATE_JOURNAL as of tollgate_jasmin.py, and

    TOLLGATE_AMQP           amqp://guest:guest@127.0.0.1:5672/%2F
    TOLLGATE_REFUND_STATES  UNDELIV,REJECTD: the receipts that give money back
    TOLLGATE_UNSENT_SECONDS 60: after so long a message that Jasmin did not queue is not going to be
    TOLLGATE_RETRY_SECONDS  600: after so long without news Jasmin does not send a refused message again
    TOLLGATE_KEEP_DAYS      3: so long a receipt is waited for
"""

import logging
import os
import pickle
import signal
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

import pika
import pika.exceptions
from tollgate_jasmin import SCHEMA, Tollgate, Unanswered

log = logging.getLogger("tollgate-refunds")

QUEUE = "tollgate"
EXCHANGE = "messaging"
PROBE = "tollgate.probe"
BINDINGS = ("submit.sm.*", "dlr.*", "tollgate.*")

RETRIED = ("ESME_RSYSERR", "ESME_RTHROTTLED", "ESME_RMSGQFUL", "ESME_RINVSCHED")
"""Refusals after which Jasmin sends again (submit_error_retrial in jasmin.cfg)."""

EARLY_SECONDS = 60.0
"""So long a receipt is kept that came before the answer to its message."""

EVENTS_A_BATCH = 200
BATCH_SECONDS = 0.1
PROBE_SECONDS = 2.0
REFUNDS_A_TURN = 20
ANSWER_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0

Delivery = tuple[Any, Any, bytes]
"""What pika hands on of a message: how it was delivered, its properties, its body."""


class Messages:
    """What is sent and what is owed back for it, on the disk.

    A message goes from ASKED (of Tollgate) to QUEUED (by Jasmin), to SENT or RETRYING, and when it failed to REFUND,
    where it stays until Tollgate has given the money back; then it is DONE, so that another report changes nothing.
    """

    def __init__(self, path: str, settings: Mapping[str, str]) -> None:
        self._database = sqlite3.connect(path, timeout=10.0, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        # What is taken off the queue has to be on the disk.
        self._database.execute("PRAGMA synchronous = FULL")
        self._database.execute(SCHEMA)
        for statement in MORE_SCHEMA:
            self._database.execute(statement)
        self._refund_states = settings.get("TOLLGATE_REFUND_STATES", "UNDELIV,REJECTD").split(",")
        self._unsent_seconds = float(settings.get("TOLLGATE_UNSENT_SECONDS", "60"))
        self._retry_seconds = float(settings.get("TOLLGATE_RETRY_SECONDS", "600"))
        self._keep_seconds = float(settings.get("TOLLGATE_KEEP_DAYS", "3")) * 86400

    def take(self, deliveries: list[Delivery]) -> None:
        """Take what Jasmin published, all of it or nothing."""
        self._database.execute("BEGIN IMMEDIATE")
        try:
            for method, properties, body in deliveries:
                self._take(method.routing_key, properties, body)
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _take(self, key: str, properties: Any, body: bytes) -> None:
        kind, _, rest = key.partition(".")
        if kind == "submit":
            # Jasmin's own pickle, from its own broker: whoever can write there runs code in Jasmin as well.
            marked = getattr(pickle.loads(body), "tollgate", None)  # noqa: S301
            if marked is not None:
                self._queued(marked, properties.message_id, rest.partition(".")[2])
        elif key == "dlr.submit_sm_resp":
            self._answered(properties.message_id, body.decode(), properties.headers.get("smpp_msgid"))
        elif key == "dlr.deliver_sm":
            self._receipted(f"{properties.headers['cid']}/{properties.message_id}", body.decode())
        elif key == PROBE:
            # The queue is in order: what Jasmin had published when this was, has been taken.
            self._change("REFUND", 0.0, "state = 'ASKED' AND since < ?", float(body) - self._unsent_seconds)
        elif key == "tollgate.dropped":
            self._change("REFUND", 0.0, "jasmin_id = ?", properties.message_id)

    def _queued(self, marked: tuple[str, str], jasmin_id: str, connector: str) -> None:
        office_id, message_id = marked
        # The journal lacks it when the machine lost its power meanwhile: it is written without waiting for the disk.
        self._database.execute(
            "INSERT INTO messages (message_id, office_id, state, since, jasmin_id, connector)"
            " VALUES (?, ?, 'QUEUED', ?, ?, ?)"
            " ON CONFLICT (message_id) DO UPDATE SET state = 'QUEUED', since = excluded.since,"
            " jasmin_id = excluded.jasmin_id, connector = excluded.connector WHERE state = 'ASKED'",
            (message_id, office_id, time.time(), jasmin_id, connector),
        )

    def _answered(self, jasmin_id: str, status: str, smsc_id: str | None) -> None:
        if status in RETRIED:
            self._change("RETRYING", time.time(), "jasmin_id = ?", jasmin_id)
        elif status != "ESME_ROK":
            self._change("REFUND", 0.0, "jasmin_id = ?", jasmin_id)
        else:
            found = self._database.execute(
                "UPDATE messages SET state = 'SENT', since = ?, smsc_id = connector || '/' || ?"
                " WHERE jasmin_id = ? AND state IN ('QUEUED', 'RETRYING') RETURNING smsc_id",
                (time.time(), str(smsc_id), jasmin_id),
            ).fetchall()
            for row in found:
                if self._database.execute("DELETE FROM early WHERE smsc_id = ? RETURNING 1", row).fetchall():
                    self._change("REFUND", 0.0, "smsc_id = ?", row[0])

    def _receipted(self, smsc_id: str, state: str) -> None:
        if state == "DELIVRD":
            self._change("DONE", time.time(), "smsc_id = ?", smsc_id)
        elif state in self._refund_states:
            self._change("REFUND", 0.0, "smsc_id = ?", smsc_id)
            if not self._database.execute("SELECT 1 FROM messages WHERE smsc_id = ?", (smsc_id,)).fetchall():
                self._database.execute("INSERT OR REPLACE INTO early VALUES (?, ?)", (smsc_id, time.time()))

    def forget_asked(self) -> int:
        """Forget what was asked: whether Jasmin queued it cannot be known."""
        return self._database.execute("DELETE FROM messages WHERE state = 'ASKED'").rowcount

    def age(self) -> None:
        """Let time pass."""
        now = time.time()
        self._change("REFUND", 0.0, "state = 'RETRYING' AND since < ?", now - self._retry_seconds)
        self._database.execute(
            "DELETE FROM messages WHERE state != 'REFUND' AND since < ?", (now - self._keep_seconds,)
        )
        self._database.execute("DELETE FROM early WHERE since < ?", (now - EARLY_SECONDS,))

    def owed(self) -> list[tuple[str, str]]:
        """Messages whose money is to be asked back now, and their offices."""
        return self._database.execute(
            "SELECT message_id, office_id FROM messages WHERE state = 'REFUND' LIMIT ?", (REFUNDS_A_TURN,)
        ).fetchall()

    def settled(self, message_id: str) -> None:
        """The money is back, or there was none."""
        self._database.execute(
            "UPDATE messages SET state = 'DONE', since = ? WHERE message_id = ?", (time.time(), message_id)
        )

    def _change(self, state: str, since: float, where: str, value: Any) -> None:
        """Change the state of messages that are neither owed nor settled."""
        self._database.execute(
            f"UPDATE messages SET state = ?, since = ? WHERE state NOT IN ('REFUND', 'DONE') AND {where}",  # noqa: S608
            (state, since, value),
        )


MORE_SCHEMA = (
    "CREATE INDEX IF NOT EXISTS by_jasmin_id ON messages (jasmin_id) WHERE jasmin_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS by_smsc_id ON messages (smsc_id) WHERE smsc_id IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS by_state ON messages (state, since)",
    "CREATE TABLE IF NOT EXISTS early (smsc_id TEXT PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID",
)


class Refunds:
    """Asks Tollgate for what is owed, and pauses while it has no answer."""

    def __init__(self, messages: Messages, tollgate: Tollgate) -> None:
        self._messages = messages
        self._tollgate = tollgate
        self._pause_seconds = 0.0
        self._not_before = 0.0

    def ask(self) -> None:
        """Ask for some, unless it is too early for it."""
        if time.monotonic() < self._not_before:
            return
        for message_id, office_id in self._messages.owed():
            if not self._ask(message_id, office_id):
                self._pause_seconds = min(max(1.0, self._pause_seconds * 2), LONGEST_PAUSE_SECONDS)
                self._not_before = time.monotonic() + self._pause_seconds
                return
            self._pause_seconds = 0.0

    def _ask(self, message_id: str, office_id: str) -> bool:
        """Whether Tollgate gave a final answer."""
        try:
            answer = self._tollgate.post("/v1/messages/refund", {"officeId": office_id, "messageId": message_id})
        except Unanswered as error:
            log.warning("message %s: no answer to its refund, asking again: %s", message_id, error)
            return False
        if answer.status == 200:
            log.info("message %s: %s micros given back to %s", message_id, answer.content["refundedMicros"], office_id)
        elif answer.status == 404:
            log.info("message %s: nothing to give back, or Tollgate's ledger sees to it", message_id)
        elif answer.status in (400, 409):
            log.error("message %s: its refund is refused for good: %s", message_id, answer.content)
        else:
            log.warning(
                "message %s: HTTP %d to its refund, asking again: %s", message_id, answer.status, answer.content
            )
            return False
        self._messages.settled(message_id)
        return True


def follow(url: str, messages: Messages, refunds: Refunds) -> None:
    """Take what Jasmin publishes, until the connection breaks.

    Raises:
        pika.exceptions.AMQPError: It broke, or was not made.
    """
    connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        if not was_bound(connection):
            # The first time, or the broker was restarted: copies may have gone nowhere, and what was sent stays paid.
            count = messages.forget_asked()
            log.log(logging.WARNING if count else logging.INFO, "the queue is new; %d messages are not watched", count)
        channel = connection.channel()
        channel.exchange_declare(EXCHANGE, "topic")
        # A quorum queue keeps on the disk also what Jasmin publishes as transient.
        channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
        for key in BINDINGS:
            channel.queue_bind(QUEUE, EXCHANGE, key)
        channel.basic_qos(prefetch_count=EVENTS_A_BATCH)
        log.info("listening")
        batch: list[Delivery] = []
        began = probed = time.monotonic()
        for delivery in channel.consume(QUEUE, inactivity_timeout=BATCH_SECONDS):
            is_idle = delivery[0] is None
            if not is_idle:
                batch.append(delivery)
            if is_idle or len(batch) >= EVENTS_A_BATCH or time.monotonic() - began > BATCH_SECONDS:
                if batch:
                    messages.take(batch)
                    channel.basic_ack(batch[-1][0].delivery_tag, multiple=True)
                messages.age()
                refunds.ask()
                batch, began = [], time.monotonic()
            if time.monotonic() - probed > PROBE_SECONDS:
                probed = time.monotonic()
                channel.basic_publish(EXCHANGE, PROBE, str(time.time()).encode())
    finally:
        if connection.is_open:
            connection.close()


def was_bound(connection: Any) -> bool:
    """Whether the queue has been there and got its copies until now, which only a message through it can tell."""
    channel = connection.channel()
    channel.confirm_delivery()
    try:
        channel.basic_publish(EXCHANGE, PROBE, str(time.time()).encode(), mandatory=True)
    except (pika.exceptions.UnroutableError, pika.exceptions.ChannelClosedByBroker):
        return False
    channel.close()
    return True


def main() -> None:
    """Listen and give back until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = os.environ
    messages = Messages(settings.get("TOLLGATE_JOURNAL", "/var/lib/jasmin/tollgate.db"), settings)
    url = settings.get("TOLLGATE_URL", "http://127.0.0.1:8080")
    refunds = Refunds(messages, Tollgate(url, settings["TOLLGATE_TOKEN"], ANSWER_SECONDS))
    try:
        while True:
            try:
                follow(settings.get("TOLLGATE_AMQP", "amqp://guest:guest@127.0.0.1:5672/%2F"), messages, refunds)
            except pika.exceptions.AMQPError as error:
                log.warning("RabbitMQ is away: %r", error)
                messages.age()
                refunds.ask()
                time.sleep(1.0)
    except KeyboardInterrupt:
        log.info("stopped")


if __name__ == "__main__":
    main()

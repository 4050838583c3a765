"""Asks Tollgate before Jasmin sends a message, and keeps a journal from which tollgate_refunds.py gives money back.

interceptord imports this once (PYTHONPATH) and calls `authorize` for every message that a customer submits. It does one
thing at a time, so this keeps its connection, waits half a second at most for an answer, asks once more with the same
id, and after that lets no message wait while the gateway stays silent: each is refused with a "try again".

Standard library only, beside Jasmin's own smpp.pdu. Settings are environment variables of interceptord:

    TOLLGATE_URL            http://127.0.0.1:8080
    TOLLGATE_TOKEN          a switch's token (tollgate token create --role switch)
    TOLLGATE_JOURNAL        /var/lib/jasmin/tollgate.db
    TOLLGATE_OFFICE         group (default): a message is paid by the office whose id is the group's; user: the user's
    TOLLGATE_TIMEOUT        0.5 s for an answer
"""

import functools
import http.client
import json
import logging
import os
import sqlite3
import time
import urllib.parse
import uuid
from typing import Any, NamedTuple

log = logging.getLogger("jasmin-interceptor-pb")

MAX_SEGMENTS = 255
SILENCE_SECONDS = 1.0
"""So long no message asks a gateway that has just not answered, or those behind it would wait for nothing."""

# smpp_status, http_status. Jasmin hands on these two numbers and no text.
GRANTED = (None, None)
TRY_AGAIN = (0x14, 503)  # ESME_RMSGQFUL
TOO_LONG = (0x01, 413)  # ESME_RINVMSGLEN
WRONG_SENDER = (0x0A, 400)  # ESME_RINVSRCADR
NO_MONEY = (0x45, 402)  # ESME_RSUBMITFAIL
WRONG_NUMBER = (0x0B, 403)  # ESME_RINVDSTADR
NOT_ALLOWED = (0x0F, 403)  # ESME_RINVSYSID

REFUSALS = {
    "INSUFFICIENT_FUNDS": NO_MONEY,
    "SPEND_LIMIT": NO_MONEY,
    "PRICE_LIMIT": WRONG_NUMBER,
    "INVALID_NUMBER": WRONG_NUMBER,
    "DESTINATION_BLOCKED": WRONG_NUMBER,
    "NO_RATE": WRONG_NUMBER,
}
"""What the sender is told for a reason; for any other: NOT_ALLOWED."""

Status = tuple[int | None, int | None]


class Unanswered(Exception):
    """Tollgate gave no answer that decides. The message may have been paid: the journal sees to it."""


class Tollgate:
    """The gateway, over one connection that is kept."""

    def __init__(self, url: str, token: str, timeout_seconds: float) -> None:
        parts = urllib.parse.urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname or "", parts.port, timeout=timeout_seconds)
        self._path = parts.path.rstrip("/")
        self._headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}

    def post(self, path: str, request: dict[str, Any]) -> "Answer":
        """Ask, once more if the connection broke or was silent: the id in the request makes that harmless.

        Raises:
            Unanswered: There was no answer, so nobody knows whether it was done.
        """
        body = json.dumps(request).encode()
        problem: Exception
        for attempt in range(2):
            try:
                self._connection.request("POST", self._path + path, body, self._headers)
                response = self._connection.getresponse()
                return Answer(response.status, json.loads(response.read()), attempt == 0)
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._connection.close()
                problem = error
        raise Unanswered(repr(problem))


class Answer(NamedTuple):
    """What Tollgate said."""

    status: int
    content: dict[str, Any]
    is_of_first: bool
    """Nothing was asked before that may still be on its way."""


class Journal:
    """The messages whose money may have to be given back, in a file that tollgate_refunds.py reads.

    A message is ASKED here, before Tollgate is; tollgate_refunds.py takes it on from there.
    """

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, timeout=2.0, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.execute(SCHEMA)

    def asked(self, message_id: str, office_id: str) -> None:
        """Tollgate is about to be asked."""
        self._database.execute(
            "INSERT INTO messages (message_id, office_id, state, since) VALUES (?, ?, 'ASKED', ?)",
            (message_id, office_id, time.time()),
        )

    def blocked(self, message_id: str) -> None:
        """Tollgate said no: there is nothing to give back."""
        self._database.execute("DELETE FROM messages WHERE message_id = ?", (message_id,))

    def give_back(self, message_id: str) -> None:
        """Nobody knows whether it was paid, and it will not be sent."""
        self._database.execute("UPDATE messages SET state = 'REFUND', since = 0 WHERE message_id = ?", (message_id,))


SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
  message_id TEXT PRIMARY KEY, -- Tollgate's
  office_id TEXT NOT NULL,
  state TEXT NOT NULL, -- ASKED, QUEUED, SENT, RETRYING, REFUND, DONE
  since REAL NOT NULL, -- Unix seconds
  jasmin_id TEXT, -- Jasmin's message-id
  connector TEXT, -- Jasmin's cid
  smsc_id TEXT -- <connector>/<message_id of the SMSC>
) WITHOUT ROWID
"""


class Interceptor:
    """Decides about messages."""

    def __init__(self, tollgate: Tollgate, journal: Journal, office_of: str) -> None:
        self._tollgate = tollgate
        self._journal = journal
        self._office_of = office_of
        self._silent_until = 0.0

    def authorize(self, routable: Any) -> Status:
        """Have a message paid, and mark it for tollgate_refunds.py.

        Returns:
            What it is refused with, or GRANTED.
        """
        user = routable.user
        office_id = str(user.group.gid if self._office_of == "group" else user.uid)
        if b"\0" in _octets(routable.pdu.params["source_addr"]):
            # Jasmin would end the sender's name there, and have the SMSC read the rest as the number to send to.
            return WRONG_SENDER
        segments = count_segments(routable.pdu)
        if segments > MAX_SEGMENTS:
            return TOO_LONG
        if time.monotonic() < self._silent_until:
            return TRY_AGAIN
        message_id = "jasmin-" + uuid.uuid4().hex
        request = {
            "officeId": office_id,
            "messageId": message_id,
            "callingNumber": _text(routable.pdu.params["source_addr"])[:64],
            "calledNumber": _number(routable.pdu.params),
            "segments": segments,
            "userId": str(user.uid),
        }
        self._journal.asked(message_id, office_id)
        try:
            answer = self._tollgate.post("/v1/messages/authorize", request)
        except Unanswered as error:
            self._silent_until = time.monotonic() + SILENCE_SECONDS
            self._journal.give_back(message_id)
            log.error("Tollgate: message %s is refused, no answer: %s", message_id, error)
            return TRY_AGAIN
        if answer.status != 200:
            return self._fault(message_id, answer)
        reason = answer.content["reason"]
        if answer.content["decision"] == "GRANTED":
            _mark(routable.pdu, office_id, message_id)
            return GRANTED
        if answer.is_of_first:
            self._journal.blocked(message_id)
        else:
            self._journal.give_back(message_id)
        log.info("Tollgate: message %s of %s is blocked: %s", message_id, office_id, reason)
        return REFUSALS.get(reason, NOT_ALLOWED)

    def _fault(self, message_id: str, answer: Answer) -> Status:
        """Tollgate could not decide; whatever it says, the money is asked back, since asking too often does no harm."""
        self._journal.give_back(message_id)
        error = answer.content.get("error", {})
        log.error("Tollgate: message %s is refused, HTTP %d: %s", message_id, answer.status, error)
        # All but a number that is none is a token, a setting, a load or an outage, which somebody will see to.
        is_number = answer.status == 400 and error.get("field") in ("called_number", "calledNumber")
        return WRONG_NUMBER if is_number else TRY_AGAIN


def count_segments(pdu: Any) -> int:
    """Count the segments that a submit_sm, with what Jasmin has chained to it, goes out in."""
    count = 0
    while pdu is not None:
        count += _segments_of_one(pdu)
        pdu = getattr(pdu, "nextPdu", None)
    return count


def _segments_of_one(pdu: Any) -> int:
    """One, unless it holds more than a segment does and the SMSC is to divide it."""
    payload = pdu.params.get("message_payload") or pdu.params.get("short_message") or b""
    features = getattr(pdu.params.get("esm_class"), "gsmFeatures", None) or ()
    has_header = any(feature.name == "UDHI_INDICATOR_SET" for feature in features)
    header = payload[0] + 1 if has_header and payload else 0
    if pdu.params.get("sar_total_segments") or _is_part(payload[1:header]):
        return 1
    septets = _alphabet(pdu.params.get("data_coding")) == 0
    single, joined = 140 - header, 140 - (header or 1) - 5
    if septets:
        single, joined = single * 8 // 7, joined * 8 // 7
    text = payload[header:]
    if len(text) <= single or joined < 2:
        return 1
    return _septet_segments(text, joined) if septets else -(-len(text) // joined)


def _septet_segments(text: bytes, room: int) -> int:
    """Divide a text of the GSM alphabet; an escape and what follows it stay together."""
    segments, filled, position = 1, 0, 0
    while position < len(text):
        width = 2 if text[position] == 0x1B and position + 1 < len(text) else 1
        filled += width
        position += width
        if filled > room:
            segments, filled = segments + 1, width
    return segments


def _is_part(header: bytes) -> bool:
    """Whether a user data header, without its length octet, says that this is one part of a longer message."""
    while len(header) >= 2:
        if header[0] in (0x00, 0x08):
            return True
        header = header[2 + header[1] :]
    return False


def _alphabet(data_coding: Any) -> int:
    """0: septets, 1: octets, 2: UCS-2, from SMPP's data_coding."""
    if data_coding is None:
        return 0
    if isinstance(data_coding, int):
        coding = data_coding
    else:
        from smpp.pdu.pdu_encoding import DataCodingEncoder  # noqa: PLC0415 - Jasmin's

        coding = DataCodingEncoder().encode(data_coding)[0]
    if coding in (2, 3):  # Octets and Latin-1, which SMPP has where 3GPP has message classes.
        return 1
    if coding & 0xF0 == 0xF0:
        return (coding >> 2) & 1
    return (coding >> 2) & 3 if coding & 0xC0 == 0 else 0


def _number(params: dict[str, Any]) -> str:
    """The called number; what SMPP calls international gets the plus that it lacks there."""
    number = _text(params["destination_addr"])
    ton = params.get("dest_addr_ton")
    if number.startswith("+") or getattr(ton, "name", None) != "INTERNATIONAL":
        return number
    return "+" + (number.removeprefix("00"))


def _octets(value: Any) -> bytes:
    """What Jasmin has as bytes or text."""
    return value.encode() if isinstance(value, str) else bytes(value or b"")


def _text(value: Any) -> str:
    """A number or a name; a sender's may hold anything."""
    return "".join(c if c.isprintable() else "?" for c in _octets(value).decode("utf-8", "replace"))


def _mark(pdu: Any, office_id: str, message_id: str) -> None:
    """Have the message's id travel with it through Jasmin's queue, and ask the SMSC to say if delivery fails."""
    from smpp.pdu.pdu_types import RegisteredDelivery, RegisteredDeliveryReceipt  # noqa: PLC0415 - Jasmin's

    pdu.tollgate = (office_id, message_id)
    last = pdu
    while hasattr(last, "nextPdu"):
        last = last.nextPdu
    asked = last.params.get("registered_delivery")
    if asked is None or asked.receipt is RegisteredDeliveryReceipt.NO_SMSC_DELIVERY_RECEIPT_REQUESTED:
        last.params["registered_delivery"] = RegisteredDelivery(
            RegisteredDeliveryReceipt.SMSC_DELIVERY_RECEIPT_REQUESTED_FOR_FAILURE
        )


@functools.cache
def _interceptor() -> Interceptor:
    """The one of this process, by the settings of its environment."""
    settings = os.environ
    tollgate = Tollgate(
        settings.get("TOLLGATE_URL", "http://127.0.0.1:8080"),
        settings["TOLLGATE_TOKEN"],
        float(settings.get("TOLLGATE_TIMEOUT", "0.5")),
    )
    journal = Journal(settings.get("TOLLGATE_JOURNAL", "/var/lib/jasmin/tollgate.db"))
    return Interceptor(tollgate, journal, settings.get("TOLLGATE_OFFICE", "group"))


def authorize(routable: Any) -> Status:
    """Decide about a message."""
    return _interceptor().authorize(routable)

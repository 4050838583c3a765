"""What a request to Kannel's sendsms asks for, and how many segments smsbox will make of it.

Read by the rules of Kannel 1.4.5 (gw/smsbox.c, gw/sms.c), but strictly: what Kannel would guess at, this refuses, since
both have to read the same message.
"""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from gateway.segments import GSM_CODEC, SEGMENT_OCTETS, count_octets, count_septets

MAX_PARAMETERS: Final = 50

REPORT_FAILED: Final = 2
REPORT_REFUSED: Final = 16
FAILURES: Final = REPORT_FAILED | REPORT_REFUSED
"""The kinds of delivery reports (dlr-mask) that say that a message did not arrive."""

ALL_REPORTS: Final = 31

_TWO_NAMES: Final = {b"user": b"username", b"pass": b"password", b"dlrurl": b"dlr-url", b"dlrmask": b"dlr-mask"}
"""What smsbox takes for the name beside it."""

_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")


class BadRequest(Exception):
    """Nothing that can be sent; the text is for the sender."""


@dataclass(frozen=True, slots=True)
class SendSms:
    """One message to one receiver.

    Attributes:
        username: The sendsms-user.
        called_number: The receiver as written.
        calling_number: The sender as written; empty: not said.
        segments: What smsbox makes of it, if nothing limits that.
        report_mask: Which delivery reports the sender wants.
        report_base: Scheme and authority of the URL that the sender wants them at; empty: it wants none.
        report_path: The rest of that URL, with Kannel's escapes.
    """

    username: str
    called_number: str
    calling_number: str
    segments: int
    report_mask: int
    report_base: str
    report_path: str
    _parameters: tuple[tuple[bytes, bytes], ...]

    @classmethod
    def parse(cls, query: bytes) -> Self:
        """Read a query string.

        Raises:
            BadRequest: It is none, or asks for something that could be read in two ways.
        """
        parameters = _parameters(query)
        receivers = parameters.get(b"to", b"").split()
        if not receivers:
            raise BadRequest("Empty receiver number not allowed, rejected")
        if len(receivers) > 1:
            raise BadRequest("One receiver a request: each message is paid by itself, rejected")
        parameters[b"to"] = receivers[0]
        base, path = _split_url(_text(parameters.get(b"dlr-url", b""), "dlr-url"))
        mask = _number(parameters, b"dlr-mask", ALL_REPORTS, 0)
        return cls(
            username=_text(parameters.get(b"username", b""), "username"),
            called_number=_text(receivers[0], "to"),
            calling_number=_name(parameters.get(b"from", b"")),
            segments=_count_segments(parameters),
            report_mask=mask if base else 0,
            report_base=base,
            report_path=path,
            _parameters=tuple((k, v) for k, v in parameters.items() if k not in (b"dlr-url", b"dlr-mask")),
        )

    def query(self, report_url: str) -> str:
        """The query string for Kannel, with failures reported to a URL beside what the sender wants to know."""
        reports = ((b"dlr-mask", b"%d" % (self.report_mask | FAILURES)), (b"dlr-url", report_url.encode()))
        return "&".join(
            f"{quote_from_bytes(name, safe='')}={quote_from_bytes(value, safe='')}"
            for name, value in (*self._parameters, *reports)
        )


def _parameters(query: bytes) -> dict[bytes, bytes]:
    pairs = [pair for pair in query.split(b"&") if pair]
    if len(pairs) > MAX_PARAMETERS:
        raise BadRequest("Too many parameters, rejected")
    parameters: dict[bytes, bytes] = {}
    for pair in pairs:
        name, _, value = (unquote_to_bytes(part) for part in pair.replace(b"+", b" ").partition(b"="))
        name = _TWO_NAMES.get(name, name)
        if name in parameters:
            raise BadRequest(f"{name.decode(errors='replace')} is there twice, rejected")
        parameters[name] = value
    return parameters


def _text(value: bytes, name: str) -> str:
    try:
        text = value.decode("ascii")
    except UnicodeDecodeError:
        text = "\n"
    if not text.isprintable():
        raise BadRequest(f"{name} has other than ASCII characters, rejected")
    return text


def _name(value: bytes) -> str:
    """The sender's, in whatever charset; a zero octet in it would end it in the middle of what the SMSC gets."""
    if any(octet < 0x20 for octet in value):
        raise BadRequest("from has control characters, rejected")
    return value.decode("utf-8", "replace")


def _number(parameters: dict[bytes, bytes], name: bytes, highest: int, default: int) -> int:
    value = parameters.get(name)
    if value is None:
        return default
    if not (value.isdigit() and len(value) <= 3 and int(value) <= highest):
        raise BadRequest(f"{name.decode()} is no number from 0 to {highest}, rejected")
    return int(value)


def _split_url(url: str) -> tuple[str, str]:
    """Scheme and authority, and the rest with at least its slash; a fragment is for nobody."""
    if not url:
        return "", ""
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and " " not in url
    except ValueError:
        is_url = False
    if not is_url:
        raise BadRequest("DLR-URL field misformed, rejected")
    rest = url.partition("#")[0].removeprefix(f"{url.partition('://')[0]}://{parts.netloc}")
    return f"{parts.scheme}://{parts.netloc}", rest if rest.startswith("/") else f"/{rest}"


def _count_segments(parameters: dict[bytes, bytes]) -> int:
    """Count as smsbox divides (sms_split), with `concatenation` on and without a header or footer of the service's."""
    text, header = parameters.get(b"text", b""), parameters.get(b"udh", b"")
    if header and len(header) != header[0] + 1:
        raise BadRequest("UDH field misformed, rejected")
    coding = _number(parameters, b"coding", 2, 1 if header else 0)
    charset = _text(parameters.get(b"charset", b""), "charset")
    try:
        if coding == 0:
            return count_septets(_septets(text.decode(_codec(charset) if charset else "utf-8")), len(header))
        if coding == 2 and charset:
            text = text.decode(_codec(charset)).encode("utf-16-be")
        return count_octets(len(text), len(header))
    except UnicodeError as error:
        raise BadRequest("Charset or body misformed, rejected") from error
    except ValueError as error:
        raise BadRequest(f"UDH field is longer than {SEGMENT_OCTETS} octets and a text allow, rejected") from error


def _septets(text: str) -> bytes:
    """What smsbox makes of a text: a question mark of what the alphabet lacks, and four of what is beyond the BMP."""
    return _ASTRAL.sub("????", text).encode(GSM_CODEC, "replace")


def _codec(charset: str) -> str:
    """Python's name of a charset, by its own or by the names that Kannel has for those of Windows."""
    name = re.sub(r"(?i)^win-", "windows-", charset)
    try:
        codec = codecs.lookup(name)
    except LookupError:
        raise BadRequest(f"charset {charset} is unknown, rejected") from None
    if not codec._is_text_encoding:
        raise BadRequest(f"charset {charset} is none of text, rejected")
    return codec.name


def add_plus(number: str) -> str:
    """The international number that digits with or without 00 stand for."""
    return number if number.startswith("+") else "+" + number.removeprefix("00")


def offices_of(pairs: Sequence[str]) -> dict[str, str]:
    """Read `user=office` pairs.

    Raises:
        ValueError: One is none.
    """
    offices = dict(pair.partition("=")[::2] for pair in pairs)
    if not all(user and office for user, office in offices.items()):
        raise ValueError("--office: write USER=OFFICE")
    return offices

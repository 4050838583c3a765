"""Who pays: from what a request says of its subscriber to an office."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol, Self

from gateway.diameter.avps import Avps
from gateway.diameter.codes import (
    SERVICE_CONTEXT_ID,
    SERVICE_INFORMATION,
    SUBSCRIPTION_ID,
    SUBSCRIPTION_ID_DATA,
    SUBSCRIPTION_ID_TYPE,
    AvpKey,
    ResultCode,
)
from gateway.diameter.parties import number_of
from gateway.diameter.refusal import Refused
from gateway.diameter.requests import Request
from gateway.v1 import authorization_pb2 as pb

_OFFICE_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_NETWORK: Final = re.compile(r"\.\d{2,3}\.\d{3}\.\d{1,3}$", re.ASCII)
"""MNC, MCC and release, which may stand between the office and the service (TS 32.299, section 7.1.12)."""

_COLUMNS: Final = ("subscription_id", "office_id", "license")
_ANYBODY: Final = "*"
_E164: Final = 0
_MAX_USER_ID: Final = 128


@dataclass(frozen=True, slots=True)
class Payer:
    """Who pays, and who it is for.

    Attributes:
        office_id: The office.
        license: Of the user.
        user_id: The subscriber, for the usage record; empty: not said.
        number: The subscriber's number; empty: not said.
    """

    office_id: str
    license: "pb.License.ValueType" = pb.STANDARD
    user_id: str = ""
    number: str = ""


class OfficeSource(Protocol):
    """One way to find out who pays."""

    def payer(self, request: Request, subscribers: Sequence[str]) -> Payer:
        """Who pays.

        Args:
            request: What is asked for.
            subscribers: Its Subscription-Ids.

        Raises:
            Refused: USER_UNKNOWN: nobody does.
        """
        ...


class BadTable(ValueError):
    """The table of subscribers cannot be used; the message says where."""


class SubscriberTable:
    """Subscribers with their offices.

    Looked up in turn: the subscriber itself, `@` and the domain of its SIP URI, `*`.

    Args:
        payers: By subscriber.
    """

    def __init__(self, payers: Mapping[str, Payer]) -> None:
        self._payers = payers

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a CSV file: subscription_id, office_id and, if it is to be other than STANDARD, license.

        Raises:
            BadTable: With the line.
            OSError: It cannot be read.
        """
        payers: dict[str, Payer] = {}
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if tuple(rows.fieldnames or ())[:2] != _COLUMNS[:2] or set(rows.fieldnames or ()) - set(_COLUMNS):
                raise BadTable(f"{path}: the first line is to be {','.join(_COLUMNS[:2])} or {','.join(_COLUMNS)}")
            for row in rows:
                key, payer = _read_row(row, f"{path}:{rows.line_num}")
                if key in payers:
                    raise BadTable(f"{path}:{rows.line_num}: {key} is there twice")
                payers[key] = payer
        return cls(payers)

    def payer(self, request: Request, subscribers: Sequence[str]) -> Payer:
        """Who pays, by the first subscriber that is in the table.

        Raises:
            Refused: None is.
        """
        found = self.find(subscribers)
        if found is None:
            text = f"no office pays for this Subscription-Id: {', '.join(subscribers)[:200] or 'there is none'}"
            raise Refused(ResultCode.USER_UNKNOWN, text, request.avps.all(SUBSCRIPTION_ID)[:1])
        return found

    def find(self, subscribers: Sequence[str]) -> Payer | None:
        """The payer of who has these names; None: nobody pays."""
        keys = (*map(_key, subscribers), *map(_domain, subscribers), _ANYBODY)
        return next((self._payers[key] for key in keys if key in self._payers), None)


class ServiceContext:
    """Offices by what Service-Context-Id begins with: `springfield.32260@3gpp.org`."""

    def payer(self, request: Request, subscribers: Sequence[str]) -> Payer:  # noqa: ARG002 - the protocol's form
        """Who pays. Raises Refused."""
        service = request.context.partition("@")[0].rpartition(".")[0]
        return _payer_of(_NETWORK.sub("", service), request.avps.all(SERVICE_CONTEXT_ID))


class NamedAvp:
    """Offices by the text of an AVP at the top of the request.

    Args:
        key: Which.
    """

    def __init__(self, key: AvpKey) -> None:
        self._key = key

    def payer(self, request: Request, subscribers: Sequence[str]) -> Payer:  # noqa: ARG002 - the protocol's form
        """Who pays. Raises Refused."""
        return _payer_of(request.avps.text(self._key) or "", request.avps.all(self._key))


class OfficeFinder:
    """Finds the office of a request, and its subscriber.

    Args:
        source: How.
    """

    def __init__(self, source: OfficeSource) -> None:
        self._source = source

    def find(self, request: Request) -> Payer:
        """Who pays for a request.

        Raises:
            Refused: USER_UNKNOWN: nobody does.
        """
        subscribers = list(_subscribers(request.avps))
        payer = self._source.payer(request, [each for _, each in subscribers])
        user_id = subscribers[0][1] if subscribers else ""
        number = next((number_of(each) for kind, each in subscribers if kind == _E164), "")
        return replace(payer, user_id=_printable(user_id), number=_international(number))


def _payer_of(office_id: str, avps: Sequence[Any]) -> Payer:
    if not _OFFICE_ID.fullmatch(office_id):
        raise Refused(ResultCode.USER_UNKNOWN, f"this names no office: {office_id[:100]!r}", avps[:1])
    return Payer(office_id)


def _subscribers(request: Avps) -> Iterator[tuple[int | None, str]]:
    """Type and text of each Subscription-Id, of the request or, as some clients have it, of Service-Information."""
    service = request.group(SERVICE_INFORMATION)
    for group in [*request.groups(SUBSCRIPTION_ID), *([] if service is None else service.groups(SUBSCRIPTION_ID))]:
        if data := group.text(SUBSCRIPTION_ID_DATA):
            yield group.unsigned(SUBSCRIPTION_ID_TYPE), data


def _read_row(row: Mapping[str | None, str | None], where: str) -> tuple[str, Payer]:
    subscriber, office_id = (row.get("subscription_id") or "").strip(), (row.get("office_id") or "").strip()
    name = (row.get("license") or "STANDARD").strip().upper()
    if None in row:
        raise BadTable(f"{where}: more cells than the first line has names")
    if not subscriber:
        raise BadTable(f"{where}: subscription_id is empty; * stands for everybody else")
    if not _OFFICE_ID.fullmatch(office_id):
        raise BadTable(f"{where}: {office_id!r} is no office_id ([A-Za-z0-9._-], 1 to 64)")
    if name not in {"STANDARD", "CONTACT_CENTER", "SALES"}:
        raise BadTable(f"{where}: {name!r} is no license (STANDARD, CONTACT_CENTER or SALES)")
    return _key(subscriber), Payer(office_id, pb.License.Value(name))


def _key(subscriber: str) -> str:
    """The form in which a subscriber is looked up: a number without its plus, whatever is written around it.

    The user of a SIP URI that is a number counts, wherever it is registered; another one counts with its domain.
    """
    if subscriber == _ANYBODY or subscriber.startswith("@"):
        return subscriber.lower()
    number = number_of(subscriber).removeprefix("+")
    if number.isdigit():
        return number
    return re.sub(r"(?i)^(sips?|tel):", "", subscriber.strip()).partition(";")[0].lower()


def _domain(subscriber: str) -> str:
    """Of a SIP URI: neither its port nor its parameters; `@` alone for what has none."""
    return "@" + re.split("[;:?>]", subscriber.partition("@")[2])[0].lower()


def _printable(text: str) -> str:
    return "".join(letter for letter in text if letter.isascii() and letter.isprintable())[:_MAX_USER_ID]


def _international(number: str) -> str:
    """END_USER_E164 comes without its plus."""
    return f"+{number}" if number.isdigit() else number

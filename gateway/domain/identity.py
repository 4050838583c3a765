"""Who asks, and what they may do.

Every `may_...` method either returns None or raises PermissionDenied: a check that is called is a check that holds,
and mypy refuses one whose result is tested. There is one error for every case, the office that does not exist
included, so that asking for what is not yours tells nothing.
"""

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass

from gateway.domain.vocabulary import Role
from gateway.errors import InvalidArgument, PermissionDenied

ALL_OFFICES = "*"
"""The only entry of a switch token's office_ids that may use every office; no office_id can look like this."""

MAX_CERTIFICATE_NAME_LENGTH = 255

_LABEL = "[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_DNS_NAME = re.compile(rf"(?![0-9.]+$){_LABEL}(\.{_LABEL})*")
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[!-~]+")

ADMIN_OFFICE_FIELDS = frozenset({"name"})
"""The fields of UpdateOffice that an admin may change; every other one is an operator's."""

_ADMINS = frozenset({Role.COMPANY_ADMIN, Role.OFFICE_ADMIN})
_READERS = _ADMINS | {Role.VIEWER}


def hash_secret(secret: str) -> str:
    """What is stored of a token's secret, in SQL and in the store: its SHA-256 in lower-case hexadecimal.

    A plain one is enough: nobody guesses 256 random bits, salted or not.
    """
    return hashlib.sha256(secret.encode()).hexdigest()


def validate_certificate_name(name: str) -> None:
    """Hold the name of a client certificate against what its subjectAltName may have: a DNS name or a URI.

    Raises:
        InvalidArgument: It is neither, or a name that stands for many.
    """
    if len(name) > MAX_CERTIFICATE_NAME_LENGTH or not (_DNS_NAME.fullmatch(name) or _URI.fullmatch(name)):
        raise InvalidArgument(
            "certificate",
            f"must be one DNS name in lower case or one URI of the certificate's subjectAltName, at most "
            f"{MAX_CERTIFICATE_NAME_LENGTH} characters; write e.g. sw1.example.com or tollgate:switch:sw1",
        )


@dataclass(frozen=True, slots=True)
class Identity:
    """The bearer of a token.

    A company admin is scoped by company_id, an office admin by company_id and office_ids, a viewer by company_id and,
    where given, office_ids, a switch by switch_id and office_ids (or ALL_OFFICES). An operator has no scope.
    """

    role: Role
    token_id: str
    company_id: str = ""
    office_ids: frozenset[str] = frozenset()
    switch_id: str = ""

    @property
    def actor(self) -> str:
        """How the audit log names the bearer."""
        return f"token:{self.token_id}"

    @property
    def is_admin(self) -> bool:
        """Whether the bearer administers anything at all: as an operator, or as an admin of a company or of offices."""
        return self.role is Role.OPERATOR or self.role in _ADMINS

    def may_operate(self) -> None:
        """Limits, tariffs, states, companies, decks, tokens, switches, adjustments: operators only.

        Raises:
            PermissionDenied: The bearer is no operator.
        """
        if self.role is not Role.OPERATOR:
            raise PermissionDenied

    def may_read_office(self, office_id: str, office_company_id: str | None) -> None:
        """See an office: its settings, balance, calls, usage, refills.

        Args:
            office_id: The office asked for.
            office_company_id: Its company; None when there is no such office, which only an operator and the
                admins that it is named to may learn.

        Raises:
            PermissionDenied: The office is not in the bearer's scope, or the bearer is a switch.
        """
        if self.role is Role.OPERATOR:
            return
        if self.role not in _READERS or not self._covers(office_id, office_company_id):
            raise PermissionDenied

    def may_administer_office(self, office_id: str, office_company_id: str | None) -> None:
        """Buy, keep cards, set the refill, rename; the arguments are those of `may_read_office`.

        Raises:
            PermissionDenied: The bearer is no admin of the office.
        """
        if self.role is Role.OPERATOR:
            return
        if self.role not in _ADMINS or not self._covers(office_id, office_company_id):
            raise PermissionDenied

    def may_update_office(self, office_id: str, office_company_id: str | None, fields: Collection[str]) -> None:
        """Change the named fields of an office: an admin its name, an operator all.

        Raises:
            PermissionDenied: One of the fields is not the bearer's to change.
        """
        if ADMIN_OFFICE_FIELDS.issuperset(fields):
            self.may_administer_office(office_id, office_company_id)
        else:
            self.may_operate()

    def may_read_company(self, company_id: str) -> None:
        """See a company's name; its offices are another question.

        Raises:
            PermissionDenied: It is not the bearer's company.
        """
        if self.role is Role.OPERATOR:
            return
        if self.role not in _READERS or not company_id or company_id != self.company_id:
            raise PermissionDenied

    def may_use_credits(self) -> None:
        """Come near the Credits service at all: everybody but a switch.

        Raises:
            PermissionDenied: The bearer is a switch.
        """
        if self.role is Role.SWITCH:
            raise PermissionDenied

    def may_use_office_as_switch(self, office_id: str) -> None:
        """Authorize, quote and settle for an office (CallAuthorization).

        Raises:
            PermissionDenied: The bearer is no switch, or not one that may use this office.
        """
        if self.role is Role.OPERATOR:
            return
        if self.role is not Role.SWITCH:
            raise PermissionDenied
        if office_id not in self.office_ids and ALL_OFFICES not in self.office_ids:
            raise PermissionDenied

    def may_use_call_as_switch(self, office_id: str, call_switch_id: str) -> None:
        """Answer, tick or end a call that exists: a switch only its own.

        Args:
            office_id: The office that pays.
            call_switch_id: The switch that authorized the call.

        Raises:
            PermissionDenied: The office or the call is not the bearer's.
        """
        self.may_use_office_as_switch(office_id)
        if self.role is Role.SWITCH and call_switch_id != self.switch_id:
            raise PermissionDenied

    def readable_company_id(self) -> str | None:
        """The company that a list is to be filtered by; None is all of them.

        Raises:
            PermissionDenied: The bearer may list nothing.
        """
        if self.role is Role.OPERATOR:
            return None
        if self.role not in _READERS or not self.company_id:
            raise PermissionDenied
        return self.company_id

    def readable_office_ids(self) -> frozenset[str] | None:
        """The offices that a list is to be filtered by, besides the company; None is all of them.

        Raises:
            PermissionDenied: The bearer may list nothing.
        """
        if self.readable_company_id() is None or not self._is_limited_to_offices:
            return None
        return self.office_ids

    @property
    def _is_limited_to_offices(self) -> bool:
        return self.role is Role.OFFICE_ADMIN or bool(self.office_ids)

    def _covers(self, office_id: str, office_company_id: str | None) -> bool:
        if self._is_limited_to_offices and office_id not in self.office_ids:
            return False
        if office_company_id is None:
            return office_id in self.office_ids
        return bool(self.company_id) and office_company_id == self.company_id


def validate_scope(role: Role, company_id: str, office_ids: Collection[str], switch_id: str) -> None:
    """Hold the scope of a token that is to be made against its role.

    A scope that a role cannot use is refused rather than ignored: whoever gave it meant something by it.

    Raises:
        InvalidArgument: Names the field that is missing, or that this role does not have.
    """
    needs_company = role in _READERS
    if needs_company and not company_id:
        raise InvalidArgument("company_id", f"a token with the role {role.name} needs the company it is for.")
    if not needs_company and company_id:
        raise InvalidArgument("company_id", f"a token with the role {role.name} has no company; leave it empty.")
    if role in (Role.OFFICE_ADMIN, Role.SWITCH) and not office_ids:
        cure = f", or '{ALL_OFFICES}' for all" if role is Role.SWITCH else ""
        raise InvalidArgument("office_ids", f"a token with the role {role.name} needs the offices it is for{cure}.")
    if role in (Role.OPERATOR, Role.COMPANY_ADMIN) and office_ids:
        raise InvalidArgument(
            "office_ids", f"a token with the role {role.name} is not for single offices: leave it empty."
        )
    if ALL_OFFICES in office_ids and (role is not Role.SWITCH or len(office_ids) != 1):
        raise InvalidArgument("office_ids", f"'{ALL_OFFICES}' stands alone and only in a token with the role SWITCH.")
    if role is Role.SWITCH and not switch_id:
        raise InvalidArgument("switch_id", "a token with the role SWITCH needs the switch it is for.")
    if role is not Role.SWITCH and switch_id:
        raise InvalidArgument("switch_id", f"a token with the role {role.name} is for no switch; leave it empty.")

"""A Credit-Control-Request, checked: what each part of this program reads instead of AVPs."""

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Self

from gateway.diameter.avps import Avps, Incoming, invalid, missing
from gateway.diameter.codes import (
    CC_CORRELATION_ID,
    CC_REQUEST_NUMBER,
    CC_REQUEST_TYPE,
    CC_SERVICE_SPECIFIC_UNITS,
    CC_TIME,
    DESTINATION_REALM,
    MULTIPLE_SERVICES_CREDIT_CONTROL,
    ORIGIN_HOST,
    ORIGIN_REALM,
    PROXY_INFO,
    RATING_GROUP,
    REQUESTED_ACTION,
    REQUESTED_SERVICE_UNIT,
    SERVICE_CONTEXT_ID,
    SERVICE_IDENTIFIER,
    SESSION_ID,
    TERMINATION_CAUSE,
    USED_SERVICE_UNIT,
    AvpKey,
    RequestedAction,
    RequestType,
    ResultCode,
)
from gateway.diameter.refusal import Refused

MAX_SECONDS: Final = 86_400
MAX_SEGMENTS: Final = 255
_MAX_ID: Final = 128


class Kind(Enum):
    """What a service is, and in which units it is counted."""

    CALL = "call"
    SMS = "sms"
    MMS = "mms"

    @property
    def unit(self) -> AvpKey:
        """CC-Time for calls, CC-Service-Specific-Units (segments) for messages."""
        return CC_TIME if self is Kind.CALL else CC_SERVICE_SPECIFIC_UNITS

    @property
    def most_units(self) -> int:
        """Of one request, and of all together."""
        return MAX_SECONDS if self is Kind.CALL else MAX_SEGMENTS


SERVICES: Final = {"32260": Kind.CALL, "32275": Kind.CALL, "32276": Kind.CALL, "32270": Kind.MMS, "32274": Kind.SMS}
"""By the specification that Service-Context-Id names: IMS, MMTel, VCS; MMS; SMS."""

_DOMAIN: Final = "3gpp.org"


@dataclass(frozen=True, slots=True)
class Request:
    """A Credit-Control-Request whose frame is lawful.

    Attributes:
        avps: All of it.
        session_id: Session-Id.
        origin_host: Who asks.
        type: CC-Request-Type.
        number: CC-Request-Number.
        context: Service-Context-Id.
    """

    avps: Avps
    session_id: str
    origin_host: str
    type: RequestType
    number: int
    context: str

    @classmethod
    def read(cls, message: Incoming) -> Self:
        """Check what every request has.

        Raises:
            Refused: Something is missing or makes no sense.
        """
        avps = message.avps
        session_id = _required(avps, SESSION_ID)
        for key in (ORIGIN_REALM, DESTINATION_REALM):
            _required(avps, key)
        kind = avps.unsigned(CC_REQUEST_TYPE)
        number = avps.unsigned(CC_REQUEST_NUMBER)
        if kind is None:
            raise missing(CC_REQUEST_TYPE)
        if number is None:
            raise missing(CC_REQUEST_NUMBER)
        if kind not in set(RequestType):
            raise invalid(avps.one(CC_REQUEST_TYPE), f"is {kind}, which is none")
        origin_host, context = _required(avps, ORIGIN_HOST), _required(avps, SERVICE_CONTEXT_ID)
        return cls(avps, session_id, origin_host, RequestType(kind), number, context)

    @property
    def kind(self) -> Kind:
        """What the service is.

        Raises:
            Refused: A service that is not charged here.
        """
        service, _, domain = self.context.partition("@")
        found = SERVICES.get(service.rpartition(".")[2]) if domain == _DOMAIN else None
        if found is None:
            text = f"no such service is charged here: {self.context[:200]}"
            raise Refused(ResultCode.RATING_FAILED, text, self.avps.all(SERVICE_CONTEXT_ID)[:1])
        return found

    @property
    def call_id(self) -> str:
        """The Session-Id as an id that the gateway takes."""
        return bounded_id(self.session_id)

    @property
    def message_id(self) -> str:
        """The id of a message: CC-Correlation-Id, by which a refund names what it gives back, else the Session-Id."""
        correlation = self.avps.one(CC_CORRELATION_ID)
        if correlation is None or not correlation.payload:
            return self.call_id
        return bounded_id(correlation.payload.decode("utf-8", "backslashreplace"))

    @property
    def action(self) -> RequestedAction:
        """What an event asks for.

        Raises:
            Refused: Nothing, or what is none.
        """
        action = self.avps.unsigned(REQUESTED_ACTION)
        if action is None:
            raise missing(REQUESTED_ACTION, "an event says what it wants")
        if action not in set(RequestedAction):
            raise invalid(self.avps.one(REQUESTED_ACTION), f"is {action}, which is none")
        return RequestedAction(action)

    @property
    def termination_cause(self) -> str:
        """Why a session ended, for the usage record; empty: not said."""
        cause = self.avps.unsigned(TERMINATION_CAUSE)
        return "" if cause is None else f"Diameter Termination-Cause {cause}"

    def proxy_info(self) -> list[Any]:
        """What agents on the way want back as they sent it."""
        return self.avps.all(PROXY_INFO)

    @property
    def has_services(self) -> bool:
        """Whether its units are in Multiple-Services-Credit-Control, as 3GPP has them."""
        return bool(self.avps.all(MULTIPLE_SERVICES_CREDIT_CONTROL))

    def service_names(self) -> list[Any]:
        """Service-Identifier and Rating-Group, as an answer repeats them; none if the service makes no sense."""
        try:
            service = self._service()
        except Refused:
            return []
        return [*service.all(SERVICE_IDENTIFIER), *service.all(RATING_GROUP)]

    def requested(self, kind: Kind) -> int:
        """Units that are asked for; 0: as many as the server thinks right.

        Raises:
            Refused: Units of another kind, or too many.
        """
        group = self._service().group(REQUESTED_SERVICE_UNIT)
        return 0 if group is None else _units(group, kind)

    def used(self, kind: Kind) -> int:
        """Units used since the last report.

        Raises:
            Refused: Units of another kind, or too many.
        """
        used = sum(_units(group, kind) for group in self._service().groups(USED_SERVICE_UNIT))
        if used > kind.most_units:
            raise invalid(self._service().all(USED_SERVICE_UNIT)[-1], f"add up to {used}, over {kind.most_units}")
        return used

    def _service(self) -> Avps:
        services = self.avps.all(MULTIPLE_SERVICES_CREDIT_CONTROL)
        if len(services) > 1:
            text = "one service a session: a call or a message is one"
            raise Refused(ResultCode.AVP_OCCURS_TOO_MANY_TIMES, text, services[1:2])
        return self.avps.group(MULTIPLE_SERVICES_CREDIT_CONTROL) or self.avps


def bounded_id(text: str) -> str:
    """An id of 1 to 128 printable ASCII characters; what is none is known by its hash."""
    if 1 <= len(text) <= _MAX_ID and text.isascii() and text.isprintable():
        return text
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _required(avps: Avps, key: AvpKey) -> str:
    value = avps.text(key)
    if not value:
        raise missing(key)
    return value


def _units(group: Avps, kind: Kind) -> int:
    units = group.unsigned(kind.unit)
    if units is None:
        if others := list(group):
            text = f"a {kind.value} is counted by {'CC-Time' if kind is Kind.CALL else 'CC-Service-Specific-Units'}"
            raise Refused(ResultCode.RATING_FAILED, text, others[:1])
        return 0
    if units > kind.most_units:
        raise invalid(group.one(kind.unit), f"is {units}; at most {kind.most_units}")
    return units

"""Makes a Credit-Control-Answer of an outcome."""

from collections.abc import Iterator
from typing import Any, Final

from gateway.diameter.avps import Incoming, answer_bytes, avp, group
from gateway.diameter.codes import (
    APPLICATION_CREDIT_CONTROL,
    AUTH_APPLICATION_ID,
    CC_REQUEST_NUMBER,
    CC_REQUEST_TYPE,
    CC_SESSION_FAILOVER,
    CHECK_BALANCE_RESULT,
    COST_INFORMATION,
    CREDIT_CONTROL_FAILURE_HANDLING,
    CURRENCY_CODE,
    DIRECT_DEBITING_FAILURE_HANDLING,
    ERROR_MESSAGE,
    EXPONENT,
    FAILED_AVP,
    FINAL_UNIT_ACTION,
    FINAL_UNIT_INDICATION,
    GRANTED_SERVICE_UNIT,
    MULTIPLE_SERVICES_CREDIT_CONTROL,
    PROXY_INFO,
    RESULT_CODE,
    SESSION_ID,
    UNIT_VALUE,
    VALIDITY_TIME,
    VALUE_DIGITS,
    FailureHandling,
    RequestType,
    ResultCode,
)
from gateway.diameter.identity import DiameterIdentity
from gateway.diameter.outcome import Outcome
from gateway.diameter.requests import Request
from gateway.diameter.terms import Terms

_FAILOVER_NOT_SUPPORTED: Final = 0
_TERMINATE: Final = 0
_ENOUGH_CREDIT, _NO_CREDIT = 0, 1
_MICRO: Final = -6
_TERMINATE_OR_BUFFER, _CONTINUE = 0, 1


class Answers:
    """Encodes answers.

    Args:
        identity: Who answers.
        terms: What clients are told of failures and money.
    """

    def __init__(self, identity: DiameterIdentity, terms: Terms) -> None:
        self._identity = identity
        self._terms = terms

    def encode(self, message: Incoming, request: Request | None, outcome: Outcome) -> bytes:
        """The answer to a message, also to one that could not be read as a request."""
        avps = list(self._avps(message, request, outcome))
        return answer_bytes(message.data, avps, is_error=outcome.code.is_protocol_error)

    def _avps(self, message: Incoming, request: Request | None, outcome: Outcome) -> Iterator[Any]:
        yield from message.avps.all(SESSION_ID)[:1]
        yield avp(RESULT_CODE, outcome.code)
        yield from self._identity.origin()
        yield avp(AUTH_APPLICATION_ID, APPLICATION_CREDIT_CONTROL)
        yield from message.avps.all(CC_REQUEST_TYPE)[:1]
        yield from message.avps.all(CC_REQUEST_NUMBER)[:1]
        if request is not None and outcome.code is ResultCode.SUCCESS:
            yield from self._failure_handling(request)
        if request is not None:
            yield from self._units(request, outcome)
        if outcome.cost_micros is not None:
            unit_value = group(UNIT_VALUE, [avp(VALUE_DIGITS, outcome.cost_micros), avp(EXPONENT, _MICRO)])
            yield group(COST_INFORMATION, [unit_value, avp(CURRENCY_CODE, self._terms.currency_code)])
        if outcome.has_credit is not None:
            yield avp(CHECK_BALANCE_RESULT, _ENOUGH_CREDIT if outcome.has_credit else _NO_CREDIT)
        if outcome.text:
            yield avp(ERROR_MESSAGE, outcome.text)
        if outcome.failed:
            yield group(FAILED_AVP, outcome.failed)
        yield from message.avps.all(PROXY_INFO)

    def _failure_handling(self, request: Request) -> Iterator[Any]:
        handling = self._terms.failure_handling
        if request.type is RequestType.EVENT:
            goes_on = handling is FailureHandling.CONTINUE
            yield avp(DIRECT_DEBITING_FAILURE_HANDLING, _CONTINUE if goes_on else _TERMINATE_OR_BUFFER)
        elif request.type is RequestType.INITIAL:
            # Sessions live in this process: another server would not know them.
            yield avp(CC_SESSION_FAILOVER, _FAILOVER_NOT_SUPPORTED)
            yield avp(CREDIT_CONTROL_FAILURE_HANDLING, handling)
            yield self._identity.state()

    def _units(self, request: Request, outcome: Outcome) -> Iterator[Any]:
        units = list(_granted(outcome))
        if request.has_services:
            names = request.service_names()
            yield group(MULTIPLE_SERVICES_CREDIT_CONTROL, [*units, *names, avp(RESULT_CODE, outcome.code)])
        else:
            yield from units


def _granted(outcome: Outcome) -> Iterator[Any]:
    if outcome.granted is not None:
        yield group(GRANTED_SERVICE_UNIT, [avp(outcome.unit, outcome.granted)])
    if outcome.validity_seconds:
        yield avp(VALIDITY_TIME, outcome.validity_seconds)
    if outcome.is_final:
        yield group(FINAL_UNIT_INDICATION, [avp(FINAL_UNIT_ACTION, _TERMINATE)])

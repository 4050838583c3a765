"""What a request comes to, before it becomes an answer; kept, it answers the same request again."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.diameter.codes import CC_TIME, AvpKey, ResultCode
from gateway.diameter.refusal import Refused
from gateway.v1 import authorization_pb2 as pb


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer's meaning.

    Attributes:
        code: Result-Code.
        text: Error-Message; empty: none.
        failed: AVPs for Failed-AVP.
        granted: Units that may be used from now on; None: the answer grants nothing.
        unit: What is granted.
        is_final: They are the last: the client ends the service with them.
        validity_seconds: After which the client has to ask again; 0: not said.
        cost_micros: What it cost, or would cost; None: not said.
        has_credit: CHECK_BALANCE's answer; None: it was not asked.
    """

    code: ResultCode = ResultCode.SUCCESS
    text: str = ""
    failed: tuple[Any, ...] = ()
    granted: int | None = None
    unit: AvpKey = CC_TIME
    is_final: bool = False
    validity_seconds: int = 0
    cost_micros: int | None = None
    has_credit: bool | None = None

    @classmethod
    def of(cls, refused: Refused) -> "Outcome":
        """A request that was not taken."""
        return cls(refused.code, refused.text, refused.failed)


_CODES: Final[dict[int, ResultCode]] = {
    pb.INVALID_NUMBER: ResultCode.RATING_FAILED,
    pb.UNKNOWN_OFFICE: ResultCode.USER_UNKNOWN,
    pb.OFFICE_SUSPENDED: ResultCode.END_USER_SERVICE_DENIED,
    pb.CALL_ENDED: ResultCode.END_USER_SERVICE_DENIED,
    pb.MESSAGE_REFUNDED: ResultCode.END_USER_SERVICE_DENIED,
    pb.DESTINATION_BLOCKED: ResultCode.END_USER_SERVICE_DENIED,
    pb.FRAUD_GUARD: ResultCode.END_USER_SERVICE_DENIED,
    pb.NO_RATE: ResultCode.RATING_FAILED,
    pb.PRICE_LIMIT: ResultCode.END_USER_SERVICE_DENIED,
    pb.TOO_MANY_CALLS: ResultCode.END_USER_SERVICE_DENIED,
    pb.SPEND_LIMIT: ResultCode.CREDIT_LIMIT_REACHED,
    pb.INSUFFICIENT_FUNDS: ResultCode.CREDIT_LIMIT_REACHED,
}

_FINAL_CODES: Final[dict[int, ResultCode]] = {
    pb.FINAL_REASON_INSUFFICIENT_FUNDS: ResultCode.CREDIT_LIMIT_REACHED,
    pb.FINAL_REASON_SPEND_LIMIT: ResultCode.CREDIT_LIMIT_REACHED,
    pb.FINAL_REASON_MAX_DURATION: ResultCode.END_USER_SERVICE_DENIED,
    pb.FINAL_REASON_OPERATOR: ResultCode.END_USER_SERVICE_DENIED,
    pb.FINAL_REASON_ENDED: ResultCode.END_USER_SERVICE_DENIED,
}


def denied(reason: "pb.Reason.ValueType", failed: Sequence[Any] = ()) -> Outcome:
    """The gateway's no."""
    code = _CODES.get(reason, ResultCode.END_USER_SERVICE_DENIED)
    # Failed-AVP has to say by what a rating failed (RFC 8506, section 9.2), and has no place in other refusals.
    return Outcome(code, pb.Reason.Name(reason), tuple(failed) if code is ResultCode.RATING_FAILED else ())


def no_more(reason: "pb.FinalReason.ValueType") -> Outcome:
    """Nothing more is granted to a call."""
    code = _FINAL_CODES.get(reason, ResultCode.CREDIT_LIMIT_REACHED)
    return Outcome(code, pb.FinalReason.Name(reason))

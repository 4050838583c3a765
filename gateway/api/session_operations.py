"""How each kind of a Session's operations is answered: the one table, by the names of the contract."""

from functools import partial

from gateway.api.calls import Calls
from gateway.api.messages import Messages
from gateway.api.session import Operation


def session_operations(calls: Calls, messages: Messages) -> dict[str, Operation]:
    """The operations of an Operation's oneof; calls that are authorized by a Session are ticked by the gateway."""
    return {
        "authorize_call": partial(calls.authorize, ticked_by_gateway=True),
        "answer_call": calls.answer,
        "tick_call": calls.tick,
        "end_call": calls.end,
        "authorize_message": messages.authorize,
        "refund_message": messages.refund,
        "quote_call": calls.quote,
        "quote_message": messages.quote,
    }

"""How each kind of operation is answered: the one table, by the names that an Operation of the contract has."""

from functools import partial

from gateway.api.calls import Calls
from gateway.api.messages import Messages
from gateway.api.session import Operation


def operations_of(calls: Calls, messages: Messages) -> dict[str, Operation]:
    """The operations as a unary rpc or a hook asks for them."""
    return {
        "authorize_call": calls.authorize,
        "answer_call": calls.answer,
        "tick_call": calls.tick,
        "end_call": calls.end,
        "authorize_message": messages.authorize,
        "refund_message": messages.refund,
        "quote_call": calls.quote,
        "quote_message": messages.quote,
    }


def session_operations(calls: Calls, messages: Messages) -> dict[str, Operation]:
    """The same in a Session: calls that are authorized there are ticked by the gateway."""
    return operations_of(calls, messages) | {"authorize_call": partial(calls.authorize, ticked_by_gateway=True)}

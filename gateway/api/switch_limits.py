"""How much one switch may ask of one process, so that a stolen or mad one does not starve the others.

A bucket for each switch token: it holds some seconds' worth of operations and fills as time goes. Nothing is asked of
the store. What settles money has a bucket of its own, so that a switch may make good what it could not say for a while,
and an emergency is never held up.
"""

import math
from collections.abc import Callable, Coroutine, Mapping
from time import monotonic
from typing import Any, Final

from gateway import metrics
from gateway.api.calls import Calls
from gateway.api.session import Operation
from gateway.buckets import Buckets
from gateway.domain.identity import Identity
from gateway.domain.vocabulary import Role
from gateway.errors import RateLimited

BURST_SECONDS: Final = 2.0
"""Worth so many seconds of its rate is what a switch may ask at once."""

SETTLING_BURST_SECONDS: Final = 60.0
"""The same of EndCall and RefundMessage: a switch ends no more calls than it began, but after an outage all at once."""

SETTLING: Final = frozenset({"end_call", "refund_message"})
OF_A_CALL: Final = frozenset({"answer_call", "tick_call", "end_call"})


class SwitchLimits:
    """The buckets of this process.

    Args:
        calls: Knows emergencies.
        operations_per_second: For tokens that have no rate of their own; 0: they are not limited.
        now: The present in seconds of a clock that only goes on.
    """

    def __init__(self, calls: Calls, operations_per_second: int, now: Callable[[], float] = monotonic) -> None:
        self._calls = calls
        self._operations_per_second = operations_per_second
        self._now = now
        self._deciding = Buckets(BURST_SECONDS)
        self._settling = Buckets(SETTLING_BURST_SECONDS)

    def around(self, kind: str, operation: Operation) -> Operation:
        """An operation that is refused where its bearer asks too much.

        Args:
            kind: Its name in an Operation of the contract, e.g. authorize_call.
            operation: Answers it. What comes back raises RateLimited besides its own errors, and has done nothing then.
        """
        buckets = self._settling if kind in SETTLING else self._deciding

        def limited(request: Any, identity: Identity) -> Coroutine[Any, Any, Any]:
            if identity.role is Role.SWITCH:
                rate = identity.operations_per_second or self._operations_per_second
                if rate:
                    wait = buckets.take(identity.token_id, rate, self._now())
                    if wait and not self._is_emergency(kind, request, identity):
                        return _refuse(identity, wait)
            return operation(request, identity)

        return limited

    def around_all(self, operations: Mapping[str, Operation]) -> dict[str, Operation]:
        """The same of a whole table of operations by kind."""
        return {kind: self.around(kind, operation) for kind, operation in operations.items()}

    def _is_emergency(self, kind: str, request: Any, identity: Identity) -> bool:
        if kind == "authorize_call":
            return self._calls.is_emergency(request)
        return kind in OF_A_CALL and self._calls.is_emergency_call(request.office_id, request.call_id, identity)


async def _refuse(identity: Identity, wait: float) -> None:
    """Say so as an operation does, when it is awaited."""
    metrics.count_limited(identity.switch_id)
    raise RateLimited(
        f"This switch asks more than it may; retry with the same id after {math.ceil(wait * 1000)} ms, or have an "
        "operator raise its limit.",
        retry_after_seconds=wait,
    )

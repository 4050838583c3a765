"""The model beside a script that a gateway ran: from the script's own arguments, so that nothing is assumed of them."""

from typing import Any, Final

from gateway.domain.rate import Rate
from gateway.store.balances import BY_CLOCK
from gateway.store.codes import Code
from gateway.store.records import NO_RATE
from tests.simulation.model import Model, Request

UNMODELLED: Final = frozenset({"lease_shard"})
"""Scripts that touch neither money nor calls."""


def replay(model: Model, operation: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Do in the model what a script did; returns what the script must have answered, as far as the model knows."""
    now_ms, office, thing_id, day, *rest = args
    about = now_ms, day, office.decode(), thing_id
    match operation, rest:
        case "authorize_call", [version, verdict, content, requested, tick, longest, ticker, price, switch_id, *more]:
            packed_rate, details, _, dry_run = more
            request = Request(
                about[2],
                thing_id,
                Code(verdict),
                int.from_bytes(content, "little"),
                requested,
                longest,
                ticker == 2,
                None if packed_rate == NO_RATE else Rate.unpack(packed_rate, tick),
                switch_id,
                details,
            )
            return model.authorize(now_ms, day, version, request, price, bool(dry_run))
        case "answer_call", [answered_ms, switch_id, _, _]:
            return model.answer(*about, answered_ms, switch_id)
        case "tick_call", [used, requested, switch_id, *_]:
            if used == BY_CLOCK:
                return model.tick_by_clock(*about)
            return model.tick(*about, used, requested, switch_id)
        case "hear_call", [used, switch_id, _, _]:
            return model.hear(*about, used, switch_id)
        case "cut_call", [forced, _]:
            return model.cut(*about, bool(forced))
        case "end_call", [duration, cause, switch_id, _, _]:
            return model.end(*about, duration, cause, switch_id)
        case "lapse_call", [missing_since_ms, *_]:
            return model.lapse(*about, missing_since_ms)
        case "authorize_message", [version, verdict, content, price, details, _, dry_run]:
            fingerprint = int.from_bytes(content, "little")
            return model.message(
                now_ms, day, version, about[2], thing_id, Code(verdict), fingerprint, price, details, bool(dry_run)
            )
        case "refund_message", [_]:
            return model.refund(*about)
    raise AssertionError(f"{operation} is not known to the simulation")

"""How much a switch may ask: its bucket, what has one of its own, and what is never held up."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from gateway import metrics
from gateway.api.switch_limits import BURST_SECONDS, SETTLING_BURST_SECONDS, SwitchLimits
from gateway.domain.identity import Identity
from gateway.domain.vocabulary import Role
from gateway.errors import RateLimited
from gateway.v1 import authorization_pb2 as pb

RATE = 10
SWITCH = Identity(Role.SWITCH, "t1", switch_id="sw1")
OTHER = Identity(Role.SWITCH, "t2", switch_id="sw1")
OPERATOR = Identity(Role.OPERATOR, "t3", switch_id="sw1")


class _Calls:
    """Knows two emergencies: whoever calls 911, and the live call "e"."""

    def is_emergency(self, request: pb.AuthorizeCallRequest) -> bool:
        return request.called_number == "911"

    def is_emergency_call(self, office_id: str, call_id: str, identity: Identity) -> bool:
        return call_id == "e"


class Gateway:
    """Limits on a clock that the test moves, around operations that count themselves."""

    def __init__(self, rate: int = RATE) -> None:
        self.now = 1_000.0
        self.done = 0
        limits = SwitchLimits(_Calls(), rate, lambda: self.now)  # type: ignore[arg-type]
        self.of = {kind: limits.around(kind, self._operation) for kind in ("authorize_call", "tick_call", "end_call")}

    async def _operation(self, request: Any, identity: Identity) -> str:
        self.done += 1
        return "done"

    async def ask(self, kind: str, identity: Identity = SWITCH, **fields: Any) -> bool:
        """Whether it was done."""
        request = {
            "authorize_call": pb.AuthorizeCallRequest,
            "tick_call": pb.TickCallRequest,
            "end_call": pb.EndCallRequest,
        }[kind](**fields)
        before = self.done
        try:
            assert await self.of[kind](request, identity) == "done"
        except RateLimited:
            return self.done != before  # what is refused is not done
        return True

    async def count(self, kind: str, identity: Identity = SWITCH, of: int = 1_000) -> int:
        """How many of these are done at once."""
        return sum([await self.ask(kind, identity) for _ in range(of)])


async def test_a_burst_then_the_rate() -> None:
    gateway = Gateway()
    assert await gateway.count("authorize_call") == RATE * BURST_SECONDS
    gateway.now += 1.0
    assert await gateway.count("tick_call") == RATE, "they share one bucket"
    gateway.now += 3_600.0
    assert await gateway.count("authorize_call") == RATE * BURST_SECONDS, "no more is saved up"


async def test_the_hint_is_when_it_is_done() -> None:
    gateway = Gateway()
    await gateway.count("authorize_call")
    with pytest.raises(RateLimited, match="retry with the same id") as refused:
        await gateway.of["authorize_call"](pb.AuthorizeCallRequest(), SWITCH)
    wait = refused.value.retry_after_seconds
    assert 0 < wait <= 1 / RATE + 1e-9
    gateway.now += wait - 0.01
    assert not await gateway.ask("authorize_call")
    gateway.now += 0.01
    assert await gateway.ask("authorize_call")


async def test_what_settles_has_a_bucket_of_its_own() -> None:
    gateway = Gateway()
    await gateway.count("authorize_call")
    assert await gateway.count("end_call") == RATE * SETTLING_BURST_SECONDS
    gateway.now += 1.0
    assert await gateway.count("end_call") == RATE


async def test_one_switch_does_not_take_from_another() -> None:
    gateway = Gateway()
    await gateway.count("authorize_call", SWITCH)
    assert await gateway.count("authorize_call", OTHER) == RATE * BURST_SECONDS


async def test_emergencies_and_operators_are_not_limited() -> None:
    gateway = Gateway()
    await gateway.count("authorize_call")
    await gateway.count("end_call")
    assert not await gateway.ask("authorize_call", called_number="912")
    assert all([await gateway.ask("authorize_call", called_number="911") for _ in range(100)])
    assert not await gateway.ask("tick_call", call_id="f")
    assert await gateway.ask("tick_call", call_id="e")
    assert await gateway.ask("end_call", call_id="e")
    assert await gateway.count("authorize_call", OPERATOR) == 1_000


async def test_a_rate_of_its_own_and_none_at_all() -> None:
    own = Identity(Role.SWITCH, "t4", switch_id="sw4", operations_per_second=3)
    assert await Gateway().count("authorize_call", own) == 3 * BURST_SECONDS
    assert await Gateway(0).count("authorize_call", own) == 3 * BURST_SECONDS
    assert await Gateway(0).count("authorize_call") == 1_000
    slowest = Gateway(1)
    assert await slowest.count("authorize_call") == BURST_SECONDS


async def test_it_is_counted_by_switch_and_the_names_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_LIMITED_SWITCHES", 2)
    monkeypatch.setattr(metrics, "_limited_switches", set())
    for n in range(4):
        gateway = Gateway()
        identity = Identity(Role.SWITCH, "t", switch_id=f"limited-{n}")
        assert await gateway.count("authorize_call", identity, of=25) == 20
    counted = {
        name: REGISTRY.get_sample_value("tollgate_switch_limited_total", {"switch": name})
        for name in ("limited-0", "limited-1", "limited-2", "others")
    }
    assert counted == {"limited-0": 5, "limited-1": 5, "limited-2": None, "others": 10}

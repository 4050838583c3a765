"""Wrong tokens: counted by peer, held up without the store, and those who are known stay welcome."""

from typing import Any

import pytest
from prometheus_client import REGISTRY

from gateway.api.sign_ins import BURST_SECONDS, FAILURES_PER_SECOND, SignIns, TooManyFailures, address_of, network_of
from gateway.domain.identity import Identity, hash_secret
from gateway.domain.vocabulary import Role
from gateway.errors import Unauthenticated

AT_ONCE = round(BURST_SECONDS * FAILURES_PER_SECOND)
SETTLED, PUBLISHED, JUST_MADE, SEEN = "of-the-settings", "tg_published", "tg_just-made", "tg_seen-before"
OPERATOR, SWITCH = Identity(Role.OPERATOR, "settings"), Identity(Role.SWITCH, "t", switch_id="s")


class _Directory:
    """Knows four tokens: one of the settings, one that is published, one in the store alone, and one seen before."""

    def __init__(self) -> None:
        self.looked_up = 0

    def identified(self, secret: str) -> Identity | None:
        return {SETTLED: OPERATOR, SEEN: SWITCH}.get(secret)

    def is_settled(self, hashed: str) -> bool:
        return hashed == hash_secret(SETTLED)

    def is_published(self, hashed: str) -> bool:
        return hashed == hash_secret(PUBLISHED)

    async def identify(self, secret: str) -> Identity:
        return await self.bearer(hash_secret(secret))

    async def bearer(self, hashed: str) -> Identity:
        self.looked_up += 1
        known = {hash_secret(SETTLED): OPERATOR, hash_secret(PUBLISHED): SWITCH, hash_secret(JUST_MADE): SWITCH}
        if hashed not in known:
            raise Unauthenticated
        return known[hashed]


class Door:
    """Sign-ins on a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 50.0
        self.directory = _Directory()
        self.sign_ins = SignIns(self.directory, lambda: self.now)  # type: ignore[arg-type]
        self.refused: TooManyFailures | None = None

    async def show(self, secret: str, peer: str = "10.0.0.5") -> str:
        """What becomes of a token."""
        try:
            return (await self.sign_ins.identify(secret, lambda: peer, "rpc")).token_id
        except TooManyFailures as refused:
            self.refused = refused
            return "too many"
        except Unauthenticated:
            return "unknown"


async def test_a_peer_with_too_many_wrong_tokens_is_not_looked_up() -> None:
    door = Door()
    assert [await door.show(f"wrong-{n}") for n in range(AT_ONCE + 5)] == ["unknown"] * AT_ONCE + ["too many"] * 5
    assert door.directory.looked_up == AT_ONCE
    assert door.refused is not None
    assert door.refused.reason == "TOO_MANY_FAILURES"
    assert 0 < door.refused.retry_after_seconds <= 1 / FAILURES_PER_SECOND
    assert "wrong-" not in door.refused.message
    assert await door.show("wrong", "10.0.0.6") == "unknown", "another peer is not concerned"
    door.now += 1 / FAILURES_PER_SECOND
    assert [await door.show("wrong"), await door.show("wrong")] == ["unknown", "too many"]


async def test_who_is_known_is_let_in_beside_somebody_who_guesses() -> None:
    door = Door()
    assert await door.show(SETTLED) == "settings"
    for n in range(AT_ONCE):
        await door.show(f"wrong-{n}")
    looked_up = door.directory.looked_up
    assert [await door.show(SEEN), await door.show(PUBLISHED)] == ["t", "t"]
    assert door.directory.looked_up == looked_up + 1
    # A token of the settings might have been guessed, and one that was made this moment would cost the store a look.
    assert [await door.show(SETTLED), await door.show(JUST_MADE)] == ["too many", "too many"]
    assert [await door.show(SETTLED, "10.0.0.6"), await door.show(JUST_MADE, "10.0.0.6")] == ["settings", "t"]
    with pytest.raises(TooManyFailures):
        await door.sign_ins.bearer(hash_secret(SETTLED), "10.0.0.5", "page")


async def test_refusals_are_counted() -> None:
    def counted(outcome: str) -> Any:
        return REGISTRY.get_sample_value("tollgate_sign_ins_refused_total", {"way": "rpc", "outcome": outcome})

    before = counted("not_valid"), counted("not_looked_up")
    door = Door()
    for n in range(AT_ONCE + 3):
        await door.show(f"wrong-{n}", f"2001:db8:1:2::{n}")
    assert (counted("not_valid"), counted("not_looked_up")) == (before[0] + AT_ONCE, before[1] + 3)


@pytest.mark.parametrize(
    ("grpc_peer", "network"),
    [
        ("ipv4:10.0.0.5:40112", "10.0.0.5"),
        ("ipv6:%5B2001:db8:1:2:3:4:5:6%5D:40112", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2:9::1]:40112", "2001:db8:1:2::/64"),
        ("ipv6:%5B::ffff:10.0.0.5%5D:1", "10.0.0.5"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::/64"),
        ("unix:/run/tollgate.sock", "unix:/run/tollgate.sock"),
        ("", ""),
    ],
)
def test_what_is_one_peer(grpc_peer: str, network: str) -> None:
    assert network_of(address_of(grpc_peer)) == network

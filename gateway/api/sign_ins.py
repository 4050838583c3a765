"""Who holds a token, for peers that have not shown too many wrong ones.

A peer that has is refused without the store being asked, until its bucket holds a failure again. Several people may
come from one address, by a proxy or a NAT, so tokens that nobody can guess stay good there as long as they are known
here. Those of the settings may be short: from such a peer they are not listened to, right or wrong.
"""

import math
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from time import monotonic
from typing import Final
from urllib.parse import unquote

from gateway import metrics
from gateway.buckets import Buckets
from gateway.domain.identity import Identity, hash_secret
from gateway.domain.vocabulary import Role
from gateway.errors import RateLimited, Unauthenticated
from gateway.store.directory import Directory

FAILURES_PER_SECOND: Final = 0.2
BURST_SECONDS: Final = 100.0
"""So 20 failures at once, then one in 5 s."""

_NETWORK_BITS: Final = 64
"""What one customer has of IPv6 at least: whoever has one address of it has all."""


class TooManyFailures(RateLimited):
    """A peer has shown too many wrong tokens, and this one was not looked up; it may be right."""

    reason = "TOO_MANY_FAILURES"


class SignIns:
    """Looks tokens up, and remembers whose were wrong.

    Args:
        directory: Knows the tokens.
        now: The present in seconds of a clock that only goes on.
    """

    def __init__(self, directory: Directory, now: Callable[[], float] = monotonic) -> None:
        self._directory = directory
        self._now = now
        self._failures = Buckets(BURST_SECONDS)

    async def identify(self, secret: str, peer: Callable[[], str], way: str) -> Identity:
        """Return the bearer of a token; one that was seen before costs no more than a look at it.

        Args:
            secret: Of the token.
            peer: Gives the address of who shows it.
            way: How it came, for the metric: "rpc" or "hook".

        Raises:
            Unauthenticated: Unknown, revoked or expired: which of them is not said.
            TooManyFailures: The peer has shown too many of those.
            Unavailable: It cannot be told now.
        """
        identity = self._directory.identified(secret)
        # Whether a token is one of the settings need not be known before anything was wrong at all.
        if identity is not None and (identity.role is not Role.OPERATOR or not self._failures):
            return identity
        return await self.bearer(hash_secret(secret), peer(), way, secret)

    async def bearer(self, hashed: str, peer: str, way: str, secret: str = "") -> Identity:
        """The same by the hash of a token's secret; the secret, if there is one, need not be hashed again next time."""
        network = network_of(peer)
        wait = self._failures.wait(network, FAILURES_PER_SECOND, self._now())
        if wait and (self._directory.is_settled(hashed) or not self._directory.is_published(hashed)):
            metrics.count_refused_sign_in(way, "not_looked_up")
            raise TooManyFailures(
                f"Too many wrong tokens came from {network}; retry with a valid one after {math.ceil(wait)} s.",
                retry_after_seconds=wait,
            )
        try:
            return await (self._directory.identify(secret) if secret else self._directory.bearer(hashed))
        except Unauthenticated:
            self.failed(peer, way)
            raise

    def failed(self, peer: str, way: str) -> None:
        """Note that a peer showed what is not good."""
        metrics.count_refused_sign_in(way, "not_valid")
        self._failures.take(network_of(peer), FAILURES_PER_SECOND, self._now())


def address_of(grpc_peer: str) -> str:
    """The address in what grpc calls a peer, e.g. ipv4:10.0.0.5:40112 or ipv6:%5B::1%5D:40112; else that as it is."""
    kind, _, rest = grpc_peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return grpc_peer
    return unquote(rest).rpartition(":")[0].strip("[]")


def network_of(address: str) -> str:
    """What is taken for one peer: an address, or the network of an IPv6 one."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ip_network((parsed, _NETWORK_BITS), strict=False))

"""Where a store is, from its URL: one server, a group that sentinels watch, or a cluster."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from gateway.store.address import TLS_OPTIONS, StoreAddress
from gateway.store.faults import StoreAddressError
from gateway.store.tls import StoreTls

_EXAMPLES: Final = {
    "sentinel": "redis+sentinel://10.0.0.1:26379,10.0.0.2:26379/mymaster",
    "cluster": "redis+cluster://10.0.0.1:6379,10.0.0.2:6379",
}
_PORTS: Final = {"sentinel": 26379, "cluster": 6379}

SCHEMES: Final = (
    "redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster",
)  # fmt: skip
"""What a URL may begin with; a second s is TLS."""


class Kind(Enum):
    """What a store is made of."""

    SERVER = "server"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """Whom to ask for a store.

    Attributes:
        kind: What it is made of.
        servers: The server itself; the sentinels; or members of the cluster, who know the others.
        login: How to reach a primary of which only host and port are told: user, password, database, TLS.
        primary_name: Under which the sentinels know the primary.
    """

    kind: Kind
    servers: tuple[StoreAddress, ...]
    login: StoreAddress
    primary_name: str = ""

    @classmethod
    def parse(cls, url: str) -> "StoreLocation":
        """Read a URL.

        - one server: see `StoreAddress.parse`;
        - `redis+sentinel://[user:password@]host[:port],.../name[/database][?sentinel_password=...]`: the sentinels, the
          name by which they know the primary, and user and password of the primary;
        - `redis+cluster://[user:password@]host[:port],...`: some members; the others are found by these.

        `rediss+sentinel` and `rediss+cluster` are the same with TLS, and with the options of `StoreTls`.

        Raises:
            StoreAddressError: Which part is wrong, and what a good URL looks like; never the password.
        """
        scheme, _, kind = url.partition(":")[0].lower().partition("+")
        if not kind:
            address = StoreAddress.parse(url)
            return cls(Kind.SERVER, (address,), address)
        if scheme not in {"redis", "rediss"} or kind not in _EXAMPLES:
            raise StoreAddressError(f"has scheme {f'{scheme}+{kind}'!r}; it may be {', '.join(SCHEMES)}")
        parts = _split(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        login = _login(parts.user, StoreTls.take(options, is_wanted=scheme == "rediss"))
        hosts = tuple(_host(each, kind) for each in parts.hosts.split(","))
        if kind == "cluster":
            if parts.path.strip("/") not in {"", "0"} or options:
                raise StoreAddressError(
                    f"names more than hosts and {TLS_OPTIONS}, and a cluster has only database 0; write "
                    f"{_EXAMPLES[kind]}"
                )
            return cls(Kind.CLUSTER, tuple(replace(login, host=host, port=port) for host, port in hosts), login)
        name, _, database = parts.path.strip("/").partition("/")
        secret = options.pop("sentinel_password", None)
        if not name or options or not (database or "0").isdecimal():
            raise StoreAddressError(f"does not name the primary as the sentinels do; write {_EXAMPLES[kind]}")
        sentinels = tuple(StoreAddress(host, port, password=secret, tls=login.tls) for host, port in hosts)
        return cls(Kind.SENTINEL, sentinels, replace(login, database=int(database or 0)), name)

    def primary_at(self, host: str, port: int) -> StoreAddress:
        """A primary of which host and port were told."""
        return replace(self.login, host=host, port=port)

    def __str__(self) -> str:
        servers = ",".join(map(str, self.servers))
        return f"{self.primary_name} of {servers}" if self.primary_name else servers


class _Parts(NamedTuple):
    """What stands behind the scheme."""

    user: str
    hosts: str
    path: str
    query: str


def _split(url: str) -> _Parts:
    """Not by urlsplit, which newer Pythons let refuse a list that has an address in brackets (CVE-2025-0938)."""
    rest, _, query = url.partition("//")[2].partition("?")
    authority, _, path = rest.partition("/")
    user, _, hosts = authority.rpartition("@")
    return _Parts(user, hosts, path, query)


def _login(user: str, tls: StoreTls | None) -> StoreAddress:
    user, colon, password = user.partition(":")
    return StoreAddress(
        username=unquote(user) if user else None, password=unquote(password) if colon else None, tls=tls
    )


def _host(text: str, kind: str) -> tuple[str, int]:
    try:
        one = urlsplit(f"//{text}")
        port = one.port
    except ValueError:
        one, port = urlsplit(""), 0
    if not one.hostname or port == 0:
        raise StoreAddressError(f"has no valid host and port at {text!r}; write {_EXAMPLES[kind]}")
    return one.hostname, port or _PORTS[kind]

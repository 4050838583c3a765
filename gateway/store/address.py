"""Where a store is, from its URL."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit


class StoreAddressError(ValueError):
    """The URL names no store; says what a good one looks like."""


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A store on a unix socket (`path`) or on TCP (`host`, `port`).

    Attributes:
        username: For ACL; None is the default user.
        password: None: the store asks for none. Not in `str()`.
        database: 0 unless the URL names another.
        tls: Whether the connection is encrypted and the store's certificate checked.
    """

    host: str = ""
    port: int = 0
    path: str | None = None
    username: str | None = None
    password: str | None = None
    database: int = 0
    tls: bool = False

    @classmethod
    def parse(cls, url: str) -> "StoreAddress":
        """Read `redis://[user:password@]host[:port][/database]`, `rediss://` (with TLS) or `unix:///path`.

        Raises:
            StoreAddressError: Another scheme, no host, a port or database that is no number.
        """
        parts = urlsplit(url)
        username = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        if parts.scheme == "unix":
            if not parts.path:
                raise StoreAddressError("names no socket; write unix:///run/valkey/valkey.sock")
            return cls(path=unquote(parts.path), username=username, password=password)
        if parts.scheme not in {"redis", "rediss"}:
            raise StoreAddressError(
                f"has scheme {parts.scheme!r}; write redis://host:6379/0, rediss://... or unix:///path"
            )
        if not parts.hostname:
            raise StoreAddressError("names no host; write redis://host:6379/0")
        try:
            port = parts.port or 6379
            database = int(parts.path.strip("/") or 0)
        except ValueError as error:
            raise StoreAddressError(f"has a port or database that is no number: {error}") from error
        return cls(parts.hostname, port, None, username, password, database, tls=parts.scheme == "rediss")

    def url(self) -> str:
        """The URL for redis-py, password included: not for logs."""
        login = ""
        if self.password is not None:
            login = f"{quote(self.username or '', safe='')}:{quote(self.password, safe='')}@"
        if self.path is not None:
            return f"unix://{login}{quote(self.path)}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{login}{host}:{self.port}/{self.database}"

    def ssl_context(self) -> ssl.SSLContext | None:
        """What a TCP connection is to be wrapped in; None: nothing."""
        return ssl.create_default_context() if self.tls else None

    def greeting(self) -> Iterator[tuple[str | int, ...]]:
        """The commands that a new connection begins with."""
        if self.password is not None:
            yield ("AUTH", self.username, self.password) if self.username else ("AUTH", self.password)
        if self.database:
            yield ("SELECT", self.database)

    def __str__(self) -> str:
        return self.path if self.path is not None else f"{self.host}:{self.port}"

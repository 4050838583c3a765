"""Where a store is, from its URL."""

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from gateway.store.faults import StoreAddressError
from gateway.store.tls import OPTIONS, StoreTls

TLS_OPTIONS: Final = ", ".join(OPTIONS)


@dataclass(frozen=True, slots=True)
class StoreAddress:
    """A store on a unix socket (`path`) or on TCP (`host`, `port`).

    Attributes:
        username: For ACL; None is the default user.
        password: None: the store asks for none. Not in `str()`.
        database: 0 unless the URL names another.
        tls: How the connection is encrypted and the store's certificate checked; None: it is not.
    """

    host: str = ""
    port: int = 0
    path: str | None = None
    username: str | None = None
    password: str | None = None
    database: int = 0
    tls: StoreTls | None = None

    @classmethod
    def parse(cls, url: str) -> "StoreAddress":
        """Read `redis://[user:password@]host[:port][/database]`, `rediss://` (with TLS) or `unix:///path`.

        With TLS the options of `StoreTls` may follow: `?tls_ca=/etc/tollgate/store-ca.pem`.

        Raises:
            StoreAddressError: Another scheme, no host, a port or database that is no number, an option that is none.
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
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        tls = StoreTls.take(options, is_wanted=parts.scheme == "rediss")
        if options:
            raise StoreAddressError(f"has options that there are not: {', '.join(options)}; it may have {TLS_OPTIONS}")
        return cls(parts.hostname, port, None, username, password, database, tls)

    def url(self) -> str:
        """The URL for redis-py, password included: not for logs."""
        login = ""
        if self.password is not None:
            login = f"{quote(self.username or '', safe='')}:{quote(self.password, safe='')}@"
        if self.path is not None:
            return f"unix://{login}{quote(self.path)}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        if self.tls is None:
            return f"redis://{login}{host}:{self.port}/{self.database}"
        query = urlencode(list(self.tls.query()))
        return f"rediss://{login}{host}:{self.port}/{self.database}{'?' if query else ''}{query}"

    def ssl_context(self) -> ssl.SSLContext | None:
        """What a TCP connection is to be wrapped in; None: nothing. Raises OSError as `StoreTls.context`."""
        return None if self.tls is None else self.tls.context()

    def greeting(self) -> Iterator[tuple[str | int, ...]]:
        """The commands that a new connection begins with."""
        if self.password is not None:
            yield ("AUTH", self.username, self.password) if self.username else ("AUTH", self.password)
        if self.database:
            yield ("SELECT", self.database)

    def __str__(self) -> str:
        return self.path if self.path is not None else f"{self.host}:{self.port}"

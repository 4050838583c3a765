"""A TCP address to listen on."""

from dataclasses import dataclass
from typing import Self

MAX_PORT = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener binds: a host name or IP literal without brackets, and a port.

    Port 0 lets the system choose, which is for tests: two processes could not be told each other's port.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port`, with the host of an IPv6 literal in brackets: `[::1]:50051`.

        Raises:
            ValueError: The text is none; the message says what is wrong and how to write it.
        """
        example = "write host:port, e.g. 127.0.0.1:50051"
        if "://" in text:
            raise ValueError(f"{text!r} is a URL; {example}")
        host, colon, port = text.strip().rpartition(":")
        if not colon or host.startswith("[") != host.endswith("]"):
            raise ValueError(f"{text!r} has no port; {example}")
        if not (port.isascii() and port.isdigit() and int(port) <= MAX_PORT):
            raise ValueError(f"{text!r} has no port from 0 to {MAX_PORT} after its last colon; {example}")
        if host in {"", "*"}:
            raise ValueError(f"{text!r} has no host; write 0.0.0.0:{port} to listen on every interface")
        if host.startswith("["):
            host = host[1:-1]
        elif ":" in host:
            raise ValueError(f"{text!r} is ambiguous; write an IPv6 address in brackets: [{host}]:{port}")
        if not host or any(letter.isspace() or letter in "[]/@" for letter in host):
            raise ValueError(f"{text!r} names no host; {example}")
        return cls(host, int(port))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

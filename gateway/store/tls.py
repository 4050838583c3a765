"""TLS to the store: whom to trust, and the certificate to show."""

import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from gateway.store.faults import StoreAddressError

OPTIONS: Final = {"tls_ca": "ssl_ca_certs", "tls_certificate": "ssl_certfile", "tls_key": "ssl_keyfile"}
"""What a URL may say of TLS, and what redis-py calls it."""

_Stamps = tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class StoreTls:
    """How connections to the store are encrypted; the name in its certificate is always checked.

    Attributes:
        tls_ca: PEM file of who signed the store's certificate; empty: who this machine trusts.
        tls_certificate: PEM file of the certificate to show; empty: none.
        tls_key: PEM file of its private key; empty: it is in the file of the certificate.
    """

    tls_ca: str = ""
    tls_certificate: str = ""
    tls_key: str = ""

    @classmethod
    def take(cls, options: dict[str, str], *, is_wanted: bool) -> "StoreTls | None":
        """Take its options out of those of a URL; None: TLS is not wanted.

        Raises:
            StoreAddressError: One is given without TLS, or names a file that cannot be read.
        """
        own = {name: options.pop(name) for name in OPTIONS if name in options}
        if not is_wanted:
            if own:
                raise StoreAddressError(f"has {', '.join(own)}, but its scheme is without TLS; write rediss")
            return None
        for name, path in own.items():
            if not os.access(path, os.R_OK) or not Path(path).is_file():
                raise StoreAddressError(f"names in {name} no file that can be read: {path}; correct the path")
        if "tls_key" in own and "tls_certificate" not in own:
            raise StoreAddressError("has tls_key without tls_certificate, whose key it is; name both")
        return cls(**own)

    def context(self) -> ssl.SSLContext:
        """What a connection is wrapped in; made anew when a file has changed, since it takes some milliseconds.

        Raises:
            OSError: A file is gone, or holds something else.
        """
        return _context(self, _stamps(self))

    def query(self) -> Iterator[tuple[str, str]]:
        """The same for the URL of redis-py."""
        for name, theirs in OPTIONS.items():
            if path := getattr(self, name):
                yield theirs, path


def _stamps(tls: StoreTls) -> _Stamps:
    found = (Path(path).stat() for path in (tls.tls_ca, tls.tls_certificate, tls.tls_key) if path)
    return tuple((each.st_mtime_ns, each.st_size, each.st_ino) for each in found)


@lru_cache(maxsize=8)
def _context(tls: StoreTls, _stamps: _Stamps) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.tls_ca or None)
    if tls.tls_certificate:
        context.load_cert_chain(tls.tls_certificate, tls.tls_key or None)
    return context

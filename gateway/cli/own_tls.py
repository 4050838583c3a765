"""How commands on the gateway's own machine ask a gateway that speaks TLS."""

from datetime import UTC, datetime

from gateway.client.tls import Tls
from gateway.settings import Settings
from gateway.tls_files import TlsFiles, read_material


def own_tls(settings: Settings) -> Tls | None:
    """Trust the certificate itself, whatever name it is for; None: the gateway speaks in the clear.

    Raises:
        TlsError: It cannot be used.
    """
    files = TlsFiles.of(settings)
    if files is None:
        return None
    return Tls(files.certificate, server_name=read_material(files, datetime.now(UTC)).server_name)

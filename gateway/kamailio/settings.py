"""The settings of the sidecar."""

from dataclasses import dataclass, field
from typing import Final

from gateway.address import Address
from gateway.client import Tls

PREFIX: Final = "TOLLGATE_KAMAILIO_"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where everything is, and how long it is waited for.

    Attributes:
        gateway: The gateway's `CallAuthorization`, host:port.
        token: The switch's; never shown.
        evapi: Kamailio's evapi port.
        rpc: Kamailio's JSON-RPC.
        switch_id: With an operator's token: which switch this is.
        tls: Whom to trust, and the certificate to show; None: all goes in the clear.
        deadline_seconds: How long a decision may take; less than TOLLGATE_WAIT_MS in tollgate.cfg.
        allow: Whether calls and messages go on while no gateway answers; they are settled when one does.
        live_calls_seconds: How often Kamailio's dialogs are listed.
    """

    gateway: str
    token: str = field(repr=False)
    evapi: Address
    rpc: Address
    switch_id: str
    tls: Tls | None
    deadline_seconds: float
    allow: bool
    live_calls_seconds: float

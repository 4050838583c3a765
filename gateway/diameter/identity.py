"""Who we are in Diameter, and the AVPs that say so."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from gateway.diameter.avps import avp, group
from gateway.diameter.codes import (
    APPLICATION_CREDIT_CONTROL,
    AUTH_APPLICATION_ID,
    HOST_IP_ADDRESS,
    ORIGIN_HOST,
    ORIGIN_REALM,
    ORIGIN_STATE_ID,
    PRODUCT_NAME,
    SUPPORTED_VENDOR_ID,
    VENDOR_3GPP,
    VENDOR_ID,
    VENDOR_SPECIFIC_APPLICATION_ID,
)

_PRODUCT = "Tollgate"


@dataclass(frozen=True, slots=True)
class DiameterIdentity:
    """This node.

    Attributes:
        host: Origin-Host.
        realm: Origin-Realm.
        state_id: Origin-State-Id: another one says that the sessions of before are forgotten.
    """

    host: str
    realm: str
    state_id: int

    def origin(self) -> Iterator[Any]:
        """Origin-Host and Origin-Realm."""
        yield avp(ORIGIN_HOST, self.host.encode())
        yield avp(ORIGIN_REALM, self.realm.encode())

    def state(self) -> Any:
        """Origin-State-Id."""
        return avp(ORIGIN_STATE_ID, self.state_id)

    def capabilities(self, ip_address: str) -> Iterator[Any]:
        """What a CEA says of us beside the result."""
        yield from self.origin()
        yield avp(HOST_IP_ADDRESS, ip_address)
        yield avp(VENDOR_ID, 0)
        yield avp(PRODUCT_NAME, _PRODUCT)
        yield self.state()
        yield avp(SUPPORTED_VENDOR_ID, VENDOR_3GPP)
        yield avp(AUTH_APPLICATION_ID, APPLICATION_CREDIT_CONTROL)
        yield group(
            VENDOR_SPECIFIC_APPLICATION_ID,
            [avp(VENDOR_ID, VENDOR_3GPP), avp(AUTH_APPLICATION_ID, APPLICATION_CREDIT_CONTROL)],
        )

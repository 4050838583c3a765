"""Which names of a client's certificate count, as gRPC tells them."""

from typing import Any

from gateway.api.runner import certificate_names


class Shown:
    """The context of an rpc on a connection with these properties."""

    def __init__(self, **properties: list[bytes]) -> None:
        self._properties = properties

    def auth_context(self) -> dict[str, list[bytes]]:
        return self._properties


def names(**properties: list[bytes]) -> list[str]:
    context: Any = Shown(**properties)
    return certificate_names(context)


def test_dns_names_and_uris() -> None:
    found = names(peer_dns=[b"SW1.example.com", b"b.example.com"], peer_uri=[b"tollgate:switch:Sw1"])
    assert found == ["sw1.example.com", "b.example.com", "tollgate:switch:Sw1"]


def test_nothing_else_is_a_name() -> None:
    everything = {"x509_common_name": [b"cn"], "peer_email": [b"a@b.c"], "peer_ip": [b"10.0.0.1"]}
    assert names(**everything, x509_subject_alternative_name=[b"a@b.c", b"10.0.0.1"]) == []
    assert names(transport_security_type=[b"insecure"]) == []
    # No token has such a name, whatever the bytes were.
    assert names(peer_dns=[b"sw1\xff.example.com"]) == ["sw1\ufffd.example.com"]

"""gRPC with TLS: whom the front lets in by a certificate, and that a renewed one breaks nothing."""

import asyncio
import ssl
from pathlib import Path
from typing import Any

import grpc
import pytest

from gateway.client import Client, GatewayUnavailable, OperationFailed, Tls
from gateway.domain.identity import Identity
from gateway.domain.vocabulary import Role
from gateway.store.directory import PublishedToken, publish_tokens
from gateway.tls_files import LOOK_EVERY_SECONDS
from gateway.v1 import authorization_pb2 as pb
from tests.support.back import refused
from tests.support.front import OPERATOR, SWITCH_A, SWITCH_B, TOKENS, metadata, running_front
from tests.support.servers import StoreServer, free_port
from tests.support.tls import Authority, CertificateFiles, replace

REFUSED = (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED")
DENIED = (grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")


def certified(key: str, name: str, switch_id: str, office_id: str) -> PublishedToken:
    return PublishedToken(Identity(Role.SWITCH, key, "", frozenset({office_id}), switch_id), None, name)


CERTIFIED = {
    "x509:1": certified("1", "sw1.example.com", "switch-a", "a"),
    "x509:2": certified("2", "sw1.example.com", "switch-a", "b"),
    "x509:3": certified("3", "two.example.com", "switch-b", "b"),
}
"""Tokens that certificates stand for."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def own(authority: Authority, tmp_path: Path) -> CertificateFiles:
    """The gateway's own certificate."""
    return authority.write(tmp_path / "own", "127.0.0.1")


def asks_for_certificates(own: CertificateFiles) -> dict[str, Any]:
    return {**own.server_flags(), "tls_client_ca": str(own.ca)}


QUOTE: dict[str, Any] = {
    "office_id": "a", "direction": pb.OUTBOUND, "called_number": "+442079460958", "duration_seconds": 60,
}  # fmt: skip


def call(call_id: str = "c1", office_id: str = "a") -> pb.AuthorizeCallRequest:
    return pb.AuthorizeCallRequest(
        office_id=office_id, call_id=call_id, direction=pb.OUTBOUND, license=pb.STANDARD, service=pb.VOICE,
        calling_number="+12125550142", called_number="+442079460958",
    )  # fmt: skip


async def comes_to(code: str, client: Client) -> None:
    """What was published is followed: a quote is refused with this code before long."""
    for _ in range(300):
        if await code_of(client) == code:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{code} did not come")


async def code_of(client: Client) -> str:
    try:
        await client.quote_call(**QUOTE)
    except OperationFailed as error:
        return error.code
    return "OK"


async def test_who_speaks_in_the_clear_or_trusts_others_is_not_answered(
    valkey: StoreServer, own: CertificateFiles
) -> None:
    async with running_front(valkey.url, tls=Tls(own.ca), **own.server_flags()) as front:
        await front.add_office("a", 1_000_000)
        answer = await front.stub.AuthorizeCall(call(), metadata=metadata(SWITCH_A))
        assert answer.reason == pb.FUNDED
        await refused(*REFUSED, front.stub.AuthorizeCall(call()))
        target = f"127.0.0.1:{front.port}"
        for tls in (None, True):
            async with Client(target, SWITCH_A, tls=tls) as client:
                with pytest.raises(GatewayUnavailable):
                    await client.wait_connected(limit_seconds=1.0)
        async with Client(target, SWITCH_A, tls=Tls(own.ca)) as client:
            await client.wait_connected()
            assert (await client.quote_call(**QUOTE)).reason == pb.FUNDED


async def test_a_certificate_stands_for_its_switch(
    valkey: StoreServer, own: CertificateFiles, authority: Authority, tmp_path: Path
) -> None:
    """Alone with the offices of all its tokens; beside a secret only beside its own switch's."""
    shown = authority.write(tmp_path / "sw1", "SW1.example.com").shown_by_client()
    flags = asks_for_certificates(own)
    async with running_front(valkey.url, tls=shown, tokens=CERTIFIED, **flags) as front:
        for office_id in ("a", "b", "c"):
            await front.add_office(office_id, 1_000_000)
        stub = front.stub
        for office_id in ("a", "b"):
            assert (await stub.AuthorizeCall(call("c2", office_id))).reason == pb.FUNDED
        await refused(*DENIED, stub.AuthorizeCall(call("c2", "c")))
        assert (await stub.AuthorizeCall(call("c3", "c"), metadata=metadata(SWITCH_A))).reason == pb.FUNDED
        for secret in (SWITCH_B, OPERATOR):
            other = await refused(*REFUSED, stub.AuthorizeCall(call("c4", "b"), metadata=metadata(secret)))
            assert "not of the switch that the certificate is of" in other.message
        await refused(*REFUSED, stub.AuthorizeCall(call("c4"), metadata=metadata("x509:1")))

        # A Session goes on with what is left, and ends when nothing is.
        async with Client(f"127.0.0.1:{front.port}", tls=shown) as client:
            assert (await client.quote_call(**QUOTE)).reason == pb.FUNDED
            await publish_tokens(front.connection, {**TOKENS, "x509:2": CERTIFIED["x509:2"]})
            await comes_to("PERMISSION_DENIED", client)
            await publish_tokens(front.connection, TOKENS)
            await comes_to("UNAUTHENTICATED", client)
        nobody = await refused(*REFUSED, stub.AuthorizeCall(call("c5", "b")))
        assert "No switch has a certificate of the name sw1.example.com" in nobody.message
        # A certificate that stands for nobody lets its bearer in, and a token says who it is.
        assert (await stub.AuthorizeCall(call("c5"), metadata=metadata(SWITCH_A))).reason == pb.FUNDED


async def test_a_certificate_for_several_switches_is_nobodys(
    valkey: StoreServer, own: CertificateFiles, authority: Authority, tmp_path: Path
) -> None:
    shown = authority.write(tmp_path / "both", "sw1.example.com", "two.example.com").shown_by_client()
    flags = asks_for_certificates(own)
    async with running_front(valkey.url, tls=shown, tokens=CERTIFIED, **flags) as front:
        await front.add_office("b", 1_000_000)
        several = await refused(*REFUSED, front.stub.AuthorizeCall(call(office_id="b")))
        assert "several switches" in several.message


async def test_a_second_address_asks_for_certificates_and_the_first_for_none(
    valkey: StoreServer, own: CertificateFiles, authority: Authority, tmp_path: Path
) -> None:
    second = f"127.0.0.1:{free_port()}"
    stranger = Authority().write(tmp_path / "stranger", "sw1.example.com")
    known = authority.write(tmp_path / "sw1", "sw1.example.com")
    flags = {**asks_for_certificates(own), "mtls_listen": second}
    async with running_front(valkey.url, tls=Tls(own.ca), tokens=CERTIFIED, **flags) as front:
        await front.add_office("a", 1_000_000)
        assert (await front.stub.AuthorizeCall(call(), metadata=metadata(SWITCH_A))).reason == pb.FUNDED
        await refused(*REFUSED, front.stub.AuthorizeCall(call()))
        for tls in (Tls(own.ca), Tls(own.ca, stranger.certificate, stranger.key)):
            async with Client(second, SWITCH_A, tls=tls) as client:
                with pytest.raises(GatewayUnavailable):
                    await client.wait_connected(limit_seconds=1.0)
        async with Client(second, tls=known.shown_by_client()) as client:
            assert (await client.quote_call(**QUOTE)).reason == pb.FUNDED


async def test_a_renewed_certificate_is_shown_and_no_call_is_dropped(
    valkey: StoreServer, own: CertificateFiles, authority: Authority, tmp_path: Path
) -> None:
    async with running_front(valkey.url, tls=Tls(own.ca), **own.server_flags()) as front:
        await front.add_office("a", 1_000_000)
        before = await certificate_of(front.port)
        async with Client(f"127.0.0.1:{front.port}", SWITCH_A, tls=Tls(own.ca)) as client:
            await client.wait_connected()
            renewed = authority.write(tmp_path / "renewed", "127.0.0.1")
            replace(own.key, renewed.key.read_bytes())
            replace(own.certificate, renewed.certificate.read_bytes())
            for _ in range(300):
                if (shown := await certificate_of(front.port)) != before:
                    break
                await asyncio.sleep(LOOK_EVERY_SECONDS / 10)
            assert shown == ssl.PEM_cert_to_DER_cert(leaf(renewed))
            assert client.is_connected
            assert (await client.quote_call(**QUOTE)).reason == pb.FUNDED


def leaf(files: CertificateFiles) -> str:
    end = "-----END CERTIFICATE-----\n"
    return files.certificate.read_text().partition(end)[0] + end


async def certificate_of(port: int) -> bytes:
    """What whoever connects now is shown."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return shown

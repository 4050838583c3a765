"""The listeners: answered by the gateway that runs, or free for the one that is to."""

import asyncio
import ssl
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final

import aiohttp

from gateway.address import Address
from gateway.cli.connection import ConnectionFile
from gateway.cli.doctor.findings import Findings
from gateway.cli.health import NO_ANSWER, SERVING, ask_health
from gateway.cli.own_tls import own_tls
from gateway.client.tls import Tls
from gateway.client_channel import reachable
from gateway.ports import PortError, check_ports_free
from gateway.settings import LISTEN_SETTINGS, Settings
from gateway.settings_problems import variable_name
from gateway.tls_files import TlsError

ANSWER_SECONDS: Final = 3.0

_WITH_CERTIFICATES: Final = "mtls_listen"

_HTTP_PATHS: Final = {"http_listen": "/health/ready", "metrics_listen": "/healthz"}
"""Where those answer that speak no gRPC."""


async def examine_listeners(settings: Settings, gateway: ConnectionFile | None) -> Findings:
    """Ask each listener how it is."""
    findings = Findings("listeners")
    try:
        tls = own_tls(settings)
    except TlsError as error:
        findings.fail_as_told(error)
        return findings
    addresses: dict[str, Address] = {
        name: address for name in LISTEN_SETTINGS if (address := getattr(settings, name)) is not None
    }
    fixed = {name: address for name, address in addresses.items() if address.port}
    states = dict(zip(fixed, await asyncio.gather(*(_state_of(*each, tls) for each in fixed.items())), strict=True))
    runs = gateway is not None or SERVING in states.values()
    for name, address in fixed.items():
        if states[name] == SERVING:
            findings.ok(f"{variable_name(name)}: {address} serves")
        elif states[name] != NO_ANSWER:
            findings.fail(
                f"{variable_name(name)}: {address} is {states[name]}", "it lacks store, deck or database: see above"
            )
        else:
            await _examine_silent(name, address, findings, runs=runs)
    if gateway is None and SERVING in states.values():
        findings.warn(
            "a gateway answers, and it is not that of this data directory", "name the data directory of the one meant"
        )
    if tls is None:
        _examine_encryption(addresses, findings)
    return findings


def _examine_encryption(addresses: Mapping[str, Address], findings: Findings) -> None:
    """Of the listeners those that carry tokens; what other machines cannot reach needs none."""
    for name, address in addresses.items():
        if name != "metrics_listen" and not _is_of_this_machine(address.host):
            findings.warn(
                f"{variable_name(name)}: {address} can be reached from other machines, and does not encrypt: tokens go "
                "in the clear",
                "set TOLLGATE_TLS_CERTIFICATE and TOLLGATE_TLS_KEY, or keep it on a network of its own",
            )


async def _examine_silent(name: str, address: Address, findings: Findings, *, runs: bool) -> None:
    try:
        await check_ports_free({name: address}, patience_seconds=0)
    except PortError as error:
        findings.fail_as_told(error)
        return
    if runs:
        findings.fail(
            f"{variable_name(name)}: nothing listens at {address}, though a gateway runs",
            "does that one have other settings? Its log names what it listens on",
        )
    else:
        findings.ok(f"{variable_name(name)}: {address} is free, and no gateway runs")


async def _state_of(name: str, address: Address, tls: Tls | None) -> str:
    if name == "metrics_listen":
        tls = None  # it never encrypts
    if name == _WITH_CERTIFICATES:
        return await _state_of_port(address)
    path = _HTTP_PATHS.get(name)
    if path is None:
        return await ask_health(address, ANSWER_SECONDS, tls)
    return await ask_http_health(f"{'http' if tls is None else 'https'}://{reachable(address)}{path}", tls)


async def _state_of_port(address: Address) -> str:
    """Of a listener that asks for a certificate which nobody has here: whether somebody listens."""
    there = reachable(address)
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            _, writer = await asyncio.open_connection(there.host, there.port)
    except (OSError, TimeoutError):
        return NO_ANSWER
    writer.close()
    return SERVING


async def ask_http_health(url: str, tls: Tls | None = None) -> str:
    """What a listener says of itself over HTTP: as `ask_health`."""
    trusted: ssl.SSLContext | bool = True
    named = None
    if tls is not None:
        named = tls.server_name
        trusted = ssl.create_default_context(cafile=tls.ca)
        # It is the gateway's own certificate that is trusted, not who signed it.
        trusted.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session,
            session.get(url, allow_redirects=False, ssl=trusted, server_hostname=named) as answer,
        ):
            return {200: SERVING, 503: "not serving"}.get(answer.status, f"answering with {answer.status}")
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return NO_ANSWER


def _is_of_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

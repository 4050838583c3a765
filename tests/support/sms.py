"""A gateway as SMS switches see it, with the offices and tokens that their tests need."""

import asyncio
import itertools
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote_from_bytes

import grpc

from gateway.v1 import credits_pb2 as pb
from gateway.v1.credits_pb2_grpc import CreditsStub
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.proxy import FaultProxy
from tests.support.servers import wait_until

OPERATOR = "operator-token-of-the-sms-tests"
METADATA = (("authorization", f"Bearer {OPERATOR}"),)

SMS = 50_000
"""Micros a segment from the US to another country, by the packaged deck."""

_numbers = itertools.count(1)


def next_number() -> str:
    """A valid number in the United Kingdom that no other test uses, without its plus."""
    return f"442079460{next(_numbers):03d}"


@dataclass
class SmsGateway:
    """A running gateway, with proxies before it that break connections: one for HTTP, one for gRPC."""

    process: GatewayProcess
    hooks: "ThreadedProxy"
    grpc: "ThreadedProxy"
    credits: CreditsStub
    _names: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def open_office(self, balance_micros: int) -> str:
        """An office of the United States with so much money; returns its id."""
        office_id = f"office-{next(self._names)}"
        office = pb.CreateOfficeRequest(
            office_id=office_id,
            company_id="acme",
            name=office_id,
            country="US",
            currency="USD",
            time_zone="America/New_York",
        )
        self._ask(self.credits.CreateOffice, office)
        if balance_micros:
            self.add(office_id, balance_micros)
        return office_id

    def add(self, office_id: str, amount_micros: int) -> None:
        """Put money into an office."""
        key = f"key-{next(self._names)}"
        adjust = pb.AdjustBalanceRequest(
            office_id=office_id, amount_micros=amount_micros, reason="of the tests", idempotency_key=key
        )
        self._ask(self.credits.AdjustBalance, adjust)

    def suspend(self, office_id: str) -> None:
        """Stop an office from sending."""
        self._ask(self.credits.SuspendOffice, pb.SuspendOfficeRequest(office_id=office_id, reason="of the tests"))

    def available(self, office_id: str) -> int:
        """What an office can spend now."""
        office: pb.Office = self._ask(self.credits.GetOffice, pb.GetOfficeRequest(office_id=office_id))
        return office.available_micros

    def await_available(self, office_id: str, micros: int, seconds: float = 15.0) -> None:
        """Wait until an office has exactly so much."""
        found = wait_until(lambda: self.available(office_id) == micros, seconds)
        assert found, f"{office_id} has {self.available(office_id)}, not {micros}"

    def token(self, switch_id: str, *offices: str) -> str:
        """A token of a switch, for some offices or for every one there is or will be."""
        request = pb.CreateTokenRequest(role=pb.ROLE_SWITCH, switch_id=switch_id, office_ids=offices)
        created: pb.CreateTokenResponse = self._ask(self.credits.CreateToken, request)
        return created.secret

    @staticmethod
    def _ask(method: Callable[..., Any], request: Any) -> Any:
        return method(request, metadata=METADATA, timeout=10)


class ThreadedProxy:
    """A FaultProxy in a thread of its own, for tests that block."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._loop = asyncio.new_event_loop()
        self._target = target
        self._started = threading.Event()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))
        self.proxy = FaultProxy(target)

    async def _run(self) -> None:
        async with self.proxy:
            self._started.set()
            await self._stopping.wait()

    def start(self) -> None:
        """Listen."""
        self._thread.start()
        assert self._started.wait(timeout=10)

    def stop(self) -> None:
        """Listen no more."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(timeout=10)
        self._loop.close()

    def do(self, action: Callable[[FaultProxy], None]) -> None:
        """Do something with the proxy in its own thread."""
        done = threading.Event()

        def act() -> None:
            action(self.proxy)
            done.set()

        self._loop.call_soon_threadsafe(act)
        assert done.wait(timeout=10)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.proxy.port}"


@contextmanager
def running_proxy(address: str) -> Iterator[ThreadedProxy]:
    """Run a proxy before a server until the block ends."""
    host, port = address.rsplit(":", 1)
    proxy = ThreadedProxy((host, int(port)))
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()


@contextmanager
def running_sms_gateway(directory: Path) -> Iterator[SmsGateway]:
    """Run a gateway until the block ends."""
    with (
        running_gateway(directory, TOLLGATE_OPERATOR_TOKEN=OPERATOR) as process,
        running_proxy(process.http) as hooks,
        running_proxy(process.server) as grpc_proxy,
        grpc.insecure_channel(process.admin_server) as channel,
    ):
        gateway = SmsGateway(process, hooks, grpc_proxy, CreditsStub(channel))
        gateway._ask(gateway.credits.CreateCompany, pb.CreateCompanyRequest(company_id="acme", name="Acme"))
        yield gateway


def query(**parameters: str | bytes) -> str:
    """A query string; text goes as UTF-8, and _ in a name stands for -."""
    return "&".join(
        f"{name.replace('_', '-')}={quote_from_bytes(value.encode() if isinstance(value, str) else value, safe='')}"
        for name, value in parameters.items()
    )


def get(url: str) -> tuple[int, str]:
    """Status and text of a GET."""
    try:
        with urllib.request.urlopen(url, timeout=20) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(errors="replace")

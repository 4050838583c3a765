"""What the recipes of switches/ are tried against: a whole gateway, offices of their own, and a way that can fail."""

import itertools
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import json_format

from gateway.cli.connection import ConnectionFile
from gateway.v1 import authorization_pb2 as calls
from gateway.v1 import credits_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from gateway.v1.credits_pb2_grpc import CreditsStub
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.servers import free_port, wait_until

LONDON = "+442079460958"
"""0.12 a minute, in whole minutes."""

PARIS = "+33142278186"
"""0.001 a second, by the second, in ticks of 4 s."""

MINUTE, SECOND = 120_000, 1_000

DECK = b"""\
tariff,service,direction,license,origin,prefix,number_type,from_second,price,per_seconds,increment_seconds,connect_fee,tick_seconds,description
,VOICE,OUTBOUND,,,44,,0,0.12,60,60,0,60,United Kingdom
,VOICE,OUTBOUND,,,33,,0,0.06,60,1,0,4,France by the second
"""

FUNDS = 10_000_000


class RecipeGateway:
    """A running gateway, its offices, and the token of a switch that may call for all of them."""

    def __init__(self, process: GatewayProcess, channel: grpc.Channel, operator: str) -> None:
        self.grpc, self.url = process.server, f"http://{process.http}"
        self.log = process.log
        self._stub = CreditsStub(channel)
        self._metadata = (("authorization", f"Bearer {operator}"),)
        self._numbers = itertools.count(1)
        self.ask("ImportRates", pb.ImportRatesRequest(deck=DECK, source="tests"))
        self.ask("CreateCompany", pb.CreateCompanyRequest(company_id="acme", name="Acme"))
        made = self.ask("CreateToken", pb.CreateTokenRequest(role=pb.ROLE_SWITCH, switch_id="recipe"))
        self.token: str = made.secret
        self._follow()

    def _follow(self) -> None:
        """Wait until both who answer gRPC and who answers HTTP have the deck and the token."""
        office = self.office()
        quote = calls.QuoteCallRequest(office_id=office, direction=calls.OUTBOUND, called_number=PARIS)
        body = json_format.MessageToJson(quote).encode()
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}

        def granted_seconds() -> Iterator[int]:
            with grpc.insecure_channel(self.grpc) as channel, suppress(grpc.RpcError):
                metadata = (("authorization", headers["Authorization"]),)
                yield CallAuthorizationStub(channel).QuoteCall(quote, metadata=metadata, timeout=5).granted_seconds
            with suppress(urllib.error.HTTPError):
                request = urllib.request.Request(f"{self.url}/v1/quote", body, headers)
                with urllib.request.urlopen(request, timeout=5) as answer:
                    yield json.load(answer)["grantedSeconds"]

        assert wait_until(lambda: list(granted_seconds()) == [4, 4])

    def ask(self, method: str, request: Any) -> Any:
        """Ask Credits as the operator."""
        return getattr(self._stub, method)(request, metadata=self._metadata, timeout=10)

    def office(self, funds: int = FUNDS, **settings: Any) -> str:
        """A new office in the US."""
        office_id = f"office-{next(self._numbers)}"
        self.ask(
            "CreateOffice",
            pb.CreateOfficeRequest(
                office_id=office_id, company_id="acme", name="Springfield", country="US", **settings
            ),
        )
        if funds:
            adjust = pb.AdjustBalanceRequest(
                office_id=office_id, amount_micros=funds, reason="opening balance", idempotency_key=office_id
            )
            self.ask("AdjustBalance", adjust)
        return office_id

    def books(self, office_id: str) -> tuple[int, int]:
        """What an office has, and what of it is held."""
        office = self.ask("GetOffice", pb.GetOfficeRequest(office_id=office_id))
        return office.balance_micros, office.reserved_micros

    def call(self, office_id: str, call_id: str) -> pb.Call:
        """A live call."""
        found: pb.Call = self.ask("GetCall", pb.GetCallRequest(office_id=office_id, call_id=call_id))
        return found

    def settled(self, office_id: str, balance: int) -> None:
        """Wait until nothing is held and this is left.

        Raises:
            AssertionError: It does not come to that.
        """
        wait_until(lambda: self.books(office_id) == (balance, 0))
        assert self.books(office_id) == (balance, 0)


@contextmanager
def recipe_gateway(directory: Path) -> Iterator[RecipeGateway]:
    """Run one until the block ends."""
    with running_gateway(directory) as process:
        connection = ConnectionFile.find(process.data_dir)
        assert connection is not None
        with grpc.insecure_channel(process.admin_server) as channel:
            yield RecipeGateway(process, channel, connection.token)


def nowhere() -> str:
    """The URL of a gateway that is away."""
    return f"http://127.0.0.1:{free_port()}"


@contextmanager
def failing_way(url: str, *statuses: int) -> Iterator[str]:
    """A way to a gateway on which the first answers are lost: each request is done, and told to be this status.

    Yields:
        The URL to ask instead.
    """
    left = list(statuses)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name: self.headers[name] for name in ("Authorization", "Content-Type")}
            try:
                with urllib.request.urlopen(urllib.request.Request(url + self.path, body, headers), timeout=10) as told:
                    status, answer = told.status, told.read()
            except urllib.error.HTTPError as error:
                status, answer = error.code, error.read()
            with lock:
                if left:
                    status, answer = left.pop(0), b'{"error":{"reason":"UNAVAILABLE","message":"lost"}}'
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nothing: the gateway has a log."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

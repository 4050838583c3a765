"""`tollgate diameter` in a process of its own, and its peers: python-diameter's own node, and one that sends bytes."""

import itertools
import logging
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import grpc
from diameter.message import Avp, Message, constants
from diameter.message.avp.grouped import (
    ImsInformation,
    MultipleServicesCreditControl,
    RecipientAddress,
    RecipientInfo,
    RequestedServiceUnit,
    ServiceInformation,
    SmsInformation,
    SubscriptionId,
    UsedServiceUnit,
)
from diameter.message.commands import CapabilitiesExchangeRequest, CreditControlAnswer, CreditControlRequest
from diameter.node import Node
from diameter.node.application import ThreadingApplication

from gateway.v1 import credits_pb2
from gateway.v1.credits_pb2_grpc import CreditsStub
from tests.support.gateway_process import GatewayProcess, clean_environment
from tests.support.servers import free_port, wait_until

OPERATOR: Final = "test-operator-token-0123456789"
HOST, REALM = "ocs.example.org", "example.org"
LONDON, PARIS, NEW_YORK = "+442079460958", "+33142685300", "+12125550142"
CALLS, TEXTS = "32260@3gpp.org", "32274@3gpp.org"
INITIAL, UPDATE, TERMINATION, EVENT = 1, 2, 3, 4
DEBIT, REFUND, BALANCE, PRICE = 0, 1, 2, 3

MINUTE, SMS = 120_000, 30_000
"""What the deck of tests.support.front asks for a minute to London, and for a segment."""

OFFICES: Final = [f"o{number}" for number in range(200)]
NOWHERE: Final = "nowhere"
"""In the table, but no office."""

_numbers = itertools.count(1)
_offices = itertools.count()

# The library logs what goes wrong on its side as warnings on the root logger's handlers.
logging.getLogger("diameter").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class DiameterFront:
    """A running `tollgate diameter`."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    def stop(self) -> int:
        """Have it drain; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30)


@contextmanager
def running_diameter(
    directory: Path, gateway: str, *flags: str, token: str = OPERATOR, host: str = HOST
) -> Iterator[DiameterFront]:
    """Run the front until the block ends, with a table that has the domain `<office>.example.org` for each office.

    Args:
        directory: For its table and its log.
        gateway: Where it believes CallAuthorization to be.
        *flags: More of them.
        token: For the gateway.
        host: Its Origin-Host.

    Raises:
        AssertionError: It was not up in time; with its log.
    """
    table, log, port = directory / "offices.csv", directory / "diameter.log", free_port()
    table.write_text(
        "subscription_id,office_id\n" + "".join(f"@{each}.{REALM},{each}\n" for each in [*OFFICES, NOWHERE])
    )
    command = [sys.executable, "-m", "gateway.cli", "diameter", "--listen", f"127.0.0.1:{port}", "--server", gateway]
    command += ["--origin-host", host, "--origin-realm", REALM, "--offices", str(table), *flags]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=clean_environment(TOLLGATE_TOKEN=token),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        wait_until(lambda: process.poll() is not None or _accepts(port), 30)
        assert process.poll() is None, f"it ended:\n{log.read_text()}"
        yield DiameterFront(process, port, log)
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@dataclass
class Books:
    """The offices of a gateway, and what they have."""

    credits: Any

    @classmethod
    @contextmanager
    def of(cls, gateway: GatewayProcess) -> Iterator["Books"]:
        with grpc.insecure_channel(gateway.admin_server) as channel:
            books = cls(CreditsStub(channel))
            books.ask("CreateCompany", credits_pb2.CreateCompanyRequest(company_id="acme", name="Acme"))
            yield books

    def ask(self, rpc: str, request: Any) -> Any:
        return getattr(self.credits, rpc)(request, metadata=(("authorization", f"Bearer {OPERATOR}"),), timeout=10)

    def office(self, balance_micros: int, office_id: str = "", **settings: Any) -> str:
        """A new office with a balance; without an id of its own it has one of the table's."""
        office_id = office_id or OFFICES[next(_offices)]
        request = credits_pb2.CreateOfficeRequest(
            office_id=office_id, company_id="acme", name="Office", country="US", time_zone="UTC", **settings
        )
        self.ask("CreateOffice", request)
        if balance_micros:
            self.adjust(office_id, balance_micros)
        return office_id

    def adjust(self, office_id: str, amount_micros: int) -> None:
        key = f"key-{next(_numbers)}"
        request = credits_pb2.AdjustBalanceRequest(
            office_id=office_id, amount_micros=amount_micros, reason="test", idempotency_key=key
        )
        self.ask("AdjustBalance", request)

    def of_office(self, office_id: str) -> tuple[int, int]:
        """Balance and what is reserved, in micros."""
        office = self.ask("GetOffice", credits_pb2.GetOfficeRequest(office_id=office_id))
        return office.balance_micros, office.reserved_micros


def audit(data_dir: Path) -> None:
    """Ledger, outbox and store agree.

    Raises:
        AssertionError: They do not; with the differences.
    """
    command = [sys.executable, "-m", "gateway.cli", "audit", "--all", "--data-dir", str(data_dir)]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def new_session(name: str = "call") -> str:
    return f"client.example.org;{next(_numbers)};{name}"


def ccr(
    office: str,
    session_id: str,
    kind: int,
    number: int,
    *,
    called: str | None = LONDON,
    requested: int | None = None,
    used: int | Sequence[int] | None = None,
    context: str = CALLS,
    role: int = 0,
    in_services: bool = True,
    action: int | None = None,
    recipients: Sequence[str] = (),
    correlation: bytes | None = None,
    retransmitted: bool = False,
) -> CreditControlRequest:
    """A request of `sip:+12125550142@<office>.example.org`, made with the library's own classes.

    Args:
        office: Who pays.
        session_id: Session-Id.
        kind: CC-Request-Type.
        number: CC-Request-Number.
        called: Called-Party-Address's number; None: there is no IMS-Information.
        requested: CC-Time, or units of a message; 0: a Requested-Service-Unit with nothing in it; None: there is none.
        used: The same, used; several: an AVP each.
        context: Service-Context-Id.
        role: Role-Of-Node.
        in_services: Units within Multiple-Services-Credit-Control, else beside it.
        action: Requested-Action.
        recipients: Of a message, in SMS-Information.
        correlation: CC-Correlation-Id.
        retransmitted: With the T flag.
    """
    request = CreditControlRequest()
    request.header.application_id = constants.APP_DIAMETER_CREDIT_CONTROL_APPLICATION
    request.header.is_retransmit = retransmitted
    request.session_id, request.service_context_id = session_id, context
    request.origin_host, request.origin_realm = b"client.example.org", REALM.encode()
    request.destination_realm = REALM.encode()
    request.cc_request_type, request.cc_request_number = kind, number
    request.cc_correlation_id = correlation
    request.requested_action = action
    request.subscription_id = [SubscriptionId(2, f"sip:{NEW_YORK}@{office}.{REALM}")]
    information = ServiceInformation()
    if called is not None:
        information.ims_information = ImsInformation(
            role_of_node=role,
            calling_party_address=[f"sip:{NEW_YORK}@{office}.{REALM}"],
            called_party_address=f"sip:{called}@{REALM};user=phone",
        )
    if recipients:
        addresses = [RecipientAddress(address_type=1, address_data=each) for each in recipients]
        information.sms_information = SmsInformation(recipient_info=[RecipientInfo(recipient_address=addresses)])
    request.service_information = information
    unit = "cc_time" if context.endswith(CALLS) else "cc_service_specific_units"
    wanted = None if requested is None else RequestedServiceUnit(**({unit: requested} if requested else {}))
    reports = [used] if isinstance(used, int) else list(used or ())
    spent = [UsedServiceUnit(**{unit: each}) for each in reports]
    if in_services:
        service = MultipleServicesCreditControl(
            requested_service_unit=wanted, used_service_unit=spent, rating_group=100
        )
        request.multiple_services_credit_control = [service]
    else:
        request.requested_service_unit, request.used_service_unit = wanted, spent
    return request


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, as far as tests look at it."""

    message: CreditControlAnswer

    @property
    def code(self) -> int:
        return int(self.message.result_code)

    @property
    def granted(self) -> int | None:
        """Seconds or segments that may be used from now on."""
        unit = self._service.granted_service_unit
        if unit is None:
            return None
        units = unit.cc_time if unit.cc_time is not None else unit.cc_service_specific_units
        return int(units)

    @property
    def is_final(self) -> bool:
        final = self._service.final_unit_indication
        return final is not None and final.final_unit_action == constants.E_FINAL_UNIT_ACTION_TERMINATE

    @property
    def validity(self) -> int | None:
        return self._service.validity_time  # type: ignore[no-any-return]

    @property
    def cost(self) -> int | None:
        """In micros."""
        cost = self.message.cost_information
        if cost is None:
            return None
        assert cost.unit_value.exponent == -6
        return int(cost.unit_value.value_digits)

    @property
    def failed(self) -> list[int]:
        """Codes of the AVPs that are at fault."""
        return [avp.code for group in self.message.failed_avp for avp in group.additional_avps]

    @property
    def _service(self) -> Any:
        services = self.message.multiple_services_credit_control
        return services[0] if services else self.message


class LibraryPeer:
    """A node of python-diameter, connected as a client."""

    def __init__(self, port: int) -> None:
        self._node = Node("client.example.org", REALM)
        self._node.wakeup_interval = 1
        peer = self._node.add_peer(f"aaa://{HOST}:{port}", REALM, ip_addresses=["127.0.0.1"], is_persistent=True)
        peer.reconnect_wait = 1
        self._application = _Asking(
            constants.APP_DIAMETER_CREDIT_CONTROL_APPLICATION, is_auth_application=True, max_threads=1
        )
        self._node.add_application(self._application, [peer])

    def __enter__(self) -> "LibraryPeer":
        self._node.start()
        self._application.wait_for_ready(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._node.stop(wait_timeout=5)

    def ask(self, *arguments: Any, **options: Any) -> Answer:
        """Send a request as `ccr` makes it, and wait for its answer."""
        return self.send(ccr(*arguments, **options))

    def send(self, request: CreditControlRequest) -> Answer:
        answer = self._application.send_request(request, timeout=10)
        assert answer.session_id == request.session_id
        assert (answer.cc_request_type, answer.cc_request_number) == (
            request.cc_request_type,
            request.cc_request_number,
        )
        return Answer(answer)


class RawPeer:
    """A socket that says what it is told, after a proper Capabilities-Exchange unless told otherwise."""

    def __init__(self, port: int, *, host: str = "raw.example.org", introduces_itself: bool = True) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._received = b""
        if introduces_itself:
            self.introduce(host)

    def __enter__(self) -> "RawPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def introduce(self, host: str, applications: Sequence[int] = (4,)) -> Any:
        """Exchange capabilities; returns the answer."""
        request = CapabilitiesExchangeRequest()
        request.origin_host, request.origin_realm = host.encode(), REALM.encode()
        request.host_ip_address, request.vendor_id, request.product_name = ["127.0.0.1"], 0, "test"
        request.auth_application_id = list(applications)
        return self.exchange(request)

    def exchange(self, message: Message) -> Any:
        """Send a message and read the next one."""
        self.send(message.as_bytes())
        return self.read()

    def ask(self, *arguments: Any, **options: Any) -> Answer:
        """Send a request as `ccr` makes it, and wait for its answer."""
        request = ccr(*arguments, **options)
        request.header.hop_by_hop_identifier = request.header.end_to_end_identifier = next(_numbers)
        answer = self.exchange(request)
        assert answer.header.hop_by_hop_identifier == request.header.hop_by_hop_identifier
        return Answer(answer)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> Any:
        """The next message.

        Raises:
            EOFError: The other side closed.
        """
        return Message.from_bytes(self.read_bytes())

    def read_bytes(self) -> bytes:
        """The bytes of the next message.

        Raises:
            EOFError: The other side closed.
        """
        header = self._read(20)
        return header + self._read(int.from_bytes(header[1:4], "big") - 20)

    def is_closed(self, limit_seconds: float = 10.0) -> bool:
        """Whether the other side closes, without a word, within a time."""
        self.socket.settimeout(limit_seconds)
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True

    def _read(self, count: int) -> bytes:
        while len(self._received) < count:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._received += data
        taken, self._received = self._received[:count], self._received[count:]
        return taken


class _Asking(ThreadingApplication):  # type: ignore[misc]  # it comes without types
    def handle_request(self, message: Message) -> Message:
        return self.generate_answer(message, constants.E_RESULT_CODE_DIAMETER_UNABLE_TO_COMPLY)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def raw_avp(code: int, data: bytes, *, flags: int = 0x40, vendor: int = 0) -> Avp:
    """An AVP with whatever is in it."""
    return Avp(code, vendor, data, flags)

"""Kamailio's ims_charging, which nobody here wrote, asks by Diameter: calls paid to the micro, cut off, refused."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.v1 import credits_pb2
from tests.support.diameter import OPERATOR, PARIS, Books, audit, running_diameter
from tests.support.diameter_sipp import HANGS_UP, IS_CUT_OFF, is_refused, place_call, running_callee
from tests.support.front import DECK
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.kamailio_diameter import Kamailio, running_kamailio
from tests.support.servers import free_port, wait_until

pytestmark = [pytest.mark.switches, pytest.mark.xdist_group("diameter-kamailio")]

PER_MINUTE = 100_000
"""Paris, by the second."""

QUOTA = 10
"""Kamailio asks for so many seconds, and 5 s before their end for as many more."""


@dataclass(frozen=True, slots=True)
class Network:
    """A gateway, its Diameter front, Kamailio, and a carrier that answers."""

    gateway: GatewayProcess
    books: Books
    kamailio: Kamailio
    subscribers: Iterator[str]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    directory = tmp_path_factory.mktemp("kamailio")
    (directory / "deck.csv").write_text(DECK)
    # Kamailio's subscribers are the users of its SIP URIs: a number each.
    subscribers = {f"+1212555{number}": f"o{number}" for number in range(1000, 1010)}
    table = directory / "subscribers.csv"
    table.write_text(
        "subscription_id,office_id\n" + "".join(f"{key},{office}\n" for key, office in subscribers.items())
    )
    with (
        running_gateway(directory, "--rates", str(directory / "deck.csv"), TOLLGATE_OPERATOR_TOKEN=OPERATOR) as gateway,
        running_diameter(directory, gateway.server, "--offices", str(table), host="localhost") as front,
        running_kamailio(directory, front.port, quota_seconds=QUOTA) as kamailio,
        running_callee(directory, kamailio.carrier_port),
        Books.of(gateway) as books,
    ):
        assert wait_until(lambda: "diameter_peer_connected" in front.log.read_text(), 20), front.log.read_text()
        yield Network(gateway, books, kamailio, iter(subscribers))
        audit(gateway.data_dir)


def call(network: Network, directory: Path, scenario: str, calling: str, talk_seconds: float = 0.0) -> None:
    place_call(
        directory,
        scenario,
        network.kamailio.sip,
        port=free_port(),
        calling=calling,
        called=PARIS,
        talk_seconds=talk_seconds,
    )


def office_of(network: Network, balance_micros: int) -> tuple[str, str]:
    """A new subscriber, and its office."""
    calling = next(network.subscribers)
    return calling, network.books.office(balance_micros, office_id=f"o{calling[-4:]}")


def used(network: Network, office: str) -> list[tuple[int, int]]:
    """Seconds and cost of each call in the usage report of this month; the office's time zone is UTC."""
    request = credits_pb2.ListUsageRequest(office_id=office, month=f"{datetime.now(UTC):%Y-%m}")
    return [(each.duration_seconds, each.cost_micros) for each in network.books.ask("ListUsage", request).records]


def price(seconds: int) -> int:
    return -(-PER_MINUTE * seconds // 60)


def test_a_call_over_several_quotas_costs_its_seconds(network: Network, tmp_path: Path) -> None:
    calling, office = office_of(network, 1_000_000)
    call(network, tmp_path, HANGS_UP, calling, talk_seconds=17)
    assert wait_until(lambda: len(used(network, office)) == 1, 20)
    [(seconds, cost)] = used(network, office)
    assert 17 <= seconds <= 19
    assert cost == price(seconds)
    assert network.books.of_office(office) == (1_000_000 - cost, 0)


def test_a_call_ends_with_its_final_unit(network: Network, tmp_path: Path) -> None:
    calling, office = office_of(network, price(12))
    call(network, tmp_path, IS_CUT_OFF, calling)
    assert wait_until(lambda: len(used(network, office)) == 1, 20)
    [(seconds, cost)] = used(network, office)
    # Its timers have whole seconds, so it hangs up a little late; what it was not granted it does not pay.
    assert 12 <= seconds <= 15
    assert cost == price(12)
    assert network.books.of_office(office) == (0, 0)


def test_a_call_without_funds_is_refused(network: Network, tmp_path: Path) -> None:
    calling, office = office_of(network, 0)
    call(network, tmp_path, is_refused(402), calling)
    assert network.books.of_office(office) == (0, 0)
    # It is as good as new when there are funds.
    network.books.adjust(office, 1_000_000)
    call(network, tmp_path, HANGS_UP, calling, talk_seconds=1)
    assert wait_until(lambda: network.books.of_office(office)[1] == 0, 20)


def test_nobody_pays_for_a_stranger(network: Network, tmp_path: Path) -> None:
    call(network, tmp_path, is_refused(402), "+12125559999")

"""What `tollgate top` makes of metrics: figures of two scrapes, and a frame that fits."""

import math
from dataclasses import replace

import pytest

from gateway.cli.errors import CommandError
from gateway.cli.top.figures import Figures, Times, figures_of
from gateway.cli.top.frame import HEIGHT, WIDTH, frame_of
from gateway.cli.top.offices import OfficeSight
from gateway.cli.top.scrape import Scrape, read_scrape
from gateway.v1 import credits_pb2 as pb

BEFORE = """\
# TYPE tollgate_decisions_total counter
tollgate_decisions_total{operation="call",reason="FUNDED"} 10
tollgate_decisions_total{operation="message",reason="FUNDED"} 5
tollgate_decisions_total{operation="call",reason="INSUFFICIENT_FUNDS"} 7
# TYPE tollgate_rpcs_total counter
tollgate_rpcs_total{rpc="AuthorizeCall",code="UNAVAILABLE"} 1
tollgate_rpcs_total{rpc="GetOffice",code="UNAVAILABLE"} 1
# TYPE tollgate_rpc_seconds histogram
tollgate_rpc_seconds_bucket{rpc="AuthorizeCall",le="0.001"} 100
tollgate_rpc_seconds_bucket{rpc="AuthorizeCall",le="0.002"} 100
tollgate_rpc_seconds_bucket{rpc="AuthorizeCall",le="+Inf"} 100
tollgate_rpc_seconds_bucket{rpc="ListOffices",le="+Inf"} 0
"""
NOW = """\
# TYPE tollgate_decisions_total counter
tollgate_decisions_total{operation="call",reason="FUNDED"} 30
tollgate_decisions_total{operation="message",reason="FUNDED"} 15
tollgate_decisions_total{operation="call",reason="INSUFFICIENT_FUNDS"} 11
tollgate_decisions_total{operation="call",reason="FREE"} 0
# TYPE tollgate_rpcs_total counter
tollgate_rpcs_total{rpc="AuthorizeCall",code="UNAVAILABLE"} 5
tollgate_rpcs_total{rpc="GetOffice",code="UNAVAILABLE"} 9
# TYPE tollgate_session_errors_total counter
tollgate_session_errors_total{code="INTERNAL"} 2
tollgate_session_errors_total{code="NOT_FOUND"} 50
# TYPE tollgate_rpc_seconds histogram
tollgate_rpc_seconds_bucket{rpc="AuthorizeCall",le="0.001"} 150
tollgate_rpc_seconds_bucket{rpc="AuthorizeCall",le="0.002"} 200
tollgate_rpc_seconds_bucket{rpc="AuthorizeCall",le="+Inf"} 200
tollgate_rpc_seconds_bucket{rpc="ListOffices",le="+Inf"} 1000
# TYPE tollgate_live_calls gauge
tollgate_live_calls 1234
# TYPE tollgate_store_connected gauge
tollgate_store_connected{process="front"} 1
tollgate_store_connected{process="back"} 0
# TYPE tollgate_store_round_trip_seconds gauge
tollgate_store_round_trip_seconds 0.0004
"""


def scraped(*texts: str) -> list[Scrape]:
    """Scrapes two seconds apart."""
    return [read_scrape(text, 2.0 * number) for number, text in enumerate(texts)]


def test_rates_are_between_two_scrapes() -> None:
    found = figures_of(scraped(BEFORE, NOW))
    assert found.decisions == {"FUNDED": 15.0, "INSUFFICIENT_FUNDS": 2.0}
    assert found.denied_per_second == 2.0
    assert found.unanswered_per_second == 3.0
    assert (found.live_calls, found.stores_lost) == (1234, 1)
    assert found.store_ms == pytest.approx(0.4)


def test_times_are_of_rpcs_that_a_switch_waits_for_and_over_the_whole_window() -> None:
    rpcs = figures_of(scraped(BEFORE, NOW)).rpcs
    assert rpcs.count == 100
    assert (rpcs.p50_ms, rpcs.p99_ms) == pytest.approx((1.0, 1.98))
    assert figures_of(scraped(BEFORE, NOW, NOW)).rpcs.count == 100
    nothing = figures_of(scraped(NOW, NOW))
    assert nothing.rpcs == Times(0, None, None)
    assert nothing.decisions == {}


def test_what_took_longer_than_any_bucket() -> None:
    slow = NOW.replace('le="+Inf"} 200', 'le="+Inf"} 900')
    assert figures_of(scraped(BEFORE, slow)).rpcs.p99_ms == math.inf


def test_a_gateway_that_counts_from_zero_again_goes_at_no_rate_below_zero() -> None:
    assert figures_of(scraped(NOW, BEFORE)).decisions == {}


def test_what_is_no_metrics() -> None:
    with pytest.raises(CommandError, match="no metrics"):
        read_scrape("<html>{", 0.0)


def office(number: int, name: str = "office") -> pb.Office:
    refill = pb.Refill(state=pb.REFILL_STATE_PENDING, threshold_micros=5_000_000)
    return pb.Office(office_id=f"{name}-{number}", currency="USD", available_micros=number, refill=refill)


@pytest.fixture
def figures() -> Figures:
    return figures_of(scraped(BEFORE, NOW))


@pytest.mark.parametrize("low", [0, 1, 7, 500])
def test_a_frame_fits(figures: Figures, low: int) -> None:
    huge = replace(
        figures,
        decisions={f"REASON_NUMBER_{number}": 1e9 for number in range(14)},
        live_calls=10**7,
        reserved_micros=10**15,
        outbox_entries=10**9,
        outbox_seconds=1e7,
    )
    sight = OfficeSight(10_000, False, [office(number, "o" * 60) for number in range(low)], 10_000, 10_000)
    for each in (figures, huge):
        lines = frame_of(each, sight, "tollgate top")
        assert len(lines) <= HEIGHT
        assert max(line.cell_len for line in lines) <= WIDTH


def test_a_frame_says_what_is_wrong_without_a_colour(figures: Figures) -> None:
    sight = OfficeSight(200, True, [office(number) for number in range(40)], 3, 1)
    plain = [line.plain.rstrip() for line in frame_of(figures, sight, "tollgate top")]
    assert plain[1].startswith("decisions  17.0/s, 2.0 denied")
    assert plain[2].split()[:2] == ["FUNDED", "15.0"]
    assert any("1 processes have no connection" in line for line in plain)
    assert any(line.startswith("refills    3 asked for, 1 wait") for line in plain)
    assert any("40 of 200 are low on funds" in line for line in plain)
    assert plain[-1].strip().startswith("and ")
    assert len(plain) == HEIGHT


def test_offices_that_cannot_be_looked_at(figures: Figures) -> None:
    refused = frame_of(figures, OfficeSight(why_not="PERMISSION_DENIED"), "")
    assert any("cannot be looked at (PERMISSION_DENIED)" in line.plain for line in refused)
    assert any("are being looked at" in line.plain for line in frame_of(figures, None, ""))

"""A hundred bad connections beside good ones: the front's memory stays bounded, and everybody else is answered."""

import asyncio
import statistics
import time
from pathlib import Path

import pytest

from tests.adversity.test_workers import events, until
from tests.support.bad_connections import KINDS, BadConnections
from tests.support.billing import DOLLARS
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.operator import OPERATOR_TOKEN, Operator, assert_audit_is_clean
from tests.support.plain_switch import PlainSwitch
from tests.support.switch_books import NEW_YORK, SwitchBooks, patient_client

pytestmark = pytest.mark.slow

OPENING_MICROS = 1_000 * DOLLARS
COUNTS = dict.fromkeys(KINDS, 19) | {"deaf_session": 5}
GROWTH_BYTES = 96 << 20
"""What all of them together may cost the front. A Session that does not read has up to 4,096 answers waiting."""

ROUNDS = 3
ASKED_A_ROUND = 100
DROPPED = ("garbage", "silence", "slow_preface", "giant_frame")
"""Those that keep no rule of HTTP/2. The others go with the first ping that they do not answer, within 40 s."""


def test_a_hundred_bad_connections(tmp_path: Path) -> None:
    with running_gateway(tmp_path, TOLLGATE_OPERATOR_TOKEN=OPERATOR_TOKEN) as gateway:
        asyncio.run(play(gateway))
        assert_audit_is_clean(gateway.data_dir)


async def play(gateway: GatewayProcess) -> None:
    (front,) = [each["pid"] for each in events(gateway, "child_started") if each["child"] == "front"]
    async with Operator.of(gateway.admin_server) as operator, patient_client(gateway.server) as client:
        office_id = await operator.create_office(OPENING_MICROS)
        books, bad = SwitchBooks([office_id]), BadConnections()
        async with PlainSwitch.of(gateway.server, office_id) as plain, books.working(client):
            await p99_ms(plain)  # The first ones make what is cached.
            before = resident_bytes(front)
            quiet = [await p99_ms(plain) for _ in range(ROUNDS)]
            async with bad.connected(gateway.server, COUNTS):
                began = time.monotonic()
                await books.more(10)
                beside = [await p99_ms(plain) for _ in range(ROUNDS)]
                await books.more(30)
                # Within a minute, however busy the machine is; gRPC by itself would take two.
                await until(lambda: not any(bad.open[kind] for kind in DROPPED))
                dropped_seconds = time.monotonic() - began
                grown = resident_bytes(front) - before
        assert (await operator.wait_settled(office_id)).balance_micros == OPENING_MICROS - books.spent()[office_id]
    ratio = statistics.median(beside) / statistics.median(quiet)
    print(
        f"{sum(COUNTS.values())} bad connections: {grown / (1 << 20):.1f} MB more in the front, all that break a rule"
        f" dropped after {dropped_seconds:.1f} s, p99 of others {ratio:.2f} times as long"
        f" ({statistics.median(quiet):.1f} ms, then {statistics.median(beside):.1f} ms)"
    )
    assert grown < GROWTH_BYTES


async def p99_ms(plain: PlainSwitch) -> float:
    """How long one in a hundred of some free calls takes that are asked for one after the other."""
    took = []
    for _ in range(ASKED_A_ROUND):
        began = time.perf_counter()
        assert await plain.reason(NEW_YORK) == "FREE"
        took.append(1000 * (time.perf_counter() - began))
    return statistics.quantiles(took, n=100)[-1]


def resident_bytes(pid: int) -> int:
    """What a process has in memory."""
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS:"))
    return int(line.split()[1]) << 10

"""Gateway, sidecar, Kamailio and a callee, put together for a test."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.kamailio import TRUSTED, Kamailio, Sidecar, running_kamailio, running_sidecar
from tests.support.mortal_gateway import MortalGateway, mortal_gateway
from tests.support.operator import OPERATOR_TOKEN, Operator, assert_audit_is_clean
from tests.support.servers import free_port
from tests.support.sip import Call, Callee, Endpoint, SipMessage

SECOND = 10_000
"""What a second of a call to Britain costs, in micros, in DECK."""

MINUTE = 60 * SECOND
"""What a call to France costs for each minute or part of one."""

SMS = 30_000

LONDON = "+442079460958"
PARIS = "+33140205317"

DECK = """\
tariff,service,direction,license,origin,prefix,number_type,from_second,price,per_seconds,increment_seconds,connect_fee,tick_seconds,description
,VOICE,OUTBOUND,,,,LOCAL,0,0,60,60,0,3,local calls are free
,VOICE,OUTBOUND,,,,TOLL_FREE,0,0,60,60,0,3,toll-free calls are free
,VOICE,INBOUND,,,,,0,0,60,60,0,3,inbound calls are free
,VOICE,INBOUND,SALES,US,,TOLL_FREE,0,0.02,60,60,0,3,inbound to a toll-free number
,VOICE,OUTBOUND,,,44,,0,0.01,1,1,0,3,Britain by the second
,VOICE,OUTBOUND,,,33,,0,0.60,60,60,0,3,France by the minute
,SMS,,,,,,,0.03,,,,,SMS
"""
"""Ticks of 3 s: the clock of a real switch cannot be moved."""

SHORT = {"TOLLGATE_LIVE_CALLS_SECONDS": "1", "TOLLGATE_GRACE_SECONDS": "2", "TOLLGATE_SETUP_TIMEOUT_SECONDS": "10"}
"""So that what lapses lapses within seconds."""


@contextmanager
def gateway_for_switches(directory: Path, **variables: str) -> Iterator[MortalGateway]:
    """A gateway with DECK, short times and a known operator."""
    directory.mkdir(exist_ok=True)
    deck = directory / "rates.csv"
    deck.write_text(DECK)
    settings = {
        "TOLLGATE_OPERATOR_TOKEN": OPERATOR_TOKEN,
        "TOLLGATE_RATES": str(deck),
        "TOLLGATE_BLOCKED_DESTINATIONS": "+882",
        **SHORT,
    }
    with mortal_gateway(directory, **settings | variables) as gateway:
        yield gateway


@dataclass
class Installation:
    """What stays up between tests.

    Attributes:
        gateway: The gateway.
        kamailio: The proxy.
        sidecar: Between the two.
        carrier: The port of whoever answers calls.
    """

    gateway: MortalGateway
    kamailio: Kamailio
    sidecar: Sidecar
    carrier: int

    @property
    def logs(self) -> str:
        """What Kamailio and the sidecar have said, for a test that fails."""
        return f"{self.kamailio.log_text[-6000:]}\n{self.sidecar.log_text[-6000:]}"


@contextmanager
def installation(directory: Path, **defines: str) -> Iterator[Installation]:
    """Run everything until the block ends; in the end the books are audited."""
    carrier = free_port()
    with gateway_for_switches(directory / "gateway") as gateway:
        token = asyncio.run(_switch_token(gateway))
        with (
            running_kamailio(directory / "kamailio", carrier, **defines) as kamailio,
            running_sidecar(kamailio, gateway.server, token) as sidecar,
        ):
            yield Installation(gateway, kamailio, sidecar, carrier)
        assert_audit_is_clean(gateway.data_dir)


@pytest.fixture(scope="package")
def kamailio_parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """One installation for all tests that leave it as they find it (xdist_group "kamailio")."""
    with installation(tmp_path_factory.mktemp("kamailio")) as running:
        yield running


async def _switch_token(gateway: MortalGateway) -> str:
    async with Operator.of(gateway.admin_server) as operator:
        token = await operator.create_switch_token("kamailio-1")
        await operator.create_office(100_000_000, "springfield")
        return token


@dataclass
class Scene:
    """What one test sees: an office of its own, a caller and a callee.

    Attributes:
        parts: What is up.
        operator: Of the gateway.
        office: The test's own office.
        caller: Where calls come from: a source whose office header is believed.
        callee: Where calls arrive.
    """

    parts: Installation
    operator: Operator
    office: str
    caller: Endpoint
    callee: Callee

    @property
    def proxy(self) -> tuple[str, int]:
        """Kamailio's address."""
        return self.parts.kamailio.address

    def call(self, called: str = LONDON, *headers: tuple[str, str], **others: Any) -> Call:
        """A call of the office, not yet placed."""
        return Call(self.caller, self.proxy, called, headers=(("X-Tollgate-Office", self.office), *headers), **others)

    async def arrives(self, call: Call, method: str = "INVITE") -> SipMessage:
        """The next request of a call with this method that reaches the callee."""
        return await self.callee.endpoint.expect_that(
            lambda each: not each.status and each.method == method and each.header("Call-ID") == call.call_id,
            f"{method} of {call.call_id}",
        )

    def strays(self, call: Call) -> list[SipMessage]:
        """What else of a call has reached the callee; other calls' keep-alives and retransmissions are not its own."""
        return [each for each in self.callee.endpoint.forget() if each.header("Call-ID") == call.call_id]

    async def answered(self, call: Call) -> SipMessage:
        """Place a call and have it answered; returns the INVITE as it arrived."""
        call.invite()
        invite = await self.arrives(call)
        self.callee.reply(invite, 180)
        await call.response("INVITE", 180)
        self.callee.reply(invite, 200)
        await call.final(200)
        await self.arrives(call, "ACK")
        return invite

    async def hung_up(self, call: Call) -> None:
        """The caller hangs up, and the callee hears it."""
        call.bye()
        self.callee.reply(await self.arrives(call, "BYE"), 200)
        await call.response("BYE", 200)

    async def billed(self, count: int = 1) -> list[int]:
        """What each call or message of the office was billed, in micros, once nothing is reserved; highest first."""
        await self.operator.wait_settled(self.office)
        records = await self.operator.wait_usage(self.office, count)
        return sorted((record.cost_micros for record in records), reverse=True)


@asynccontextmanager
async def scene(parts: Installation, balance_micros: int = 10_000_000, **settings: int) -> AsyncIterator[Scene]:
    """Set a test's scene."""
    async with Operator.of(parts.gateway.admin_server) as operator:
        office = await operator.create_office(balance_micros, settings=settings)
        caller = await Endpoint.open(TRUSTED)
        callee = Callee(await Endpoint.open(port=parts.carrier))
        try:
            yield Scene(parts, operator, office, caller, callee)
        except BaseException as error:
            error.add_note(parts.logs)
            raise
        finally:
            caller.close()
            callee.endpoint.close()

"""Fraud guards on a real store and ledger: what trips them, what they stop and what not, and how they end."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from gateway import metrics
from gateway.api.calls import Calls
from gateway.api.rating import CurrentRater
from gateway.domain.fraud_guard import HOUR_MS
from gateway.domain.identity import Identity
from gateway.domain.payment import RefillStatus
from gateway.domain.vocabulary import RefillState, Role
from gateway.ledger.models import GuardHourRow, NoticeRow, UsageRow
from gateway.store.offices import OfficeCache
from gateway.v1 import authorization_pb2 as calls
from gateway.v1 import credits_pb2 as pb
from tests.support.back import HEADER, OFFICE, BackUnderTest, bearer, invalid, running_back
from tests.support.balances import NOON, ManualClock
from tests.support.billing import DOLLARS
from tests.support.refills import pay, refill_charges, status_of, told, with_refill
from tests.support.servers import StoreServer

ME = bearer()
DECK = HEADER + (
    ",VOICE,OUTBOUND,STANDARD,,,LOCAL,,,,,,,local\n"
    ",VOICE,OUTBOUND,SALES,,,LOCAL,0,1.00,60,60,0,60,local for Sales\n"
    ",VOICE,OUTBOUND,,,44,,0,1.00,60,60,0,60,United Kingdom\n"
    ",VOICE,OUTBOUND,,,33,,0,1.00,60,60,0,60,France\n"
    ",VOICE,OUTBOUND,,,1900,PREMIUM_RATE,0,2.00,60,60,0,60,premium\n"
    ",SMS,,,,,,,0.03,,,,,SMS\n"
)
UK, FRANCE, PREMIUM, LOCAL = "+442079460958", "+33142685300", "+19002345678", "+12125550142"
MONTH = "2025-06"
SWITCH = Identity(Role.OPERATOR, "tester")

_numbers = itertools.count(1)


@dataclass
class Scene:
    """A back, and a decider on its store, as a front has one."""

    back: BackUnderTest
    decider: Calls

    async def authorize(self, number: str, call_id: str, **fields: Any) -> calls.AuthorizeCallResponse:
        values: dict[str, Any] = {
            "office_id": OFFICE,
            "call_id": call_id,
            "direction": calls.OUTBOUND,
            "calling_number": "+12125550100",
            "called_number": number,
        }
        return await self.decider.authorize(calls.AuthorizeCallRequest(**values | fields), SWITCH)

    async def reason(self, number: str, **fields: Any) -> str:
        """What a call is answered with now, and nothing is paid for it."""
        call_id = f"asked-{next(_numbers)}"
        answer = await self.authorize(number, call_id, **fields)
        if answer.decision == calls.GRANTED and answer.reason == calls.FUNDED:
            await self.end(call_id, 0)
        return calls.Reason.Name(answer.reason)

    async def end(self, call_id: str, seconds: int) -> None:
        request = calls.EndCallRequest(office_id=OFFICE, call_id=call_id, duration_seconds=seconds)
        await self.decider.end(request, SWITCH)

    async def talk(self, number: str, minutes: int = 1, **fields: Any) -> None:
        """A call that is granted and paid for."""
        call_id = f"talk-{next(_numbers)}"
        answer = await self.authorize(number, call_id, requested_seconds=60 * minutes, **fields)
        assert answer.reason == calls.FUNDED, calls.Reason.Name(answer.reason)
        await self.end(call_id, 60 * minutes)

    async def follow(self) -> None:
        """What the loops of the back do within a second or so."""
        await self.back.journaler.turn()
        await self.back.back.background.projector.turn()

    async def guards(self) -> list[tuple[str, str, int, int]]:
        """Those that hold: kind, country, limit and what was reached."""
        prefix, office = "FRAUD_GUARD_KIND_", await self.back.get_office()
        return [
            (pb.FraudGuardKind.Name(each.kind).removeprefix(prefix), each.country, each.limit, each.reached)
            for each in office.fraud_guards
        ]

    async def lift(self) -> pb.Office:
        lifted: pb.Office = await self.back.stub.LiftFraudGuard(
            pb.LiftFraudGuardRequest(office_id=OFFICE, reason="it was us"), metadata=ME
        )
        return lifted

    async def kinds_of_notices(self) -> list[str]:
        """Their keys without what comes last: when a guard tripped, which country is new."""
        about = NoticeRow.kind.in_(("FRAUD_GUARD", "NEW_DESTINATION"))
        query = select(NoticeRow.notice_key).where(about).order_by(NoticeRow.seq)
        async with self.back.ledger.database.read() as session:
            return [key.rpartition(":")[0] for key in await session.scalars(query)]

    async def sums(self) -> tuple[int, int]:
        """What the guards have counted and what the usage records say, of all that is guarded in these tests."""
        async with self.back.ledger.database.read() as session:
            counted = await session.scalar(select(func.coalesce(func.sum(GuardHourRow.spend_micros), 0)))
            used = await session.scalar(
                select(func.coalesce(func.sum(UsageRow.cost_micros), 0)).where(UsageRow.called_number != LOCAL)
            )
        return int(counted or 0), int(used or 0)


@asynccontextmanager
async def running_scene(server: StoreServer, folder: Path, **flags: Any) -> AsyncIterator[Scene]:
    """A back with limits of $3 to a country and $5 in all, where the test says nothing else."""
    (folder / "deck.csv").write_text(DECK)
    limits = {"fraud_country_spend_micros": 3 * DOLLARS, "fraud_office_spend_micros": 5 * DOLLARS}
    async with running_back(server, folder, **limits | flags) as back:
        deck, rater = back.back.directory.deck, CurrentRater()
        assert deck is not None
        rater.use(deck)
        offices = OfficeCache(back.back.connection)
        yield Scene(back, Calls(back.store, offices, rater, max_duration_seconds=14_400))


async def test_a_country_is_stopped_and_nothing_else(valkey: StoreServer, tmp_path: Path) -> None:
    trips = metrics.FRAUD_GUARD_TRIPS.labels("COUNTRY_SPEND")._value  # as Prometheus reads it
    before = trips.get()
    async with running_scene(valkey, tmp_path) as scene:
        await scene.back.open_office(balance=50 * DOLLARS)
        assert (await scene.authorize(UK, "up already")).reason == calls.FUNDED
        await scene.talk(UK, 2)
        await scene.follow()
        assert await scene.reason(UK) == "FUNDED"
        await scene.talk(UK)
        await scene.follow()
        assert trips.get() == before + 1
        assert await scene.guards() == [("COUNTRY_SPEND", "GB", 3 * DOLLARS, 3 * DOLLARS)]
        assert await scene.reason(UK) == "FRAUD_GUARD"
        assert await scene.reason(FRANCE) == "FUNDED"
        assert await scene.reason(PREMIUM) == "FUNDED"
        assert await scene.reason(LOCAL) == "FREE"
        assert await scene.reason(LOCAL, license=calls.SALES) == "FUNDED"
        assert await scene.reason("911") == "EMERGENCY"
        asked = calls.QuoteCallRequest(office_id=OFFICE, direction=calls.OUTBOUND, called_number=UK)
        asked.duration_seconds = 60
        quoted = await scene.decider.quote(asked, SWITCH)
        assert (quoted.reason, quoted.price_micros) == (calls.FRAUD_GUARD, DOLLARS)
        # The call that is up goes on, pays, and is the same again if it is asked for again.
        again = await scene.authorize(UK, "up already")
        assert (again.decision, again.replayed) == (calls.GRANTED, True)
        await scene.end("up already", 60)
        await scene.follow()
        assert await scene.guards() == [("COUNTRY_SPEND", "GB", 3 * DOLLARS, 3 * DOLLARS)]
        assert await scene.kinds_of_notices() == [f"NEW_DESTINATION:{OFFICE}", f"FRAUD_GUARD:{OFFICE}:GB"]
        changes = [change for change in await scene.back.audit(f"office:{OFFICE}") if change.action == "office.guard"]
        assert [change.actor for change in changes] == ["fraud_guard"]
        usage = await scene.back.stub.ListUsage(pb.ListUsageRequest(office_id=OFFICE, month=MONTH), metadata=ME)
        assert calls.FRAUD_GUARD in {record.reason for record in usage.records}
        assert await scene.sums() == (4 * DOLLARS, 4 * DOLLARS)


async def test_a_guard_is_over_after_its_hours(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_scene(valkey, tmp_path, fraud_guard_hours=2) as scene:
        await scene.back.open_office(balance=50 * DOLLARS)
        await scene.talk(UK, 3)
        await scene.follow()
        await scene.back.back.background.guard_keeper.turn()
        assert metrics.OFFICES_GUARDED._value.get() == 1
        scene.back.clock.move(2 * 3600 - 1)
        assert await scene.reason(UK) == "FRAUD_GUARD"
        scene.back.clock.move(1)
        assert await scene.reason(UK) == "FUNDED"
        assert await scene.guards() == []
        await scene.back.back.background.guard_keeper.turn()
        assert metrics.OFFICES_GUARDED._value.get() == 0
        # The hours before count no more; as much again trips it again, and people are told again.
        await scene.talk(UK, 2)
        await scene.follow()
        assert await scene.guards() == []
        await scene.talk(UK)
        await scene.follow()
        assert [guard[1] for guard in await scene.guards()] == ["GB"]
        assert (await scene.kinds_of_notices()).count(f"FRAUD_GUARD:{OFFICE}:GB") == 2
        # What was counted is forgotten after days; which countries were called is not.
        scene.back.clock.move(3 * 24 * 3600)
        await scene.back.back.background.guard_keeper.turn()
        assert (await scene.sums())[0] == 0
        await scene.talk(UK)
        await scene.follow()
        assert (await scene.kinds_of_notices()).count(f"NEW_DESTINATION:{OFFICE}") == 1


async def test_all_destinations_together_are_stopped(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_scene(valkey, tmp_path) as scene:
        await scene.back.open_office(balance=50 * DOLLARS)
        await scene.talk(LOCAL, 20, license=calls.SALES)  # at home, and never counted
        await scene.talk(PREMIUM)
        await scene.talk(UK, 2)
        await scene.follow()
        assert await scene.guards() == []
        await scene.talk(FRANCE)
        await scene.follow()
        assert await scene.guards() == [("OFFICE_SPEND", "", 5 * DOLLARS, 5 * DOLLARS)]
        for number in (UK, FRANCE, PREMIUM):
            assert await scene.reason(number) == "FRAUD_GUARD"
        assert await scene.reason(LOCAL) == "FREE"
        assert await scene.reason(LOCAL, license=calls.SALES) == "FUNDED"
        assert (await scene.kinds_of_notices()).count(f"NEW_DESTINATION:{OFFICE}") == 3


async def test_calls_are_limited_by_their_number_and_an_office_by_its_own_limits(
    valkey: StoreServer, tmp_path: Path
) -> None:
    async with running_scene(valkey, tmp_path, fraud_country_calls=1) as scene:
        await scene.back.open_office(balance=50 * DOLLARS, fraud_country_spend_micros=0, fraud_country_calls=2)
        await scene.talk(UK, 4)  # one call, dearer than the installation's limit
        await scene.follow()
        assert await scene.guards() == []
        await scene.authorize(UK, "nobody answers")
        await scene.end("nobody answers", 0)
        await scene.follow()
        assert await scene.guards() == []  # it cost nothing
        change = pb.UpdateOfficeRequest(office_id=OFFICE, fraud_office_spend_micros=0)
        office = await scene.back.stub.UpdateOffice(change, metadata=ME)
        assert (office.fraud_office_spend_micros, office.fraud_country_calls, office.fraud_office_calls) == (0, 2, -1)
        await scene.talk(UK)
        await scene.follow()
        assert await scene.guards() == [("COUNTRY_CALLS", "GB", 2, 2)]
        too_many = pb.UpdateOfficeRequest(office_id=OFFICE, fraud_country_calls=1_000_001)
        await invalid("fraud_country_calls", scene.back.stub.UpdateOffice(too_many, metadata=ME))


async def test_an_operator_lifts_a_guard(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_scene(valkey, tmp_path) as scene:
        await scene.back.open_office(balance=50 * DOLLARS)
        untouched = (await scene.lift()).version
        assert untouched == (await scene.back.get_office()).version
        await scene.talk(UK, 3)
        await scene.follow()
        assert await scene.reason(UK) == "FRAUD_GUARD"
        assert not (await scene.lift()).fraud_guards
        assert await scene.reason(UK) == "FUNDED"
        # The hour begins anew: what was forgiven does not trip it again.
        await scene.talk(UK, 2)
        await scene.follow()
        assert await scene.guards() == []
        await scene.talk(UK)
        await scene.follow()
        assert await scene.guards() == [("COUNTRY_SPEND", "GB", 3 * DOLLARS, 3 * DOLLARS)]
        lifted = [c for c in await scene.back.audit(f"office:{OFFICE}") if c.action == "office.lift_fraud_guard"]
        assert [(change.after or {})["reason"] for change in lifted] == ["it was us"]
        assert await scene.sums() == (6 * DOLLARS, 6 * DOLLARS)


async def test_no_card_pays_while_a_guard_holds(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_scene(valkey, tmp_path) as scene:
        await with_refill(scene.back, balance=7 * DOLLARS)
        own = pb.UpdateOfficeRequest(office_id=OFFICE, fraud_country_spend_micros=3 * DOLLARS)
        await scene.back.stub.UpdateOffice(own, metadata=ME)
        await scene.talk(UK, 3)  # $4 are left: a refill is due, and the guard trips with the same debit
        await scene.follow()
        await pay(scene.back)
        assert refill_charges(scene.back) == []
        assert await status_of(scene.back) is RefillStatus.BRAKED
        office = await scene.back.till.office()
        assert (office.refill_state, office.refill_until_ms) == (RefillState.WAITING, NOON + 12 * HOUR_MS)
        assert await told(scene.back) == ["REFILL_BRAKED"]
        # Nobody wakes it, and asking again changes nothing.
        await scene.back.back.background.waker.turn()
        await pay(scene.back)
        assert (refill_charges(scene.back), await told(scene.back)) == ([], ["REFILL_BRAKED"])
        await scene.lift()
        await pay(scene.back)
        assert [charge.amount_micros for charge in refill_charges(scene.back)] == [50 * DOLLARS]
        assert await status_of(scene.back) is RefillStatus.CREDITED
        assert (await scene.back.till.office()).balance_micros == 54 * DOLLARS


async def test_the_refill_comes_by_itself_when_the_guard_is_over(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_scene(valkey, tmp_path) as scene:
        await with_refill(scene.back, balance=7 * DOLLARS)
        own = pb.UpdateOfficeRequest(office_id=OFFICE, fraud_country_spend_micros=3 * DOLLARS)
        await scene.back.stub.UpdateOffice(own, metadata=ME)
        await scene.talk(UK, 3)
        await scene.follow()
        await pay(scene.back)
        await scene.back.back.background.waker.turn()
        scene.back.clock.move(12 * 3600)
        await scene.back.back.background.waker.turn()
        await pay(scene.back)
        assert await status_of(scene.back) is RefillStatus.CREDITED


async def test_a_restart_forgets_nothing_and_projects_what_has_tripped(valkey: StoreServer, tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    async with running_scene(valkey, tmp_path, clock=clock) as scene:
        await scene.back.open_office(balance=50 * DOLLARS)
        await scene.talk(UK, 2)
        await scene.follow()
        await scene.talk(UK)
    async with running_scene(valkey, tmp_path, clock=clock, flush=False) as scene:
        assert await scene.reason(UK) == "FUNDED"
        await scene.back.journaler.turn()  # It trips, and the back ends before it is projected.
        version = (await scene.back.get_office()).version
        assert (await scene.back.till.office()).settings.version == version - 1
    async with running_scene(valkey, tmp_path, clock=clock, flush=False) as scene:
        await scene.back.back.background.projector.turn()
        assert await scene.reason(UK) == "FRAUD_GUARD"
        await scene.back.back.background.projector.turn()
        assert (await scene.back.till.office()).settings.version == version
        assert await scene.guards() == [("COUNTRY_SPEND", "GB", 3 * DOLLARS, 3 * DOLLARS)]


async def test_two_backs_count_once(valkey: StoreServer, tmp_path: Path) -> None:
    clock = ManualClock(NOON)
    async with (
        running_scene(valkey, tmp_path, clock=clock) as one,
        running_scene(valkey, tmp_path, clock=clock, flush=False) as other,
    ):
        await one.back.open_office(balance=50 * DOLLARS)
        for minute in range(4):
            await one.talk(FRANCE if minute % 2 else UK)
            await asyncio.gather(one.back.journaler.turn(), other.back.journaler.turn())
        await one.follow()
        await other.follow()
        assert await one.sums() == (4 * DOLLARS, 4 * DOLLARS)
        assert await one.guards() == []
        await one.talk(UK)
        await asyncio.gather(one.follow(), other.follow())
        assert await other.guards() == [("OFFICE_SPEND", "", 5 * DOLLARS, 5 * DOLLARS)]
        assert (await one.kinds_of_notices()).count(f"FRAUD_GUARD:{OFFICE}:") == 1
        assert await other.reason(FRANCE) == "FRAUD_GUARD"


@pytest.mark.parametrize("hours_ago", [11, 12])
async def test_what_the_ledger_hears_of_late_trips_no_guard_that_is_over(
    valkey: StoreServer, tmp_path: Path, hours_ago: int
) -> None:
    async with running_scene(valkey, tmp_path) as scene:
        await scene.back.open_office(balance=50 * DOLLARS)
        await scene.talk(UK, 4)
        scene.back.clock.move(hours_ago * 3600)
        await scene.follow()
        assert await scene.reason(UK) == ("FRAUD_GUARD" if hours_ago < 12 else "FUNDED")

"""What the switches do in the month: calls and messages, each a life of its own, and what the book is told of them.

A switch that behaves asks, answers, ticks in time and hangs up when it is told; some lose answers and repeat, fall
silent, hang up late, or ask for a message back long after everybody but the ledger has forgotten it.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, Awaitable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from gateway.errors import NotFound
from gateway.store.codes import Code
from gateway.store.keys import office_keys
from gateway.v1 import authorization_pb2 as pb
from tests.simulation.month.book import Account, Entry
from tests.simulation.month.gateways import SWITCH, Front, SureManualClock
from tests.simulation.month.rates import FARES, JAMAICA, STAMPS, Fare, Stamp
from tests.simulation.month.timeline import Life

T = TypeVar("T")

HOUR_MS: Final = 3_600_000
SILENCE_MS: Final = 900_000
SOMETIME_MS: Final = 600_000
DURATIONS: Final = ((1, 59), (1, 59), (60, 60), (61, 200), (61, 200), (200, 400), (200, 900))
STORM: Final = "storm-"
"""Begins the ids of refusals of which nobody knows which were recorded and which only counted."""


@dataclass
class _Call:
    """A call under way, as its switch knows it."""

    entry: Entry
    fare: Fare
    front: Front
    granted: int
    is_final: bool
    ticked_by_gateway: bool
    answered_at: int = 0
    used: int = 0
    debited: int = 0


class Switch:
    """The lives of calls and messages.

    Args:
        fronts: Which are asked, either of them.
        clock: The time.
    """

    def __init__(self, fronts: Sequence[Front], clock: SureManualClock) -> None:
        self._fronts = fronts
        self._clock = clock

    async def call(self, account: Account, name: str, dice: random.Random, fare: Fare | None = None) -> Life:
        """A call, from its authorization to its end or to where nothing more is heard of it."""
        fare = fare or _pick(dice, FARES)
        entry = Entry(
            name, "FAX" if fare.service == "FAX" else "CALL", fare.category, fare.direction, fare.license,
            fare.calling, fare.called, f"user-{dice.randrange(5)}", f"department-{dice.randrange(3)}", 0,
        )  # fmt: skip
        request = _call_request(account.office_id, entry, fare, dice.choice((0, 0, 0, 30, 60, 300)))
        is_spent = dice.random() < 0.004 and fare.category != "EMERGENCY"
        if is_spent:
            # The end overtakes the authorization, whose id is spent by then.
            end = pb.EndCallRequest(office_id=account.office_id, call_id=name)
            assert await _is_not_found(self._front(dice).calls.end(end, SWITCH))
        call: _Call | None = None
        for _ in range(3):
            call, reason = await self._authorize(account, request, entry, fare, dice, is_spent=is_spent)
            if call is not None or reason != "INSUFFICIENT_FUNDS":
                break
            yield self._after(dice.randrange(HOUR_MS))
        if call is None:
            return
        chance = dice.random()
        yield self._clock.now_ms() + 20_000
        if chance < 0.08:
            await self._end(account, call, 0, dice)
        elif chance < 0.10:
            # Nobody answers, and the switch says nothing: the set-up time runs out.
            yield self._clock.now_ms() + SILENCE_MS
            if chance < 0.09:
                await self._end(account, call, 0, dice)
        else:
            async for until_ms in self._talk(account, call, dice):
                yield until_ms

    async def message(self, account: Account, name: str, dice: random.Random, stamp: Stamp | None = None) -> Life:
        """A message, and sometimes its refund."""
        stamp = stamp or _pick(dice, STAMPS)
        segments = dice.choice((1, 1, 1, 2, 3))
        entry = Entry(
            name, stamp.kind, "MESSAGE", "", "", "+12125550100", stamp.called, f"user-{dice.randrange(5)}",
            f"department-{dice.randrange(3)}", 0, segments=segments,
        )  # fmt: skip
        request = pb.AuthorizeMessageRequest(
            office_id=account.office_id, message_id=name, calling_number=entry.calling, called_number=entry.called,
            kind=pb.MessageKind.Value(stamp.kind), segments=segments, user_id=entry.user,
            department_id=entry.department,
        )  # fmt: skip
        price = stamp.price_micros * segments
        for _ in range(3):
            if await self._send(account, request, entry, price, stamp, dice):
                break
            if account.entries.get(name, entry).reason != "INSUFFICIENT_FUNDS":
                return
            yield self._after(dice.randrange(HOUR_MS))
        else:
            return
        chance = dice.random()
        if chance < 0.03:
            yield self._after(dice.randrange(HOUR_MS // 2))
            await self._refund(account, entry, dice)
        elif chance < 0.04:
            yield self._after(dice.randrange(HOUR_MS, 72 * HOUR_MS))
            await self._refund_late(account, entry, dice)

    async def storm(self, account: Account, name: str, dice: random.Random) -> Life:
        """More refusals in one instant than are written down one by one."""
        if dice.random() < 0.5:
            lives = [
                self.message(account, f"{STORM}{name}-{number}", dice, STAMPS[0][1])
                for number in range(dice.randrange(90, 240))
            ]
        else:
            lives = [
                self.call(account, f"{STORM}{name}-{number}", dice, JAMAICA)
                for number in range(dice.randrange(90, 240))
            ]
        # Their first steps, and no others: nobody tries again.
        await asyncio.gather(*[_first_step(life) for life in lives])
        for life in lives:
            await life.aclose()
        return
        yield

    async def _authorize(
        self,
        account: Account,
        request: pb.AuthorizeCallRequest,
        entry: Entry,
        fare: Fare,
        dice: random.Random,
        *,
        is_spent: bool,
    ) -> tuple[_Call | None, str]:
        front, by_gateway = self._front(dice), dice.random() < 0.15
        response = await front.calls.authorize(request, SWITCH, ticked_by_gateway=by_gateway)
        reason, now_ms = pb.Reason.Name(response.reason), self._clock.now_ms()
        entry = replace(entry, reason=reason, started_at=now_ms)
        if response.decision == pb.DENIED:
            if is_spent:
                assert reason in ("CALL_ENDED", "OFFICE_SUSPENDED", "INVALID_NUMBER"), reason
            elif fare.refused:
                assert reason in (fare.refused, "OFFICE_SUSPENDED"), reason
            # Of a spent id nothing is recorded, whatever the refusal says: its switch had given the call up before. A
            # number that is none is refused before anybody asks about the id.
            if not is_spent or reason == "INVALID_NUMBER":
                account.refuse(entry)
            return None, reason
        assert not fare.refused
        assert not is_spent
        # What the store is told of an emergency it is told behind the answer.
        await front.calls.close()
        assert reason == ("EMERGENCY" if fare.category == "EMERGENCY" else "FUNDED" if fare.rate else "FREE")
        if dice.random() < 0.03 and reason != "EMERGENCY":
            again = await self._front(dice).calls.authorize(request, SWITCH, ticked_by_gateway=by_gateway)
            assert (again.replayed, again.reason, again.granted_seconds) == (
                True,
                response.reason,
                response.granted_seconds,
            )
        by_gateway = by_gateway and fare.rate is not None
        return _Call(entry, fare, front, response.granted_seconds, response.final_unit, by_gateway), reason

    async def _talk(self, account: Account, call: _Call, dice: random.Random) -> AsyncGenerator[int, None]:
        entry, now_ms = call.entry, self._clock.now_ms()
        answer = pb.AnswerCallRequest(office_id=account.office_id, call_id=entry.id)
        call.answered_at = now_ms
        if dice.random() < 0.3:
            call.answered_at = max(entry.started_at, now_ms - dice.randrange(60_000))
            answer.answered_at.FromMilliseconds(call.answered_at)
        answered = await call.front.calls.answer(answer, SWITCH)
        call.granted, call.is_final = answered.granted_seconds, answered.final_unit
        planned = dice.randint(*dice.choice(DURATIONS))
        chance = dice.random()
        if chance < 0.02:
            # The switch falls silent, and either says at last how long the call was, or never does.
            yield now_ms + SILENCE_MS
            if chance < 0.005 and call.fare.rate is not None and not call.ticked_by_gateway and not call.is_final:
                self._leave(account, call)
                return
            if chance < 0.012:
                await self._tick(account, call, min(planned, 60))
        elif call.fare.rate is None:
            yield now_ms + planned * 1000
        elif call.ticked_by_gateway:
            async for until_ms in self._list_live(account, call, planned):
                yield until_ms
        else:
            async for until_ms in self._tick_in_time(account, call, planned):
                yield until_ms
        if call.is_final and planned > call.granted:
            planned = min(planned, call.granted + dice.choice((0, 0, 1, 2, 2, 3, 30)))
        await self._end(account, call, planned, dice)

    async def _tick_in_time(self, account: Account, call: _Call, planned: int) -> AsyncGenerator[int, None]:
        while planned > call.granted and not call.is_final:
            used = max(call.used + 1, call.granted - 10)
            yield call.answered_at + used * 1000
            if not await self._tick(account, call, used):
                call.is_final = True
        yield call.answered_at + min(planned, call.granted) * 1000

    async def _list_live(self, account: Account, call: _Call, planned: int) -> AsyncGenerator[int, None]:
        """LiveCalls of a switch that leaves the ticks to the gateway, until the call ends or is to be ended."""
        while (now_ms := self._clock.now_ms()) < call.answered_at + planned * 1000:
            office = await call.front.offices.get(account.office_id)
            assert office is not None
            used = min(planned, (now_ms - call.answered_at) // 1000)
            heard = await call.front.store.hear_call(office, call.entry.id, used, switch_id=SWITCH.switch_id)
            if heard.code is Code.ENDED:
                call.granted, call.is_final = heard.granted_seconds, True
                return
            yield min(call.answered_at + planned * 1000, now_ms + 40_000)

    async def _tick(self, account: Account, call: _Call, used: int) -> bool:
        """Report used seconds; False: hang up."""
        tick = pb.TickCallRequest(office_id=account.office_id, call_id=call.entry.id, used_seconds=used)
        progress = await call.front.calls.tick(tick, SWITCH)
        call.used = max(call.used, used)
        call.granted, call.is_final = progress.granted_seconds, progress.final_unit
        if call.fare.rate is not None:
            assert progress.debited_micros <= call.fare.rate.price_micros(max(call.used, call.granted))
            assert progress.available_micros >= 0
        call.debited = progress.debited_micros
        return not progress.ended

    async def _end(self, account: Account, call: _Call, duration: int, dice: random.Random) -> None:
        entry, rate = call.entry, call.fare.rate
        request = pb.EndCallRequest(office_id=account.office_id, call_id=entry.id, duration_seconds=duration)
        response = (
            await self._front(dice).calls.end(request, SWITCH)
            if entry.reason != "EMERGENCY"
            else (await call.front.calls.end(request, SWITCH))
        )
        billed, cost = response.billed_seconds, response.debited_micros
        # Up to 2 s past the last granted second are not billed.
        assert billed == duration or duration - 2 <= billed < duration
        assert cost + response.written_off_micros == (rate.price_micros(billed) if rate is not None else 0)
        assert not response.written_off_micros or response.available_micros == 0
        account.enter(
            replace(
                entry, answered_at=call.answered_at, duration=duration, billed=billed, cost_micros=cost,
                written_off_micros=response.written_off_micros, state="ENDED",
            )
        )  # fmt: skip
        if entry.reason == "EMERGENCY":
            return
        if dice.random() < 0.05:
            again = await self._front(dice).calls.end(request, SWITCH)
            assert (again.replayed, again.debited_micros, again.billed_seconds) == (True, cost, billed)
        if dice.random() < 0.02 and not account.is_suspended_at_times:
            late = _call_request(account.office_id, entry, call.fare, 0)
            assert (await self._front(dice).calls.authorize(late, SWITCH)).reason == pb.CALL_ENDED

    def _leave(self, account: Account, call: _Call) -> None:
        """Nobody ever ends this call: it has lapsed by now, and costs what was confirmed, at least a second."""
        assert call.fare.rate is not None
        cost = call.fare.rate.price_micros(min(1, call.granted))
        account.enter(replace(call.entry, answered_at=call.answered_at, cost_micros=cost, state="LAPSED"))

    async def _send(
        self,
        account: Account,
        request: pb.AuthorizeMessageRequest,
        entry: Entry,
        price: int,
        stamp: Stamp,
        dice: random.Random,
    ) -> bool:
        response = await self._front(dice).messages.authorize(request, SWITCH)
        entry.reason, entry.started_at = pb.Reason.Name(response.reason), self._clock.now_ms()
        if response.decision == pb.DENIED:
            assert response.debited_micros == 0
            assert not stamp.refused or entry.reason in (stamp.refused, "OFFICE_SUSPENDED")
            account.refuse(replace(entry))
            return False
        assert (entry.reason, response.debited_micros) == ("FUNDED", price)
        assert response.available_micros >= 0
        entry.cost_micros = price
        account.enter(entry)
        if dice.random() < 0.03:
            again = await self._front(dice).messages.authorize(request, SWITCH)
            assert (again.replayed, again.debited_micros) == (True, price)
        return True

    async def _refund(self, account: Account, entry: Entry, dice: random.Random) -> None:
        request = pb.RefundMessageRequest(office_id=account.office_id, message_id=entry.id)
        refund = await self._front(dice).messages.refund(request, SWITCH)
        assert (refund.refunded_micros, refund.replayed) == (entry.cost_micros, False)
        entry.cost_micros, entry.refunded_micros = 0, entry.cost_micros
        again = await self._front(dice).messages.refund(request, SWITCH)
        assert (again.refunded_micros, again.replayed) == (entry.refunded_micros, True)

    async def _refund_late(self, account: Account, entry: Entry, dice: random.Random) -> None:
        """Its stub is gone by now; the store's clock is not moved, so it is taken away as time would have."""
        front = self._front(dice)
        key = office_keys(account.office_id).message_prefix + entry.id.encode()
        assert await front.connection.ask("DEL", key) == 1
        request = pb.RefundMessageRequest(office_id=account.office_id, message_id=entry.id)
        for _ in range(2):
            assert await _is_not_found(front.messages.refund(request, SWITCH))
        account.given_back_late += entry.cost_micros
        entry.cost_micros, entry.refunded_micros = 0, entry.cost_micros

    def _after(self, milliseconds: int) -> int:
        """Some time from now, at one of the few instants at which people do what need not be done at once."""
        return -(-(self._clock.now_ms() + milliseconds) // SOMETIME_MS) * SOMETIME_MS

    def _front(self, dice: random.Random) -> Front:
        return dice.choice(self._fronts)


def _call_request(office_id: str, entry: Entry, fare: Fare, requested: int) -> pb.AuthorizeCallRequest:
    return pb.AuthorizeCallRequest(
        office_id=office_id,
        call_id=entry.id,
        direction=pb.Direction.Value(fare.direction),
        calling_number=fare.calling,
        called_number=fare.called,
        license=pb.License.Value(fare.license),
        service=pb.Service.Value(fare.service),
        requested_seconds=requested,
        user_id=entry.user,
        department_id=entry.department,
    )


def _pick(dice: random.Random, weighted: Sequence[tuple[int, T]]) -> T:
    return dice.choices([thing for _, thing in weighted], [weight for weight, _ in weighted])[0]


async def _first_step(life: Life) -> None:
    async for _ in life:
        return


async def _is_not_found(asking: Awaitable[object]) -> bool:
    try:
        await asking
    except NotFound:
        return True
    return False

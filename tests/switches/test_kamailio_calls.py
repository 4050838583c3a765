"""Calls through a real Kamailio: what the caller is answered, and what is billed."""

import asyncio
import time

import pytest

from gateway.v1 import authorization_pb2 as pb
from gateway.v1 import credits_pb2
from tests.support.kamailio import CARRIER, OWN, STRANGER
from tests.support.kamailio_scene import LONDON, PARIS, SECOND, Installation, Scene, scene
from tests.support.sip import Call, Endpoint

pytestmark = [pytest.mark.switches, pytest.mark.xdist_group("kamailio")]

BERLIN = "+493012345678"
SATELLITE = "+88213300000"


async def test_an_answered_call_is_billed_by_its_talk_time_rounded_up(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call(LONDON, ("X-Tollgate-User", "lisa"), ("X-Tollgate-Department", "sales"))
        invite = await here.answered(call)
        assert invite.uri.startswith(f"sip:{LONDON}@")
        assert not [name for name, _ in invite.headers if name.startswith("X-Tollgate")]
        await asyncio.sleep(1.4)
        await here.hung_up(call)
        assert await here.billed() == [2 * SECOND]
        [record] = await here.operator.usage(here.office)
        assert record.id.startswith(f"{call.call_id};")
        assert (record.user_id, record.department_id, record.calling_number, record.called_number) == (
            "lisa",
            "sales",
            "+12175550101",
            LONDON,
        )
        assert (record.duration_seconds, record.billed_seconds) == (2, 2)


@pytest.mark.parametrize("status", [486, 480, 603])
async def test_a_call_that_is_refused_costs_nothing(kamailio_parts: Installation, status: int) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call()
        call.invite()
        here.callee.reply(await here.arrives(call), status)
        assert (await call.final()).status == status
        assert await here.billed() == [0]


async def test_a_call_that_is_cancelled_while_it_rings_costs_nothing(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call()
        call.invite()
        invite = await here.arrives(call)
        here.callee.reply(invite, 180)
        await call.response("INVITE", 180)
        call.send("CANCEL")
        here.callee.reply(await here.arrives(call, "CANCEL"), 200)
        here.callee.reply(invite, 487)
        assert (await call.final()).status == 487
        assert await here.billed() == [0]


@pytest.mark.parametrize(
    ("called", "balance", "settings", "status", "reason"),
    [
        (LONDON, SECOND - 1, {}, 402, "INSUFFICIENT_FUNDS"),
        (LONDON, 10**9, {"daily_spend_limit_micros": SECOND - 1}, 402, "SPEND_LIMIT"),
        (LONDON, 10**9, {"max_price_per_minute_micros": SECOND}, 403, "PRICE_LIMIT"),
        (SATELLITE, 10**9, {}, 403, "DESTINATION_BLOCKED"),
        (BERLIN, 10**9, {}, 404, "NO_RATE"),
        ("12", 10**9, {}, 404, "INVALID_NUMBER"),
        ("no-number-at-all", 10**9, {}, 404, "INVALID_NUMBER"),
    ],
)
async def test_what_a_denial_is_in_sip(
    kamailio_parts: Installation, called: str, balance: int, settings: dict[str, int], status: int, reason: str
) -> None:
    async with scene(kamailio_parts, balance, **settings) as here:
        call = here.call(called)
        call.invite()
        answer = await call.final()
        assert (answer.status, answer.header("X-Tollgate-Reason")) == (status, reason)
        assert (await here.operator.office(here.office)).available_micros == balance


async def test_a_suspended_office_and_an_unknown_one_are_403(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        await here.operator.stub.SuspendOffice(credits_pb2.SuspendOfficeRequest(office_id=here.office))
        call = here.call()
        call.invite()
        answer = await call.final()
        assert (answer.status, answer.header("X-Tollgate-Reason")) == (403, "OFFICE_SUSPENDED")
        unknown = Call(here.caller, here.proxy, LONDON, headers=(("X-Tollgate-Office", "nobody"),))
        unknown.invite()
        answer = await unknown.final()
        assert (answer.status, answer.header("X-Tollgate-Reason")) == (403, "UNKNOWN_OFFICE")


async def test_one_call_too_many_is_486(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts, max_concurrent_calls=1) as here:
        first = here.call()
        await here.answered(first)
        second = here.call()
        second.invite()
        answer = await second.final()
        assert (answer.status, answer.header("X-Tollgate-Reason")) == (486, "TOO_MANY_CALLS")
        await here.hung_up(first)
        await here.operator.wait_settled(here.office)


@pytest.mark.parametrize("called", ["911", "112", "999", "000", "+911", "9-1-1"])
async def test_an_emergency_call_passes_without_funds(kamailio_parts: Installation, called: str) -> None:
    async with scene(kamailio_parts, 0) as here:
        call = here.call(called)
        await here.answered(call)
        await here.hung_up(call)
        assert await here.billed() == [0]
        [record] = await here.operator.usage(here.office)
        assert (record.category, record.reason) == (pb.CATEGORY_EMERGENCY, pb.EMERGENCY)


@pytest.mark.parametrize("uri", ["tel:911", "urn:service:sos", "urn:service:sos.fire", "sip:911;x=1@example.com"])
async def test_an_emergency_call_of_a_stranger_passes(kamailio_parts: Installation, uri: str) -> None:
    async with scene(kamailio_parts) as here:
        stranger = await Endpoint.open(STRANGER)
        try:
            call = Call(stranger, here.proxy, "", uri=uri)
            call.invite()
            here.callee.reply(await here.arrives(call), 200)
            assert (await call.final()).status == 200
            await here.hung_up(call)
        finally:
            stranger.close()


async def test_a_source_that_has_an_office_calls_for_it(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        phone = await Endpoint.open(OWN)
        try:
            call = Call(phone, here.proxy, LONDON)
            call.invite()
            here.callee.reply(await here.arrives(call), 486)
            await call.final(486)
        finally:
            phone.close()
        record = await ended_call(here, "springfield", call)
        assert (record.user_id, record.department_id) == ("lisa", "sales")


async def test_an_inbound_call_is_paid_by_the_office_of_the_number(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        carrier = await Endpoint.open(CARRIER)
        try:
            asserted = (("P-Asserted-Identity", "<sip:+12125550142@carrier.example>"),)
            call = Call(carrier, here.proxy, "+18005550199", calling="anonymous", headers=asserted)
            before = await here.operator.balance("springfield")
            call.invite()
            here.callee.reply(await here.arrives(call), 200)
            await call.final(200)
            await here.hung_up(call)
        finally:
            carrier.close()
        record = await ended_call(here, "springfield", call)
        assert (record.direction, record.cost_micros, record.user_id) == (pb.INBOUND, 20_000, "hotline")
        assert record.calling_number == "+12125550142"
        assert before - await here.operator.balance("springfield") == 20_000


async def test_a_call_is_cut_at_the_last_second_that_is_paid_and_both_hear_it(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts, 4 * SECOND) as here:
        call = here.call()
        await here.answered(call)
        answered_at = time.monotonic()
        # The phone at the contact of the party that pays shows it.
        warning = await here.caller.expect("MESSAGE")
        assert b"this call will end in" in warning.body
        bye = await call.arrives("BYE")
        lasted = time.monotonic() - answered_at
        here.callee.reply(await here.arrives(call, "BYE"), 200)
        call.reply(bye, 200)
        assert 3.9 <= lasted <= 5.0
        assert await here.billed() == [4 * SECOND]
        assert await here.operator.balance(here.office) == 0


async def test_a_call_that_ignores_its_bye_is_told_again_and_billed_no_more(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts, 3 * SECOND) as here:
        call = here.call()
        await here.answered(call)
        await call.arrives("BYE")
        await here.arrives(call, "BYE")
        assert await here.billed() == [3 * SECOND]


async def test_a_refill_in_mid_call_lets_it_go_on(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts, 3 * SECOND) as here:
        call = here.call()
        await here.answered(call)
        await asyncio.sleep(2)
        await here.operator.adjust(here.office, 100 * SECOND)
        await asyncio.sleep(2.5)
        await here.hung_up(call)
        assert await here.billed() == [5 * SECOND]
        assert await here.operator.balance(here.office) == 98 * SECOND


async def test_an_operator_cuts_a_call_that_talks_at_once_and_one_that_rings_at_its_answer(
    kamailio_parts: Installation,
) -> None:
    async with scene(kamailio_parts) as here:
        talking, ringing = here.call(PARIS), here.call(LONDON)
        await here.answered(talking)
        ringing.invite()
        invite = await here.arrives(ringing)
        here.callee.reply(invite, 180)
        await ringing.response("INVITE", 180)
        for each in await here.operator.live_calls(here.office):
            await here.operator.stub.CutCall(credits_pb2.CutCallRequest(office_id=here.office, call_id=each.call_id))
        bye = await talking.arrives("BYE")
        here.callee.reply(await here.arrives(talking, "BYE"), 200)
        talking.reply(bye, 200)
        here.callee.reply(invite, 200)
        await ringing.final(200)
        bye = await ringing.arrives("BYE")
        # Before the first answer: to a dialog that is gone Kamailio 5.6 sends no second BYE.
        here.callee.reply(await here.arrives(ringing, "BYE"), 200)
        ringing.reply(bye, 200)
        first, second = await here.billed(2)
        assert first == 60 * SECOND
        assert second <= 2 * SECOND


async def ended_call(here: Scene, office_id: str, call: Call) -> credits_pb2.UsageRecord:
    """The usage record of a call of an office that several tests use."""
    deadline = time.monotonic() + 15
    while True:
        for record in await here.operator.usage(office_id):
            if record.id.startswith(f"{call.call_id};"):
                return record
        assert time.monotonic() < deadline, "no usage record"
        await asyncio.sleep(0.1)

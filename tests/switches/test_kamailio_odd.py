"""What phones and strangers send that nobody planned: a clear answer, and the books right."""

import asyncio

import pytest

from tests.support.kamailio import OWN, STRANGER, TRUSTED
from tests.support.kamailio_scene import LONDON, PARIS, SECOND, Installation, Scene, scene
from tests.support.sip import Call, Endpoint, SipMessage, response

pytestmark = [pytest.mark.switches, pytest.mark.xdist_group("kamailio")]


@pytest.mark.parametrize(
    ("from_", "recorded"),
    [
        ('"Anonymous" <sip:anonymous@anonymous.invalid>', ""),
        ("<sip:127.0.0.2>", ""),
        ("<tel:+12175550101>", "+12175550101"),
        ("<sip:%22%7D@127.0.0.2>", ""),
        ('"a \\" b" <sip:x%22y@127.0.0.2>', ""),
        (f"<sip:{'1' * 80}@127.0.0.2>", ""),
        ("<sip:lisa.m@127.0.0.2;user=phone>", "lisa.m"),
    ],
)
async def test_whoever_calls_pays_and_what_is_no_number_is_withheld(
    kamailio_parts: Installation, from_: str, recorded: str
) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call()
        here.caller.send(with_header(call.request("INVITE"), "From", f"{from_};tag={call.tag}"), here.proxy)
        here.callee.reply(await here.arrives(call), 486)
        answer = await call.response("INVITE", 486)
        headers = {"From": answer.header("From"), "To": answer.header("To")}
        acknowledgement = call.request("ACK", branch=call.branch)
        for name, value in headers.items():
            acknowledgement = with_header(acknowledgement, name, value)
        here.caller.send(acknowledgement, here.proxy)
        assert await here.billed() == [0]
        [record] = await here.operator.usage(here.office)
        assert record.calling_number == recorded


@pytest.mark.parametrize("from_", ["<<<", '"a" <sip:x"y@127.0.0.2>;tag=1', "<sip:x@127.0.0.2>"])
async def test_an_invite_whose_from_cannot_be_read_is_400(kamailio_parts: Installation, from_: str) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call()
        here.caller.send(with_header(call.request("INVITE"), "From", from_), here.proxy)
        assert (await here.caller.expect(*range(300, 700))).status == 400
        assert not [each for each in here.callee.endpoint.forget() if each.method == "INVITE"]
        assert (await here.operator.office(here.office)).reserved_micros == 0


@pytest.mark.parametrize(
    "uri",
    [
        f"tel:{LONDON}",
        "tel:+44-20-7946-0958",
        "sip:+44.20.7946.0958@example.com",
        "sip:%2B442079460958@example.com",
        f"sip:{LONDON};ext=1@example.com",
        "sip:011442079460958@example.com;user=phone",
    ],
)
async def test_a_number_is_relayed_as_it_was_authorized(kamailio_parts: Installation, uri: str) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call("", uri=uri)
        call.invite()
        invite = await here.arrives(call)
        dialled = invite.uri.removeprefix("sip:").partition("@")[0]
        assert dialled in (LONDON, "011442079460958")
        here.callee.reply(invite, 486)
        await call.final(486)
        assert await here.billed() == [0]
        [record] = await here.operator.usage(here.office)
        assert record.called_number == LONDON


@pytest.mark.parametrize(
    "user", ["1-800-FLOWERS-NOT", "+44207946095x", "sos", "%00", "..", "+", "%22,%22direction%22:%22INBOUND", "4" * 65]
)
async def test_what_is_no_number_is_404(kamailio_parts: Installation, user: str) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call(user)
        call.invite()
        assert (await call.final()).status == 404
        assert (await here.operator.office(here.office)).reserved_micros == 0


@pytest.mark.parametrize("source", [OWN, STRANGER])
async def test_an_office_header_from_outside_means_nothing(kamailio_parts: Installation, source: str) -> None:
    async with scene(kamailio_parts) as here:
        phone = await Endpoint.open(source)
        try:
            call = Call(
                phone, here.proxy, LONDON, headers=(("X-Tollgate-Office", here.office), ("x-tollgate-user", "x"))
            )
            call.invite()
            if source == STRANGER:
                assert (await call.final()).status == 403
            else:
                invite = await here.arrives(call)
                assert not [name for name, _ in invite.headers if name.lower().startswith("x-tollgate")]
                here.callee.reply(invite, 486)
                await call.final(486)
                await here.operator.wait_settled("springfield")
        finally:
            phone.close()
        assert await here.operator.usage(here.office) == []


@pytest.mark.parametrize("office", ['a"b', "x" * 65, "", "../etc", "a b"])
async def test_an_office_that_cannot_be_one_is_403(kamailio_parts: Installation, office: str) -> None:
    async with scene(kamailio_parts) as here:
        call = Call(here.caller, here.proxy, LONDON, headers=(("X-Tollgate-Office", office),))
        call.invite()
        assert (await call.final()).status == 403


async def test_a_call_id_that_is_too_long_or_odd_is_told_apart_all_the_same(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        for call_id in ("x" * 300, 'a"b\\c', "ü@test"):
            call = here.call(call_id=call_id)
            await here.answered(call)
            await here.hung_up(call)
        assert await here.billed(3) == [SECOND, SECOND, SECOND]


async def test_a_re_invite_is_part_of_the_call(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call()
        await here.answered(call)
        call.cseq, call.branch = 2, "z9hG4bKreinvite"
        call.invite()
        again = await here.arrives(call)
        assert "tag=" in again.header("To")
        here.callee.reply(again, 200)
        await call.response("INVITE", 200)
        call.send("ACK")
        await here.hung_up(call)
        assert await here.billed() == [SECOND]


@pytest.mark.parametrize("source", [TRUSTED, STRANGER])
async def test_an_invite_that_pretends_to_be_within_a_call_is_481(kamailio_parts: Installation, source: str) -> None:
    """A made-up To tag and a Route to the proxy are no way around the bill."""
    async with scene(kamailio_parts) as here:
        phone = await Endpoint.open(source)
        try:
            route = ("Route", f"<sip:{here.proxy[0]}:{here.proxy[1]};lr;ftag=x;did=a81.a782>")
            call = Call(phone, here.proxy, LONDON, headers=(route,), uri=f"sip:{LONDON}@127.0.0.1:{here.parts.carrier}")
            invite = call.request("INVITE")
            phone.send(with_header(invite, "To", f"<{call.uri}>;tag=made-up"), here.proxy)
            assert (await call.response("INVITE", *range(200, 700))).status == 481
        finally:
            phone.close()
        assert not [each for each in here.callee.endpoint.forget() if each.method == "INVITE"]


async def test_a_retransmitted_invite_is_one_call(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call()
        for _ in range(5):
            call.invite()
        here.callee.reply(await here.arrives(call), 200)
        await call.final(200)
        call.invite()
        await here.hung_up(call)
        assert await here.billed() == [SECOND]
        assert not [each for each in here.callee.endpoint.forget() if each.method == "INVITE"]


async def test_each_branch_of_a_fork_is_a_call_of_its_own(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        first = here.call(LONDON)
        second = here.call(PARIS, call_id=first.call_id, tag=first.tag)
        first.invite()
        second.invite()
        invites = [await here.arrives(first), await here.arrives(first)]
        by_number = {invite.uri.partition("@")[0]: invite for invite in invites}
        here.callee.reply(by_number[f"sip:{LONDON}"], 200, to_tag="london")
        await first.final(200)
        here.callee.reply(by_number[f"sip:{PARIS}"], 180, to_tag="paris")
        await second.response("INVITE", 180)
        second.send("CANCEL")
        here.callee.reply(await here.arrives(second, "CANCEL"), 200)
        here.callee.reply(by_number[f"sip:{PARIS}"], 487, to_tag="paris")
        await second.final(487)
        await here.hung_up(first)
        assert await here.billed(2) == [SECOND, 0]


async def test_the_same_request_on_a_second_way_is_482(kamailio_parts: Installation) -> None:
    """Somebody who makes two requests look like one is not to talk twice for one reservation."""
    async with scene(kamailio_parts) as here:
        call = here.call()
        await here.answered(call)
        await asyncio.sleep(6)  # Until Kamailio has forgotten the transaction.
        call.answer, kept = None, call.answer
        call.invite()
        answer = await call.response("INVITE", *range(300, 700))
        assert answer.status == 482
        call.ack(answer)
        call.answer = kept
        await here.hung_up(call)
        [cost] = await here.billed()
        assert cost >= 6 * SECOND


async def test_an_attempt_after_a_challenge_is_a_call_of_its_own(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call()
        call.invite()
        here.callee.reply(await here.arrives(call), 407, ("Proxy-Authenticate", 'Digest realm="x", nonce="y"'))
        await call.final(407)
        call.cseq, call.branch = 2, f"{call.branch}again"
        await here.answered(call)
        await here.hung_up(call)
        assert await here.billed(2) == [SECOND, 0]


async def test_a_call_that_comes_by_twice_has_two_legs(kamailio_parts: Installation) -> None:
    """Our user dials our own toll-free number: the carrier sends it back, and the called office pays for its leg."""
    async with scene(kamailio_parts) as here:
        call = here.call("+18005550199")
        call.invite()
        out = await here.arrives(call)
        back = with_header(out, "X-Tollgate-Office", "springfield")
        back = with_header(with_header(back, "X-Tollgate-Direction", "INBOUND"), "X-Tollgate-License", "SALES")
        via = f"SIP/2.0/UDP {here.caller.host}:{here.caller.port};branch=z9hG4bKcarrier{call.tag}"
        back = SipMessage(back.start, (("Via", via), *back.headers))
        before = await here.operator.balance("springfield")
        here.caller.send(back, here.proxy)  # From a trusted source, as the carrier's side is here.
        second = await here.arrives(call)
        here.callee.endpoint.send(
            response(second, 200, ("Contact", f"<sip:callee@127.0.0.1:{here.parts.carrier}>")), here.proxy
        )
        through = await here.caller.expect_that(
            lambda each: each.status == 200 and "carrier" in each.header("Via"), "200"
        )
        ours = tuple(header for header in through.headers if header[1] != via)
        here.callee.endpoint.send(SipMessage(through.start, ours), here.proxy)
        await call.final(200)
        await asyncio.sleep(0.5)
        calls = await here.operator.live_calls(here.office) + await here.operator.live_calls("springfield")
        assert {each.call_id.partition(";")[0] for each in calls} == {call.call_id}
        assert len({each.call_id for each in calls}) == 2
        for each in calls:
            assert each.HasField("answered_at")
        rpc = here.parts.kamailio.rpc_client
        legs = [each for each in await rpc.list_dialogs() if each.call.call_id.startswith(f"{call.call_id};")]
        assert {leg.call.key for leg in legs} == {(each.office_id, each.call_id) for each in calls}
        for leg in legs:
            await rpc.end_dialog(leg.name)
        await here.operator.wait_settled(here.office)
        await here.operator.wait_settled("springfield")
        assert before - await here.operator.balance("springfield") == 20_000


async def test_a_cancel_that_races_the_grant_leaves_nothing(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        sidecar = here.parts.sidecar.running
        assert sidecar is not None
        sidecar.pause()
        try:
            call = here.call()
            call.invite()
            await asyncio.sleep(0.1)
            call.send("CANCEL")
            assert (await call.final()).status == 487
        finally:
            sidecar.resume()
        assert await here.billed() == [0]
        assert not [each for each in here.callee.endpoint.forget() if each.method == "INVITE"]


async def test_many_cancels_that_race_the_grant_leave_nothing(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        calls = [here.call() for _ in range(30)]
        here.callee.endpoint.on_message = lambda message: answer_at_once(here, message)
        for number, call in enumerate(calls):
            call.invite()
            await asyncio.sleep(number * 0.0002)
            call.send("CANCEL")
        for call in calls:
            final = await call.final()
            if final.status == 200:
                call.bye()
        await here.operator.wait_settled(here.office)
        assert await here.operator.live_calls(here.office) == []


async def test_an_answer_that_races_the_cancel_is_a_call(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call()
        call.invite()
        invite = await here.arrives(call)
        here.callee.reply(invite, 180)
        await call.response("INVITE", 180)
        call.send("CANCEL")
        here.callee.reply(invite, 200)
        assert (await call.final()).status == 200
        # Whether the CANCEL still gets to the callee is Kamailio's affair; it is too late in any case.
        await here.hung_up(call)
        assert await here.billed() == [SECOND]


async def test_a_bye_that_is_lost_behind_the_proxy_ends_the_call(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call()
        await here.answered(call)
        call.bye()
        await here.arrives(call, "BYE")
        assert await here.billed() == [SECOND]


async def test_a_bye_of_another_dialog_ends_nothing(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call()
        await here.answered(call)
        forged = with_header(call.request("BYE"), "To", "<sip:x@example.com>;tag=somebody-else")
        here.caller.send(with_header(forged, "CSeq", "7 BYE"), here.proxy)
        await asyncio.sleep(1.2)
        await here.hung_up(call)
        assert await here.billed() == [2 * SECOND]


async def test_a_flood_of_nonsense_leaves_the_proxy_working(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        for data in (b"INVITE", b"\x00" * 500, b"INVITE sip:x SIP/2.0\r\n\r\n", b"SIP/2.0 200 OK\r\n\r\n", b"{" * 3000):
            here.caller.transport.sendto(data, here.proxy)
        call = here.call()
        await here.answered(call)
        await here.hung_up(call)
        assert await here.billed() == [SECOND]


async def test_a_proxy_that_cannot_be_reached_behind_ours_costs_nothing(kamailio_parts: Installation) -> None:
    async with scene(kamailio_parts) as here:
        call = here.call()
        call.invite()
        invite = await here.arrives(call)
        here.callee.reply(invite, 503)
        assert (await call.final()).status in (500, 503)
        assert await here.billed() == [0]


def answer_at_once(here: Scene, message: SipMessage) -> bool:
    """Answer whatever comes, as a callee that picks up at once."""
    if message.method in ("INVITE", "BYE", "CANCEL") and not message.status:
        here.callee.reply(message, 200)
    return True


def with_header(message: SipMessage, name: str, value: str) -> SipMessage:
    """The message with this value of a header, and no other."""
    kept = [(each, old) for each, old in message.headers if each.lower() != name.lower()]
    return SipMessage(message.start, (*kept, (name, value)), message.body)

"""Callbacks: what a switch without a Session is told, by signed posts to a real server, and how it lists its calls."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from gateway.background.due import DueLoop
from gateway.domain.vocabulary import CallState, FinalReason
from gateway.hooks import mailbox
from gateway.store.commands import CUT_CALL, FUNDS_LOW, FUNDS_RESTORED, PublishedCommand
from gateway.store.offices import OfficeCache
from gateway.store.records import CallRecord
from gateway.store.switch_lists import SwitchLists
from gateway.v1 import credits_pb2 as pb
from tests.support.back import OFFICE, BackUnderTest, bearer, invalid, refused, running_back
from tests.support.balances import NOON
from tests.support.hooks import OUTBOUND, SWITCH_ID, HookedBack, hooked_back
from tests.support.servers import StoreServer
from tests.support.webhook import CLOSE, HANG, Posted, WebhookServer, answer, webhook_server

ME = bearer()
CUT = PublishedCommand(SWITCH_ID, CUT_CALL, OFFICE, "c1", FinalReason.INSUFFICIENT_FUNDS)
LOW = PublishedCommand(SWITCH_ID, FUNDS_LOW, OFFICE, "c1", 60)
NO_CALLS = answer("200 OK", body='{"calls":[]}')


async def call_of(back: BackUnderTest, call_id: str) -> CallRecord:
    call = await back.store.read_call(OFFICE, call_id)
    assert isinstance(call, CallRecord)
    return call


async def register(back: BackUnderTest, url: str, **fields: Any) -> pb.Switch:
    request = pb.RegisterSwitchRequest(switch_id=SWITCH_ID, callback_url=url, **fields)
    switch: pb.Switch = await back.stub.RegisterSwitch(request, metadata=ME)
    await back.back.directory.refresh()
    return switch


@dataclass
class Told:
    """A back whose switch has a callback."""

    there: HookedBack
    server: WebhookServer
    secret: str

    @property
    def back(self) -> BackUnderTest:
        return self.there.back

    async def posts(self, count: int, kind: str = "command") -> list[Posted]:
        """The first posts of a kind, as soon as there are so many."""

        def found() -> list[Posted]:
            return [each for each in self.server.posted if kind in json.loads(each.body)]

        async with asyncio.timeout(20):
            while len(found()) < count:  # noqa: ASYNC110  # the server is plain, and has no event for it
                await asyncio.sleep(0.01)
        return found()

    async def commands(self, count: int) -> list[dict[str, Any]]:
        return [json.loads(each.body)["command"] for each in await self.posts(count)]

    def list_calls(self, *calls: tuple[str, int]) -> None:
        """What the switch answers to the next post."""
        listed = [{"officeId": OFFICE, "callId": call_id, "usedSeconds": used} for call_id, used in calls]
        self.server.answers.append(answer("200 OK", body=json.dumps({"calls": listed})))

    async def list_once(self, *calls: tuple[str, int]) -> None:
        """Have the switch asked, and its answer heard."""
        self.list_calls(*calls)
        before = len([each for each in self.server.posted if b"listCalls" in each.body])
        # Its claim is good for real seconds, which are not waited for.
        await self.back.till.connection.ask("DEL", f"tg:asked:{SWITCH_ID}")
        for callback in self.back.back.callbacks.of_switch.values():
            callback.ask_at = 0.0
        await self.back.back.callbacks.turn()
        await self.posts(before + 1, "listCalls")
        await self.back.back.callbacks.settled()


@asynccontextmanager
async def told_switch(server: StoreServer, folder: Path, **flags: Any) -> AsyncIterator[Told]:
    async with AsyncExitStack() as stack:
        there = await stack.enter_async_context(hooked_back(server, folder, **flags))
        hook = await stack.enter_async_context(webhook_server())
        hook.answers.append(NO_CALLS)
        secret = (await register(there.back, hook.url)).callback_secret
        await there.back.back.callbacks.turn()
        told = Told(there, hook, secret)
        await told.posts(1, "listCalls")
        yield told


async def test_registered_listed_and_taken_back(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        first = await register(back, "http://127.0.0.1:9/a")
        assert first.callback_secret.startswith("tgcb_")
        assert back.back.directory.has_callback(SWITCH_ID)
        again = await register(back, "http://127.0.0.1:9/b")
        assert again.callback_secret == first.callback_secret
        rotated = await register(back, "http://127.0.0.1:9/b", rotate_secret=True)
        assert rotated.callback_secret not in ("", first.callback_secret)
        listed = await back.stub.ListSwitches(pb.ListSwitchesRequest(), metadata=ME)
        assert list(listed.switches) == [pb.Switch(switch_id=SWITCH_ID, callback_url="http://127.0.0.1:9/b")]
        log = await back.audit(f"switch:{SWITCH_ID}")
        assert [each.action for each in log] == ["switch.register", "switch.register", "switch.rotate_secret"]
        assert not any("tgcb_" in str(each) for each in log)
        assert (await register(back, "")).callback_secret == ""
        assert not back.back.directory.has_callback(SWITCH_ID)
        assert not any("tgcb_" in str(each) for each in await back.till.dump())


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/",
        "http://",
        "h:80",
        "http://h:99999/",
        "http://u:p@h/",
        "http://h/#a",
        "http://h/ x",
        "http://h/" * 99,
    ],
)
async def test_where_nobody_can_be_told(valkey: StoreServer, tmp_path: Path, url: str) -> None:
    async with running_back(valkey, tmp_path) as back:
        request = pb.RegisterSwitchRequest(switch_id=SWITCH_ID, callback_url=url)
        await invalid("callback_url", back.stub.RegisterSwitch(request, metadata=ME))
        await invalid("switch_id", back.stub.RegisterSwitch(pb.RegisterSwitchRequest(), metadata=ME))


async def test_its_store_is_mended_by_the_projector(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await register(back, "http://127.0.0.1:9/a")
        for key in (("DEL", "tg:callbacks"), ("HDEL", "tg:directory", "switches")):
            await back.till.connection.ask(*key)
            await back.back.background.projector.turn()
            assert (await back.till.connection.ask("GET", "tg:callbacks")) == f"1\n{SWITCH_ID}".encode()
            assert (await back.till.connection.ask("HGET", "tg:directory", "switches")) == b"1"


async def test_its_calls_are_ticked_by_the_gateway(valkey: StoreServer, tmp_path: Path) -> None:
    async with told_switch(valkey, tmp_path) as told:
        await told.there.ok("/v1/calls/authorize", callId="c1", **OUTBOUND)
        assert (await call_of(told.back, "c1")).ticked_by_gateway
        await register(told.back, "")
        await told.there.ok("/v1/calls/authorize", callId="c2", **OUTBOUND)
        assert not (await call_of(told.back, "c2")).ticked_by_gateway


async def test_a_command_is_posted_and_signed(valkey: StoreServer, tmp_path: Path) -> None:
    async with told_switch(valkey, tmp_path) as told:
        told.back.back.callbacks.deliver(CUT)
        [post] = await told.posts(1)
        command = json.loads(post.body)["command"]
        assert command.pop("commandId")
        assert command == {"officeId": OFFICE, "callId": "c1", "cutCall": {"reason": "FINAL_REASON_INSUFFICIENT_FUNDS"}}
        at, _, signature = post.headers["tollgate-signature"].partition(",v1=")
        assert at == f"t={NOON // 1000}"
        signed = f"{NOON // 1000}.".encode() + post.body
        assert signature == hmac.new(told.secret.encode(), signed, hashlib.sha256).hexdigest()


@pytest.mark.parametrize("fault", [CLOSE, answer("500 Oh"), answer("302 Found", "Location: http://127.0.0.1:9/")])
async def test_posted_again_until_it_is_taken(valkey: StoreServer, tmp_path: Path, fault: bytes) -> None:
    async with told_switch(valkey, tmp_path) as told:
        told.server.answers += [fault, fault, answer("200 OK")]
        told.back.back.callbacks.deliver(LOW)
        posted = await told.commands(3)
        assert posted[0] == posted[1] == posted[2]
        await told.back.back.callbacks.settled()
        assert len(await told.commands(3)) == 3


async def test_given_up_after_a_while(valkey: StoreServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "GIVE_UP_SECONDS", 0.1)
    async with told_switch(valkey, tmp_path) as told:
        told.server.answers += [answer("500 Oh")] * 20
        told.back.back.callbacks.deliver(LOW)
        await told.posts(2)
        await told.back.back.callbacks.settled()
        told.server.answers.clear()
        told.back.back.callbacks.deliver(CUT)
        await told.back.back.callbacks.settled()
        assert "cutCall" in json.loads(told.server.posted[-1].body)["command"]


async def test_only_the_newest_of_a_call(valkey: StoreServer, tmp_path: Path) -> None:
    async with told_switch(valkey, tmp_path) as told:
        told.server.answers.append(HANG)
        told.back.back.callbacks.deliver(LOW)
        await told.server.hung.wait()
        told.back.back.callbacks.deliver(LOW._replace(kind=FUNDS_RESTORED, value=120))
        told.back.back.callbacks.deliver(CUT)
        await told.back.back.callbacks.settled()
        low, cut = await told.commands(2)
        assert "fundsLow" in low
        assert "cutCall" in cut


async def test_one_gateway_of_two_tells(valkey: StoreServer, tmp_path: Path) -> None:
    async with told_switch(valkey, tmp_path) as told, running_back(valkey, tmp_path, flush=False) as other:
        await other.back.directory.refresh()
        await other.back.callbacks.turn()
        for back in (told.back, other):
            back.back.callbacks.deliver(CUT)
        for back in (told.back, other):
            await back.back.callbacks.settled()
        assert len(await told.commands(1)) == 1
        assert len(await told.posts(1, "listCalls")) == 1


async def test_a_list_confirms_and_finds_what_is_unknown(valkey: StoreServer, tmp_path: Path) -> None:
    async with told_switch(valkey, tmp_path) as told:
        await told.there.ok("/v1/calls/authorize", callId="c1", **OUTBOUND)
        await told.there.ok("/v1/calls/answer", callId="c1")
        told.back.clock.move(20)
        await told.list_once(("c1", 20), ("made-up", 5))
        call = await call_of(told.back, "c1")
        assert (call.confirmed_seconds, call.heard_ms) == (20, NOON + 20_000)
        [command] = await told.commands(1)
        assert (command["callId"], command["unknownCall"]) == ("made-up", {})


async def test_a_call_that_two_lists_lack_lapses(valkey: StoreServer, tmp_path: Path) -> None:
    async with told_switch(valkey, tmp_path) as told:
        lists = SwitchLists(told.back.till.connection)
        due = DueLoop(
            told.back.till.connection, told.back.store, OfficeCache(told.back.till.connection), _Sure(told.back), lists
        )
        await told.there.ok("/v1/calls/authorize", callId="c1", **OUTBOUND)
        await told.there.ok("/v1/calls/answer", callId="c1")
        for _ in range(2):
            told.back.clock.move(31)
            await told.list_once()
        told.back.clock.move(31)
        await lists.refresh()
        await due.turn()
        call = await call_of(told.back, "c1")
        assert (call.state, call.held_micros) == (CallState.LAPSED, 0)


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", '{"calls":5}', '{"calls":[{"officeId":"springfield"}]}', '{"calls":[{"callId":1}]}', '{"call":[]}'],
)
async def test_a_list_that_is_none_says_nothing(valkey: StoreServer, tmp_path: Path, body: str) -> None:
    async with told_switch(valkey, tmp_path) as told:
        await told.back.back.callbacks.settled()
        before = await told.back.till.connection.ask("HGET", "tg:switches", SWITCH_ID)
        told.server.answers.append(answer("200 OK", body=body))
        told.list_calls = lambda *_: None  # type: ignore[method-assign]
        await told.list_once()
        assert await told.back.till.connection.ask("HGET", "tg:switches", SWITCH_ID) == before


async def test_a_long_list(valkey: StoreServer, tmp_path: Path) -> None:
    async with told_switch(valkey, tmp_path) as told:
        await told.there.ok("/v1/calls/authorize", callId="c2400", **OUTBOUND)
        await told.there.ok("/v1/calls/answer", callId="c2400")
        told.back.clock.move(9)
        await told.list_once(*[(f"c{number}", 9) for number in range(2_500)])
        assert (await call_of(told.back, "c2400")).confirmed_seconds == 9


async def test_only_operators(valkey: StoreServer, tmp_path: Path) -> None:
    async with hooked_back(valkey, tmp_path) as there:
        request = pb.RegisterSwitchRequest(switch_id=SWITCH_ID, callback_url="http://h/")
        await refused(
            StatusCode.PERMISSION_DENIED,
            "PERMISSION_DENIED",
            there.back.stub.RegisterSwitch(request, metadata=bearer(there.token)),
        )


class _Sure:
    """The clock of a test, never in doubt."""

    is_sure = True

    def __init__(self, back: BackUnderTest) -> None:
        self.now_ms = back.clock.now_ms

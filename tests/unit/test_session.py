"""The bound of a Session: what is begun and not yet written is counted to the last result."""

import asyncio
from contextlib import nullcontext
from typing import Any, cast

import pytest

from gateway.api import session as session_module
from gateway.api.session import Context, Session
from gateway.domain.identity import Identity
from gateway.domain.vocabulary import Role
from gateway.errors import InvalidArgument, PermissionDenied
from gateway.v1 import authorization_pb2 as pb

BATCH = 3
SWITCH = Identity(Role.SWITCH, "t", switch_id="s")


FOREIGN = "foreign"


class Deaf:
    """A switch that sends batch after batch and does not read before it is told to."""

    def __init__(self) -> None:
        self.sent = 0
        self.written = 0
        self.reads = asyncio.Event()

    async def read(self) -> pb.SessionRequest:
        for _ in range(10):  # time enough for what was sent before to be answered
            await asyncio.sleep(0)
        self.sent += BATCH
        return pb.SessionRequest(
            operations=[
                pb.Operation(tag=self.sent + n, end_call=pb.EndCallRequest(call_id=f"{self.sent + n}"))
                for n in range(BATCH)
            ]
        )

    async def write(self, packed: bytes) -> None:
        await self.reads.wait()
        self.written += len(pb.SessionResponse.FromString(packed).results)


async def answer(request: Any, identity: Identity) -> pb.EndCallResponse:
    return pb.EndCallResponse()


async def refuse_foreign(request: pb.EndCallRequest, identity: Identity) -> pb.EndCallResponse:
    """Waits for the store, but not where the office is foreign."""
    if request.office_id == FOREIGN:
        raise PermissionDenied
    await asyncio.sleep(0)
    return pb.EndCallResponse()


async def hear(live_calls: pb.LiveCalls, session: Session) -> None:
    raise AssertionError("nothing was listed")


async def turns() -> None:
    for _ in range(1_000):
        await asyncio.sleep(0)


@pytest.mark.parametrize("bound", [1, 3, 4, 10, 30])
async def test_a_switch_that_does_not_read_is_not_read_from(bound: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the message holds that is being written counts as well."""
    monkeypatch.setattr(session_module, "MAX_IN_FLIGHT", bound)
    switch = Deaf()
    session = Session(SWITCH, {"end_call": answer}, hear, nullcontext, max_operations=BATCH)
    running = asyncio.create_task(session.run(cast("Context", switch)))
    try:
        await turns()
        assert bound <= switch.sent < bound + BATCH
        switch.reads.set()
        await turns()
        assert switch.written > 10 * bound
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


class Scripted:
    """A switch that sends what it is given, then nothing; it does not read where it is told so."""

    def __init__(self, *requests: pb.SessionRequest, reads: bool = True) -> None:
        self.requests = list(requests)
        self.results: list[pb.Result] = []
        self.reads = asyncio.Event()
        if reads:
            self.reads.set()

    async def read(self) -> pb.SessionRequest:
        await asyncio.sleep(0)
        if not self.requests:
            await asyncio.Event().wait()
        return self.requests.pop(0)

    async def write(self, packed: bytes) -> None:
        await self.reads.wait()
        self.results.extend(pb.SessionResponse.FromString(packed).results)


def end_call(tag: int, office_id: str) -> pb.Operation:
    return pb.Operation(tag=tag, end_call=pb.EndCallRequest(office_id=office_id, call_id=f"{tag}"))


@pytest.mark.parametrize("office_id", [FOREIGN, "a"])
async def test_a_tag_twice_in_a_batch_is_refused_however_soon_the_first_is_answered(office_id: str) -> None:
    switch = Scripted(pb.SessionRequest(operations=[end_call(7, office_id), end_call(7, office_id)]))
    session = Session(SWITCH, {"end_call": refuse_foreign}, hear, nullcontext, max_operations=BATCH)
    running = asyncio.create_task(session.run(cast("Context", switch)))
    try:
        await turns()
        assert [result.tag for result in switch.results] == [7, 7]
        refused = [result for result in switch.results if result.error.message.startswith("tag: ")]
        assert len(refused) == 1
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_stream_that_ends_with_an_error_takes_nothing_more_though_the_switch_does_not_read() -> None:
    heard: list[pb.LiveCalls] = []

    async def refuse(live_calls: pb.LiveCalls, session: Session) -> None:
        heard.append(live_calls)
        raise InvalidArgument("live_calls", "is bad")

    a_list = pb.SessionRequest(live_calls=pb.LiveCalls())
    more = pb.SessionRequest(operations=[end_call(2, "a")], live_calls=pb.LiveCalls())
    first = pb.SessionRequest(operations=[end_call(1, FOREIGN)])
    switch = Scripted(first, a_list, more, more, reads=False)
    begun: list[str] = []

    async def note(request: pb.EndCallRequest, identity: Identity) -> pb.EndCallResponse:
        begun.append(request.call_id)
        return pb.EndCallResponse()

    session = Session(SWITCH, {"end_call": note}, refuse, nullcontext, max_operations=BATCH)
    running = asyncio.create_task(session.run(cast("Context", switch)))
    try:
        await turns()
        assert (len(heard), begun, switch.requests) == (1, ["1"], [more, more])
        switch.reads.set()
        with pytest.raises(InvalidArgument):
            await asyncio.wait_for(running, 10)
        assert (len(heard), begun, switch.requests) == (1, ["1"], [more, more])
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

"""The bound of a Session: what is begun and not yet written is counted to the last result."""

import asyncio
from contextlib import nullcontext
from typing import Any, cast

import pytest

from gateway.api import session as session_module
from gateway.api.session import Context, Session
from gateway.domain.identity import Identity
from gateway.domain.vocabulary import Role
from gateway.v1 import authorization_pb2 as pb

BATCH = 3


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
    identity = Identity(Role.SWITCH, "t", switch_id="s")
    session = Session(identity, {"end_call": answer}, hear, nullcontext, max_operations=BATCH)
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

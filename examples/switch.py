# ruff: noqa: T201
"""A switch in 60 lines: places a call through Tollgate, warns when funds run low, and hangs up when told to.

TOLLGATE_LISTEN=127.0.0.1:50051 TOLLGATE_TOKEN=... python examples/switch.py acme-paris +442079460000 5
"""

import asyncio
import math
import os
import sys
import time
import uuid

from gateway.client import Client, CutCall, FundsLow, UnknownCall
from gateway.v1 import authorization_pb2 as pb


class Switch:
    """Stands for your switch: a live call is a future, and cancelling it hangs up."""

    def __init__(self, client: Client) -> None:
        self.client, self.calls = client, dict[tuple[str, str], asyncio.Future[None]]()

    async def place_call(self, office: str, call_id: str, called: str, talk_seconds: float) -> None:
        """Connect a call if it may be, until somebody hangs up."""
        decision = await self.client.authorize_call(
            office_id=office, call_id=call_id, direction=pb.OUTBOUND, called_number=called
        )
        print(f"{call_id}: {pb.Reason.Name(decision.reason)}")
        if decision.decision != pb.GRANTED:
            return
        call = self.calls[office, call_id] = asyncio.Future()
        answered_at = time.monotonic()  # It rang, and somebody answered; had nobody, it would end with 0 s.
        try:
            answer = await self.client.answer_call(office_id=office, call_id=call_id)
            await asyncio.wait([call], timeout=0 if answer.ended else talk_seconds)
        finally:  # Whatever happened, the call is over here, so it is settled there.
            del self.calls[office, call_id]
            seconds = math.ceil(time.monotonic() - answered_at)
            print(await self.client.end_call(office_id=office, call_id=call_id, duration_seconds=seconds))

    async def obey(self) -> None:
        """Do what the gateway says, for as long as the client is open."""
        async for command in self.client.commands():
            if isinstance(command, FundsLow):
                print(f"{command.call_id}: only {command.granted_seconds} s are paid for")
            elif isinstance(command, CutCall | UnknownCall):
                self.calls.get((command.office_id, command.call_id), asyncio.Future()).cancel()


async def main(office: str, called: str, talk_seconds: str) -> None:  # noqa: D103
    async with Client(os.environ["TOLLGATE_LISTEN"], os.environ["TOLLGATE_TOKEN"]) as client:
        switch = Switch(client)
        obeying = asyncio.create_task(switch.obey())
        await switch.place_call(office, str(uuid.uuid4()), called, float(talk_seconds))
    await obeying


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

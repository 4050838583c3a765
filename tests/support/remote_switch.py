"""A switch as a process, for a network of its own: it has one call up from its start until SIGTERM.

Started as `python -m tests.support.remote_switch SERVER OFFICE CALL`; it prints a line of JSON once the call is
answered, and one when it has ended: how long was talked and what was debited.
"""

import asyncio
import json
import signal
import sys
import time
from typing import Any

from gateway.client import Client, LinkTimes
from gateway.v1 import authorization_pb2 as pb
from tests.support.operator import OPERATOR_TOKEN
from tests.support.switch_books import LONDON, PATIENT_SECONDS


async def talk(server: str, office_id: str, call_id: str) -> None:
    """Have the call up until told to hang up, and say what it came to."""
    hang_up = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, hang_up.set)
    call: Any = {"office_id": office_id, "call_id": call_id}
    times = LinkTimes(live_calls_seconds=0.5)
    async with Client(
        server, OPERATOR_TOKEN, switch_id="remote", deadline_seconds=PATIENT_SECONDS, times=times
    ) as client:
        granted = await client.authorize_call(**call, direction=pb.OUTBOUND, called_number=LONDON)
        assert granted.reason == pb.FUNDED, granted
        await client.answer_call(**call)
        answered_at = time.monotonic()
        print(json.dumps({"answered": True}), flush=True)
        await hang_up.wait()
        used = round(time.monotonic() - answered_at)
        ended = await client.end_call(**call, duration_seconds=used)
        print(json.dumps({"talked_seconds": used, "debited_micros": ended.debited_micros}), flush=True)


if __name__ == "__main__":
    asyncio.run(talk(*sys.argv[1:]))

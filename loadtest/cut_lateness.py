"""Measure 7: from the end of what a call was granted to the cut command at its switch's Session, in real time."""

import asyncio
import random
from time import monotonic
from typing import Any, Final

from gateway.store.clock import StoreClock
from gateway.store.records import CallRecord
from gateway.v1 import authorization_pb2 as pb
from loadtest.books import Books
from loadtest.effort import Effort
from loadtest.figures import percentile, rounded
from loadtest.processes import BenchError, BenchStore
from loadtest.scene import Front, running_front, store_access
from loadtest.switch import PlainSession, open_channels

MICROS_A_SECOND: Final = 1_000
TICK_SECONDS: Final = 3
CALLED: Final = "+442079460958"
PATIENCE_SECONDS: Final = 30.0
DECK: Final = f"""\
tariff,service,direction,license,origin,prefix,number_type,from_second,price,per_seconds,increment_seconds,connect_fee,tick_seconds,description
,VOICE,OUTBOUND,,,,,0,0.06,60,1,0,{TICK_SECONDS},by the second in short ticks
"""
OFFICE: Final = "patient"


class _Call:
    """One call, alone in an office that can pay for so many seconds."""

    def __init__(self, index: int, seconds: int, begins_after: float) -> None:
        self.name = f"cut-{index:04d}"
        self.seconds = seconds
        self.begins_after = begins_after
        self.ends_ms = 0
        self.cut_ms = asyncio.get_running_loop().create_future()


async def measure_cut_lateness(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    """Let calls run out of funds at scattered times; the gateway ticks them, and cuts them.

    Raises:
        BenchError: A call was not cut, or not for lack of funds, or the books are wrong.
    """
    chance = random.Random(4)
    # They begin over two seconds and not at once, so that their ends keep step with nothing.
    calls = [
        _Call(index, chance.randint(1, effort.cut_seconds - 1), chance.uniform(0.0, 2.0))
        for index in range(effort.cut_calls)
    ]
    funds = {call.name: call.seconds * MICROS_A_SECOND for call in calls}
    # A first office that nothing is done with, for finding out whether the front decides.
    async with (
        store_access(store) as (connection, _),
        running_front(store, [OFFICE, *funds], deck=DECK, funds=funds) as front,
        open_channels(front.address, 1) as [channel],
    ):
        clock, by_name = StoreClock(), {call.name: call for call in calls}
        await clock.measure(connection)
        again = 0

        def take(command: pb.Command) -> None:
            nonlocal again
            if command.WhichOneof("command") != "cut_call":
                return
            cut = by_name[command.call_id].cut_ms
            if cut.done():
                again += 1
            else:
                cut.set_result(clock.now_ms())

        session = PlainSession(channel, take)
        started = monotonic()
        ended = await asyncio.gather(*[_place(session, front, call, started) for call in calls])
        await session.close()
        expected = {call.name: funds[call.name] - debited for call, debited in zip(calls, ended, strict=True)}
        await books.audit_store("cut_lateness", expected, front.store)
    late = sorted(float(call.cut_ms.result() - call.ends_ms) for call in calls)
    return {
        "calls": len(calls),
        "tick_seconds": TICK_SECONDS,
        "repeated_commands": again,
        "lateness_ms": {
            "min": rounded(late[0]),
            "p50": rounded(percentile(late, 50)),
            "p90": rounded(percentile(late, 90)),
            "p99": rounded(percentile(late, 99)),
            "max": rounded(late[-1]),
        },
    }


async def _place(session: PlainSession, front: Front, call: _Call, started: float) -> int:
    """Authorize, answer, wait for the cut, end; returns what the end says was debited."""
    await asyncio.sleep(started + call.begins_after - monotonic())
    granted = await session.ask(
        authorize_call=pb.AuthorizeCallRequest(
            office_id=call.name, call_id=call.name, direction=pb.OUTBOUND, called_number=CALLED
        )
    )
    if granted.authorize_call.reason != pb.FUNDED:
        raise BenchError(f"{call.name} was answered {pb.Reason.Name(granted.authorize_call.reason)}")
    await session.ask(answer_call=pb.AnswerCallRequest(office_id=call.name, call_id=call.name))
    record = await front.store.read_call(call.name, call.name)
    if not isinstance(record, CallRecord):
        raise BenchError(f"{call.name} is not live after its answer")
    # What it is granted at last is all that its office can pay.
    call.ends_ms = record.answered_ms + 1000 * call.seconds
    try:
        async with asyncio.timeout(call.seconds + PATIENCE_SECONDS):
            await call.cut_ms
    except TimeoutError as error:
        raise BenchError(f"{call.name} was not cut") from error
    ended = await session.ask(
        end_call=pb.EndCallRequest(office_id=call.name, call_id=call.name, duration_seconds=call.seconds)
    )
    if ended.end_call.debited_micros != call.seconds * MICROS_A_SECOND:
        raise BenchError(f"{call.name} cost {ended.end_call.debited_micros} for {call.seconds} s")
    return ended.end_call.debited_micros

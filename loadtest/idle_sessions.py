"""Measure 8: what an open Session costs the front in memory while nothing happens on it."""

import asyncio
from time import perf_counter
from typing import Any, Final

import grpc.aio

from gateway.v1 import authorization_pb2 as pb
from loadtest.books import Books
from loadtest.effort import Effort
from loadtest.figures import rounded
from loadtest.machine import process_cpu_seconds, resident_bytes
from loadtest.processes import BenchError, BenchStore
from loadtest.scene import FUNDS_MICROS, running_front
from loadtest.switch import PlainSession, open_channels

CHANNELS: Final = 10
AT_ONCE: Final = 100
"""Sessions opened at a time."""

SETTLE_SECONDS: Final = 1.0
OFFICE: Final = "idle"
QUOTE: Final = pb.QuoteCallRequest(office_id=OFFICE, called_number="+442079460958", direction=pb.OUTBOUND)


async def measure_idle_sessions(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    """Open Sessions over several connections, ask one thing on each, and look at the front's resident memory.

    Raises:
        BenchError: A Session was not answered at first, or not any more at the end, or the books are wrong.
    """
    async with (
        running_front(store, [OFFICE]) as front,
        open_channels(front.address, CHANNELS) as channels,
    ):
        pid = front.process.pid
        # The connections and whatever a first Session brings along are there before, and do not count.
        for channel in channels:
            await (await _open(channel)).close()
        await asyncio.sleep(SETTLE_SECONDS)
        before = resident_bytes(pid)
        started = perf_counter()
        opening = asyncio.Semaphore(AT_ONCE)

        async def open_one(index: int) -> PlainSession:
            async with opening:
                return await _open(channels[index % CHANNELS])

        sessions = await asyncio.gather(*[open_one(index) for index in range(effort.idle_sessions)])
        opened = perf_counter() - started
        await asyncio.sleep(SETTLE_SECONDS)
        held = resident_bytes(pid)
        cpu, since = process_cpu_seconds(pid), perf_counter()
        await asyncio.sleep(SETTLE_SECONDS)
        idle_cpu = (process_cpu_seconds(pid) - cpu) / (perf_counter() - since)
        await _place_call(sessions[-1])
        await asyncio.gather(*[session.close() for session in sessions])
        await asyncio.sleep(SETTLE_SECONDS)
        after = resident_bytes(pid)
        await books.audit_store("idle_sessions", {OFFICE: FUNDS_MICROS}, front.store)
    return {
        "sessions": len(sessions),
        "channels": CHANNELS,
        "opened_per_second": rounded(len(sessions) / opened),
        "front_bytes_before": before,
        "front_bytes_with_them": held,
        "front_bytes_after": after,
        "bytes_per_session": rounded((held - before) / len(sessions)),
        "idle_cpu_percent": rounded(100 * idle_cpu),
    }


async def _open(channel: grpc.aio.Channel) -> PlainSession:
    session = PlainSession(channel)
    await session.ask(quote_call=QUOTE)
    return session


async def _place_call(session: PlainSession) -> None:
    """The last Session still decides; the call is not answered, and costs nothing."""
    granted = await session.ask(
        authorize_call=pb.AuthorizeCallRequest(
            office_id=OFFICE, call_id="last", direction=pb.OUTBOUND, called_number=QUOTE.called_number
        )
    )
    if granted.authorize_call.reason != pb.FUNDED:
        raise BenchError(f"a call was answered {pb.Reason.Name(granted.authorize_call.reason)}")
    await session.ask(end_call=pb.EndCallRequest(office_id=OFFICE, call_id="last"))

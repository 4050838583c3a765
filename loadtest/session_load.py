"""The load of the Session measure: `python -m loadtest.session_load` is a switch with a Session to each target.

Lean, so that the figures are those of the gateway: requests are put together from packed pieces, and the stream carries
bytes. The benchmark says over a socket what to do, a line of JSON each, and gets a line back.
"""

import argparse
import asyncio
import itertools
import random
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict, dataclass, field
from statistics import fmean
from time import perf_counter
from typing import Any, Final

import grpc.aio
import uvloop

from gateway.address import Address
from gateway.client.channel_options import CHANNEL_OPTIONS
from gateway.parent_watch import exit_with_parent
from gateway.v1 import authorization_pb2 as pb
from loadtest.callers import DEADLINE_SECONDS, DURATIONS, PREFIXES
from loadtest.control import Control, running_controlled, serve_control
from loadtest.figures import Latency
from loadtest.processes import BenchError
from loadtest.scene import OPERATOR_TOKEN
from loadtest.schedule import OpenLoop, constant_arrivals

SESSION: Final = "/gateway.v1.CallAuthorization/Session"
SWITCH: Final = "sbc-1"
METADATA: Final = (("authorization", f"Bearer {OPERATOR_TOKEN}"), ("x-switch-id", SWITCH))
MAX_BATCH: Final = 1_000
RETRY_SECONDS: Final = 0.1
MAX_RETRIES: Final = 1_000_000
"""Of all rounds: on a schedule that is too fast for the machine there are many."""

_ID_LENGTH: Final = 36
_FIRST_TAG: Final = 128
_LAST_TAG: Final = (1 << 14) - 1
"""Tags between these take two bytes, so that a packed operation has the same length with each."""

_BACKLOG_SAMPLES: Final = 20

_UNAVAILABLE: Final = grpc.StatusCode.UNAVAILABLE.value[0]
_DIGITS: Final = tuple(b"%05d" % number for number in range(100_000))


@dataclass
class Load:
    """What was measured in a stretch of time.

    Attributes:
        seconds: How long it was.
        latencies: In seconds; in an open loop from the time at which the schedule had an operation sent.
        authorize: Those of the authorizations among them; of an open loop only.
        lags: How much later than that it was sent, in seconds; empty in a closed loop.
        retries: Of an open loop: operations that were asked again, since the store did not answer in time.
        backlog: Of an open loop: after so many seconds, how many operations should have been answered and were not.
    """

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    authorize: list[float] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    retries: int = 0
    backlog: list[tuple[float, int]] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Sums; the latencies themselves would be a long line."""
        return {
            "seconds": self.seconds,
            "operations": len(self.latencies),
            "latency_ms": asdict(Latency.of(self.latencies)),
            "authorize_ms": asdict(Latency.of(self.authorize)) if self.authorize else None,
            "lag_ms": asdict(Latency.of(self.lags)) if self.lags else None,
            "retries": self.retries,
            "backlog_growth": growth_per_second(self.backlog),
        }


class Packer:
    """Puts operations together: all but ids, tags and the digits of offices and numbers was packed beforehand.

    Args:
        offices: How many there are. All names have the same length, so a million cost no more than one.
    """

    def __init__(self, offices: int) -> None:
        self.offices = offices
        self._authorize = [
            _around_office(_head("authorize_call", _authorize_without_id(office_name(0), prefix)))
            for prefix in PREFIXES
        ]
        self._end = [
            _around_office(_head("end_call", _end_without_id(office_name(0), duration))) for duration in DURATIONS
        ]

    def authorize(self, office: int, prefix: int, digits: int, call_id: bytes, tag: bytes) -> bytes:
        """An AuthorizeCall operation as a field of a SessionRequest."""
        before, behind = self._authorize[prefix]
        return b"%b%07d%b%b\x12\x24%b%b" % (before, office, behind, _DIGITS[digits], call_id, tag)

    def end(self, office: int, duration: int, call_id: bytes, tag: bytes) -> bytes:
        """An EndCall operation likewise."""
        before, behind = self._end[duration]
        return b"%b%07d%b\x12\x24%b%b" % (before, office, behind, call_id, tag)


def office_name(index: int) -> str:
    """The offices that calls are placed for; up to ten million."""
    return f"office-{index:07d}"


def growth_per_second(backlog: Sequence[tuple[float, int]]) -> float | None:
    """By how many operations a second the backlog of a schedule grew over its second half; None: too few were seen.

    The mean of the last quarter against that of the second one, so that neither the start nor one stall decides.
    """
    if len(backlog) < _BACKLOG_SAMPLES // 2:
        return None
    quarter = len(backlog) // 4
    early, late = backlog[quarter : 2 * quarter], backlog[-quarter:]
    (began, few), (ended, many) = (map(fmean, zip(*each, strict=True)) for each in (early, late))
    return (many - few) / (ended - began)


def tag_of(slot: int) -> bytes:
    """The tag of a slot as a field of an Operation, always three bytes."""
    number = _FIRST_TAG + slot
    return bytes((0x08, number & 0x7F | 0x80, number >> 7))


def _authorize_without_id(office_id: str, prefix: str) -> tuple[bytes, int]:
    request = pb.AuthorizeCallRequest(
        office_id=office_id,
        direction=pb.OUTBOUND,
        calling_number="+12125550100",
        user_id="u-1042",
        department_id="sales",
        switch_id=SWITCH,
    )
    # Field 5 comes last, and is left open for its digits.
    return request.SerializeToString() + bytes((0x2A, len(prefix) + 5)) + prefix.encode(), 5


def _end_without_id(office_id: str, duration: int) -> tuple[bytes, int]:
    request = pb.EndCallRequest(office_id=office_id, duration_seconds=duration, cause="16")
    return request.SerializeToString(), 0


def _head(kind: str, body: tuple[bytes, int]) -> bytes:
    """What comes before the call id in an operation: lengths, and the request so far."""
    packed, missing = body
    inner = len(packed) + missing + 2 + _ID_LENGTH
    key = bytes((pb.Operation.DESCRIPTOR.fields_by_name[kind].number << 3 | 2,))
    request = key + _varint(inner)
    return b"\x0a" + _varint(len(request) + inner + len(tag_of(0))) + request + packed


def _around_office(head: bytes) -> tuple[bytes, bytes]:
    """What stands before and behind the digits of the office, which is the first field."""
    before, _, behind = head.partition(b"%07d" % 0)
    return before, behind


def _varint(number: int) -> bytes:
    packed = b""
    while number > 0x7F:
        packed += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return packed + bytes((number,))


class Switch:
    """One Session, which authorizes calls and ends them, and keeps the books of what its answers said.

    A slot is a call with at most one operation in flight, and names it: its number is the tag.

    Args:
        stream: Carries bytes.
        packer: Of operations.
        name: Goes into the call ids; 8 characters.

    Attributes:
        at_random: True: each call is of any office; False: of one after the other.
        among: How many offices, the first ones, calls are placed for.
    """

    def __init__(self, stream: Any, packer: Packer, name: str) -> None:
        self._stream = stream
        self._packer = packer
        self._name = name.rjust(8, "0").encode()
        self._numbers = itertools.count()
        # Seeded, so that each run calls the same numbers.
        self._random = random.Random(1).random
        slots = _LAST_TAG - _FIRST_TAG + 1
        self._tags = [tag_of(slot) for slot in range(slots)]
        self._is_ending = [False] * slots
        self._office = [0] * slots
        self._call_id = [b""] * slots
        self._operation = [b""] * slots
        self._since = [0.0] * slots
        self.at_random = False
        self.among = packer.offices
        self.debited: Counter[int] = Counter()
        self.retries = 0

    async def run_closed(self, in_flight: int, seconds: float) -> Load:
        """Keep so many operations in flight for so long; calls that have begun are ended, and count.

        Raises:
            BenchError: An answer was not what it should have been.
        """
        load, live = Load(), in_flight
        started = perf_counter()
        await self._send([self._authorize(slot) for slot in range(in_flight)], range(in_flight))
        while live:
            results = await self._read()
            arrived = perf_counter()
            goes_on = arrived - started < seconds
            batch, slots = [], []
            for result in results:
                slot = result.tag - _FIRST_TAG
                was_end = self._is_ending[slot]
                if not self._take(slot, result):
                    batch.append(self._operation[slot])
                else:
                    load.latencies.append(arrived - self._since[slot])
                    if was_end and not goes_on:
                        live -= 1
                        continue
                    batch.append(self._authorize(slot) if was_end else self._end(slot))
                slots.append(slot)
            await self._send(batch, slots)
        load.seconds = perf_counter() - started
        return load

    async def run_open(self, per_second: float, seconds: float, coalescing_seconds: float = 0.0) -> Load:
        """Send operations by a schedule, whether the ones before were answered or not.

        Where more answers are missing than there are tags, operations wait for a tag, and what the store did not answer
        in time is asked again with its id; their latency counts from the time of the schedule all the same.

        Raises:
            BenchError: An answer was not what it should have been.
        """
        load, total, sent, answered, is_held_up = Load(), int(per_second * seconds), 0, 0, False
        free, ready = deque(range(len(self._tags))), deque[int]()
        waiting: list[int] = []
        again: list[int] = []
        arrived = asyncio.Event()
        look_every = seconds / _BACKLOG_SAMPLES

        def send(intended: float) -> bool:
            nonlocal sent, is_held_up
            elapsed = perf_counter() - loop.begin
            if look_every * (1 + len(load.backlog)) <= elapsed < seconds:
                load.backlog.append((elapsed, int(elapsed * per_second) - answered))
            # Calls and their ends in turn; where no call waits for its end, one more begins.
            if sent % 2 and ready:
                slot = ready.popleft()
                self._end(slot)
            elif free:
                slot = free.popleft()
                self._authorize(slot)
            else:
                is_held_up = True
                return False
            self._since[slot] = intended
            waiting.append(slot)
            sent += 1
            arrived.set()
            return True

        def ask_again(slot: int) -> None:
            again.append(slot)
            arrived.set()

        async def write() -> None:
            while answered < total:
                await arrived.wait()
                arrived.clear()
                while again:
                    slots, again[:MAX_BATCH] = again[:MAX_BATCH], []
                    await self._write(b"".join([self._operation[slot] for slot in slots]))
                while waiting:
                    slots = waiting[:MAX_BATCH]
                    del waiting[:MAX_BATCH]
                    now = perf_counter()
                    load.lags.extend(now - self._since[slot] for slot in slots)
                    await self._write(b"".join([self._operation[slot] for slot in slots]))

        loop = OpenLoop(constant_arrivals(per_second, seconds), send, coalescing_seconds=coalescing_seconds)
        sending = [asyncio.create_task(loop.run()), asyncio.create_task(write())]
        try:
            while answered < total:
                results = await self._read()
                now = perf_counter()
                for result in results:
                    slot = result.tag - _FIRST_TAG
                    was_end = self._is_ending[slot]
                    if not self._take(slot, result):
                        load.retries += 1
                        asyncio.get_running_loop().call_later(RETRY_SECONDS, ask_again, slot)
                        continue
                    answered += 1
                    load.latencies.append(now - self._since[slot])
                    if not was_end:
                        load.authorize.append(now - self._since[slot])
                    (free if was_end else ready).append(slot)
                if is_held_up:
                    is_held_up = False
                    loop.resume()
            load.seconds = perf_counter() - loop.begin
            # The last answers may be here before the write that asked for them returns, and grpc cancels a stream
            # whose write is cancelled.
            arrived.set()
            await asyncio.gather(*sending)
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
        while ready:
            slots = [ready.popleft() for _ in range(min(MAX_BATCH, len(ready)))]
            await self._send([self._end(slot) for slot in slots], slots)
            left = len(slots)
            while left:
                unanswered = []
                for result in await self._read():
                    slot = result.tag - _FIRST_TAG
                    if self._take(slot, result):
                        left -= 1
                    else:
                        unanswered.append(slot)
                await self._send([self._operation[slot] for slot in unanswered], unanswered)
        return load

    def _authorize(self, slot: int) -> bytes:
        chance, number = self._random, next(self._numbers)
        office = int(chance() * self.among) if self.at_random else number % self.among
        call_id = b"%b-0000-4000-8000-%012x" % (self._name, number)
        self._office[slot], self._call_id[slot], self._is_ending[slot] = office, call_id, False
        digits = int(chance() * 200_000)
        operation = self._packer.authorize(office, digits & 1, digits >> 1, call_id, self._tags[slot])
        self._operation[slot] = operation
        return operation

    def _end(self, slot: int) -> bytes:
        duration = int(self._random() * len(DURATIONS))
        self._is_ending[slot] = True
        operation = self._packer.end(self._office[slot], duration, self._call_id[slot], self._tags[slot])
        self._operation[slot] = operation
        return operation

    def _take(self, slot: int, result: pb.Result) -> bool:
        """Keep the books of an answer; False: there was none in time, ask again with the same id."""
        if self._is_ending[slot] and result.HasField("end_call"):
            self.debited[self._office[slot]] += result.end_call.debited_micros
            return True
        if not self._is_ending[slot] and result.HasField("authorize_call"):
            if result.authorize_call.reason != pb.FUNDED:
                raise BenchError(f"a call was answered {pb.Reason.Name(result.authorize_call.reason)}")
            return True
        if result.error.code != _UNAVAILABLE or self.retries >= MAX_RETRIES:
            raise BenchError(f"an operation was answered: {result}")
        self.retries += 1
        return False

    async def _send(self, batch: list[bytes], slots: "list[int] | range") -> None:
        if batch:
            now = perf_counter()
            for slot in slots:
                self._since[slot] = now
            await self._write(b"".join(batch))

    async def _write(self, batch: bytes) -> None:
        try:
            await self._stream.write(batch)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            raise await self._ended() from error

    async def _read(self) -> Any:
        try:
            data = await self._stream.read()
        except grpc.aio.AioRpcError as error:
            raise await self._ended() from error
        if not isinstance(data, bytes):
            raise await self._ended()
        return pb.SessionResponse.FromString(data).results

    async def _ended(self) -> BenchError:
        code, details = await self._stream.code(), await self._stream.details()
        return BenchError(f"the Session was ended with {code.name}: {details}")


def running_load(targets: Mapping[str, Address], offices: int) -> AbstractAsyncContextManager[Control]:
    """Run the load generator with a Session to each target."""
    named = [word for name, address in targets.items() for word in ("--target", f"{name}={address}")]
    return running_controlled("load", "loadtest.session_load", *named, "--offices", str(offices))


async def serve_load(targets: dict[str, Address], offices: int) -> None:
    """Do what is asked for until SIGTERM."""
    packer = Packer(offices)
    channels = {
        name: grpc.aio.insecure_channel(str(address), options=CHANNEL_OPTIONS) for name, address in targets.items()
    }
    switches = {
        name: Switch(channel.stream_stream(SESSION)(metadata=METADATA), packer, "session")
        for name, channel in channels.items()
    }

    async def do(asked: dict[str, Any]) -> dict[str, Any]:
        async with asyncio.timeout(asked.get("seconds", 0.0) + 2 * DEADLINE_SECONDS):
            switch = switches[asked["target"]]
            switch.at_random, switch.among = asked.get("at_random", False), asked.get("among") or offices
            if asked["do"] == "closed":
                return (await switch.run_closed(asked["in_flight"], asked["seconds"])).to_json()
            if asked["do"] == "open":
                coalescing_seconds = asked.get("coalescing_seconds", 0.0)
                return (await switch.run_open(asked["per_second"], asked["seconds"], coalescing_seconds)).to_json()
            debited = {office_name(office): micros for office, micros in switch.debited.items()}
            return {"debited": debited, "retries": switch.retries}

    await serve_control("load", do)
    for channel in channels.values():
        await channel.close()


def main() -> None:
    """Read the command line and wait for what is to be done."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.session_load")
    parser.add_argument("--target", action="append", required=True, help="name=address")
    parser.add_argument("--offices", type=int, required=True)
    given = parser.parse_args()
    exit_with_parent()
    targets = {name: Address.parse(address) for name, _, address in (each.partition("=") for each in given.target)}
    uvloop.run(serve_load(targets, given.offices))


if __name__ == "__main__":
    main()

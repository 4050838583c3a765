"""A Session as plain as can be, for measures in which its own cost does not count."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import grpc.aio

from gateway.address import Address
from gateway.client.channel_options import CHANNEL_OPTIONS
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from loadtest.processes import BenchError
from loadtest.session_load import METADATA

ANSWER_SECONDS: Final = 30.0


class PlainSession:
    """One stream; operations one by one, answers as they come.

    Args:
        channel: To the gateway.
        on_command: Called with each command as it arrives.
    """

    def __init__(self, channel: grpc.aio.Channel, on_command: Callable[[pb.Command], None] = lambda _: None) -> None:
        self._stream: Any = CallAuthorizationStub(channel).Session(metadata=METADATA)
        self._on_command = on_command
        self._tags = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[pb.Result]] = {}
        self._writing = asyncio.Lock()
        self._reading = asyncio.create_task(self._read())

    async def ask(self, **operation: Any) -> pb.Result:
        """Ask for one operation.

        Raises:
            BenchError: It was answered with an error, or not at all.
        """
        tag, answer = next(self._tags), asyncio.get_running_loop().create_future()
        self._waiting[tag] = answer
        async with self._writing:  # grpc allows one write at a time
            await self._stream.write(pb.SessionRequest(operations=[pb.Operation(tag=tag, **operation)]))
        async with asyncio.timeout(ANSWER_SECONDS):
            result: pb.Result = await answer
        if result.HasField("error"):
            raise BenchError(f"an operation was answered {result.error.message}")
        return result

    async def close(self) -> None:
        """Close the stream, and wait until the gateway has."""
        await self._stream.done_writing()
        await self._reading

    async def _read(self) -> None:
        try:
            while isinstance(response := await self._stream.read(), pb.SessionResponse):
                for result in response.results:
                    self._waiting.pop(result.tag).set_result(result)
                for command in response.commands:
                    self._on_command(command)
        except grpc.aio.AioRpcError as error:
            for answer in self._waiting.values():
                answer.set_exception(BenchError(f"the Session ended with {error.code().name}: {error.details()}"))


@asynccontextmanager
async def open_channels(address: Address, count: int) -> AsyncIterator[list[grpc.aio.Channel]]:
    """Channels with a connection each."""
    channels = [
        grpc.aio.insecure_channel(str(address), options=(*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", 1)))
        for _ in range(count)
    ]
    try:
        yield channels
    finally:
        await asyncio.gather(*[channel.close() for channel in channels])

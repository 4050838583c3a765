"""The call that the demo leaves talking."""

import asyncio
from contextlib import suppress
from time import perf_counter
from typing import TYPE_CHECKING, Final, Self

import grpc

from gateway.client_channel import open_channel
from gateway.settings import Settings
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub

if TYPE_CHECKING:
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub

_TICK_EVERY_SECONDS: Final = 10.0


class LastCall:
    """A call that is left talking in real time, for the reader to ask about.

    Use: `async with last_call: ...`. Its switch ticks it as it must; nobody ends it when the gateway stops first.

    Attributes:
        office_id: Who pays.
        call_id: Its id.
        another_number: One that the same office may call meanwhile.
    """

    def __init__(
        self, settings: Settings, secret: str, office_id: str, called_number: str, another_number: str, call_id: str
    ) -> None:
        self.office_id = office_id
        self.call_id = call_id
        self.another_number = another_number
        self._called_number = called_number
        self._settings = settings
        self._secret = secret
        self._talking: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._channel = open_channel(self._settings.listen, self._secret)
        switch: CallAuthorizationAsyncStub = CallAuthorizationStub(self._channel)
        await switch.AuthorizeCall(
            pb.AuthorizeCallRequest(
                office_id=self.office_id,
                call_id=self.call_id,
                direction=pb.OUTBOUND,
                called_number=self._called_number,
            )
        )
        await switch.AnswerCall(pb.AnswerCallRequest(office_id=self.office_id, call_id=self.call_id))
        self._talking = asyncio.create_task(self._talk(switch))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._talking is not None:
            self._talking.cancel()
            with suppress(asyncio.CancelledError, grpc.RpcError):
                await self._talking
        await self._channel.close()

    async def _talk(self, switch: "CallAuthorizationAsyncStub") -> None:
        answered = perf_counter()
        while True:
            await asyncio.sleep(_TICK_EVERY_SECONDS)
            used = int(perf_counter() - answered)
            tick = await switch.TickCall(
                pb.TickCallRequest(office_id=self.office_id, call_id=self.call_id, used_seconds=used)
            )
            if tick.ended or used >= tick.granted_seconds - _TICK_EVERY_SECONDS:
                return

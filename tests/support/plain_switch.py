"""A switch that keeps no stream and asks once: for tests of what it is told while something is broken."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from gateway.client.channel_options import CHANNEL_OPTIONS
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from tests.support.front import metadata
from tests.support.operator import OPERATOR_TOKEN
from tests.support.switch_books import LONDON, NEW_YORK

if TYPE_CHECKING:  # it is in the stubs only
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub

EMERGENCY_NUMBER = "911"
DEADLINE_SECONDS = 5.0

_numbers = itertools.count()


class PlainSwitch:
    """Asks for one office; every id is new.

    Args:
        stub: Of the gateway.
        office_id: Who pays.
        deadline_seconds: Of each request, which is never repeated.
    """

    def __init__(self, stub: "CallAuthorizationAsyncStub", office_id: str, deadline_seconds: float) -> None:
        self._stub = stub
        self._office_id = office_id
        self._options: Any = {"metadata": metadata(OPERATOR_TOKEN), "timeout": deadline_seconds}
        self._up: list[str] = []

    @classmethod
    @asynccontextmanager
    async def of(
        cls, server: str, office_id: str, *, deadline_seconds: float = DEADLINE_SECONDS
    ) -> AsyncIterator["PlainSwitch"]:
        """A switch with a connection of its own, until the block ends."""
        async with grpc.aio.insecure_channel(server, options=CHANNEL_OPTIONS) as channel:
            yield cls(CallAuthorizationStub(channel), office_id, deadline_seconds)

    async def reason(self, called_number: str) -> str:
        """Why a call is granted or not, or the status in place of an answer; each by its name."""
        request = pb.AuthorizeCallRequest(
            office_id=self._office_id,
            call_id=f"plain-{next(_numbers)}",
            direction=pb.OUTBOUND,
            called_number=called_number,
        )
        # What was not answered may have happened, too.
        self._up.append(request.call_id)
        try:
            answer = await self._stub.AuthorizeCall(request, **self._options)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return pb.Reason.Name(answer.reason)

    async def hang_up(self) -> None:
        """End all that was asked for, unanswered and at no cost; to be called when the gateway answers again."""
        while self._up:
            end = pb.EndCallRequest(office_id=self._office_id, call_id=self._up[-1])
            try:
                await self._stub.EndCall(end, **self._options)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.NOT_FOUND:
                    raise
            self._up.pop()

    async def reasons(self) -> tuple[str, str, str]:
        """What becomes of an emergency call, of a free one and of one that costs money."""
        return (
            await self.reason(EMERGENCY_NUMBER),
            await self.reason(NEW_YORK),
            await self.reason(LONDON),
        )

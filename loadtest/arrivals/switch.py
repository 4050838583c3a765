"""A switch that authorizes and ends calls one operation at a time, over a Session or by single rpcs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import grpc
import grpc.aio

from gateway.address import Address
from gateway.client import Client, ClientError
from gateway.v1 import authorization_pb2 as pb
from loadtest.processes import BenchError
from loadtest.scene import open_stub_with

WAYS: Final = ("session", "unary")

DEADLINE_SECONDS: Final = 30.0
"""Of an operation with its retries: longer than any stall that is worth measuring."""

_PAUSE_SECONDS: Final = 0.05
_MOST_PENDING: Final = 200_000


class Switch(Protocol):
    """Both raise BenchError where there is no answer in time, or an error."""

    async def authorize_call(self, office_id: str, call_id: str, called_number: str) -> pb.AuthorizeCallResponse:
        """Ask for a call, again and again with the same id."""

    async def end_call(self, office_id: str, call_id: str, duration_seconds: int) -> pb.EndCallResponse:
        """End it likewise."""


class SessionSwitch:
    """Over one Session stream, by the client library; what is asked for at the same time shares messages.

    Args:
        client: Entered.
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def authorize_call(self, office_id: str, call_id: str, called_number: str) -> pb.AuthorizeCallResponse:
        """As `Switch` says."""
        try:
            return await self._client.authorize_call(
                office_id=office_id,
                call_id=call_id,
                direction=pb.OUTBOUND,
                calling_number="+12125550100",
                called_number=called_number,
                deadline_seconds=DEADLINE_SECONDS,
            )
        except ClientError as error:
            raise BenchError(f"AuthorizeCall: {error}") from error

    async def end_call(self, office_id: str, call_id: str, duration_seconds: int) -> pb.EndCallResponse:
        """As `Switch` says."""
        try:
            return await self._client.end_call(
                office_id=office_id,
                call_id=call_id,
                duration_seconds=duration_seconds,
                cause="16",
                deadline_seconds=DEADLINE_SECONDS,
            )
        except ClientError as error:
            raise BenchError(f"EndCall: {error}") from error


class UnarySwitch:
    """By single rpcs on one channel.

    Args:
        stub: With a switch's token.
    """

    def __init__(self, stub: Any) -> None:
        self._stub = stub

    async def authorize_call(self, office_id: str, call_id: str, called_number: str) -> pb.AuthorizeCallResponse:
        """As `Switch` says."""
        request = pb.AuthorizeCallRequest(
            office_id=office_id,
            call_id=call_id,
            direction=pb.OUTBOUND,
            calling_number="+12125550100",
            called_number=called_number,
        )
        answer: pb.AuthorizeCallResponse = await self._ask(self._stub.AuthorizeCall, request)
        return answer

    async def end_call(self, office_id: str, call_id: str, duration_seconds: int) -> pb.EndCallResponse:
        """As `Switch` says."""
        request = pb.EndCallRequest(office_id=office_id, call_id=call_id, duration_seconds=duration_seconds, cause="16")
        answer: pb.EndCallResponse = await self._ask(self._stub.EndCall, request)
        return answer

    async def _ask(self, rpc: Any, request: Any) -> Any:
        deadline = asyncio.get_running_loop().time() + DEADLINE_SECONDS
        while True:
            left = deadline - asyncio.get_running_loop().time()
            try:
                return await rpc(request, timeout=max(0.001, left))
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or left <= _PAUSE_SECONDS:
                    raise BenchError(f"{type(request).__name__}: {error.code().name}: {error.details()}") from error
                await asyncio.sleep(_PAUSE_SECONDS)


@asynccontextmanager
async def open_switch(way: str, server: Address, token: str) -> AsyncIterator[Switch]:
    """A switch that is connected.

    Args:
        way: One of WAYS.
        server: CallAuthorization.
        token: A switch's.
    """
    if way == "session":
        async with Client(str(server), token, max_pending=_MOST_PENDING) as client:
            await client.wait_connected(limit_seconds=20)
            yield SessionSwitch(client)
    else:
        async with open_stub_with(server, token) as stub:
            yield UnarySwitch(stub)

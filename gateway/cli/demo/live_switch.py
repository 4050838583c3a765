"""The switch of the live act, on gateway.client: it connects calls and obeys, and neither ticks nor counts money."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from time import perf_counter
from typing import Final, TypeAlias

from gateway.cli.demo.books import BooksError
from gateway.client import Client, Command, CutCall, FundsLow, FundsRestored, UnknownCall
from gateway.v1 import authorization_pb2 as pb

COMMAND_LIMIT_SECONDS: Final = 30.0
"""The gateway promises a cut within a second. Who is told nothing for so long is told nothing."""

Kind: TypeAlias = type[CutCall] | type[FundsLow] | type[FundsRestored] | type[UnknownCall]


@dataclass(frozen=True, slots=True)
class Heard:
    """A command, and when it came."""

    command: Command
    at: datetime


class SwitchedCall:
    """A call on its way through the switch.

    Attributes:
        request: With which it is asked for.
    """

    def __init__(self, request: pb.AuthorizeCallRequest) -> None:
        self.request: Final = request
        self._told: dict[Kind, asyncio.Future[Heard]] = {}
        self._answered = perf_counter()

    def __str__(self) -> str:
        return f"{self.request.call_id} of {self.request.office_id}"

    def answer(self) -> None:
        """Somebody picks up."""
        self._answered = perf_counter()

    def tell(self, command: Command) -> None:
        """Take a command of the gateway."""
        future = self._future(type(command))
        if not future.done():
            future.set_result(Heard(command, datetime.now(UTC)))

    async def told(self, kind: Kind, limit_seconds: float = COMMAND_LIMIT_SECONDS) -> Heard:
        """Wait for a command.

        Raises:
            BooksError: The call is cut instead, or nothing comes.
        """
        wanted, cut = self._future(kind), self._future(CutCall)
        await asyncio.wait([wanted, cut], timeout=limit_seconds, return_when=asyncio.FIRST_COMPLETED)
        if wanted.done():
            return wanted.result()
        raise BooksError(f"{self} was {'cut' if cut.done() else 'told nothing'} where it waited for {kind.__name__}")

    async def talk(self, seconds: float) -> None:
        """Talk on for so long.

        Raises:
            BooksError: The call is cut meanwhile.
        """
        cut, _ = await asyncio.wait([self._future(CutCall)], timeout=seconds)
        if cut:
            raise BooksError(f"{self} was cut, and there were funds to talk on")

    def hang_up(self) -> int:
        """Hang up; returns the talk time, in seconds, rounded up."""
        return ceil(perf_counter() - self._answered)

    def _future(self, kind: Kind) -> asyncio.Future[Heard]:
        return self._told.setdefault(kind, asyncio.get_running_loop().create_future())


class LiveSwitch:
    """Places calls on a Session.

    Args:
        client: The Session.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._calls: dict[str, SwitchedCall] = {}

    async def connect(self, request: pb.AuthorizeCallRequest) -> tuple[SwitchedCall, pb.AuthorizeCallResponse]:
        """Ask for a call; one that is granted is answered at once.

        Raises:
            ClientError: The gateway did not answer.
        """
        call = self._calls[request.call_id] = SwitchedCall(request)
        answer = await self._client.authorize_call(
            office_id=request.office_id,
            call_id=request.call_id,
            direction=request.direction,
            called_number=request.called_number,
        )
        if answer.decision == pb.GRANTED:
            call.answer()
            await self._client.answer_call(office_id=request.office_id, call_id=request.call_id)
        return call, answer

    async def end(self, call: SwitchedCall, seconds: int) -> pb.EndCallResponse:
        """Settle a call.

        Raises:
            ClientError: The gateway did not answer.
        """
        return await self._client.end_call(
            office_id=call.request.office_id, call_id=call.request.call_id, duration_seconds=seconds
        )

    async def obey(self) -> AsyncIterator[tuple[SwitchedCall, Command]]:
        """Pass each command on to its call, and say so."""
        async for command in self._client.commands():
            call = self._calls.get(command.call_id)
            if call is not None:
                call.tell(command)
                yield call, command

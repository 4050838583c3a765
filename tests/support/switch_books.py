"""A switch at work that keeps books of its own: what it was told it has paid, and when, to be held against the
gateway's after whatever was done to it meanwhile.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from gateway.address import Address
from gateway.client import Client, LinkTimes, NotFound
from gateway.client_channel import open_channel
from gateway.slices import slices
from gateway.v1 import authorization_pb2 as pb
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from tests.support.operator import OPERATOR_TOKEN

if TYPE_CHECKING:  # it is in the stubs only
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub

LONDON, NEW_YORK = "+442079460958", "+12125550142"
TALK_SECONDS = 61
PATIENT_SECONDS = 60.0
"""What the switch gives a fault to pass: it asks again, with the same id, until there is an answer."""

REPEATED_AT_ONCE = 50

MESSAGE: Mapping[str, Any] = {"called_number": NEW_YORK, "segments": 2}
"""What each message is."""

PAUSE_SECONDS = 0.03
"""Between two deeds of a line, so that the load is one that a busy machine carries."""


@dataclass(frozen=True, slots=True)
class Paid:
    """What was acknowledged as paid.

    Attributes:
        office_id: Who paid.
        thing_id: For which call or message.
        is_call: Which of the two.
        micros: How much.
        at: When the answer came, on the monotonic clock.
    """

    office_id: str
    thing_id: str
    is_call: bool
    micros: int
    at: float


class SwitchBooks:
    """Calls and messages of some offices, placed by some lines at once.

    Args:
        office_ids: The offices.

    Attributes:
        paid: All that was acknowledged, by office and id.
    """

    def __init__(self, office_ids: Sequence[str]) -> None:
        self.paid: dict[tuple[str, str], Paid] = {}
        self._office_ids = list(office_ids)
        self._numbers = itertools.count()
        self._under_way: set[tuple[str, int]] = set()
        self._stopped = asyncio.Event()

    @asynccontextmanager
    async def working(self, client: Client, *, lines: int = 8, is_cut_off: bool = False) -> AsyncIterator[None]:
        """Have the lines place calls and messages until the block ends.

        Args:
            client: Of the switch.
            lines: Work at once.
            is_cut_off: At the end there is no gateway any more: what is under way is left to `finish`.
        """
        self._stopped.clear()
        async with asyncio.TaskGroup() as placing:
            tasks = [placing.create_task(self._work(client, Random(line))) for line in range(lines)]
            try:
                yield
            finally:
                self._stopped.set()
                for task in tasks if is_cut_off else ():
                    task.cancel()

    async def finish(self, client: Client) -> None:
        """Ask again for all that a working that was cut off has left without an answer."""
        await asyncio.gather(*(self._do(client, *thing) for thing in list(self._under_way)))

    async def more(self, count: int, of: Set[str] | None = None) -> None:
        """Wait until so many more were paid, by anybody or by some offices.

        Raises:
            TimeoutError: They were not.
        """

        def paid() -> int:
            return sum(of is None or office_id in of for office_id, _ in self.paid)

        seen = paid()
        async with asyncio.timeout(PATIENT_SECONDS):
            while paid() < seen + count:  # noqa: ASYNC110  # it is counted, and nobody tells
                await asyncio.sleep(0.02)

    def spent(self) -> Mapping[str, int]:
        """What each office has paid, by the answers."""
        spent = dict.fromkeys(self._office_ids, 0)
        for paid in self.paid.values():
            spent[paid.office_id] += paid.micros
        return spent

    async def ask_again(self, server: str) -> list[Paid]:
        """Ask once more for everything that was paid, as a switch may that goes through its records.

        What the gateway still has it answers as before, and says so. All else never happened: it is settled anew, or,
        where the gateway knows nothing of the call, costs nothing; the books here have it so from now on.

        Once, and by no client that repeats: its first time would settle anew what its second hears was there.

        Returns:
            What was lost.
        """
        lost: list[Paid | None] = []
        async with open_channel(Address.parse(server), OPERATOR_TOKEN) as channel:
            stub = CallAuthorizationStub(channel)
            for some in slices(list(self.paid.values()), REPEATED_AT_ONCE):
                lost += await asyncio.gather(*(self._repeat(stub, paid) for paid in some))
        return [paid for paid in lost if paid is not None]

    async def _work(self, client: Client, dice: Random) -> None:
        while not self._stopped.is_set():
            thing = dice.choice(self._office_ids), next(self._numbers)
            self._under_way.add(thing)
            await self._do(client, *thing)
            await asyncio.sleep(PAUSE_SECONDS)

    async def _do(self, client: Client, office_id: str, number: int) -> None:
        name = f"thing-{number}"
        await (self._send if number % 2 else self._call)(client, office_id, name)
        self._under_way.discard((office_id, number))

    async def _send(self, client: Client, office_id: str, name: str) -> None:
        message: Any = {"office_id": office_id, "message_id": name, **MESSAGE}
        self._sent(office_id, name, await client.authorize_message(**message))

    async def _call(self, client: Client, office_id: str, name: str) -> None:
        of: Any = {"office_id": office_id, "call_id": name}
        granted = await client.authorize_call(**of, direction=pb.OUTBOUND, called_number=LONDON)
        # CALL_ENDED: it was the answer to the end that was lost.
        assert granted.reason in (pb.FUNDED, pb.CALL_ENDED), granted
        if granted.reason == pb.FUNDED:
            await client.answer_call(**of)
        with suppress(NotFound):  # The gateway lost the call, and it costs nothing.
            self._ended(office_id, name, await client.end_call(**of, duration_seconds=TALK_SECONDS))

    async def _repeat(self, stub: "CallAuthorizationAsyncStub", paid: Paid) -> Paid | None:
        office_id, name = paid.office_id, paid.thing_id
        try:
            if paid.is_call:
                end = pb.EndCallRequest(office_id=office_id, call_id=name, duration_seconds=TALK_SECONDS)
                is_known = self._ended(office_id, name, await stub.EndCall(end))
            else:
                message = pb.AuthorizeMessageRequest(office_id=office_id, message_id=name, **MESSAGE)
                is_known = self._sent(office_id, name, await stub.AuthorizeMessage(message))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
            del self.paid[office_id, name]
            return paid
        if not is_known:
            return paid
        assert self.paid[office_id, name].micros == paid.micros, "answered otherwise than before"
        return None

    def _sent(self, office_id: str, name: str, sent: pb.AuthorizeMessageResponse) -> bool:
        """Note a message; whether it was sent before."""
        assert sent.reason == pb.FUNDED, sent
        self._note(Paid(office_id, name, False, sent.debited_micros, time.monotonic()))
        return sent.replayed

    def _ended(self, office_id: str, name: str, ended: pb.EndCallResponse) -> bool:
        """Note the end of a call; whether it had ended before."""
        assert not ended.written_off_micros, ended
        self._note(Paid(office_id, name, True, ended.debited_micros, time.monotonic()))
        return ended.replayed

    def _note(self, paid: Paid) -> None:
        self.paid[paid.office_id, paid.thing_id] = paid


def patient_client(server: str) -> Client:
    """A switch that goes on asking through a fault, with an operator's token."""
    return Client(
        server,
        OPERATOR_TOKEN,
        switch_id="sw",
        deadline_seconds=PATIENT_SECONDS,
        settle_deadline_seconds=PATIENT_SECONDS,
        times=LinkTimes(stall_seconds=3.0),
    )

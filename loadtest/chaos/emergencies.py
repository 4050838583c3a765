"""Calls to 911 all the time: every one must be granted, and wait for nothing, whatever else goes on."""

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import Any, Final

from gateway.client import Client, ClientError
from gateway.v1 import authorization_pb2 as pb
from loadtest.chaos.books import Books
from loadtest.chaos.meter import Helped, Meter
from loadtest.chaos.unary import Asker, Refused, Unanswered

_PAUSE_SECONDS: Final = 0.1
_EMERGENCY: Final = "911"

_END_SECONDS: Final = 10.0
"""Long enough for most faults: what is not ended has to lapse before the books can be audited."""


class Emergencies:
    """Calls for help by the switches' Sessions, and by unary requests to the gateway itself.

    A Session's client grants an emergency by itself where no gateway answers; the others show what the gateway does.

    Args:
        clients: Of the switches, which take turns.
        asker: Of the gateway.
        office_id: Whose callers they are; it may be without funds.
        books: They say which fault goes on, and hear of what was wrong.
        meter: Counts.
        stop: Set: begin nothing new.
    """

    def __init__(
        self,
        clients: Sequence[Client],
        asker: Asker,
        office_id: str,
        books: Books,
        meter: Meter,
        stop: asyncio.Event,
    ) -> None:
        self._clients = itertools.cycle(clients)
        self._asker = asker
        self._office_id = office_id
        self._books = books
        self._meter = meter
        self._stop = stop

    async def by_session(self) -> None:
        """Call by each switch in turn; the next caller does not wait for the end of the one before."""
        async with asyncio.TaskGroup() as ends:
            for number in itertools.count():
                if self._stop.is_set():
                    return
                client = next(self._clients)
                call: dict[str, Any] = {"office_id": self._office_id, "call_id": f"help-{number}"}
                asked_at = monotonic()
                answer = await client.authorize_call(**call, direction=pb.OUTBOUND, called_number=_EMERGENCY)
                self._note(self._meter.helped, answer, asked_at)
                ends.create_task(_end(client, call))
                await asyncio.sleep(_PAUSE_SECONDS)

    async def directly(self) -> None:
        """Ask the gateway."""
        for number in itertools.count():
            if self._stop.is_set():
                return
            call: dict[str, Any] = {"office_id": self._office_id, "call_id": f"direct-help-{number}"}
            asked_at = monotonic()
            try:
                request = pb.AuthorizeCallRequest(**call, direction=pb.OUTBOUND, called_number=_EMERGENCY)
                self._note(self._meter.helped_directly, await self._asker.ask("AuthorizeCall", request), asked_at)
                await self._asker.ask("EndCall", pb.EndCallRequest(**call, duration_seconds=1))
            except Refused as refused:
                # The worker that granted it has gone before it could tell the store.
                if refused.code != "NOT_FOUND":
                    self._books.fault(f"an emergency call was answered {refused}")
            except Unanswered as error:
                self._books.fault(f"an emergency call was not answered: {error}")
            await asyncio.sleep(_PAUSE_SECONDS)

    def _note(self, helped: Helped, answer: pb.AuthorizeCallResponse, asked_at: float) -> None:
        if answer.reason == pb.EMERGENCY:
            helped.note(self._books.went_on_since(asked_at), monotonic() - asked_at)
        else:
            self._books.fault(f"an emergency call was answered {pb.Reason.Name(answer.reason)}")


async def _end(client: Client, call: dict[str, Any]) -> None:
    with suppress(ClientError):  # It costs nothing, and the next list of live calls does without it.
        await client.end_call(**call, duration_seconds=1, deadline_seconds=_END_SECONDS)

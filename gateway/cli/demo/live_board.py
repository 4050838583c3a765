"""What the live calls have cost so far, by the gateway's own word, moving while they talk."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from gateway.cli.call_table import CALLED, DEBITED, GRANTED, HELD, OFFICE, STATE, USED
from gateway.cli.call_view import CallView
from gateway.cli.demo.stage import Stage
from gateway.cli.output import money
from gateway.v1 import credits_pb2

_LOOK_SECONDS: Final = 0.25

_COLUMNS: Final = (OFFICE, CALLED, STATE, USED, GRANTED, DEBITED, HELD)


class LiveBoard:
    """Follows the live calls of some offices by ListCalls: a table on a terminal, a line a tick elsewhere.

    Args:
        stage: What is played on.
        office_ids: Whose calls.
        moment: Says when it is, as the act counts.
    """

    def __init__(self, stage: Stage, office_ids: Sequence[str], moment: Callable[[], str]) -> None:
        self._stage = stage
        self._office_ids = office_ids
        self._moment = moment
        self._debited_micros: dict[str, int] = {}

    async def watch(self) -> None:
        """Go on until cancelled.

        Raises:
            grpc.RpcError: The gateway does not answer.
        """
        with self._stage.screen.live_calls(_COLUMNS) as view:
            while True:
                calls = await self._calls()
                await self._show(calls, view)
                await asyncio.sleep(_LOOK_SECONDS)

    async def _calls(self) -> list[credits_pb2.Call]:
        """In the order in which they began, which is easier on the eye than that of the list."""
        answers = await asyncio.gather(
            *(
                self._stage.credits.ListCalls(credits_pb2.ListCallsRequest(office_id=office_id))
                for office_id in self._office_ids
            )
        )
        calls = [call for answer in answers for call in answer.calls]
        return sorted(calls, key=lambda call: call.authorized_at.ToNanoseconds())

    async def _show(self, calls: Sequence[credits_pb2.Call], view: CallView | None) -> None:
        if view is not None:
            view.update(calls, f"{self._moment()}  ticked by the gateway; what they cost so far is its answer")
            return
        for call in calls:
            before = self._debited_micros.get(call.call_id, 0)
            self._debited_micros[call.call_id] = call.debited_micros
            if call.debited_micros > before:
                await self._stage.show(
                    self._moment(),
                    call.office_id,
                    f"call to {call.called_number}: tick after {call.used_seconds} s",
                    f"{call.granted_seconds} s granted",
                    money(call.debited_micros),
                )

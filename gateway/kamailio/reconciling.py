"""Compares what is known here with the dialogs that Kamailio really has.

Events get lost: with the sidecar, with Kamailio, on the way. The list of dialogs is the truth about what is up; it is
read on every connection to Kamailio or to the gateway, and every half minute.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from gateway.client import LiveCall as ListedCall
from gateway.kamailio.calls import Calls, LiveCall
from gateway.kamailio.dialogs import Dialog
from gateway.kamailio.errors import ProtocolError
from gateway.kamailio.facts import Key
from gateway.kamailio.notes import CallEnded, MessageFailed, read_note
from gateway.kamailio.rpc import Rpc

_log = structlog.get_logger(__name__)

YOUNG_SECONDS: Final = 5.0
"""A call that was asked for so recently may have its dialog yet to come."""

_NEWS_SECONDS: Final = 1.0
"""So long the news of an end may take beside a list that no longer has the call."""


class Reconciler:
    """Makes the table here what Kamailio's is, and the gateway's by the list that it is sent.

    Args:
        rpc: Kamailio's.
        calls: The table.
        on_answered: Told of an answer that was missed.
        on_lost: Told of a call that is gone, and whose end nobody heard.
        on_missed: Told of what Kamailio kept, with its key in Kamailio's table.
    """

    def __init__(
        self,
        rpc: Rpc,
        calls: Calls,
        *,
        on_answered: Callable[[LiveCall], None],
        on_lost: Callable[[Key], None],
        on_missed: Callable[[CallEnded | MessageFailed, str], None],
    ) -> None:
        self._rpc = rpc
        self._calls = calls
        self._on_answered = on_answered
        self._on_lost = on_lost
        self._on_missed = on_missed
        self._lost: set[asyncio.Task[None]] = set()

    async def list_calls(self) -> list[ListedCall]:
        """The list for the gateway; on the way the table here is put right.

        Raises:
            RpcFailed: Kamailio does not say. No list is not an empty one.
        """
        await self._hear_missed()
        began = time.time()
        dialogs = {dialog.call.key: dialog for dialog in await self._rpc.list_dialogs() if dialog.call.office_id}
        for dialog in dialogs.values():
            if not self._calls.has_ended(dialog.call.key):  # Since Kamailio wrote its list.
                self._see(dialog, began)
        for call in self._calls:
            if call.facts.key not in dialogs and call.asked_at < began - YOUNG_SECONDS:
                self._look_again(call)
        return [_listed(call, began) for call in self._calls if self._is_up(call, dialogs, began)]

    async def close(self) -> None:
        """Stop waiting for news."""
        for task in list(self._lost):
            task.cancel()
        await asyncio.gather(*self._lost, return_exceptions=True)

    def _see(self, dialog: Dialog, now: float) -> None:
        call = self._calls.put(dialog.call, now)
        call.alive_at = max(call.alive_at, now)
        call.has_dialog(dialog.name, dialog.caller, dialog.callee)
        if dialog.answered_at and not call.answered_at:
            call.answered_at = dialog.answered_at
        if call.answered_at and not call.is_answer_told:
            self._on_answered(call)

    @staticmethod
    def _is_up(call: LiveCall, dialogs: dict[Key, Dialog], began: float) -> bool:
        return call.facts.key in dialogs or call.asked_at >= began - YOUNG_SECONDS

    def _look_again(self, call: LiveCall) -> None:
        """The news of its end may be on its way; if none comes, it is lost."""

        async def wait() -> None:
            await asyncio.sleep(_NEWS_SECONDS)
            if self._calls.get(call.facts.key) is call:
                _log.warning("end_was_lost", office_id=call.facts.office_id, call_id=call.facts.call_id)
                self._on_lost(call.facts.key)

        task = asyncio.create_task(wait())
        self._lost.add(task)
        task.add_done_callback(self._lost.discard)

    async def _hear_missed(self) -> None:
        for key, text in (await self._rpc.read_missed()).items():
            try:
                note = read_note(text)
            except ProtocolError as error:
                _log.error("missed_note_not_understood", error=str(error))
                continue
            if isinstance(note, CallEnded | MessageFailed):
                self._on_missed(note, key)


def _listed(call: LiveCall, now: float) -> ListedCall:
    # An answered call has used one second at least: 0 says that it rings.
    used = max(1, int(now - call.answered_at)) if call.answered_at else 0
    return ListedCall(call.facts.office_id, call.facts.call_id, used)

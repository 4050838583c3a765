"""Hangs calls up, again and again until they are gone: that Kamailio said yes proves nothing."""

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from gateway.kamailio.calls import Calls
from gateway.kamailio.errors import RpcFailed
from gateway.kamailio.facts import Key
from gateway.kamailio.notes import DialogName
from gateway.kamailio.rpc import Rpc

_log = structlog.get_logger(__name__)

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 30.0


class HangUp:
    """Ends dialogs on command.

    Args:
        rpc: Kamailio's.
        calls: The calls that are up.
        on_gone: Told when a dialog is gone; if nobody said that the call is over, it is now.
    """

    def __init__(self, rpc: Rpc, calls: Calls, *, on_gone: Callable[[Key, str], None]) -> None:
        self._rpc = rpc
        self._calls = calls
        self._on_gone = on_gone
        self._tasks: dict[Key, asyncio.Task[None]] = {}

    def start(self, key: Key, why: str) -> None:
        """Hang a call up; nothing if that is being done."""
        if key not in self._tasks:
            task = self._tasks[key] = asyncio.create_task(self._hang_up(key, why))
            task.add_done_callback(lambda _: self._tasks.pop(key, None))

    async def close(self) -> None:
        """Stop; the gateway repeats its commands."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _hang_up(self, key: Key, why: str) -> None:
        _log.info("hanging_up", office_id=key[0], call_id=key[1], why=why)
        dialog: DialogName | None = None
        is_told = False
        pause = FIRST_PAUSE_SECONDS
        while True:
            call = self._calls.get(key)
            if call is not None and call.answered_at:
                dialog = call.dialog
            if dialog is not None:
                # Kamailio calls it ended as soon as it is told to hang up. It has ended when the dialog is gone.
                told_at = time.time()
                is_there = await self._end_again(dialog, key)
                if is_there is False:
                    self._on_gone(key, why)
                    return
                if is_there and call is not None and not is_told:
                    # To here it counts, should nobody say when it was over.
                    call.alive_at, is_told = max(call.alive_at, told_at), True
            elif call is None:
                return
            # Else it rings, and is hung up at its answer: Kamailio 5.6 cannot end such a dialog, and `tm.cancel` leaves
            # a transaction behind that the next request of that process trips over.
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS) if dialog is not None else FIRST_PAUSE_SECONDS

    async def _end_again(self, dialog: DialogName, key: Key) -> bool | None:
        """Hang up once more; returns whether the dialog was there, None if that cannot be said."""
        try:
            return await self._rpc.end_dialog(dialog)
        except RpcFailed as error:
            _log.warning("not_hung_up_yet", call_id=key[1], error=str(error))
            return None

"""Hangs calls up, again and again until they are gone: that Kamailio said yes proves nothing."""

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from gateway.kamailio.calls import Calls
from gateway.kamailio.errors import RpcFailed
from gateway.kamailio.facts import Key
from gateway.kamailio.rpc import Rpc

_log = structlog.get_logger(__name__)

AGAIN_SECONDS: Final = 2.0


class HangUp:
    """Ends dialogs on command.

    Args:
        rpc: Kamailio's.
        calls: The calls that are up.
        on_gone: Told of a call whose dialog is gone without a word.
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
        while self._calls.get(key) is not None:
            try:
                is_there = await self._end(key)
            except RpcFailed as error:
                _log.warning("not_hung_up_yet", call_id=key[1], error=str(error))
                is_there = True
            if not is_there:
                self._on_gone(key, why)
                return
            await asyncio.sleep(AGAIN_SECONDS)

    async def _end(self, key: Key) -> bool:
        """Ask once; returns whether the dialog was there.

        One that rings is left until it is answered: `tm.cancel` of Kamailio 5.6 would let it ring no longer, and leaves
        a transaction behind that the next request of that process trips over.
        """
        call = self._calls.get(key)
        if call is not None and call.dialog is not None and call.answered_at:
            return await self._rpc.end_dialog(call.dialog)
        for dialog in await self._rpc.list_dialogs():
            if dialog.call.key == key:
                return not dialog.answered_at or await self._rpc.end_dialog(dialog.name)
        return False

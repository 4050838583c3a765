"""Puts the parts together: one Kamailio, one gateway."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any

import structlog

from gateway.client import Client, FailureHandling, LinkTimes, LiveCall
from gateway.kamailio.calls import Calls
from gateway.kamailio.deciding import Decider
from gateway.kamailio.errors import RpcFailed
from gateway.kamailio.facts import Key
from gateway.kamailio.following import Follower
from gateway.kamailio.hanging_up import HangUp
from gateway.kamailio.notes import (
    CallAnswered,
    CallAsked,
    CallEnded,
    EmergencyBegan,
    MessageAsked,
    MessageFailed,
    Note,
    Undelivered,
)
from gateway.kamailio.obeying import Obeyer
from gateway.kamailio.reconciling import Reconciler
from gateway.kamailio.rpc import Rpc
from gateway.kamailio.settings import Settings
from gateway.kamailio.settling import Settler
from gateway.kamailio.switch_link import SwitchLink

_log = structlog.get_logger(__name__)


class Sidecar:
    """One Kamailio's calls and messages.

    Args:
        settings: Where everything is.
    """

    def __init__(self, settings: Settings) -> None:
        self._calls = Calls()
        self._rpc = Rpc(settings.rpc)
        self._client = Client(
            settings.gateway,
            settings.token,
            switch_id=settings.switch_id or None,
            tls=settings.tls,
            deadline_seconds=settings.deadline_seconds,
            failure_handling=FailureHandling.CONTINUE if settings.allow else FailureHandling.RETRY_AND_TERMINATE,
            live_calls=self._list_calls,
            # A command that came before its call was known here comes again.
            repeat_commands=True,
            times=LinkTimes(live_calls_seconds=settings.live_calls_seconds),
        )
        self._link = SwitchLink(
            settings.evapi,
            on_note=self._hear,
            on_connected=self._catch_up,  # Know what is up before anything is asked for.
            on_broken=lambda: self._calls.all_alive(time.time()),
        )
        self._settler = Settler(self._client)
        self._hang_up = HangUp(self._rpc, self._calls, on_gone=self._gone)
        hang_up, send = self._hang_up.start, self._link.send
        self._decider = Decider(self._client, self._calls, self._settler, send)
        self._follower = Follower(self._client, self._calls, self._settler, hang_up)
        self._obeyer = Obeyer(self._client, self._calls, self._follower, hang_up, send)
        self._reconciler = Reconciler(
            self._rpc,
            self._calls,
            on_answered=self._follower.tell_answer,
            on_lost=lambda key: self._follower.end_unheard(key, "end not heard"),
            on_missed=self._hear_missed,
        )
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Work until cancelled; the calls that are up go on after that."""
        async with self._client:
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._obeyer.run())
                    group.create_task(self._link.run())
            finally:
                for part in (self._hang_up, self._reconciler, self._follower):
                    await part.close()

    def _hear(self, note: Note) -> None:
        match note:
            case CallAsked():
                self._spawn(self._decider.decide_call(note))
            case CallAnswered():
                if note.call.office_id:
                    self._follower.answered(note)
            case CallEnded():
                if note.call.office_id:
                    self._follower.ended(note)
            case MessageAsked():
                self._spawn(self._decider.decide_message(note))
            case MessageFailed():
                self._settler.refund(note.message.key)
            case EmergencyBegan():
                self._spawn(self._decider.report_emergency(note.call))
            case Undelivered(is_message=True):
                self._settler.refund(note.key)
            case Undelivered():
                self._follower.taken_back(note.key)

    def _hear_missed(self, note: CallEnded | MessageFailed, kept_as: str) -> None:
        async def forget() -> None:
            try:
                await self._rpc.forget_missed(kept_as)
            except RpcFailed as error:
                _log.info("missed_note_stays", error=str(error))

        if isinstance(note, CallEnded):
            self._follower.ended(note, then=forget)
        else:
            self._settler.refund(note.message.key, then=forget)

    async def _list_calls(self) -> list[LiveCall]:
        return await self._reconciler.list_calls()

    async def _catch_up(self) -> None:
        await self._reconciler.list_calls()

    def _gone(self, key: Key, why: str) -> None:
        self._follower.end_unheard(key, why)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("not_decided", exc_info=error)

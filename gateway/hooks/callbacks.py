"""Callbacks: switches without a Session are told what to do, and asked which calls they have, by posts to their URL.

Every gateway hears of every command and knows every switch; a claim in the store says which of them posts. A gateway
that dies with a claim costs little: a cut is raised again every 5 s, and the next list brings up what is low.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from time import monotonic
from typing import Any, Final

import structlog

from gateway import metrics
from gateway.api.live_calls import MAX_CALLS, LiveCallsListener, published_command
from gateway.domain.identity import ALL_OFFICES, Identity
from gateway.domain.switch import Switch
from gateway.domain.vocabulary import Role
from gateway.errors import InvalidArgument
from gateway.hooks.callback_client import CallbackClient, NotAnswered
from gateway.hooks.mailbox import Mailbox
from gateway.hooks.proto_json import message_of, object_of
from gateway.store.commands import PublishedCommand
from gateway.store.connection import StoreConnection
from gateway.store.directory import Directory
from gateway.store.faults import StoreUnavailable
from gateway.store.keys import asked_key, told_key
from gateway.v1 import authorization_pb2 as pb

log = structlog.get_logger(__name__)

TURN_EVERY_SECONDS: Final = 1.0
COMMAND_SECONDS: Final = 2.0
LIST_SECONDS: Final = 10.0
TOLD_MS: Final = 4_000
"""How long a command is one gateway's to post: less than the 5 s after which a cut is raised again."""

_ASKED_MARGIN_MS: Final = 500

Load = Callable[[], Awaitable[tuple[int, Sequence[Switch]]]]


class Callbacks:
    """Commands to, and lists from, the switches with a callback.

    Args:
        client: Posts.
        connection: To claim what is to be posted.
        directory: Says when switches have changed.
        load: The switches with a callback, from the ledger.
        listener: Takes the lists.
        live_calls_ms: How often a switch is asked.

    Attributes:
        of_switch: The switches that are posted to, by id.
    """

    def __init__(
        self,
        client: CallbackClient,
        connection: StoreConnection,
        directory: Directory,
        load: Load,
        listener: LiveCallsListener,
        *,
        live_calls_ms: int,
    ) -> None:
        self._client = client
        self._connection = connection
        self._directory = directory
        self._load = load
        self._listener = listener
        self._live_calls_ms = live_calls_ms
        self._switches_version: bytes | None = None
        self.of_switch: dict[str, Callback] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def deliver(self, published: PublishedCommand) -> None:
        """Post a command that a script published, unless another gateway does."""
        callback = self.of_switch.get(published.switch_id)
        if callback is not None:
            self._start(self._claim_and_put(callback, published_command(published)))

    async def turn(self) -> bool:
        """Take over changed switches, and ask those for their calls whose time has come.

        Raises:
            StoreUnavailable, DatabaseError: They are asked in the next turn.
        """
        version = self._directory.switches_version
        if version is not None and version != self._switches_version:
            await self._take_over()
            self._switches_version = version
        for callback in list(self.of_switch.values()):
            if not callback.is_asked and monotonic() >= callback.ask_at and await self._claim_list(callback):
                callback.ask_at = monotonic() + self._live_calls_ms / 1000 - TURN_EVERY_SECONDS
                callback.is_asked = True
                self._start(self._ask(callback))
        return False

    async def settled(self) -> None:
        """Wait until everything is told, heard or given up."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*[callback.mailbox.settled() for callback in self.of_switch.values()])

    async def close(self) -> None:
        """Give up what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*[callback.mailbox.close() for callback in self.of_switch.values()])
        await self._client.close()

    async def _take_over(self) -> None:
        _, switches = await self._load()
        before, self.of_switch = self.of_switch, {}
        for switch in switches:
            known = before.pop(switch.switch_id, None)
            if known is None:
                known = Callback(switch, self._client)
            known.switch = switch
            self.of_switch[switch.switch_id] = known
        for gone in before.values():
            await gone.mailbox.close()
        log.info("callbacks_taken_over", switches=len(self.of_switch))

    async def _claim_and_put(self, callback: "Callback", command: pb.Command) -> None:
        try:
            if not await self._claim(told_key(command.command_id), TOLD_MS):
                return
        except StoreUnavailable:
            pass  # Told twice is told: a command has an id.
        callback.command(command)

    async def _claim_list(self, callback: "Callback") -> bool:
        return await self._claim(asked_key(callback.switch.switch_id), self._live_calls_ms - _ASKED_MARGIN_MS)

    async def _claim(self, key: bytes, for_ms: int) -> bool:
        return await self._connection.ask("SET", key, "1", "NX", "PX", for_ms) is not None

    async def _ask(self, callback: "Callback") -> None:
        """Have a switch say which calls it has; a list that does not come says nothing about them."""
        switch = callback.switch
        try:
            answer = await self._client.ask(switch, {"listCalls": {}}, timeout_seconds=LIST_SECONDS)
            # A long list takes its time to read: not in the loop in which others are answered.
            live_calls = await asyncio.to_thread(message_of, answer, pb.LiveCalls)
            for start in range(0, max(1, len(live_calls.calls)), MAX_CALLS):
                part = live_calls.calls[start : start + MAX_CALLS]
                more = start + MAX_CALLS < len(live_calls.calls)
                await self._listener.hear(pb.LiveCalls(calls=part, more=more), callback)
        except (NotAnswered, InvalidArgument) as error:
            callback.list_began_ms = None
            metrics.count_callback("list_calls", "failed")
            log.warning("calls_not_listed", switch_id=switch.switch_id, error=str(error))
        else:
            metrics.count_callback("list_calls", "answered")
        finally:
            callback.is_asked = False

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Callback:
    """A switch with a callback: as a list of live calls is heard of it, and where its commands wait."""

    def __init__(self, switch: Switch, client: CallbackClient) -> None:
        self.switch = switch
        self.list_began_ms: int | None = None
        self.list_is_whole = True
        self.ask_at = 0.0
        self.is_asked = False
        self._client = client
        self.mailbox = Mailbox(switch.switch_id, self._post)

    @property
    def identity(self) -> Identity:
        """The switch: whose a call is, the call says, so that it may name any office."""
        return Identity(Role.SWITCH, "callback", office_ids=frozenset({ALL_OFFICES}), switch_id=self.switch.switch_id)

    def command(self, command: pb.Command) -> None:
        """Tell the switch, as soon and as often as it takes."""
        self.mailbox.put(command)

    async def _post(self, command: pb.Command) -> None:
        await self._client.post(self.switch, {"command": object_of(command)}, timeout_seconds=COMMAND_SECONDS)

"""Brings ends and refunds to the gateway, for as long as that takes: they settle money."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from gateway.client import AlreadyExists, Client, ClientClosed, GatewayUnavailable, NotFound, OperationFailed
from gateway.kamailio.facts import Key

_log = structlog.get_logger(__name__)

_PAUSE_SECONDS: Final = 5.0


class Settler:
    """Asks again until the gateway has answered; each of these may be repeated.

    Args:
        client: The gateway.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()

    def end(
        self, key: Key, duration_seconds: int, cause: str, *, then: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """End a call.

        Args:
            key: Its office_id and call_id.
            duration_seconds: Talk time rounded up; 0: it was not answered.
            cause: For the usage record.
            then: Awaited when the gateway knows.
        """
        office_id, call_id = key
        self._start(
            lambda: self._client.end_call(
                office_id=office_id, call_id=call_id, duration_seconds=duration_seconds, cause=cause
            ),
            "end_call",
            key,
            then,
        )

    def refund(self, key: Key, *, then: Callable[[], Awaitable[None]] | None = None) -> None:
        """Give the money for a message back.

        Args:
            key: Its office_id and message_id.
            then: Awaited when the gateway knows.
        """
        office_id, message_id = key
        self._start(
            lambda: self._client.refund_message(office_id=office_id, message_id=message_id),
            "refund_message",
            key,
            then,
        )

    def _start(
        self,
        ask: Callable[[], Awaitable[Any]],
        operation: str,
        key: Key,
        then: Callable[[], Awaitable[None]] | None,
    ) -> None:
        task = asyncio.create_task(self._settle(ask, operation, key, then))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _settle(
        self,
        ask: Callable[[], Awaitable[Any]],
        operation: str,
        key: Key,
        then: Callable[[], Awaitable[None]] | None,
    ) -> None:
        while True:
            try:
                await ask()
            except ClientClosed:
                return
            except GatewayUnavailable as error:
                _log.warning("not_settled_yet", operation=operation, id=key[1], error=str(error))
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            except (NotFound, AlreadyExists) as error:
                # It never got as far as the gateway, or somebody ended it before us: either way it is settled.
                _log.debug("settled_before", operation=operation, id=key[1], error=str(error))
            except OperationFailed as error:
                _log.error("cannot_be_settled", operation=operation, id=key[1], error=str(error), cure=error.cure)
            break
        if then is not None:
            await then()

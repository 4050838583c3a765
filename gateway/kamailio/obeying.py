"""Does what the gateway says about calls that are up."""

import time
from collections.abc import Callable
from typing import Any

import structlog

from gateway.client import Client, Command, CutCall, FundsLow, FundsRestored, UnknownCall
from gateway.kamailio.calls import Calls
from gateway.kamailio.facts import Key
from gateway.kamailio.following import Follower
from gateway.v1 import authorization_pb2 as pb

_log = structlog.get_logger(__name__)


class Obeyer:
    """Takes the gateway's commands.

    Args:
        client: The gateway.
        calls: The calls that are up.
        follower: Makes calls known again.
        hang_up: Hangs one up, for a reason.
        send: Sends a message to Kamailio.
    """

    def __init__(
        self,
        client: Client,
        calls: Calls,
        follower: Follower,
        hang_up: Callable[[Key, str], None],
        send: Callable[[dict[str, Any]], object],
    ) -> None:
        self._client = client
        self._calls = calls
        self._follower = follower
        self._hang_up = hang_up
        self._send = send

    async def run(self) -> None:
        """Obey until the client is closed."""
        async for command in self._client.commands():
            self._obey(command)

    def _obey(self, command: Command) -> None:
        key = command.office_id, command.call_id
        match command:
            case CutCall():
                self._hang_up(key, pb.FinalReason.Name(command.reason))
            case UnknownCall():
                call = self._calls.get(key)
                if call is not None and command.reason == pb.REASON_UNSPECIFIED:
                    # The client has not seen its request, which was made before this process was; we have.
                    self._follower.make_known(call)
                else:
                    self._hang_up(key, pb.Reason.Name(command.reason))
            case FundsLow():
                self._warn(key, command)
            case FundsRestored():
                _log.debug("funds_restored", office_id=key[0], call_id=key[1])

    def _warn(self, key: Key, command: FundsLow) -> None:
        """Warn once a command, which is repeated."""
        call = self._calls.get(key)
        if call is None or not call.answered_at or not call.contact or call.warned_by == command.command_id:
            return
        call.warned_by = command.command_id
        remaining = max(0, round(call.answered_at + command.granted_seconds - time.time()))
        _log.info("funds_low", office_id=key[0], call_id=key[1], remaining_seconds=remaining)
        self._send({"do": "funds_low", "remaining": remaining, "contact": call.contact})

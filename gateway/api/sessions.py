"""All Sessions of this process: opening them, and bringing commands to every Session of a switch."""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Final

import structlog

from gateway import metrics
from gateway.api.session import Batch, Context, Hear, MakeSession, Operation, Session
from gateway.domain.identity import Identity
from gateway.domain.ids import validate_id
from gateway.domain.vocabulary import Role
from gateway.errors import InvalidArgument, PermissionDenied, ResourceExhausted, Unauthenticated, Unavailable
from gateway.store.directory import Directory
from gateway.v1 import authorization_pb2 as pb

log = structlog.get_logger(__name__)

MAX_SESSIONS: Final = 20_000
MAX_SESSIONS_OF_A_SWITCH: Final = 12_000
RECHECK_SECONDS: Final = 0.5
EXPIRY_CHECK_SECONDS: Final = 30.0


class Sessions:
    """The open Sessions by switch.

    Args:
        operations: How each of an Operation's oneof is answered.
        hear: Takes a switch's live calls.
        batch: What is sent to the store inside of its block leaves together.
        max_operations: Allowed in one batch.
        make: Makes each of them.
    """

    def __init__(
        self,
        operations: Mapping[str, Operation],
        hear: Hear,
        batch: Batch,
        *,
        max_operations: int,
        make: MakeSession = Session,
    ) -> None:
        self._make = make
        self._operations = operations
        self._hear = hear
        self._batch = batch
        self._max_operations = max_operations
        self._of_switch: dict[str, dict[Session, Context]] = {}
        self._count = 0
        self._draining = False

    async def serve(self, context: Context, identity: Identity) -> None:
        """Run one Session to its end.

        Raises:
            PermissionDenied: Neither a switch nor an operator.
            InvalidArgument: An operator did not name the switch, or the stream broke a rule.
            ResourceExhausted: Too many are open.
        """
        identity = _of_a_switch(identity, context)
        if self._draining:
            raise _stopping()
        session = self._make(identity, self._operations, self._hear, self._batch, max_operations=self._max_operations)
        siblings = self._of_switch.get(identity.switch_id, {})
        if self._count >= MAX_SESSIONS or len(siblings) >= MAX_SESSIONS_OF_A_SWITCH:
            raise ResourceExhausted("Too many Sessions are open; a switch needs one or a few.")
        siblings[session] = context
        self._of_switch[identity.switch_id] = siblings
        self._count += 1
        metrics.SESSIONS.inc()
        try:
            await session.run(context)
        finally:
            siblings.pop(session, None)
            if not siblings:
                self._of_switch.pop(identity.switch_id, None)
            self._count -= 1
            metrics.SESSIONS.dec()

    async def recheck(self, directory: Directory, identify: Callable[[Context], Awaitable[Identity]]) -> None:
        """For ever end the Sessions whose token was revoked, within a second, or has expired, within half a minute.

        Of several tokens that one certificate stands for the others may stay: the Session then has their offices.
        """
        seen, checked_at = directory.tokens_version, perf_counter()
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            if directory.tokens_version == seen and perf_counter() - checked_at < EXPIRY_CHECK_SECONDS:
                continue
            seen, checked_at = directory.tokens_version, perf_counter()
            for session, context in [pair for siblings in self._of_switch.values() for pair in siblings.items()]:
                try:
                    identity = _of_a_switch(await identify(context), context)
                    if identity.switch_id != session.identity.switch_id:
                        raise Unauthenticated
                    session.identity = identity
                except Unauthenticated as error:
                    session.end(error)
                except Unavailable:
                    log.warning("the tokens of open Sessions could not be checked")

    async def drain_when(self, stop: asyncio.Event) -> None:
        """Once told to stop, end every Session as soon as all it has begun is answered, and refuse new ones."""
        await stop.wait()
        self._draining = True
        for siblings in self._of_switch.values():
            for session in siblings:
                session.drain(_stopping())
        await asyncio.Event().wait()

    def deliver(self, switch_id: str, command: pb.Command) -> None:
        """Send a command to every Session of a switch that is connected here."""
        sessions = self._of_switch.get(switch_id)
        if sessions:
            metrics.count_command(command.WhichOneof("command") or "")
            for session in sessions:
                session.command(command)


def _stopping() -> Unavailable:
    return Unavailable("This gateway is stopping; open a Session to another and go on.", reason="STOPPING")


def _of_a_switch(identity: Identity, context: Context) -> Identity:
    """A switch's token names its switch; an operator names one in the metadata."""
    if identity.role is Role.SWITCH:
        return identity
    if identity.role is not Role.OPERATOR:
        raise PermissionDenied
    for key, value in context.invocation_metadata() or ():
        if key == "x-switch-id" and isinstance(value, str):
            validate_id(value, "x-switch-id")
            return dataclasses.replace(identity, switch_id=value)
    raise InvalidArgument("x-switch-id", "is missing: an operator's Session names its switch in this metadata")

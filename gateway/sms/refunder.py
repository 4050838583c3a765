"""Gives the money of messages back that did not arrive: asks Tollgate until it has an answer."""

import asyncio
import logging
from typing import Final

from gateway.client import AlreadyExists, Client, ClientError, InvalidArgument, NotFound
from gateway.sms.sent_messages import SentMessages

log = logging.getLogger(__name__)

ANSWER_SECONDS: Final = 5.0
LONGEST_PAUSE_SECONDS: Final = 60.0
REST_SECONDS: Final = 60.0
MESSAGES_A_TURN: Final = 50


class Refunder:
    """A loop; safe to be broken off anywhere, since Tollgate gives back once however often it is asked."""

    def __init__(self, messages: SentMessages, client: Client) -> None:
        self._messages = messages
        self._client = client
        self._wake = asyncio.Event()

    def wake(self) -> None:
        """Something more is owed."""
        self._wake.set()

    async def run(self) -> None:
        """Give back what is owed until cancelled."""
        pause_seconds = 0.0
        while True:
            self._wake.clear()
            await self._messages.clean()
            owed = await self._messages.owed(MESSAGES_A_TURN)
            answers = [await self._give_back(*message) for message in owed]
            if not all(answers):
                pause_seconds = min(max(1.0, pause_seconds * 2), LONGEST_PAUSE_SECONDS)
                await asyncio.sleep(pause_seconds)
            else:
                pause_seconds = 0.0
                if len(owed) < MESSAGES_A_TURN:
                    await self._rest()

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(REST_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            pass  # Time to clean.

    async def _give_back(self, message_id: str, office_id: str) -> bool:
        """Whether there is a final answer."""
        try:
            answer = await self._client.refund_message(
                office_id=office_id, message_id=message_id, deadline_seconds=ANSWER_SECONDS
            )
        except NotFound:
            log.info("message %s: nothing to give back, or the ledger sees to it", message_id)
        except (InvalidArgument, AlreadyExists) as error:
            log.error("message %s: its refund is refused for good: %s", message_id, error)
        except ClientError as error:
            log.warning("message %s: no answer to its refund, asking again: %s", message_id, error)
            return False
        else:
            log.info("message %s: %d micros given back to %s", message_id, answer.refunded_micros, office_id)
        await self._messages.settled(message_id)
        return True

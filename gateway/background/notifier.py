"""The notifier: sends what was recorded, by one channel, until each notice is sent or given up."""

import asyncio
import random
from typing import Final

import structlog

from gateway import metrics
from gateway.domain.notice import Channel, Delivery
from gateway.ledger.notices import Notices
from gateway.notices.sender import NotSent, Refused, Sender
from gateway.store.clock import Clock

log = structlog.get_logger(__name__)

EVERY_SECONDS: Final = 1.0
ROUTED_A_TURN: Final = 100
SENT_AT_ONCE: Final = 8
CLOSING_SECONDS: Final = 5
"""How much longer than its time-out a sender may take, to end a conversation in which everything was said."""

SPARE_SECONDS: Final = 60
"""How much longer than its time-out an attempt has before another sender may take it: for the database to answer."""

FIRST_DELAY_SECONDS: Final = 10
LONGEST_DELAY_SECONDS: Final = 3_600
MAX_ATTEMPTS: Final = 32
"""Counted in attempts and not in hours, so that a gateway that was down for a day still tries: 19 to 24 hours."""


def delay_seconds(attempt: int, chance: float) -> float:
    """How long to wait after a failed attempt: 10 s, doubled each time up to an hour, and up to a fifth less.

    Args:
        attempt: Which one failed, from 1 on.
        chance: 0 to 1, at random: so that what failed together does not come back together.
    """
    longest = min(FIRST_DELAY_SECONDS << min(attempt - 1, 20), LONGEST_DELAY_SECONDS)
    return longest * (1 - chance / 5)


class Notifier:
    """Sends the notices of one channel; each has its own, so that a mail server that hangs delays no webhook.

    Two gateways may run it at once: each delivery is claimed. Only one whose sender died between sending and recording
    it is sent twice, under the same id.

    Args:
        notices: Where they are.
        channels: All there are: what nobody has routed yet is routed to them.
        sender: Of this channel.
        clock: The time.
        timeout_seconds: The sender's, for one notice.
        chance: For the delays.
    """

    def __init__(
        self,
        notices: Notices,
        channels: tuple[Channel, ...],
        sender: Sender,
        clock: Clock,
        *,
        timeout_seconds: float,
        chance: random.Random | None = None,
    ) -> None:
        self._notices = notices
        self._channels = channels
        self._sender = sender
        self.name = sender.channel.name
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._chance = chance or random.Random()  # noqa: S311 - it spreads load, it keeps no secret.

    async def turn(self) -> bool:
        """Route what is new, then send what is due; True if there may be more.

        Raises:
            DatabaseError: What was sent meanwhile and not recorded will be sent again, under the same id.
        """
        now_ms = self._clock.now_ms()
        routed = await self._notices.route(self._channels, ROUTED_A_TURN, now_ms=now_ms)
        until = now_ms + int((self._timeout_seconds + SPARE_SECONDS) * 1000)
        due = await self._notices.claim(self.name, SENT_AT_ONCE, now_ms=now_ms, until=until)
        # Every one to its end, so that one that could not be recorded does not break off the others.
        ends = await asyncio.gather(*(self._send(delivery) for delivery in due), return_exceptions=True)
        metrics.NOTICES_WAITING.labels(self.name).set(await self._notices.waiting(self.name))
        for end in ends:
            if end is not None:
                raise end
        return routed == ROUTED_A_TURN or len(due) == SENT_AT_ONCE

    async def close(self) -> None:
        """Close the sender."""
        await self._sender.close()

    async def _send(self, delivery: Delivery) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds + CLOSING_SECONDS):
                await self._sender.send(delivery, now_ms=self._clock.now_ms())
        except Refused as error:
            await self._give_up(delivery, str(error))
        except TimeoutError:
            await self._failed(delivery, "no end in time")
        except NotSent as error:
            await self._failed(delivery, str(error))
        except Exception as error:
            # A bug, but one notice that cannot be sent must not end the process that bills, again and again.
            log.exception("notice_broken", channel=self.name, key=delivery.notice.key)
            await self._failed(delivery, f"a bug: {type(error).__name__}")
        else:
            metrics.count_notice(self.name, "sent")
            await self._notices.sent(delivery, now_ms=self._clock.now_ms())

    async def _failed(self, delivery: Delivery, error: str) -> None:
        if delivery.attempt >= MAX_ATTEMPTS:
            await self._give_up(delivery, error)
            return
        metrics.count_notice(self.name, "failed")
        delay = delay_seconds(delivery.attempt, self._chance.random())
        self._log("notice_failed", delivery, error, retry_seconds=round(delay))
        await self._notices.failed(delivery, error, next_at=self._clock.now_ms() + int(delay * 1000))

    async def _give_up(self, delivery: Delivery, error: str) -> None:
        metrics.count_notice(self.name, "given_up")
        self._log("notice_given_up", delivery, error)
        await self._notices.given_up(delivery, error, now_ms=self._clock.now_ms())

    def _log(self, event: str, delivery: Delivery, error: str, **more: object) -> None:
        # Without the recipient: addresses of people are not for a log.
        log.warning(event, channel=self.name, key=delivery.notice.key, attempt=delivery.attempt, error=error, **more)

"""What every way of sending notices promises."""

from typing import Protocol

from gateway.domain.notice import Channel, Delivery


class NotSent(Exception):
    """It did not go, or nobody knows whether it did: to be tried again. The message is for operators: no secrets."""


class Refused(Exception):
    """It will never go: no other attempt would help. The message is for operators: no secrets."""


def kind_of(error: BaseException) -> str:
    """What is at the bottom of an error, without its text, which may repeat a URL or an address."""
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__


class Sender(Protocol):
    """A way that notices go."""

    channel: Channel

    async def send(self, delivery: Delivery, *, now_ms: int) -> None:
        """Send a notice to the delivery's recipient.

        Sent again after an attempt whose end nobody knows, it carries the same id, so that the receiver can tell. It
        may be cancelled at any time, and keeps its own time-out.

        Raises:
            NotSent: Try again later.
            Refused: Do not.
        """
        ...

    async def close(self) -> None:
        """Close what is open."""
        ...

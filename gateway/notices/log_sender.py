"""The way that is always there: a line in the log, for the operators."""

import structlog

from gateway.domain.notice import Channel, Delivery

log = structlog.get_logger(__name__)

# Whoever has such a link can stand in for the cardholder at the first step: it is not for a log.
_NOT_LOGGED = frozenset({"confirmation_url"})


class LogSender:
    """Logs the facts of each notice. It cannot fail."""

    channel = Channel("log")

    async def send(self, delivery: Delivery, *, now_ms: int) -> None:  # noqa: ARG002
        """Log it."""
        notice = delivery.notice
        facts = {name: value for name, value in notice.facts.items() if name not in _NOT_LOGGED}
        log.info("notice", key=notice.key, kind=notice.kind, office_id=notice.office_id, facts=facts)

    async def close(self) -> None:
        """Nothing is open."""

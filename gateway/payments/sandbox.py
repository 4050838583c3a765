"""The sandbox: a payment provider without money, for trying things out and for tests.

Deterministic: what a card does is in its token (sandbox_cards.py). It behaves as a remote party would: it remembers
every charge in a file of its own, may have charged a card although its answer was lost, and tells of everything by
signed webhooks.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import structlog

from gateway.errors import TollgateError
from gateway.payments.checks import (
    check_card_entry,
    check_charge_attempt,
    check_entry,
    check_idempotency_key,
    check_new_payment_method,
)
from gateway.payments.errors import ProviderUnavailable, ProviderUnusable
from gateway.payments.provider import (
    CardEntry,
    ChargeAttempt,
    ChargeOutcome,
    NewPaymentMethod,
    PaymentEvent,
    PaymentMethodOutcome,
    RefundOutcome,
    Unknown,
)
from gateway.payments.sandbox_books import Confirmation, SandboxBooks
from gateway.payments.sandbox_events import read_event
from gateway.payments.sandbox_file import EntryRecord, EventRecord, SandboxFile
from gateway.payments.webhook_signatures import sign_webhook, verify_webhook

log = structlog.get_logger(__name__)

FILE_NAME: Final = "sandbox.db"
"""In the data directory."""

WEBHOOKS_EVERY_SECONDS: Final = 0.5
"""How often `send_webhooks` is to be called when it has left nothing."""

P = ParamSpec("P")
T = TypeVar("T")

_UNKNOWN: Final = Unknown("The sandbox's file did not answer.")


class SandboxProvider:
    """A PaymentProvider that charges nobody.

    All work is done one after the other by one thread: an operation that has begun ends, also when whoever waited for
    it is gone.
    """

    name: Final = "sandbox"

    def __init__(
        self,
        executor: ThreadPoolExecutor,
        file: SandboxFile,
        *,
        public_url: str,
        clock_ms: Callable[[], int],
        secrets: Sequence[str],
    ) -> None:
        self._executor = executor
        self._file = file
        self._books = SandboxBooks(file, public_url)
        self._clock_ms = clock_ms
        self._secrets = tuple(secrets)

    @classmethod
    async def open(
        cls, path: Path, *, public_url: str, clock_ms: Callable[[], int], webhook_secrets: Sequence[str] = ()
    ) -> "SandboxProvider":
        """Open the sandbox's file, or make it.

        Args:
            path: The file; its directory is there.
            public_url: Where browsers find the gateway, without a slash at the end: for confirmation links.
            clock_ms: The present in Unix milliseconds.
            webhook_secrets: What webhooks are signed with, the new ones first, instead of the file's own.

        Raises:
            ProviderUnusable: The file cannot be used; the message says what to do.
        """
        executor = ThreadPoolExecutor(1, thread_name_prefix="sandbox")
        try:
            file = await asyncio.get_running_loop().run_in_executor(executor, SandboxFile.open, path)
        except sqlite3.Error as error:
            executor.shutdown()
            raise ProviderUnusable(
                f"The sandbox's file {path} cannot be used ({error}): let the gateway write there, or move it away."
            ) from error
        except BaseException:
            executor.shutdown()
            raise
        known = webhook_secrets or (file.webhook_secret,)
        return cls(executor, file, public_url=public_url, clock_ms=clock_ms, secrets=known)

    async def check(self) -> None:
        """See that the file can be written."""
        await self._run(self._file.check_writable)

    async def add_payment_method(self, request: NewPaymentMethod) -> PaymentMethodOutcome:
        """Keep a test card."""
        check_new_payment_method(request)
        return await self._run(self._books.add_payment_method, request)

    async def begin_card_entry(self, request: CardEntry) -> str:
        """Have a test card chosen on a page of the gateway."""
        check_card_entry(request)
        return await self._run(self._books.begin_card_entry, request)

    async def finish_card_entry(self, entry: str, *, owner_id: str) -> str:
        """Take what was chosen there."""
        check_entry(entry)
        return await self._run(self._books.finish_card_entry, entry, owner_id)

    async def charge(self, attempt: ChargeAttempt) -> ChargeOutcome:
        """Charge a test card as its token says."""
        check_charge_attempt(attempt)
        return await self._known(self._books.charge, attempt, self._clock_ms())

    async def look_up(self, attempt: ChargeAttempt, *, sent_at_ms: int) -> ChargeOutcome:  # noqa: ARG002
        """Find out what became of an attempt; the sandbox remembers for ever, so that it does not matter since when."""
        check_charge_attempt(attempt)
        return await self._known(self._books.look_up, attempt, self._clock_ms())

    async def cancel(self, charge_id: str) -> ChargeOutcome:
        """End a charge that waits for its owner."""
        return await self._known(self._books.cancel, charge_id, self._clock_ms())

    async def refund(self, charge_id: str, *, idempotency_key: str) -> RefundOutcome:
        """Give a whole charge back."""
        check_idempotency_key(idempotency_key)
        return await self._known(self._books.refund, charge_id, idempotency_key, self._clock_ms())

    def parse_webhook(self, payload: bytes, signature: str, *, now_ms: int) -> PaymentEvent:
        """Read a webhook after checking its signature."""
        verify_webhook(payload, signature, self._secrets, now_ms=now_ms)
        return read_event(payload)

    async def close(self) -> None:
        """Close the file, after what has begun."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._file.close)
        self._executor.shutdown()

    async def find_entry(self, entry_id: str) -> EntryRecord | None:
        """What the owner of a card is to enter, by the id in the link; None if there is nothing of that id.

        Raises:
            ProviderUnavailable: The file did not answer.
        """
        return await self._run(self._books.find_entry, entry_id)

    async def choose_card(self, entry_id: str, token: str) -> EntryRecord | None:
        """Have somebody enter one of the test cards; only the first choice counts.

        Args:
            entry_id: As in the link.
            token: Of a test card that there is.

        Returns:
            What has become of it; None if there is nothing of that id.

        Raises:
            ProviderUnavailable: The file did not answer; a repeat is safe.
        """
        return await self._run(self._books.choose_card, entry_id, token)

    async def find_confirmation(self, confirmation_id: str) -> Confirmation | None:
        """What the owner of a card is asked, by the id in the link; None if there is nothing of that id.

        Raises:
            ProviderUnavailable: The file did not answer.
        """
        return await self._run(self._books.find_confirmation, confirmation_id)

    async def answer_confirmation(self, confirmation_id: str, *, approve: bool) -> Confirmation | None:
        """Have the owner of a card say yes or no; only the first answer counts.

        Returns:
            What has become of it; None if there is nothing of that id.

        Raises:
            ProviderUnavailable: The file did not answer; a repeat is safe.
        """
        return await self._run(self._books.answer_confirmation, confirmation_id, approve, self._clock_ms())

    def sign_webhook(self, payload: bytes) -> str:
        """The header `Stripe-Signature` for a webhook of the sandbox that is sent now."""
        return sign_webhook(payload, self._secrets, now_ms=self._clock_ms())

    async def send_webhooks(self, receive: Callable[[bytes, str], Awaitable[None]]) -> bool:
        """Send the webhook whose turn it is, if there is one; True if there may be more at once.

        Args:
            receive: Gets body and signature header, as the gateway's webhook route does; what it raises means that the
                webhook is sent again, later each time, for three days.

        Raises:
            ProviderUnavailable: The file did not answer; nothing is lost.
        """
        event = await self._run(self._books.next_event, self._clock_ms())
        if event is None:
            return False
        try:
            await receive(event.body, self.sign_webhook(event.body))
        except Exception as error:  # As with any sender of webhooks, whatever goes wrong on the other side.
            await self._send_later(event, error)
        else:
            await self._run(self._books.end_event, event)
        return True

    async def _send_later(self, event: EventRecord, error: Exception) -> None:
        is_bug = not isinstance(error, TollgateError)
        log.warning("sandbox_webhook_failed", event_id=event.event_id, error=repr(error), exc_info=is_bug)
        if not await self._run(self._books.postpone_event, event, self._clock_ms()):
            log.error("sandbox_webhook_given_up", event_id=event.event_id)

    async def _known(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T | Unknown:
        try:
            return await self._run(work, *arguments, **named)
        except ProviderUnavailable as error:
            log.warning("sandbox_failed", error=repr(error.__cause__))
            return _UNKNOWN

    async def _run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        def run() -> T:
            with self._file.transaction():
                return work(*arguments, **named)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._executor, run)
        except sqlite3.Error as error:
            raise ProviderUnavailable from error

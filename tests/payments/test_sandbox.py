"""The sandbox: the contract of every provider, and what its test cards, its file and its webhooks do beside that."""

import asyncio
import re
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from gateway.errors import Unavailable
from gateway.payments.errors import (
    CardEntryUnfinished,
    CardNumberRefused,
    PaymentTokenInvalid,
    ProviderKeyReused,
    ProviderUnavailable,
    ProviderUnusable,
    WebhookRefused,
)
from gateway.payments.provider import (
    ActionRequired,
    Declined,
    NotCharged,
    PaymentEventKind,
    PaymentMethodActionRequired,
    PaymentMethodAdded,
    PaymentMethodReference,
    Refunded,
    RefundRefused,
    Succeeded,
    Unknown,
)
from gateway.payments.return_urls import with_entry
from gateway.payments.sandbox import FILE_NAME, SandboxProvider
from gateway.payments.sandbox_books import DISPUTED_AFTER_MS
from gateway.payments.sandbox_cards import find_card, named_cards
from tests.payments.contract import OpenSubject, ProviderContract, Subject, Tokens
from tests.support.balances import NOON, ManualClock
from tests.support.sandbox import Postbox, confirmation_in, entry_in, opened_sandbox

TOKENS = Tokens(
    succeeds="tok_visa",
    same_card="tok_visa_again",
    other_card="tok_mastercard",
    declined="tok_declined",
    insufficient_funds="tok_insufficient_funds",
    expired="tok_expired",
    authentication_required="tok_authentication_required",
    asked_when_added="tok_action_required",
    refused_when_added="tok_refused",
    processing_error="tok_processing_error",
    request_lost="tok_request_lost",
    reply_lost="tok_reply_lost",
    unknown="tok_there_is_none",
)
DAY_SECONDS = 86_400
ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def sandbox_subject(folder: Path, clock: ManualClock) -> AsyncIterator[Subject]:
    async with opened_sandbox(folder, clock) as provider:

        async def answer(url: str, approve: bool) -> None:
            await provider.answer_confirmation(confirmation_in(url), approve=approve)

        async def enter(url: str, token: str) -> str:
            chosen = await provider.choose_card(entry_in(url), token)
            assert chosen is not None
            return with_entry(chosen.return_url, chosen.entry_id)

        postbox = Postbox()
        yield Subject(provider, TOKENS, clock.now_ms, answer, enter, lambda: postbox.collect(provider))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOON)


@pytest.fixture
def open_subject(tmp_path: Path, clock: ManualClock) -> OpenSubject:
    return lambda: sandbox_subject(tmp_path, clock)


class TestContract(ProviderContract):
    """The sandbox keeps it."""


def sandbox_of(subject: Subject) -> SandboxProvider:
    assert isinstance(subject.provider, SandboxProvider)
    return subject.provider


async def test_an_entry_without_a_card_is_not_finished(open_subject: OpenSubject) -> None:
    async with open_subject() as subject:
        entry = entry_in(await subject.provider.begin_card_entry(subject.entry()))
        with pytest.raises(CardEntryUnfinished, match="no card was entered"):
            await subject.provider.finish_card_entry(entry, owner_id="berlin")
        with pytest.raises(PaymentTokenInvalid):
            await subject.provider.add_payment_method(subject.card(entry))


async def test_only_the_first_choice_of_a_card_counts(open_subject: OpenSubject) -> None:
    async with open_subject() as subject:
        page = await subject.provider.begin_card_entry(subject.entry())
        for token in ("tok_mastercard", "tok_visa"):
            await subject.enter(page, token)
        token = await subject.provider.finish_card_entry(entry_in(page), owner_id="berlin")
        added = await subject.provider.add_payment_method(subject.card(token))
        assert isinstance(added, PaymentMethodAdded)
        assert added.card.brand == "mastercard"


async def test_a_card_that_was_entered_behaves_as_its_token_says(open_subject: OpenSubject) -> None:
    async with open_subject() as subject:
        outcomes = []
        for token in ("tok_refused", "tok_action_required"):
            entered = await subject.provider.finish_card_entry(await subject.entered(token), owner_id="berlin")
            outcomes.append(await subject.provider.add_payment_method(subject.card(entered)))
        refused, asked = outcomes
        assert isinstance(refused, Declined)
        assert isinstance(asked, PaymentMethodActionRequired)
        await subject.answer(asked.confirmation_url, True)
        again = subject.card(asked.token, customer_id=asked.customer_id)
        assert isinstance(await subject.provider.add_payment_method(again), PaymentMethodAdded)


async def test_a_card_is_declined_after_so_many_charges(open_subject: OpenSubject) -> None:
    async with open_subject() as subject:
        method = await subject.add("tok_declined_after_2")
        other = await subject.add("tok_declined_after_2")
        outcomes = [await subject.provider.charge(await subject.attempt(method=method)) for _ in range(4)]
        assert [type(outcome) for outcome in outcomes] == [Succeeded, Succeeded, Declined, Declined]
        assert isinstance(await subject.provider.charge(await subject.attempt(method=other)), Succeeded)


async def test_what_became_of_a_charge_may_be_unknown_for_so_many_look_ups(open_subject: OpenSubject) -> None:
    async with open_subject() as subject:
        attempt = await subject.attempt("tok_unknown_3")
        for _ in range(2):
            assert isinstance(await subject.provider.charge(attempt), Unknown)
        found = [await subject.look_up(attempt) for _ in range(3)]
        assert [type(outcome) for outcome in found] == [Unknown] * 3
        final = await subject.look_up(attempt)
        assert isinstance(final, Succeeded)
        # The webhook must not know sooner.
        assert [event.kind for event in await subject.events(final.charge_id)] == [PaymentEventKind.CHARGE_SUCCEEDED]


async def test_no_webhook_tells_of_a_charge_that_is_to_be_unknown(open_subject: OpenSubject) -> None:
    async with open_subject() as subject:
        attempt = await subject.attempt("tok_unknown_2")
        await subject.provider.charge(attempt)
        await subject.look_up(attempt)
        assert await subject.webhooks() == []


async def test_a_charge_is_disputed_a_while_later(open_subject: OpenSubject, clock: ManualClock) -> None:
    async with open_subject() as subject:
        attempt, charge_id = await subject.charged("tok_disputed")
        assert [event.kind for event in await subject.events(charge_id)] == [PaymentEventKind.CHARGE_SUCCEEDED]
        clock.move(DISPUTED_AFTER_MS / 1000)
        _, disputed = await subject.events(charge_id)
        assert disputed.kind is PaymentEventKind.CHARGE_DISPUTED
        assert disputed.occurred_at == clock.now_ms()
        assert (disputed.idempotency_key, disputed.amount_micros) == (None, attempt.amount_micros)
        refused = await subject.provider.refund(charge_id, idempotency_key=subject.key())
        assert isinstance(refused, RefundRefused)
        assert refused.code == "charge_disputed"
        assert await subject.look_up(attempt) == Succeeded(charge_id)


async def test_a_charge_that_was_given_back_is_not_disputed(open_subject: OpenSubject, clock: ManualClock) -> None:
    async with open_subject() as subject:
        _, charge_id = await subject.charged("tok_disputed")
        assert isinstance(await subject.provider.refund(charge_id, idempotency_key=subject.key()), Refunded)
        clock.move(DISPUTED_AFTER_MS / 1000)
        kinds = [event.kind for event in await subject.events(charge_id)]
        assert kinds == [PaymentEventKind.CHARGE_SUCCEEDED, PaymentEventKind.CHARGE_REFUNDED]


async def test_one_key_is_of_one_request_whatever_its_kind(open_subject: OpenSubject) -> None:
    async with open_subject() as subject:
        attempt, charge_id = await subject.charged()
        key = attempt.idempotency_key
        with pytest.raises(ProviderKeyReused):
            await subject.provider.refund(charge_id, idempotency_key=key)
        with pytest.raises(ProviderKeyReused):
            await subject.provider.add_payment_method(subject.card(idempotency_key=key))


async def test_a_card_that_was_confirmed_is_its_owners_alone(open_subject: OpenSubject) -> None:
    async with open_subject() as subject:
        asked = await subject.provider.add_payment_method(subject.card("tok_action_required"))
        stranger = await subject.add()
        assert isinstance(asked, PaymentMethodActionRequired)
        with pytest.raises(PaymentTokenInvalid, match="another customer"):
            await subject.provider.add_payment_method(subject.card(asked.token, customer_id=stranger.customer_id))


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
async def test_only_the_first_answer_of_an_owner_counts(open_subject: OpenSubject, first: bool, second: bool) -> None:
    async with open_subject() as subject:
        attempt = await subject.attempt("tok_authentication_required")
        asked = await subject.provider.charge(attempt)
        assert isinstance(asked, ActionRequired)
        await subject.answer(asked.confirmation_url, first)
        known = await subject.look_up(attempt)
        await subject.answer(asked.confirmation_url, second)
        assert await subject.look_up(attempt) == known
        assert isinstance(known, Succeeded if first else Declined)
        assert len(await subject.events(asked.charge_id)) == 1


async def test_a_confirmation_shows_what_is_asked(open_subject: OpenSubject) -> None:
    async with open_subject() as subject:
        attempt = await subject.attempt("tok_authentication_required")
        asked = await subject.provider.charge(attempt)
        assert isinstance(asked, ActionRequired)
        found = await sandbox_of(subject).find_confirmation(confirmation_in(asked.confirmation_url))
        assert found is not None
        assert (found.amount_micros, found.currency, found.status) == (attempt.amount_micros, "USD", "WAITING")
        assert await sandbox_of(subject).find_confirmation("ch_there_is_none") is None
        assert await sandbox_of(subject).answer_confirmation("ch_there_is_none", approve=True) is None


async def test_everything_is_still_there_after_a_new_start(tmp_path: Path, clock: ManualClock) -> None:
    async with sandbox_subject(tmp_path, clock) as subject:
        attempt, charge_id = await subject.charged()
        waiting = await subject.attempt("tok_authentication_required")
        asked = await subject.provider.charge(waiting)
        used_up = await subject.attempt()
        await subject.look_up(used_up)
    async with sandbox_subject(tmp_path, clock) as subject:
        assert await subject.look_up(attempt) == Succeeded(charge_id)
        assert await subject.look_up(waiting) == asked
        assert isinstance(await subject.provider.charge(used_up), NotCharged)
        [event] = await subject.events(charge_id)
        assert event.kind is PaymentEventKind.CHARGE_SUCCEEDED


CHARGES_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from tests.payments.test_sandbox import sandbox_subject
from tests.support.balances import ManualClock

async def main():
    async with sandbox_subject(Path(sys.argv[1]), ManualClock()) as subject:
        method = await subject.add()
        for _ in range(10_000):
            attempt = await subject.attempt(method=method)
            outcome = await subject.provider.charge(attempt)
            print(attempt.idempotency_key, method.customer_id, method.method_id, outcome.charge_id, flush=True)

asyncio.run(main())
"""


async def test_kill_9_forgets_no_charge_that_was_answered(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", CHARGES_UNTIL_KILLED, str(tmp_path)]
    process = await asyncio.create_subprocess_exec(*arguments, stdout=asyncio.subprocess.PIPE, cwd=ROOT)
    assert process.stdout is not None
    try:
        told = [await process.stdout.readline() for _ in range(20)]
    finally:
        process.kill()
        rest = await process.stdout.read()
        await process.wait()
    complete = [line.decode().split() for line in [*told, *rest.splitlines(keepends=True)] if line.endswith(b"\n")]
    assert len(complete) >= 20
    async with sandbox_subject(tmp_path, ManualClock()) as subject:
        for key, customer_id, method_id, charge_id in complete:
            method = PaymentMethodReference(customer_id, method_id)
            attempt = await subject.attempt(idempotency_key=key, method=method)
            assert await subject.look_up(attempt) == Succeeded(charge_id)


async def test_two_processes_charge_a_key_once(tmp_path: Path, clock: ManualClock) -> None:
    async with sandbox_subject(tmp_path, clock) as one, sandbox_subject(tmp_path, clock) as other:
        method = await one.add()
        for _ in range(10):
            attempt = await one.attempt(method=method)
            first, second = await asyncio.gather(one.provider.charge(attempt), other.provider.charge(attempt))
            assert first == second
            assert isinstance(first, Succeeded)


def files_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_no_card_number_gets_into_the_file(tmp_path: Path, clock: ManualClock) -> None:
    number = "4242424242424242"
    async with sandbox_subject(tmp_path, clock) as subject:
        with pytest.raises(CardNumberRefused):
            await subject.provider.add_payment_method(subject.card(number))
        attempt, _ = await subject.charged()
    content = files_in(tmp_path)
    assert number.encode() not in content
    # What is random, and so has twelve digits in a row now and then.
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as connection:
        random = [attempt.idempotency_key, *connection.execute("SELECT * FROM secret").fetchone()]
    for known in (*random, str(NOON)):
        assert known.encode() in content
        content = content.replace(known.encode(), b"")
    assert not re.search(rb"[0-9]{12}", content)


async def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"no database at all, " * 100)
    with pytest.raises(ProviderUnusable, match=FILE_NAME):
        async with opened_sandbox(tmp_path):
            pass
    with pytest.raises(ProviderUnusable, match=FILE_NAME):
        async with opened_sandbox(tmp_path / "no" / "folder"):
            pass


async def test_a_file_of_the_first_version_learns_of_entries(open_subject: OpenSubject, tmp_path: Path) -> None:
    async with open_subject() as subject:
        attempt, charge_id = await subject.charged()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.executescript("DROP TABLE entry; PRAGMA user_version = 1")
    connection.close()
    for _ in range(2):
        async with open_subject() as subject:
            assert await subject.look_up(attempt) == Succeeded(charge_id)
            assert await subject.provider.finish_card_entry(await subject.entered(), owner_id="berlin")


async def test_a_file_of_a_newer_version_is_told(tmp_path: Path) -> None:
    async with opened_sandbox(tmp_path):
        pass
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ProviderUnusable, match="newer"):
        async with opened_sandbox(tmp_path):
            pass


async def test_a_file_that_fails_makes_outcomes_unknown(tmp_path: Path, clock: ManualClock) -> None:
    async with sandbox_subject(tmp_path, clock) as subject:
        attempt, charge_id = await subject.charged()
        request = subject.card()
        breaker = sqlite3.connect(tmp_path / FILE_NAME)
        breaker.execute("ALTER TABLE request RENAME TO hidden")
        breaker.execute("ALTER TABLE charge RENAME TO gone")
        try:
            assert isinstance(await subject.provider.charge(attempt), Unknown)
            assert isinstance(await subject.look_up(attempt), Unknown)
            assert isinstance(await subject.provider.cancel(charge_id), Unknown)
            assert isinstance(await subject.provider.refund(charge_id, idempotency_key="r"), Unknown)
            with pytest.raises(ProviderUnavailable) as caught:
                await subject.provider.add_payment_method(request)
            assert "table" not in str(caught.value)
        finally:
            breaker.execute("ALTER TABLE gone RENAME TO charge")
            breaker.execute("ALTER TABLE hidden RENAME TO request")
            breaker.close()
        assert await subject.look_up(attempt) == Succeeded(charge_id)


async def test_a_webhook_that_does_not_arrive_is_sent_again_later_each_time(
    open_subject: OpenSubject, clock: ManualClock
) -> None:
    async with open_subject() as subject:
        await subject.charged()
        tries = 0

        async def refuse(body: bytes, signature: str) -> None:
            nonlocal tries
            tries += 1
            raise Unavailable("the database is away")

        async def break_down(body: bytes, signature: str) -> None:
            raise ZeroDivisionError("a bug of the receiver")

        sandbox = sandbox_of(subject)
        for pause in (1, 2, 4):
            assert await sandbox.send_webhooks(refuse)
            assert not await sandbox.send_webhooks(refuse)
            clock.move(pause - 0.001)
            assert not await sandbox.send_webhooks(refuse)
            clock.move(0.001)
        assert tries == 3
        assert await sandbox.send_webhooks(break_down)
        assert await subject.webhooks() == []
        clock.move(8)
        [(body, signature)] = await subject.webhooks()
        event = subject.provider.parse_webhook(body, signature, now_ms=clock.now_ms())
        assert event.occurred_at == NOON
        clock.move(DAY_SECONDS)
        assert len(await subject.webhooks()) == 1


async def test_a_webhook_is_given_up_after_three_days(open_subject: OpenSubject, clock: ManualClock) -> None:
    async with open_subject() as subject:
        await subject.charged()

        async def refuse(body: bytes, signature: str) -> None:
            raise Unavailable("the database is away")

        sandbox = sandbox_of(subject)
        days = 0
        while await sandbox.send_webhooks(refuse):
            days += 1
            clock.move(DAY_SECONDS)
        assert days == 5
        assert await subject.webhooks() == []


async def test_secrets_change_without_losing_a_webhook(tmp_path: Path, clock: ManualClock) -> None:
    async with opened_sandbox(tmp_path, clock, webhook_secrets=["new", "old"]) as sender:
        both = sender.sign_webhook(b"{}")
    for secrets, accepted in [(["old"], True), (["new"], True), (["other", "old"], True), (["other"], False)]:
        async with opened_sandbox(tmp_path, clock, webhook_secrets=secrets) as receiver:
            with pytest.raises(WebhookRefused, match="id is missing" if accepted else "our secret"):
                receiver.parse_webhook(b"{}", both, now_ms=clock.now_ms())


@pytest.mark.parametrize(
    "token", ["", "tok", "tok_visa_0", "tok_visa_12345", "tok_unknown", "tok_declined_after_", "TOK_VISA"]
)
def test_what_is_no_test_card(token: str) -> None:
    assert find_card(token) is None


def test_numbered_cards_are_as_many_different_cards() -> None:
    cards = [find_card(f"tok_visa_{number}") for number in range(1, 200)]
    assert len({card.card.fingerprint for card in cards if card}) == 199


async def test_every_card_can_be_added_or_says_why_not(open_subject: OpenSubject) -> None:
    async with open_subject() as subject:
        added = {
            token
            for token in named_cards()
            if isinstance(await subject.provider.add_payment_method(subject.card(token)), PaymentMethodAdded)
        }
        assert named_cards().keys() - added == {"tok_action_required", "tok_refused"}


def test_the_reference_lists_every_card() -> None:
    text = (ROOT / "docs/reference/sandbox.md").read_text()
    listed = set(re.findall(r"^\| `(tok_[a-z_]+)(?:_<n>)?`", text, re.MULTILINE))
    numbered = {"tok_visa", "tok_declined_after", "tok_unknown"}
    assert listed == named_cards().keys() | numbered

"""What the sandbox does with cards and charges; each method is called within one transaction of its file."""

from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import quote

from gateway.errors import InvalidArgument
from gateway.payments.errors import CardEntryInvalid, CardEntryUnfinished, ChargeNotFound, PaymentTokenInvalid
from gateway.payments.provider import (
    ENTRY_PARAMETER,
    SANDBOX_CARD_PATH,
    SANDBOX_CONFIRMATION_PATH,
    ActionRequired,
    Card,
    CardEntry,
    ChargeAttempt,
    ChargeOutcome,
    Declined,
    NewPaymentMethod,
    NotCharged,
    PaymentEvent,
    PaymentEventKind,
    PaymentMethodActionRequired,
    PaymentMethodAdded,
    PaymentMethodOutcome,
    PaymentMethodReference,
    Refunded,
    RefundOutcome,
    RefundRefused,
    Succeeded,
    Unknown,
)
from gateway.payments.sandbox_cards import NOT_AUTHENTICATED, OnAdding, OnCharge, SandboxCard, find_card
from gateway.payments.sandbox_events import write_event
from gateway.payments.sandbox_file import (
    ChargeRecord,
    EntryRecord,
    EventRecord,
    MethodRecord,
    SandboxFile,
    SetupRecord,
    Status,
)

DISPUTED_AFTER_MS: Final = 10_000
"""How long after its charge a `tok_disputed` is charged back."""

_FIRST_PAUSE_MS: Final = 1_000
_LONGEST_PAUSE_MS: Final = 3_600_000
_GIVE_UP_AFTER_MS: Final = 3 * 86_400_000

_NO_REPLY: Final = Unknown("The sandbox did not answer in time, as this test card is to have it.")
_CANCELED: Final = NotCharged("canceled", "The charge was canceled before its owner confirmed it.", can_retry=True)
_NEVER_HEARD: Final = NotCharged(
    "not_found", "The sandbox never got the attempt, and takes it no more.", can_retry=True
)
_NO_SUCH_CARD: Final = NotCharged("resource_missing", "The sandbox has no such card of this customer.", can_retry=False)
_PROCESSING_ERROR: Final = NotCharged("processing_error", "The sandbox could not process the charge.", can_retry=True)


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a card's owner is asked to confirm: a charge, or that the card may be charged in their absence.

    Attributes:
        confirmation_id: As in the link.
        card: Which card.
        status: WAITING for an answer; SUCCEEDED when it was yes; anything else: it is over.
        amount_micros: Of the charge; None for a card.
        currency: Of the charge; None for a card.
        description: Of the charge; empty for a card.
    """

    confirmation_id: str
    card: Card
    status: Status
    amount_micros: int | None = None
    currency: str | None = None
    description: str = ""


class SandboxBooks:
    """The rules of the sandbox.

    Args:
        file: What it remembers.
        public_url: Where browsers find the gateway.

    Raises:
        sqlite3.Error: By every method: the file did not do its part. Nothing is kept of a transaction that raised.
    """

    def __init__(self, file: SandboxFile, public_url: str) -> None:
        self._file = file
        self._public_url = public_url

    def add_payment_method(self, request: NewPaymentMethod) -> PaymentMethodOutcome:
        """As PaymentProvider.add_payment_method."""
        key = request.idempotency_key
        content = {"token": request.token, "owner_id": request.owner_id, "customer_id": request.customer_id}
        self._file.claim_key(key, {"add": content})
        self._check_customer(request.customer_id)
        setup = self._file.setup(request.token)
        if setup is not None:
            return self._add_confirmed(setup, request.customer_id)
        token = self._card_token(request)
        card = find_card(token)
        if card is None:
            raise PaymentTokenInvalid("is none of the sandbox's test cards; take e.g. tok_visa")
        customer_id = request.customer_id or self._file.make_id("cus", key)
        self._file.keep_customer(customer_id, request.owner_id)
        if card.on_adding is OnAdding.OWNER_ASKED:
            # The key decides about the id, so that a repeat finds what the first time left.
            setup = SetupRecord(self._file.make_id("seti", key), customer_id, token, Status.WAITING)
            if (known := self._file.setup(setup.setup_id)) is None:
                self._file.keep_setup(setup)
            return self._add_confirmed(known or setup, customer_id)
        if card.on_adding is OnAdding.DECLINED:
            return _decline_of(card)
        return self._added(MethodRecord(self._file.make_id("pm", key), customer_id, token))

    def begin_card_entry(self, request: CardEntry) -> str:
        """As PaymentProvider.begin_card_entry."""
        key = request.idempotency_key
        content = {
            "owner_id": request.owner_id,
            "return_url": request.return_url,
            "cancel_url": request.cancel_url,
            "customer_id": request.customer_id,
        }
        self._file.claim_key(key, {"enter": content})
        self._check_customer(request.customer_id)
        entry_id = self._file.make_id("entry", key)
        if self._file.entry(entry_id) is None:
            entry = EntryRecord(entry_id, request.owner_id, request.return_url, request.cancel_url)
            self._file.keep_entry(entry)
        return f"{self._public_url}{SANDBOX_CARD_PATH}?{ENTRY_PARAMETER}={quote(entry_id)}"

    def finish_card_entry(self, entry_id: str, owner_id: str) -> str:
        """As PaymentProvider.finish_card_entry.

        The token is the entry and not the test card's, so that a card that was removed can be entered again.
        """
        entry = self._file.entry(entry_id)
        if entry is None or entry.owner_id != owner_id:
            raise CardEntryInvalid
        if not entry.token:
            raise CardEntryUnfinished
        return entry.entry_id

    def find_entry(self, entry_id: str) -> EntryRecord | None:
        """An entry by the id in its link."""
        return self._file.entry(entry_id)

    def choose_card(self, entry_id: str, token: str) -> EntryRecord | None:
        """Take the first choice of a test card."""
        entry = self._file.entry(entry_id)
        if entry is None or entry.token:
            return entry
        entry = replace(entry, token=token)
        self._file.keep_entry(entry)
        return entry

    def charge(self, attempt: ChargeAttempt, now_ms: int) -> ChargeOutcome:
        """As PaymentProvider.charge."""
        known = self._file.charge_of_key(attempt.idempotency_key)
        if known is not None:
            self._claim(attempt)
            return _NO_REPLY if known.unknown_look_ups else self._outcome(known)
        card = self._card_to_charge(attempt)
        if card is not None and card.on_charge is OnCharge.REQUEST_LOST:
            return _NO_REPLY
        self._claim(attempt)
        if card is None:
            return self._close(self._record(attempt), _NO_SUCH_CARD, now_ms)
        return self._charge_card(card, self._record(attempt), now_ms)

    def look_up(self, attempt: ChargeAttempt, now_ms: int) -> ChargeOutcome:
        """As PaymentProvider.look_up."""
        self._claim(attempt)
        known = self._file.charge_of_key(attempt.idempotency_key)
        if known is None:
            return self._close(self._record(attempt), _NEVER_HEARD, now_ms)
        if known.unknown_look_ups:
            known = replace(known, unknown_look_ups=known.unknown_look_ups - 1)
            self._file.keep_charge(known)
            if not known.unknown_look_ups:
                self._tell(known, PaymentEventKind.CHARGE_SUCCEEDED, now_ms)
            return _NO_REPLY
        return self._outcome(known)

    def cancel(self, charge_id: str, now_ms: int) -> ChargeOutcome:
        """As PaymentProvider.cancel."""
        charge = self._find_charge(charge_id)
        if charge.status is not Status.WAITING:
            return self._outcome(charge)
        self._tell(charge, PaymentEventKind.CHARGE_FAILED, now_ms)
        return self._close(charge, _CANCELED, now_ms)

    def refund(self, charge_id: str, idempotency_key: str, now_ms: int) -> RefundOutcome:
        """As PaymentProvider.refund."""
        charge = self._find_charge(charge_id)
        self._file.claim_key(idempotency_key, {"refund": charge_id})
        if charge.refund_id is not None:
            return Refunded(charge.refund_id)
        if charge.status is not Status.SUCCEEDED:
            return RefundRefused("not_charged", "The charge took no money that could be given back.")
        if charge.disputed_at is not None:
            if charge.disputed_at <= now_ms:
                return RefundRefused("charge_disputed", "The charge is disputed: its money was taken back already.")
            self._file.drop_event(self._event_id(charge, PaymentEventKind.CHARGE_DISPUTED))
        charge = replace(charge, refund_id=self._file.make_id("re", charge_id), disputed_at=None)
        self._file.keep_charge(charge)
        self._tell(charge, PaymentEventKind.CHARGE_REFUNDED, now_ms)
        return Refunded(str(charge.refund_id))

    def find_confirmation(self, confirmation_id: str) -> Confirmation | None:
        """What a card's owner is asked, if anything."""
        return self._confirmation(confirmation_id)

    def answer_confirmation(self, confirmation_id: str, approve: bool, now_ms: int) -> Confirmation | None:
        """Take the owner's first answer."""
        asked = self._confirmation(confirmation_id)
        if asked is None or asked.status is not Status.WAITING:
            return asked
        status = Status.SUCCEEDED if approve else Status.DECLINED
        charge, setup = self._file.charge(confirmation_id), self._file.setup(confirmation_id)
        if charge is not None:
            self._close(charge, Succeeded(charge.charge_id) if approve else NOT_AUTHENTICATED, now_ms)
        elif setup is not None:
            self._file.keep_setup(replace(setup, status=status))
        return replace(asked, status=status)

    def next_event(self, now_ms: int) -> EventRecord | None:
        """The webhook whose turn it is."""
        return self._file.next_event(now_ms)

    def end_event(self, event: EventRecord) -> None:
        """The webhook has arrived."""
        self._file.drop_event(event.event_id)

    def postpone_event(self, event: EventRecord, now_ms: int) -> bool:
        """The webhook has not arrived: send it again later; False if it is given up."""
        if now_ms - event.due_at > _GIVE_UP_AFTER_MS:
            self._file.drop_event(event.event_id)
            return False
        # The exponent is bounded, since the power is not.
        pause = min(_FIRST_PAUSE_MS * 2 ** min(event.attempts, 20), _LONGEST_PAUSE_MS)
        self._file.keep_event(replace(event, next_at=now_ms + pause, attempts=event.attempts + 1))
        return True

    def _check_customer(self, customer_id: str | None) -> None:
        if customer_id is not None and not self._file.has_customer(customer_id):
            raise InvalidArgument("customer_id", "the sandbox has no such customer; leave it out for a new one")

    def _card_token(self, request: NewPaymentMethod) -> str:
        """The token of a test card: the one that was chosen in an entry, or the request's own."""
        entry = self._file.entry(request.token)
        if entry is None:
            return request.token
        # Who knows another's entry must not come by the card in it.
        if entry.owner_id != request.owner_id:
            raise PaymentTokenInvalid("was entered by somebody else: begin to add the card anew")
        return entry.token

    def _added(self, method: MethodRecord) -> PaymentMethodAdded:
        self._file.keep_method(method)
        return PaymentMethodAdded(
            PaymentMethodReference(method.customer_id, method.method_id), _known_card(method.token).card
        )

    def _add_confirmed(self, setup: SetupRecord, customer_id: str | None) -> PaymentMethodOutcome:
        if customer_id not in {None, setup.customer_id}:
            raise PaymentTokenInvalid("belongs to another customer; send the customer that came with it")
        if setup.status is Status.WAITING:
            return PaymentMethodActionRequired(setup.setup_id, setup.customer_id, self._link(setup.setup_id))
        if setup.status is not Status.SUCCEEDED:
            return NOT_AUTHENTICATED
        return self._added(MethodRecord(self._file.make_id("pm", setup.setup_id), setup.customer_id, setup.token))

    def _claim(self, attempt: ChargeAttempt) -> None:
        content = {
            "amount_micros": attempt.amount_micros,
            "currency": attempt.currency,
            "customer_id": attempt.method.customer_id,
            "method_id": attempt.method.method_id,
            "description": attempt.description,
            "metadata": dict(attempt.metadata),
            "off_session": attempt.off_session,
        }
        self._file.claim_key(attempt.idempotency_key, {"charge": content})

    def _card_to_charge(self, attempt: ChargeAttempt) -> SandboxCard | None:
        method = self._file.method(attempt.method.method_id)
        if method is None or method.customer_id != attempt.method.customer_id:
            return None
        return find_card(method.token)

    def _record(self, attempt: ChargeAttempt) -> ChargeRecord:
        return ChargeRecord(
            charge_id=self._file.make_id("ch", attempt.idempotency_key),
            idempotency_key=attempt.idempotency_key,
            method_id=attempt.method.method_id,
            amount_micros=attempt.amount_micros,
            currency=attempt.currency,
            description=attempt.description,
            metadata=dict(attempt.metadata),
            status=Status.WAITING,
        )

    def _charge_card(self, card: SandboxCard, charge: ChargeRecord, now_ms: int) -> ChargeOutcome:
        succeeded = Succeeded(charge.charge_id)
        if card.charges_first > self._file.count_charged(charge.method_id):
            return self._close(charge, succeeded, now_ms)
        match card.on_charge:
            case OnCharge.OWNER_ASKED:
                self._file.keep_charge(charge)
                return self._outcome(charge)
            case OnCharge.PROCESSING_ERROR:
                return self._close(charge, _PROCESSING_ERROR, now_ms)
            case OnCharge.DECLINED:
                return self._close(charge, replace(_decline_of(card), charge_id=charge.charge_id), now_ms)
            case OnCharge.REPLY_LOST:
                self._close(replace(charge, unknown_look_ups=card.unknown_look_ups), succeeded, now_ms)
                return _NO_REPLY
            case OnCharge.DISPUTED_LATER:
                charge = replace(charge, disputed_at=now_ms + DISPUTED_AFTER_MS)
                self._tell(charge, PaymentEventKind.CHARGE_DISPUTED, now_ms + DISPUTED_AFTER_MS)
        return self._close(charge, succeeded, now_ms)

    def _close(self, charge: ChargeRecord, outcome: Succeeded | Declined | NotCharged, now_ms: int) -> ChargeOutcome:
        """Write down how a charge has ended, and tell of it if it was one."""
        if isinstance(outcome, Succeeded):
            charge = replace(charge, status=Status.SUCCEEDED)
        else:
            status = Status.DECLINED if isinstance(outcome, Declined) else Status.NOT_CHARGED
            charge = replace(
                charge, status=status, code=outcome.code, message=outcome.message, can_retry=outcome.can_retry
            )
        self._file.keep_charge(charge)
        # While nobody is to know what became of it, no webhook may say so.
        if charge.status is Status.SUCCEEDED and not charge.unknown_look_ups:
            self._tell(charge, PaymentEventKind.CHARGE_SUCCEEDED, now_ms)
        elif charge.status is Status.DECLINED:
            self._tell(charge, PaymentEventKind.CHARGE_FAILED, now_ms)
        return self._outcome(charge)

    def _outcome(self, charge: ChargeRecord) -> ChargeOutcome:
        match charge.status:
            case Status.WAITING:
                return ActionRequired(charge.charge_id, self._link(charge.charge_id))
            case Status.SUCCEEDED:
                return Succeeded(charge.charge_id)
            case Status.DECLINED:
                return Declined(charge.code, charge.message, charge.can_retry, charge.charge_id)
            case Status.NOT_CHARGED:
                return NotCharged(charge.code, charge.message, charge.can_retry)

    def _find_charge(self, charge_id: str) -> ChargeRecord:
        charge = self._file.charge(charge_id)
        if charge is None:
            raise ChargeNotFound(charge_id)
        return charge

    def _confirmation(self, confirmation_id: str) -> Confirmation | None:
        if setup := self._file.setup(confirmation_id):
            return Confirmation(confirmation_id, _known_card(setup.token).card, setup.status)
        charge = self._file.charge(confirmation_id)
        method = None if charge is None else self._file.method(charge.method_id)
        if charge is None or method is None:
            return None
        card = _known_card(method.token).card
        amount, currency = charge.amount_micros, charge.currency
        return Confirmation(confirmation_id, card, charge.status, amount, currency, charge.description)

    def _link(self, confirmation_id: str) -> str:
        return f"{self._public_url}{SANDBOX_CONFIRMATION_PATH}?charge={quote(confirmation_id)}"

    def _tell(self, charge: ChargeRecord, kind: PaymentEventKind, at_ms: int) -> None:
        disputed = kind is PaymentEventKind.CHARGE_DISPUTED
        event = PaymentEvent(
            self._event_id(charge, kind),
            kind,
            at_ms,
            charge_id=charge.charge_id,
            # As with Stripe, whose disputes know the charge and nothing of the request that made it.
            idempotency_key=None if disputed else charge.idempotency_key,
            amount_micros=charge.amount_micros,
            currency=charge.currency,
            metadata={} if disputed else charge.metadata,
        )
        self._file.keep_event(EventRecord(event.event_id, write_event(event), at_ms, at_ms))

    def _event_id(self, charge: ChargeRecord, kind: PaymentEventKind) -> str:
        """Of what happens to a charge once at most."""
        return self._file.make_id("evt", f"{charge.charge_id}/{kind}")


def _known_card(token: str) -> SandboxCard:
    card = find_card(token)
    if card is None:
        raise LookupError(f"the sandbox's file has a card {token!r} that this version does not know")
    return card


def _decline_of(card: SandboxCard) -> Declined:
    if card.decline is None:
        raise LookupError("a card is declined without words for it")
    return card.decline

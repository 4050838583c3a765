"""What the gateway asks of whoever charges cards: one small protocol, kept by the sandbox and by Stripe.

The rule that everything here serves: no card is charged twice for one thing, and no charge is lost. Therefore

- each attempt to charge has a key of its own, chosen and written down by the caller before the provider hears of it;
- an outcome is known only if it is certain. `Unknown` is looked up with `look_up`, never answered by a new attempt;
- `NotCharged` and `Declined` are final: whatever of the attempt may still be under way can no longer take money, so
  that the next attempt, under a key of its own, may begin.

A card number never comes here: the browser gives it to the provider and gets a token for it.

Amounts are micros of the installation's currency; instants are Unix milliseconds and given by the caller.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeAlias

MAX_KEY_LENGTH = 200
"""Of a provider key: Stripe takes 255 characters, and the steps of a charge add a few of their own."""

MAX_METADATA_ENTRIES = 40
MAX_METADATA_NAME_LENGTH = 40
MAX_METADATA_VALUE_LENGTH = 500
RESERVED_METADATA_PREFIX = "tollgate_"
MAX_DESCRIPTION_LENGTH = 500

WEBHOOK_TOLERANCE_SECONDS = 300
"""How old, or how far ahead of our clock, the time in a webhook's signature may be."""

RETURN_PATH = "/payments/return"
"""Where, below the public URL, a browser comes back to when its owner has confirmed a payment at the provider's."""

SANDBOX_CONFIRMATION_PATH = "/payments/sandbox/confirm"
"""Where, below the public URL, the sandbox's confirmation links point to, with the charge in `?charge=`."""

SANDBOX_CARD_PATH = "/payments/sandbox/card"
"""Where, below the public URL, the sandbox has cards entered, with the entry in `?entry=`."""

ENTRY_PARAMETER = "entry"
"""In the query of a return URL: how `finish_card_entry` finds what was entered."""

MAX_URL_LENGTH = 2_000


@dataclass(frozen=True, slots=True)
class Card:
    """What may be shown and kept of a card."""

    brand: str
    """In lower case, as the provider names it: visa, mastercard, amex, unknown."""
    last_four: str
    expiry_month: int
    """1 to 12."""
    expiry_year: int
    """Four digits."""
    fingerprint: str
    """The same for the same card number, whoever adds it and however often: what a lock goes by."""


@dataclass(frozen=True, slots=True)
class PaymentMethodReference:
    """How the provider names a card that was added: what a charge needs. No secret, and of no use elsewhere."""

    customer_id: str
    """Under which the provider keeps the card."""
    method_id: str


@dataclass(frozen=True, slots=True)
class NewPaymentMethod:
    """A card that somebody wants to add.

    Attributes:
        token: What the provider gave the browser for the card: of Stripe a PaymentMethod (`pm_...`) or a SetupIntent
            (`seti_...`), of the sandbox a test card's token; of either what `finish_card_entry` returned. Never a card
            number.
        owner_id: Whose card it is, e.g. the office_id; kept with the provider, for people who look there.
        idempotency_key: 1 to 200 printable ASCII characters; a repeat with the same key adds the card once.
        customer_id: The owner's customer, from a card added earlier; a new one is made when None.
    """

    token: str = field(repr=False)  # Somebody may have put a card number there: it must get into no log.
    owner_id: str
    idempotency_key: str
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class CardEntry:
    """Somebody who wants to enter a card, to be sent to the provider's own page: no page of ours sees its number.

    Attributes:
        owner_id: Whose card it will be, e.g. the office_id; nobody else can finish the entry.
        return_url: Where the provider sends the browser afterwards, with the parameter `entry` added to the query:
            absolute, http or https, at most MAX_URL_LENGTH characters, without a fragment.
        cancel_url: Where the browser goes if its owner would rather not; the same, and nothing is added to it.
        idempotency_key: 1 to 200 printable ASCII characters; a repeat with the same key is of the same entry.
        customer_id: The owner's customer, from a card added earlier; a new one is made when None.
    """

    owner_id: str
    return_url: str
    cancel_url: str
    idempotency_key: str
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class ChargeAttempt:
    """One attempt to charge a card. Write down all of it before it is sent: `look_up` needs the same again.

    Attributes:
        idempotency_key: 1 to 200 printable ASCII characters, unlike that of any other attempt of any installation
            that shares the provider's account, for ever.
        amount_micros: Above zero and a whole number of the currency's minor units (10,000 micros for USD, 1,000,000
            for JPY): see minor_units.py.
        currency: ISO 4217, capital letters.
        method: The card.
        description: For the card's owner, on a receipt; 1 to 500 printable characters.
        metadata: Kept with the charge and given back by its webhooks; at most 40 names of 1 to 40 characters out of
            A-Z a-z 0-9 . _ -, with values of 1 to 500 printable ones. Names that begin with `tollgate_` are the
            provider's.
        off_session: Nobody is at a screen, as with a refill. False for a purchase: the bank may then ask its customer
            at once.
    """

    idempotency_key: str
    amount_micros: int
    currency: str
    method: PaymentMethodReference
    description: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    off_session: bool = True


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The card was charged with the whole amount."""

    charge_id: str
    """The provider's name of the charge, the same in its webhooks."""


@dataclass(frozen=True, slots=True)
class Declined:
    """The card's bank, or the provider on its behalf, said no. Final: nothing was charged and nothing will be."""

    code: str
    """In lower case, for programs: insufficient_funds, expired_card, card_declined, ..."""
    message: str
    """For the card's owner."""
    can_retry: bool
    """The same card may well be accepted later without its owner doing anything: try again in a while, not at once."""
    charge_id: str | None = None


@dataclass(frozen=True, slots=True)
class ActionRequired:
    """The bank wants to hear from the card's owner. Nothing is charged yet, and it may be at any moment from now on.

    Ends by a webhook, by `look_up` (which also has a fresh link), or by `cancel`. Until one of them says how, there
    must be no other attempt.
    """

    charge_id: str
    confirmation_url: str
    """To be opened in the browser of the card's owner; of short life, minutes to hours."""


@dataclass(frozen=True, slots=True)
class NotCharged:
    """Not the card: the provider refused or never got the attempt. Final: nothing was charged and nothing will be."""

    code: str
    """In lower case, for programs: rate_limited, unreachable, not_found, canceled, ..."""
    message: str
    """For an operator."""
    can_retry: bool
    """A new attempt makes sense before anybody has changed anything."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The card may have been charged, or be charged yet. Ask `look_up` later; start no other attempt."""

    message: str
    """For an operator: what went wrong."""


ChargeOutcome: TypeAlias = Succeeded | Declined | ActionRequired | NotCharged | Unknown


@dataclass(frozen=True, slots=True)
class PaymentMethodAdded:
    """The card is with the provider and can be charged without its owner."""

    reference: PaymentMethodReference
    card: Card


@dataclass(frozen=True, slots=True)
class PaymentMethodActionRequired:
    """The bank wants to hear from the card's owner before the card may be charged in their absence.

    When they have followed the link, add the card again: with `token`, this customer and a new idempotency key.
    """

    token: str
    customer_id: str
    confirmation_url: str


PaymentMethodOutcome: TypeAlias = PaymentMethodAdded | PaymentMethodActionRequired | Declined


@dataclass(frozen=True, slots=True)
class Refunded:
    """The whole charge was given back, now or before. The card's statement shows it some days later."""

    refund_id: str


@dataclass(frozen=True, slots=True)
class RefundRefused:
    """The charge cannot be given back, e.g. because it is disputed: for a person to look into."""

    code: str
    message: str


RefundOutcome: TypeAlias = Refunded | RefundRefused | Unknown


class PaymentEventKind(StrEnum):
    """What a webhook tells."""

    CHARGE_SUCCEEDED = "CHARGE_SUCCEEDED"
    """Whether at once or after its owner confirmed it."""
    CHARGE_FAILED = "CHARGE_FAILED"
    """Declined, or not confirmed, or canceled: nothing was charged. The words of `look_up` say which."""
    CHARGE_REFUNDED = "CHARGE_REFUNDED"
    CHARGE_DISPUTED = "CHARGE_DISPUTED"
    """A chargeback: the provider has taken the money back already."""
    OTHER = "OTHER"
    """Nothing that the gateway acts on: acknowledge it."""


@dataclass(frozen=True, slots=True)
class PaymentEvent:
    """What a webhook told, its signature checked.

    The same event may come several times (go by event_id) and events may come in any order: a success may come after
    a failure of the same charge that preceded it.

    Attributes:
        event_id: The provider's, unique.
        kind: What happened.
        occurred_at: When, as the provider says; Unix milliseconds.
        charge_id: The charge that it is about, as in its outcome; None with OTHER.
        idempotency_key: The attempt's, where the provider knows it: not with CHARGE_DISPUTED. Go by charge_id then.
        amount_micros: What was charged, refunded or disputed; None with OTHER.
        currency: Of the amount, ISO 4217 in capital letters; None with OTHER.
        metadata: The attempt's, without the provider's own.
    """

    event_id: str
    kind: PaymentEventKind
    occurred_at: int
    charge_id: str | None = None
    idempotency_key: str | None = None
    amount_micros: int | None = None
    currency: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class PaymentProvider(Protocol):
    """Who charges cards. Safe to use from many tasks at once; not from several event loops.

    Every method may raise InvalidArgument, which names the field of what it was given and the cure, before the
    provider hears of anything; and `ProviderKeyReused`, when a key comes again with other content, which is a bug.
    """

    @property
    def name(self) -> str:
        """What a purchase records beside its charge: sandbox or stripe."""

    async def check(self) -> None:
        """Find out whether the provider answers and takes our credentials. For the start of the program.

        Raises:
            ProviderUnusable: It refuses us until somebody changes a setting.
            ProviderUnavailable: It does not answer.
        """

    async def add_payment_method(self, request: NewPaymentMethod) -> PaymentMethodOutcome:
        """Keep a card with the provider, so that it can be charged in its owner's absence.

        Raises:
            CardNumberRefused: The token looks like a card number; it is neither kept nor repeated.
            PaymentTokenInvalid: The provider does not know the token, or it was used up.
            ProviderUnavailable: No answer; a repeat with the same key is safe.
            ProviderUnusable: As `check`.
        """

    async def begin_card_entry(self, request: CardEntry) -> str:
        """Have a card entered on the provider's own page.

        Returns:
            Its URL, for the owner's browser to go to; it is of use once, for some hours.

        Raises:
            ProviderUnavailable: No answer; a repeat is safe.
            ProviderUnusable: As `check`.
        """

    async def finish_card_entry(self, entry: str, *, owner_id: str) -> str:
        """Take what the browser came back with. Nothing is added yet: that is for `add_payment_method`.

        Args:
            entry: What the return URL carried in its parameter `entry`; anybody may have written it.
            owner_id: Of the entry that was begun.

        Returns:
            The token for NewPaymentMethod, with the same owner; the same one each time.

        Raises:
            CardEntryInvalid: There is none such of this owner's, or no card was entered.
            ProviderUnavailable: No answer; a repeat is safe.
            ProviderUnusable: As `check`.
        """

    async def charge(self, attempt: ChargeAttempt) -> ChargeOutcome:
        """Charge a card, at most once for each key.

        To be called once for a key: whoever does not know whether that was done (after a crash) calls `look_up`. A
        repeat of the same attempt charges nothing more, but it tells only of itself: a provider that refuses the repeat
        says nothing about the first time.

        Takes at most the time-out of the settings, and returns an outcome whatever goes wrong with the provider. If
        this is cancelled, or the process dies, the outcome is unknown.
        """

    async def look_up(self, attempt: ChargeAttempt, *, sent_at_ms: int) -> ChargeOutcome:
        """Find out what became of an attempt, and put an end to it if it was never made.

        Not a mere look: where the provider knows no charge for the key, the key is used up first, so that a request
        still on its way to the provider, or a process that was thought dead, cannot charge any more. Only then it is
        `NotCharged`. To be called as often as wanted, at once or after days.

        Args:
            attempt: The very one that was sent.
            sent_at_ms: When it was written down, before it was sent.

        Returns:
            The present outcome. `Unknown`: it cannot be said yet; ask again later.
        """

    async def cancel(self, charge_id: str) -> ChargeOutcome:
        """End a charge that waits for its owner (`ActionRequired`), so that its link can no longer charge the card.

        Returns:
            `NotCharged` with the code canceled; `Succeeded` or `Declined` if that came first; `Unknown`: ask again.

        Raises:
            ChargeNotFound: There is no such charge.
        """

    async def refund(self, charge_id: str, *, idempotency_key: str) -> RefundOutcome:
        """Give a whole charge back, at most once however often this is called.

        Returns:
            `Unknown`: call again with the same key.

        Raises:
            ChargeNotFound: There is no such charge.
        """

    def parse_webhook(self, payload: bytes, signature: str, *, now_ms: int) -> PaymentEvent:
        """Read a webhook after checking that the provider signed it, not longer ago than 300 s.

        Args:
            payload: The body, byte for byte as it came.
            signature: The value of the header `Stripe-Signature` (the sandbox signs in the same form); empty if absent.
            now_ms: The present.

        Raises:
            WebhookRefused: The signature is missing, wrong or too old, or the body is no event of the provider.
        """

    async def close(self) -> None:
        """Close connections and files. Nothing may be called afterwards."""

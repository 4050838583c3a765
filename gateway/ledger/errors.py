"""What can go wrong on the SQL side, as kinds of the one tree in gateway/errors.py."""

from gateway.errors import AlreadyExists, FailedPrecondition, Internal, NotFound, Unavailable


class DatabaseError(Unavailable):
    """The database did not do its part; what it said itself is the cause, for the log.

    A write may or may not have happened: the same request with the same id or key finds out, and does no harm.
    """

    reason = "DATABASE_UNAVAILABLE"


class DatabaseBusy(DatabaseError):
    """Others wrote to the same rows again and again; nothing was changed."""

    reason = "DATABASE_BUSY"


class DatabaseUnusable(DatabaseError):
    """The database cannot be opened at all until somebody changes something: for the start of the program."""

    reason = "DATABASE_UNUSABLE"


class CompanyNotFound(NotFound):
    """No company has this id."""

    reason = "COMPANY_NOT_FOUND"

    def __init__(self, company_id: str) -> None:
        super().__init__(
            f"There is no company {company_id!r}: create it with CreateCompany, or correct the id.",
            field="company_id",
            metadata={"company_id": company_id},
        )


class OfficeNotFound(NotFound):
    """No office has this id."""

    reason = "OFFICE_NOT_FOUND"

    def __init__(self, office_id: str, field: str = "office_id") -> None:
        super().__init__(
            f"There is no office {office_id!r}: create it with CreateOffice, or correct the id.",
            field=field,
            metadata={"office_id": office_id},
        )


class CertificateTaken(AlreadyExists):
    """The name in a client certificate stands for another switch."""

    reason = "CERTIFICATE_TAKEN"

    def __init__(self, certificate: str, switch_id: str) -> None:
        super().__init__(
            f"The certificate {certificate!r} stands for the switch {switch_id!r}: revoke that token first, or have a "
            "certificate of another name made.",
            field="certificate",
            metadata={"certificate": certificate, "switch_id": switch_id},
        )


class CreditNotFound(NotFound):
    """The office has no credit of this number."""

    reason = "CREDIT_NOT_FOUND"

    def __init__(self, office_id: str, number: int) -> None:
        super().__init__(
            f"The ledger has no credit {number} of the office {office_id!r}.",
            metadata={"office_id": office_id, "number": str(number)},
        )


class TokenNotFound(NotFound):
    """No token has this id."""

    reason = "TOKEN_NOT_FOUND"

    def __init__(self, token_id: str) -> None:
        super().__init__(
            f"There is no token {token_id!r}: ListTokens has the ids. A token is named by its id, not by its secret.",
            field="token_id",
        )


class TokenNotInForce(FailedPrecondition):
    """The token was revoked or has expired."""

    reason = "TOKEN_NOT_IN_FORCE"

    def __init__(self, token_id: str) -> None:
        super().__init__(
            f"The token {token_id!r} was revoked or has expired: name one that is in force, or make another with "
            "CreateToken.",
            field="token_id",
        )


class TokenOfSwitch(FailedPrecondition):
    """The token is a switch's, and no person's."""

    reason = "TOKEN_OF_SWITCH"

    def __init__(self, token_id: str) -> None:
        super().__init__(
            f"The token {token_id!r} is a switch's, and nobody signs in with it: name one of a person.",
            field="token_id",
        )


class DeckNotFound(NotFound):
    """No deck has this version, or none was imported yet."""

    reason = "RATE_DECK_NOT_FOUND"

    def __init__(self, version: int | None = None) -> None:
        what = "no rate deck yet: import one" if version is None else f"no rate deck of version {version}"
        super().__init__(f"There is {what} (ListRateDecks has the versions).", field="version")


class NoticeRecipientNotFound(NotFound):
    """The address gets no notices of this office or company."""

    reason = "NOTICE_RECIPIENT_NOT_FOUND"

    def __init__(self, address: str) -> None:
        super().__init__(
            f"The address {address!r} gets no notices there: `tollgate notices list` has those that do.",
            field="address",
        )


class CompanyExists(AlreadyExists):
    """The company_id is taken."""

    reason = "COMPANY_ALREADY_EXISTS"

    def __init__(self, company_id: str) -> None:
        super().__init__(f"The company {company_id!r} exists with another name: choose another id.", field="company_id")


class OfficeExists(AlreadyExists):
    """The office_id is taken."""

    reason = "OFFICE_ALREADY_EXISTS"

    def __init__(self, office_id: str) -> None:
        super().__init__(
            f"The office {office_id!r} exists with other settings: choose another id, or change it with UpdateOffice.",
            field="office_id",
        )


class IdempotencyKeyReused(AlreadyExists):
    """The office has seen this key with other content. Keys are kept for ever."""

    reason = "IDEMPOTENCY_KEY_REUSED"

    def __init__(self, idempotency_key: str) -> None:
        super().__init__(
            f"The idempotency_key {idempotency_key!r} was used in this office for another request: "
            "use a new key for a new request, and the same content for a retry.",
            field="idempotency_key",
        )


class RefillAlreadyCredited(AlreadyExists):
    """The refill has its credit, under another key."""

    reason = "REFILL_ALREADY_CREDITED"

    def __init__(self, refill_id: str) -> None:
        super().__init__(
            f"The refill {refill_id!r} has been credited: one charge is one credit. Look for a second charge.",
            field="refill_id",
        )


class PaymentMethodNotFound(NotFound):
    """The office has no payment method of this id, or it was removed."""

    reason = "PAYMENT_METHOD_NOT_FOUND"

    def __init__(self, payment_method_id: str) -> None:
        super().__init__(
            f"The office has no payment method {payment_method_id!r}: ListPaymentMethods has their ids, and "
            "AddPaymentMethod adds a card.",
            field="payment_method_id",
        )


class InvoiceNotFound(NotFound):
    """The office has no invoice of this month."""

    reason = "INVOICE_NOT_FOUND"

    def __init__(self, invoice_id: str) -> None:
        super().__init__(
            f"There is no invoice {invoice_id!r}: ListInvoices has those of an office.", field="invoice_id"
        )


class CardUnusable(FailedPrecondition):
    """The card cannot pay as it is: each case has a class of its own, with its cure."""

    reason = "CARD_UNUSABLE"

    def __init__(self, message: str) -> None:
        super().__init__(f"payment_method_id: {message}", field="payment_method_id")


class CardUnconfirmed(CardUnusable):
    """Nobody has told the amount of the small charge yet, or the bank has not agreed."""

    reason = "CARD_UNCONFIRMED"

    def __init__(self) -> None:
        super().__init__(
            "this card is not confirmed yet: find the small charge on its statement, and tell its amount with "
            "ConfirmPaymentMethod."
        )


class CardLocked(CardUnusable):
    """Three wrong answers were given about this card, wherever that was."""

    reason = "CARD_LOCKED"

    def __init__(self) -> None:
        super().__init__("this card is locked after three wrong answers: add another card, or ask an operator.")


class CardExpired(CardUnusable):
    """The card's last month is over."""

    reason = "CARD_EXPIRED"

    def __init__(self, expiry_month: int, expiry_year: int) -> None:
        super().__init__(f"this card expired with {expiry_year:04}-{expiry_month:02}: add another card.")


class CardOfOtherProvider(CardUnusable):
    """The card is kept by a payment provider that this gateway no longer uses."""

    reason = "CARD_OF_OTHER_PROVIDER"

    def __init__(self, provider: str) -> None:
        super().__init__(
            f"this card was added with the payment provider {provider}, which is no longer used: add it again."
        )


class OfficeSuspended(FailedPrecondition):
    """The office is suspended, and buys nothing meanwhile."""

    reason = "OFFICE_SUSPENDED"

    def __init__(self, office_id: str) -> None:
        super().__init__(
            f"The office {office_id!r} is suspended and cannot buy credits: ask an operator to resume it.",
            field="office_id",
        )


class PaymentMethodRequired(FailedPrecondition):
    """The office pays by card, and none was named."""

    reason = "PAYMENT_METHOD_REQUIRED"

    def __init__(self) -> None:
        super().__init__(
            "payment_method_id: this office pays by card: name one of ListPaymentMethods.", field="payment_method_id"
        )


class PaymentMethodNotAllowed(FailedPrecondition):
    """The office pays by invoice, and a card was named."""

    reason = "PAYMENT_METHOD_NOT_ALLOWED"

    def __init__(self) -> None:
        super().__init__(
            "payment_method_id: this office pays by invoice: leave it empty, and the amount goes on the next invoice.",
            field="payment_method_id",
        )


class CreditAlreadyApplied(FailedPrecondition):
    """The credit has moved its money and cannot be refused any more."""

    reason = "CREDIT_ALREADY_APPLIED"

    def __init__(self, office_id: str, number: int) -> None:
        super().__init__(
            f"Credit {number} of the office {office_id!r} has been applied: take it back with a new credit.",
            metadata={"office_id": office_id, "number": str(number)},
        )


class LedgerBroken(Internal):
    """Ledger and store disagree about money: to be looked into by a person, with `tollgate audit`.

    The particulars are a note of the exception: the log shows them, and the caller does not see them.
    """

    reason = "LEDGER_BROKEN"

    def __init__(self, particulars: str) -> None:
        super().__init__("The ledger and the store disagree; nothing was changed. Ask an operator to run an audit.")
        self.add_note(particulars)


class ChargeContradicted(Internal):
    """The provider has taken the money of a charge that is recorded as failed: a person has to give it back.

    The particulars are a note of the exception: the log shows them, and the caller does not see them.
    """

    reason = "CHARGE_CONTRADICTED"

    def __init__(self, charge_key: str, status: str) -> None:
        super().__init__("The payment provider contradicts itself about a charge; ask an operator to look into it.")
        self.add_note(f"The charge {charge_key!r} is recorded as {status} and has succeeded at the provider.")

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

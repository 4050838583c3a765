"""Companies, offices, switches, the tokens of people and switches, links for people to sign in by, and the decks."""

from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String
from sqlalchemy.orm import Mapped, mapped_column

from gateway.domain.vocabulary import OfficeState, PaymentTerms, Role
from gateway.ledger.models.base import Base, JsonColumn, enum_column


class CompanyRow(Base):
    """A company: what offices belong to."""

    __tablename__ = "company"

    company_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[int] = mapped_column(BigInteger)


class OfficeRow(Base):
    """An office: the holder of a balance. The balance itself is in the store and, as credits and debits, in the ledger.

    `version` grows by one with every change. `projected_version` and `projected_credit_limit_micros` are what the
    store is known to hold: where the first is behind, the office is to be projected, and the second is what a lower
    credit limit that the store refuses goes back to. `guards` are the fraud guards that have tripped, as dictionaries
    of `Guard`, and `guarded_until` is when the last of them ends.
    """

    __tablename__ = "office"
    __table_args__ = (Index(None, "company_id", "office_id"),)

    office_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    company_id: Mapped[str] = mapped_column(ForeignKey(CompanyRow.company_id))
    name: Mapped[str] = mapped_column(String(200))
    country: Mapped[str] = mapped_column(String(2))
    currency: Mapped[str] = mapped_column(String(3))
    time_zone: Mapped[str] = mapped_column(String(64))
    tariff: Mapped[str] = mapped_column(String(128))
    credit_limit_micros: Mapped[int] = mapped_column(BigInteger)
    max_concurrent_calls: Mapped[int] = mapped_column(Integer)
    max_price_per_minute_micros: Mapped[int] = mapped_column(BigInteger)
    daily_spend_limit_micros: Mapped[int] = mapped_column(BigInteger)
    payment_terms: Mapped[PaymentTerms] = mapped_column(enum_column(PaymentTerms))
    state: Mapped[OfficeState] = mapped_column(enum_column(OfficeState))
    fraud_country_spend_micros: Mapped[int] = mapped_column(BigInteger)
    fraud_office_spend_micros: Mapped[int] = mapped_column(BigInteger)
    fraud_country_calls: Mapped[int] = mapped_column(Integer)
    fraud_office_calls: Mapped[int] = mapped_column(Integer)
    guards: Mapped[list[dict[str, Any]]] = mapped_column(JsonColumn)
    guarded_until: Mapped[int] = mapped_column(BigInteger)  # 0: no guard has tripped, or it was lifted.
    refill_enabled: Mapped[bool]
    refill_threshold_micros: Mapped[int] = mapped_column(BigInteger)
    refill_amount_micros: Mapped[int] = mapped_column(BigInteger)
    refill_payment_method_id: Mapped[str] = mapped_column(String(128))
    refill_generation: Mapped[int] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)
    projected_version: Mapped[int] = mapped_column(BigInteger)
    projected_credit_limit_micros: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[int] = mapped_column(BigInteger)


# Both databases keep the index down to the few rows that are waiting.
Index(
    "ix_office_unprojected",
    OfficeRow.office_id,
    sqlite_where=OfficeRow.projected_version < OfficeRow.version,
    postgresql_where=OfficeRow.projected_version < OfficeRow.version,
)

# And this one to those that have tripped a guard.
Index(
    "ix_office_guarded",
    OfficeRow.guarded_until,
    sqlite_where=OfficeRow.guarded_until > 0,
    postgresql_where=OfficeRow.guarded_until > 0,
)


class TokenRow(Base):
    """A token. The secret is nowhere: only its SHA-256 is, which is enough for 256 random bits.

    Where a client certificate stands for it there is no secret, and `certificate` is the name in that.
    """

    __tablename__ = "token"
    __table_args__ = (Index(None, "created_at", "token_id"),)

    token_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_id: Mapped[str] = mapped_column(String(32), unique=True)
    role: Mapped[Role] = mapped_column(enum_column(Role))
    company_id: Mapped[str | None] = mapped_column(ForeignKey(CompanyRow.company_id))
    office_ids: Mapped[list[str]] = mapped_column(JsonColumn)
    switch_id: Mapped[str] = mapped_column(String(128))
    description: Mapped[str] = mapped_column(String(200))
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int | None] = mapped_column(BigInteger)
    revoked_at: Mapped[int | None] = mapped_column(BigInteger)
    version: Mapped[int] = mapped_column(BigInteger)
    projected_version: Mapped[int] = mapped_column(BigInteger)
    certificate: Mapped[str] = mapped_column(String(255))


Index(
    "ix_token_unprojected",
    TokenRow.token_id,
    sqlite_where=TokenRow.projected_version < TokenRow.version,
    postgresql_where=TokenRow.projected_version < TokenRow.version,
)


class SignInLinkRow(Base):
    """A link that signs a browser in once. Its secret is nowhere, as a token's.

    The token is named without a foreign key: the one of the settings is in no table. Its hash is what is signed in, so
    that a link is good for the token that it was made for and for no later one of the same name.
    """

    __tablename__ = "sign_in_link"

    secret_hash: Mapped[str] = mapped_column(String(64), primary_key=True)
    token_id: Mapped[str] = mapped_column(String(32))
    token_hash: Mapped[str] = mapped_column(String(64))
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)
    expires_at: Mapped[int] = mapped_column(BigInteger, index=True)
    used_at: Mapped[int | None] = mapped_column(BigInteger)


class SwitchRow(Base):
    """A switch with a callback, or that had one. The secret is here as it is, since posts are signed with it."""

    __tablename__ = "switch"

    switch_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    callback_url: Mapped[str] = mapped_column(String(500))
    callback_secret: Mapped[str] = mapped_column(String(64))
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)


class DeckRow(Base):
    """A version of the rate deck, kept for ever: calls are explained by the version that priced them."""

    __tablename__ = "deck"

    version: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    content: Mapped[bytes] = mapped_column(LargeBinary, deferred=True)  # The CSV text in UTF-8, by zlib.
    sha256: Mapped[str] = mapped_column(String(64))  # Of the text, not of the compressed bytes.
    row_count: Mapped[int] = mapped_column(Integer)
    source: Mapped[str] = mapped_column(String(200))
    created_by: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[int] = mapped_column(BigInteger)

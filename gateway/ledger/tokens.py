"""The tokens: made here, kept as hashes, and projected into the store so that the front knows them without SQL."""

import secrets
from dataclasses import dataclass

from sqlalchemy import ColumnElement, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.identity import ALL_OFFICES, Identity, hash_secret, validate_certificate_name, validate_scope
from gateway.domain.ids import validate_id, validate_office_id, validate_text
from gateway.domain.vocabulary import Role
from gateway.errors import InvalidArgument, Unauthenticated
from gateway.ledger import audit
from gateway.ledger.database import Database
from gateway.ledger.errors import CertificateTaken, CompanyNotFound, OfficeNotFound, TokenNotFound
from gateway.ledger.models import CompanyRow, OfficeRow, TokenRow
from gateway.ledger.paging import Page, PageRequest

SECRET_PREFIX = "tg_"  # noqa: S105  It marks a secret, for scanners of leaked ones; it is none.

CERTIFICATE_PREFIX = "x509:"
"""Of what stands for the hash of a secret in a token that a certificate stands for. No hash begins so, so that nothing
that is sent as a secret finds such a token."""

MAX_OFFICES = 1_000
"""How many offices one token may name; a switch for more uses ALL_OFFICES."""


def new_secret() -> str:
    """A secret of 256 random bits."""
    return SECRET_PREFIX + secrets.token_urlsafe(32)


def new_certificate_key() -> str:
    """What a token of a certificate has in the place of a secret's hash: 232 random bits."""
    return CERTIFICATE_PREFIX + secrets.token_hex(29)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The token that is asked for: a role, its scope, and until when.

    `certificate` is the name in the client certificate that stands for it; empty: a secret does.
    """

    role: Role
    company_id: str = ""
    office_ids: frozenset[str] = frozenset()
    switch_id: str = ""
    description: str = ""
    expires_at: int | None = None
    certificate: str = ""

    def validate(self, now_ms: int) -> None:
        """Hold every value against its range, and the scope against the role.

        Raises:
            InvalidArgument: Names the field that is wrong, and what it may be.
        """
        if not isinstance(self.role, Role):
            raise InvalidArgument("role", f"must be one of {', '.join(role.name for role in Role)}")
        validate_scope(self.role, self.company_id, self.office_ids, self.switch_id)
        if self.company_id:
            validate_id(self.company_id, "company_id")
        if len(self.office_ids) > MAX_OFFICES:
            raise InvalidArgument("office_ids", f"must be at most {MAX_OFFICES}; make several tokens, or one for all")
        for office_id in self.office_ids - {ALL_OFFICES}:
            validate_office_id(office_id, "office_ids")
        if self.switch_id:
            validate_id(self.switch_id, "switch_id")
        if self.certificate:
            if self.role is not Role.SWITCH:
                raise InvalidArgument("certificate", "is for a token with the role SWITCH; leave it empty")
            validate_certificate_name(self.certificate)
        validate_text(self.description, "description", may_be_empty=True)
        if self.expires_at is not None and self.expires_at <= now_ms:
            raise InvalidArgument("expires_at", "must be in the future, or absent for a token that does not expire")


@dataclass(frozen=True, slots=True)
class Token:
    """A token as everybody may see it who may list tokens."""

    token_id: str
    role: Role
    company_id: str
    office_ids: frozenset[str]
    switch_id: str
    description: str
    created_by: str
    created_at: int
    expires_at: int | None
    revoked_at: int | None
    version: int
    certificate: str = ""

    @property
    def identity(self) -> Identity:
        """The bearer."""
        return Identity(self.role, self.token_id, self.company_id, self.office_ids, self.switch_id)

    def is_in_force(self, now_ms: int) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now_ms < self.expires_at)


@dataclass(frozen=True, slots=True)
class HashedToken:
    """A token with the hash of its secret, by which the store looks it up; or with what `new_certificate_key` made."""

    token_hash: str
    token: Token


class Tokens:
    """The repository of tokens."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, request: TokenRequest, secret: str, *, actor: str, now_ms: int) -> HashedToken:
        """Record a token.

        Args:
            request: What it may do.
            secret: Of `new_secret`; its bearer has to be told it now, since it is kept nowhere. Of no use for a token
                of a certificate.
            actor: Who makes it.
            now_ms: When.

        Raises:
            InvalidArgument: A value is out of its range, or the scope is not one of the role.
            CompanyNotFound: The company does not exist.
            OfficeNotFound: An office does not exist, or is not of this company.
            CertificateTaken: The certificate stands for another switch.
        """
        request.validate(now_ms)
        token_hash = new_certificate_key() if request.certificate else hash_secret(secret)
        token = Token(
            token_id=token_hash.removeprefix(CERTIFICATE_PREFIX)[:12],
            role=request.role,
            company_id=request.company_id,
            office_ids=request.office_ids,
            switch_id=request.switch_id,
            description=request.description,
            created_by=actor,
            created_at=now_ms,
            expires_at=request.expires_at,
            revoked_at=None,
            version=1,
            certificate=request.certificate,
        )

        async def insert(session: AsyncSession) -> HashedToken:
            await _require_scope(session, request)
            await _require_certificate(session, request, now_ms)
            session.add(
                TokenRow(
                    token_hash=token_hash,
                    token_id=token.token_id,
                    role=token.role,
                    company_id=token.company_id or None,
                    office_ids=sorted(token.office_ids),
                    switch_id=token.switch_id,
                    description=token.description,
                    created_by=actor,
                    created_at=now_ms,
                    expires_at=token.expires_at,
                    revoked_at=None,
                    version=token.version,
                    projected_version=0,
                    certificate=token.certificate,
                )
            )
            _record(session, now_ms, actor, "token.create", None, token)
            return HashedToken(token_hash, token)

        return await self._database.transact(insert)

    async def revoke(self, token_id: str, *, actor: str, now_ms: int) -> HashedToken:
        """Take a token out of force, for ever; a repeat changes nothing.

        Raises:
            TokenNotFound: There is no token of this id.
        """
        async with self._database.write() as session:
            query = select(TokenRow).where(TokenRow.token_id == token_id).with_for_update()
            row = (await session.scalars(query)).one_or_none()
            if row is None:
                raise TokenNotFound(token_id)
            before = _token(row)
            if before.revoked_at is not None:
                return HashedToken(row.token_hash, before)
            row.revoked_at = now_ms
            row.version += 1
            after = _token(row)
            _record(session, now_ms, actor, "token.revoke", before, after)
            return HashedToken(row.token_hash, after)

    async def authenticate(self, secret: str, *, now_ms: int) -> Identity:
        """The bearer of a secret.

        Raises:
            Unauthenticated: No token of this secret is in force; it is not said why.
        """
        async with self._database.read() as session:
            row = await session.get(TokenRow, hash_secret(secret))
        if row is None or not (token := _token(row)).is_in_force(now_ms):
            raise Unauthenticated
        return token.identity

    async def get(self, token_id: str) -> HashedToken:
        """One token, with the hash of its secret.

        Raises:
            TokenNotFound: There is no token of this id.
        """
        async with self._database.read() as session:
            row = (await session.scalars(select(TokenRow).where(TokenRow.token_id == token_id))).one_or_none()
        if row is None:
            raise TokenNotFound(token_id)
        return HashedToken(row.token_hash, _token(row))

    async def list(self, page: PageRequest, company_id: str | None = None) -> Page[Token]:
        """The tokens in the order they were made, revoked and expired ones included.

        Raises:
            InvalidArgument: The page is not one of this list.
        """
        after = page.after((int, str), "tokens", company_id)
        query = select(TokenRow).order_by(TokenRow.created_at, TokenRow.token_id).limit(page.limit + 1)
        if company_id is not None:
            query = query.where(TokenRow.company_id == company_id)
        if after is not None:
            query = query.where(tuple_(TokenRow.created_at, TokenRow.token_id) > after)
        async with self._database.read() as session:
            tokens = [_token(row) for row in await session.scalars(query)]
        return page.page(tokens, lambda token: (token.created_at, token.token_id), "tokens", company_id)

    async def unprojected(self, limit: int, after_token_id: str = "") -> tuple[HashedToken, ...]:
        """Tokens that the store is not known to hold as they are, revoked ones included, by id."""
        query = (
            select(TokenRow)
            .where(TokenRow.projected_version < TokenRow.version, TokenRow.token_id > after_token_id)
            .order_by(TokenRow.token_id)
            .limit(limit)
        )
        async with self._database.read() as session:
            return tuple(HashedToken(row.token_hash, _token(row)) for row in await session.scalars(query))

    async def in_force(self, now_ms: int, limit: int, after_token_id: str = "") -> tuple[HashedToken, ...]:
        """Tokens that are neither revoked nor expired, by id from `after_token_id` on: what the store is to hold."""
        query = (
            select(TokenRow)
            .where(*_in_force(now_ms), TokenRow.token_id > after_token_id)
            .order_by(TokenRow.token_id)
            .limit(limit)
        )
        async with self._database.read() as session:
            return tuple(HashedToken(row.token_hash, _token(row)) for row in await session.scalars(query))

    async def mark_projected(self, token: Token) -> None:
        """Note that the store holds this version of a token; older news than what is known changes nothing."""
        async with self._database.write() as session:
            await session.execute(
                update(TokenRow)
                .where(TokenRow.token_id == token.token_id, TokenRow.projected_version < token.version)
                .values(projected_version=token.version)
            )


async def _require_scope(session: AsyncSession, request: TokenRequest) -> None:
    if request.company_id and await session.get(CompanyRow, request.company_id) is None:
        raise CompanyNotFound(request.company_id)
    named = request.office_ids - {ALL_OFFICES}
    query = select(OfficeRow.office_id).where(OfficeRow.office_id.in_(named))
    if request.company_id:
        query = query.where(OfficeRow.company_id == request.company_id)
    missing = named - set(await session.scalars(query))
    if missing:
        raise OfficeNotFound(min(missing), field="office_ids")


async def _require_certificate(session: AsyncSession, request: TokenRequest, now_ms: int) -> None:
    if not request.certificate:
        return
    query = select(TokenRow.switch_id).where(
        TokenRow.certificate == request.certificate, TokenRow.switch_id != request.switch_id, *_in_force(now_ms)
    )
    other = (await session.scalars(query.limit(1))).one_or_none()
    if other is not None:
        raise CertificateTaken(request.certificate, other)


def _in_force(now_ms: int) -> tuple[ColumnElement[bool], ...]:
    return TokenRow.revoked_at.is_(None), or_(TokenRow.expires_at.is_(None), TokenRow.expires_at > now_ms)


def _record(session: AsyncSession, now_ms: int, actor: str, action: str, before: Token | None, after: Token) -> None:
    target = f"token:{after.token_id}"
    audit.record(session, now_ms=now_ms, actor=actor, action=action, target=target, before=before, after=after)


def _token(row: TokenRow) -> Token:
    return Token(
        token_id=row.token_id,
        role=row.role,
        company_id=row.company_id or "",
        office_ids=frozenset(row.office_ids),
        switch_id=row.switch_id,
        description=row.description,
        created_by=row.created_by,
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        version=row.version,
        certificate=row.certificate,
    )

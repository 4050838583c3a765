"""Tokens: made, listed and revoked by operators, and by admins for people within their own scope."""

from gateway.api.credits.fields import enum_of, instant, read_enum, read_instant, read_page
from gateway.domain.identity import ALL_OFFICES, Identity
from gateway.domain.ids import validate_id
from gateway.domain.vocabulary import Role
from gateway.errors import InvalidArgument, PermissionDenied
from gateway.ledger.errors import CompanyNotFound, OfficeNotFound, TokenNotFound
from gateway.ledger.tokens import HashedToken, Token, TokenRequest, Tokens, new_secret
from gateway.projection.tokens import TokenProjection
from gateway.store.clock import Clock
from gateway.v1 import credits_pb2 as pb


class TokenRpcs:
    """What is asked about tokens."""

    def __init__(self, tokens: Tokens, projection: TokenProjection, clock: Clock) -> None:
        self._tokens = tokens
        self._projection = projection
        self._clock = clock

    async def create(self, request: pb.CreateTokenRequest, identity: Identity) -> pb.CreateTokenResponse:
        """Make a token; the secret, if it has one, is in this answer and nowhere else.

        Raises:
            InvalidArgument: A value is out of its range, or the scope is not one of the role.
            PermissionDenied: The bearer may make no tokens, or none with these rights.
            CompanyNotFound, OfficeNotFound: An operator named what does not exist.
            CertificateTaken: The certificate stands for another switch.
            Unavailable: It may be made; its secret is lost then, so make another.
        """
        identity.may_use_credits()
        wanted = _read(request)
        now_ms = self._clock.now_ms()
        wanted.validate(now_ms)
        _may_grant(identity, wanted.role, wanted.company_id, wanted.office_ids)
        secret = new_secret()
        try:
            made = await self._tokens.create(wanted, secret, actor=identity.actor, now_ms=now_ms)
        except (CompanyNotFound, OfficeNotFound):
            if identity.role is Role.OPERATOR:
                raise
            # An office of another company looks like one that does not exist.
            raise PermissionDenied from None
        await self._projection.project(made)
        return pb.CreateTokenResponse(token=_message(made.token), secret="" if wanted.certificate else secret)

    async def list(self, request: pb.ListTokensRequest, identity: Identity) -> pb.ListTokensResponse:
        """The tokens that the bearer might have made; a page may be short, only an empty next_page_token ends the list.

        Raises:
            PermissionDenied: The bearer is no admin.
            InvalidArgument: The page is not one of this list.
        """
        company_id = _administered_company(identity)
        page = await self._tokens.list(read_page(request.page_size, request.page_token), company_id)
        return pb.ListTokensResponse(
            tokens=[_message(token) for token in page.items if _is_within(identity, token)],
            next_page_token=page.next_page_token,
        )

    async def revoke(self, request: pb.RevokeTokenRequest, identity: Identity) -> pb.Token:
        """Take a token out of force at every gateway, for ever.

        Raises:
            InvalidArgument: The token_id can be none.
            PermissionDenied: The bearer is no admin, or the token is not within their scope or does not exist.
            TokenNotFound: An operator named one that does not exist.
            Unavailable: It is revoked or not; repeat it.
        """
        _administered_company(identity)
        await administered_token(self._tokens, request.token_id, identity)
        revoked = await self._tokens.revoke(request.token_id, actor=identity.actor, now_ms=self._clock.now_ms())
        await self._projection.project(revoked)
        return _message(revoked.token)


async def administered_token(tokens: Tokens, token_id: str, identity: Identity) -> HashedToken:
    """A token that the bearer may revoke, or their own.

    Raises:
        InvalidArgument: It can be no token_id.
        PermissionDenied: It is not within the bearer's scope, or does not exist as far as they may know.
        TokenNotFound: It does not exist.
    """
    validate_id(token_id, "token_id")
    try:
        found = await tokens.get(token_id)
    except TokenNotFound:
        if identity.role is Role.OPERATOR:
            raise
        raise PermissionDenied from None
    if token_id != identity.token_id and not _is_within(identity, found.token):
        raise PermissionDenied
    return found


def _read(request: pb.CreateTokenRequest) -> TokenRequest:
    role = read_enum(Role, request.role, "role")
    office_ids = frozenset(request.office_ids)
    if ALL_OFFICES in office_ids:
        raise InvalidArgument("office_ids", "must be office_ids; leave it empty for a switch that may use all offices")
    if role is Role.SWITCH and not office_ids:
        office_ids = frozenset({ALL_OFFICES})
    expires_at = read_instant(request.expires_at, "expires_at") if request.HasField("expires_at") else None
    return TokenRequest(
        role,
        request.company_id,
        office_ids,
        request.switch_id,
        request.description,
        expires_at,
        request.certificate,
    )


def _administered_company(identity: Identity) -> str | None:
    """The company whose tokens the bearer may see; None: every one's.

    Raises:
        PermissionDenied: The bearer is no admin.
    """
    if not identity.is_admin:
        raise PermissionDenied
    return identity.readable_company_id()


def _may_grant(identity: Identity, role: Role, company_id: str, office_ids: frozenset[str]) -> None:
    """Nobody gives what they have not: no other role, company or office.

    Raises:
        PermissionDenied: The token would have rights that the bearer has not.
    """
    if identity.role is not Role.OPERATOR and not _covers(identity, role, company_id, office_ids):
        raise PermissionDenied


def _is_within(identity: Identity, token: Token) -> bool:
    return identity.role is Role.OPERATOR or _covers(identity, token.role, token.company_id, token.office_ids)


def _covers(identity: Identity, role: Role, company_id: str, office_ids: frozenset[str]) -> bool:
    if company_id != identity.company_id or not company_id:
        return False
    if identity.role is Role.COMPANY_ADMIN:
        return role in (Role.COMPANY_ADMIN, Role.OFFICE_ADMIN, Role.VIEWER)
    if identity.role is Role.OFFICE_ADMIN:
        return role in (Role.OFFICE_ADMIN, Role.VIEWER) and bool(office_ids) and office_ids <= identity.office_ids
    return False


def _message(token: Token) -> pb.Token:
    message = pb.Token(
        token_id=token.token_id,
        role=enum_of(token.role),
        company_id=token.company_id,
        office_ids=sorted(token.office_ids - {ALL_OFFICES}),
        switch_id=token.switch_id,
        description=token.description,
        created_at=instant(token.created_at),
        certificate=token.certificate,
    )
    if token.expires_at is not None:
        message.expires_at.CopyFrom(instant(token.expires_at))
    if token.revoked_at is not None:
        message.revoked_at.CopyFrom(instant(token.revoked_at))
    return message

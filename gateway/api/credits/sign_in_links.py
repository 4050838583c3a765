"""Links that sign a browser in: made for oneself, and for others by who could revoke their token."""

import secrets
from collections.abc import Callable
from typing import Final

from gateway.api.credits.fields import instant
from gateway.api.credits.tokens import administered_token
from gateway.domain.identity import Identity, hash_secret
from gateway.domain.vocabulary import Role
from gateway.errors import InvalidArgument
from gateway.ledger.errors import TokenNotInForce, TokenOfSwitch
from gateway.ledger.sign_in_links import SignInLinks
from gateway.ledger.tokens import Tokens
from gateway.store.clock import Clock
from gateway.v1 import credits_pb2 as pb

SIGN_IN_PATH: Final = "/sign-in"
"""What stands before a slash and the secret in a link."""

DEFAULT_VALID_SECONDS: Final = 900
MAX_VALID_SECONDS: Final = 86_400


class SignInLinkRpcs:
    """What is asked about links.

    Args:
        tokens: What links sign in as.
        links: Where they are kept.
        settled_hash: The hash of the secret of a token from the settings, by its id; None: it is not one.
        base_url: Where browsers find the page, without a slash at the end.
        clock: Says until when a link is good.
    """

    def __init__(
        self,
        tokens: Tokens,
        links: SignInLinks,
        settled_hash: Callable[[str], str | None],
        base_url: str,
        clock: Clock,
    ) -> None:
        self._tokens = tokens
        self._links = links
        self._settled_hash = settled_hash
        self._base_url = base_url
        self._clock = clock

    async def create(self, request: pb.CreateSignInLinkRequest, identity: Identity) -> pb.CreateSignInLinkResponse:
        """Make a link; its secret is in this answer and nowhere else.

        Raises:
            InvalidArgument: A value is out of its range.
            PermissionDenied: The bearer is a switch, or the token is neither theirs nor theirs to revoke.
            TokenNotFound: An operator named one that does not exist.
            TokenOfSwitch: Nobody signs in as a switch.
            TokenNotInForce: The token was revoked or has expired.
            Unavailable: It may be made; its secret is lost then, so make another.
        """
        identity.may_use_credits()
        now_ms = self._clock.now_ms()
        expires_at = now_ms + 1000 * _read_valid_seconds(request.valid_seconds)
        token_id = request.token_id or identity.token_id
        token_hash = self._settled_hash(token_id) if token_id == identity.token_id else None
        if token_hash is None:
            found = await administered_token(self._tokens, token_id, identity)
            if found.token.role is Role.SWITCH:
                raise TokenOfSwitch(token_id)
            if not found.token.is_in_force(now_ms):
                raise TokenNotInForce(token_id)
            token_hash = found.token_hash
            # A link to a token that has expired would open nothing.
            expires_at = min(expires_at, found.token.expires_at or expires_at)
        secret = secrets.token_urlsafe(32)
        await self._links.create(
            hash_secret(secret),
            token_id=token_id,
            token_hash=token_hash,
            expires_at=expires_at,
            actor=identity.actor,
            now_ms=now_ms,
        )
        return pb.CreateSignInLinkResponse(
            url=f"{self._base_url}{SIGN_IN_PATH}/{secret}", expires_at=instant(expires_at)
        )


def _read_valid_seconds(value: int) -> int:
    if not 0 <= value <= MAX_VALID_SECONDS:
        raise InvalidArgument(
            "valid_seconds", f"is {value}, it must be 0 (for {DEFAULT_VALID_SECONDS}) to {MAX_VALID_SECONDS}"
        )
    return value or DEFAULT_VALID_SECONDS

"""Links that sign a browser in: each is good once and for a while, and what it signs in as is a token."""

from dataclasses import dataclass, replace

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.ledger import audit
from gateway.ledger.database import Database
from gateway.ledger.models import SignInLinkRow

KEPT_MS = 86_400_000
"""For so long a link is kept after it has expired, so that somebody who asks may be told what became of it."""

_REMOVED_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class SignInLink:
    """A link as the audit log has it."""

    token_id: str
    expires_at: int
    used_at: int | None = None


class SignInLinks:
    """The repository of links."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, secret_hash: str, *, token_id: str, token_hash: str, expires_at: int, actor: str, now_ms: int
    ) -> None:
        """Record a link, and forget some that expired long ago.

        Args:
            secret_hash: What `hash_secret` makes of the link's secret.
            token_id: Of the token that it signs in as, which is in force.
            token_hash: Of that token's secret.
            expires_at: From then on it is good for nothing, in Unix milliseconds.
            actor: Who makes it.
            now_ms: When.
        """
        outlived = (
            select(SignInLinkRow.secret_hash)
            .where(SignInLinkRow.expires_at <= now_ms - KEPT_MS)
            .order_by(SignInLinkRow.expires_at)
            .limit(_REMOVED_AT_ONCE)
        )
        async with self._database.write() as session:
            await session.execute(delete(SignInLinkRow).where(SignInLinkRow.secret_hash.in_(outlived)))
            session.add(
                SignInLinkRow(
                    secret_hash=secret_hash,
                    token_id=token_id,
                    token_hash=token_hash,
                    created_by=actor,
                    created_at=now_ms,
                    expires_at=expires_at,
                    used_at=None,
                )
            )
            _record(session, now_ms, actor, "create", secret_hash, None, SignInLink(token_id, expires_at))

    async def redeem(self, secret_hash: str, *, now_ms: int) -> str | None:
        """Use a link up: of all that try, one succeeds.

        Whether the token is still in force is not looked at: that is asked of the directory, now as at every later
        request.

        Returns:
            The hash of the secret of the token that is signed in; None: the link is unknown, used or expired.
        """
        async with self._database.read() as session:
            # Anybody may try: what was made up must not keep the writers waiting.
            if await session.get(SignInLinkRow, secret_hash) is None:
                return None
        async with self._database.write() as session:
            row = await session.get(SignInLinkRow, secret_hash, with_for_update=True)
            if row is None or row.used_at is not None or row.expires_at <= now_ms:
                return None
            row.used_at = now_ms
            before = SignInLink(row.token_id, row.expires_at)
            after = replace(before, used_at=now_ms)
            _record(session, now_ms, f"token:{row.token_id}", "redeem", secret_hash, before, after)
            return row.token_hash


def _record(
    session: AsyncSession,
    now_ms: int,
    actor: str,
    verb: str,
    secret_hash: str,
    before: SignInLink | None,
    after: SignInLink,
) -> None:
    # Named as tokens are: by the beginning of the hash, which opens nothing.
    target = f"sign_in_link:{secret_hash[:12]}"
    audit.record(
        session,
        now_ms=now_ms,
        actor=actor,
        action=f"sign_in_link.{verb}",
        target=target,
        before=before,
        after=after,
    )

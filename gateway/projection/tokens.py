"""Tokens from SQL into the store, where the gateways look them up."""

import asyncio
from collections.abc import Mapping
from typing import Final

from gateway.ledger.tokens import HashedToken, Token, Tokens
from gateway.store.clock import Clock
from gateway.store.connection import StoreConnection
from gateway.store.directory import (
    Directory,
    PublishedToken,
    announce_tokens,
    forget_token_uses,
    put_tokens,
    read_tokens,
    remove_tokens,
    tokens_are_announced,
)

_BATCH: Final = 500


class TokenProjection:
    """Carries tokens into the store: each change by itself, and all of them when the store may have lost some.

    SQL is written first and asked again after the store: whoever puts a token that somebody else has revoked in the
    meantime finds out, and takes it back.

    Args:
        tokens: In SQL.
        connection: To the store.
        clock: Says which are in force.
        directory: Of this process, which takes a change over at once: whoever shows a token that was just made is not
            taken for somebody who guesses.
    """

    def __init__(self, tokens: Tokens, connection: StoreConnection, clock: Clock, directory: Directory) -> None:
        self._tokens = tokens
        self._connection = connection
        self._clock = clock
        self._directory = directory
        self._turn = asyncio.Lock()

    async def project(self, hashed: HashedToken) -> None:
        """Make the store hold a token as SQL has it: there while it is in force, else gone.

        Raises:
            StoreUnavailable: It may be done or not; the projector sees to it.
            DatabaseError: It is done, but SQL does not know; the projector sees to it.
        """
        token_hash, token = hashed.token_hash, hashed.token
        async with self._turn:
            while True:
                if token.revoked_at is None:
                    await put_tokens(self._connection, {token_hash: _published(token)})
                else:
                    await remove_tokens(self._connection, [token_hash])
                await announce_tokens(self._connection)
                await self._directory.refresh()
                now = (await self._tokens.get(token.token_id)).token
                if now.version == token.version:
                    break
                token = now
            await self._tokens.mark_projected(token)

    async def project_all(self) -> None:
        """Make the store hold just the tokens that are in force; writes nothing where it does already.

        Raises:
            StoreUnavailable, DatabaseError: It may be half done; repeat it.
        """
        async with self._turn:
            wanted = await self._in_force()
            held = await read_tokens(self._connection)
            missing = {hashed: token for hashed, token in wanted.items() if held.get(hashed) != token.to_json()}
            stale = held.keys() - wanted.keys()
            if missing:
                await put_tokens(self._connection, missing)
                stale |= missing.keys() - (await self._in_force()).keys()
            await remove_tokens(self._connection, stale)
            await forget_token_uses(self._connection, {token.identity.token_id for token in wanted.values()})
            if missing or stale or not await tokens_are_announced(self._connection):
                await announce_tokens(self._connection)

    async def _in_force(self) -> Mapping[str, PublishedToken]:
        found: dict[str, PublishedToken] = {}
        after = ""
        while batch := await self._tokens.in_force(self._clock.now_ms(), _BATCH, after):
            found |= {hashed.token_hash: _published(hashed.token) for hashed in batch}
            after = batch[-1].token.token_id
        return found


def _published(token: Token) -> PublishedToken:
    return PublishedToken(token.identity, token.expires_at, token.certificate)

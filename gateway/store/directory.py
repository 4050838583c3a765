"""What gateways follow besides balances: the deck in force, the tokens, and which switches have a callback.

SQL is their home; the back process publishes them here, so that the front needs neither SQL nor CSV. Followers look at
three version numbers twice a second and read what changed.
"""

import asyncio
import json
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Final

import structlog

from gateway.domain.deck import Deck
from gateway.domain.identity import Identity, hash_secret
from gateway.domain.vocabulary import Role
from gateway.errors import Unauthenticated, Unavailable
from gateway.store.clock import Clock
from gateway.store.connection import StoreConnection
from gateway.store.faults import StoreFault, StoreUnavailable
from gateway.store.keys import CALLBACKS_KEY, DIRECTORY_KEY, TOKENS_KEY, rates_key

log = structlog.get_logger(__name__)

FOLLOW_EVERY_SECONDS: Final = 0.5
_RATES, _TOKENS, _SWITCHES = b"rates", b"tokens", b"switches"
_UNKNOWN_REMEMBERED: Final = 10_000
_TOKENS_A_COMMAND: Final = 500
_NOT_READ: Final = "The tokens cannot be read yet; retry."
_DECKS_SWEPT: Final = 8
"""How many versions behind the one before are removed: some may have stayed when a gateway died."""


class PublishedToken:
    """A token as the store holds it: whose it is and how long it is good.

    Attributes:
        identity: The bearer.
        expires_at_ms: Unix milliseconds; None: never.
        certificate: The name in the client certificate that stands for it; empty: a secret does.
    """

    __slots__ = ("certificate", "expires_at_ms", "identity")

    def __init__(self, identity: Identity, expires_at_ms: int | None, certificate: str = "") -> None:
        self.identity = identity
        self.expires_at_ms = expires_at_ms
        self.certificate = certificate

    def has_expired(self, now_ms: int) -> bool:
        """Whether it is good no longer."""
        return self.expires_at_ms is not None and now_ms >= self.expires_at_ms

    def to_json(self) -> str:
        """The value of a field of the tokens hash."""
        identity = self.identity
        fields = {
            "role": identity.role.name,
            "token_id": identity.token_id,
            "company_id": identity.company_id,
            "office_ids": sorted(identity.office_ids),
            "switch_id": identity.switch_id,
            "expires_at_ms": self.expires_at_ms,
        }
        # Only where it says something: gateways of two versions on one store write the same for all other tokens.
        return json.dumps(fields | {"certificate": self.certificate} if self.certificate else fields)

    @classmethod
    def from_json(cls, text: bytes) -> "PublishedToken":
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        identity = Identity(
            Role[fields["role"]],
            fields["token_id"],
            fields["company_id"],
            frozenset(fields["office_ids"]),
            fields["switch_id"],
        )
        return cls(identity, fields["expires_at_ms"], fields.get("certificate", ""))


class Directory:
    """This process's copy of deck, tokens and switches with a callback.

    Args:
        connection: To the store.
        clock: Says when a token has expired.
        operator_token: The first operator's secret, from the settings; None: there is none.
    """

    def __init__(self, connection: StoreConnection, clock: Clock, operator_token: str | None = None) -> None:
        self._connection = connection
        self._clock = clock
        self._settled: dict[str, PublishedToken] = {}
        if operator_token:
            self._settled[hash_secret(operator_token)] = PublishedToken(Identity(Role.OPERATOR, "settings"), None)
        self._published: Mapping[str, PublishedToken] = {}
        self._by_certificate: Mapping[str, Sequence[PublishedToken]] = {}
        # Secret -> token: saves the SHA-256 of every request.
        self._by_secret: dict[str, PublishedToken] = {}
        self._unknown: dict[str, int] = {}
        self._tokens_version: bytes | None = None
        self._rates_version: bytes | None = None
        self._switches_version: bytes | None = None
        self._with_callback: frozenset[str] = frozenset()
        self.deck: Deck | None = None
        self.ready = asyncio.Event()
        self.on_deck: Callable[[Deck], None] = lambda deck: None  # noqa: ARG005

    @property
    def is_ready(self) -> bool:
        """Whether the tokens and a deck were read at least once; `ready` is the event of it."""
        return self.ready.is_set()

    @property
    def tokens_version(self) -> bytes | None:
        """Names the tokens as they were last read; another name: some were made or revoked."""
        return self._tokens_version

    @property
    def switches_version(self) -> bytes | None:
        """Names the switches as they were last read; another name: a callback was set, changed or removed."""
        return self._switches_version

    def settled_hash(self, token_id: str) -> str | None:
        """Return the hash of the secret of a token from the settings, which are its only home; None: it is not one."""
        hashes = (hashed for hashed, token in self._settled.items() if token.identity.token_id == token_id)
        return next(hashes, None)

    def has_callback(self, switch_id: str) -> bool:
        """Whether a switch has a callback, so that the gateway ticks its calls; never waits."""
        return switch_id in self._with_callback

    def identified(self, secret: str) -> Identity | None:
        """Return the bearer of a token that was seen before; never waits."""
        token = self._by_secret.get(secret)
        return None if token is None or token.has_expired(self._clock.now_ms()) else token.identity

    async def identify(self, secret: str) -> Identity:
        """Return the bearer of a token, asking the store for one that is not known here yet.

        Raises:
            Unauthenticated: Unknown, revoked or expired: which of them is not said.
            Unavailable: It cannot be told now: the tokens were never read and the store does not answer.
        """
        identity = self.identified(secret)
        if identity is not None:
            return identity
        token = await self._in_force(hash_secret(secret))
        self._by_secret[secret] = token
        return token.identity

    def certified(self, names: Iterable[str]) -> Identity | None:
        """Return the switch that a client certificate stands for, by its names; never waits.

        Several tokens for one name give the offices of all of them, so that offices can be changed by making the next
        token before the last one is revoked.

        Returns:
            None: no token that is in force has one of the names.

        Raises:
            Unauthenticated: They are names of more than one switch.
            Unavailable: It cannot be told now: the tokens were never read.
        """
        if self._tokens_version is None:
            raise Unavailable(_NOT_READ)
        now_ms = self._clock.now_ms()
        found = [
            token.identity
            for name in names
            for token in self._by_certificate.get(name, ())
            if not token.has_expired(now_ms)
        ]
        if len(found) < 2:
            return found[0] if found else None
        first, *others = found
        if any(each.switch_id != first.switch_id for each in others):
            raise Unauthenticated("The names in this certificate are of several switches: have one made for each.")
        return replace(first, office_ids=first.office_ids.union(*(each.office_ids for each in others)))

    async def bearer(self, hashed: str) -> Identity:
        """Return the bearer of a token by the hash of its secret, for who keeps no secrets; raises as `identify`."""
        return (await self._in_force(hashed)).identity

    async def _in_force(self, hashed: str) -> PublishedToken:
        now_ms = self._clock.now_ms()
        token = self._settled.get(hashed) or self._published.get(hashed)
        if token is None and now_ms - self._unknown.get(hashed, 0) > 500:
            token = await self._ask_for(hashed, now_ms)
        if token is None or token.has_expired(now_ms):
            raise Unauthenticated
        return token

    async def _ask_for(self, hashed: str, now_ms: int) -> PublishedToken | None:
        """A token made a moment ago is good at once; an unknown one costs the store one look in 500 ms."""
        try:
            text = await self._connection.ask("HGET", TOKENS_KEY, hashed)
        except (StoreUnavailable, StoreFault) as error:
            if self._tokens_version is not None:
                return None
            raise Unavailable(_NOT_READ) from error
        if text is not None:
            return PublishedToken.from_json(text)
        if len(self._unknown) >= _UNKNOWN_REMEMBERED:
            self._unknown.clear()
        self._unknown[hashed] = now_ms
        return None

    async def follow(self) -> None:
        """Take over new tokens and decks for ever."""
        while True:
            await self._connection.wait_connected()
            try:
                await self.refresh()
            except (StoreUnavailable, StoreFault) as error:
                log.warning("rates and tokens were not read", error=str(error))
            await asyncio.sleep(FOLLOW_EVERY_SECONDS)

    async def refresh(self) -> None:
        """Read what changed since the last time.

        Raises:
            StoreUnavailable: The store did not answer; what was known stays.
        """
        rates, tokens, switches = await self._connection.ask("HMGET", DIRECTORY_KEY, _RATES, _TOKENS, _SWITCHES)
        if tokens is not None and tokens != self._tokens_version:
            flat = await self._connection.ask("HGETALL", TOKENS_KEY)
            pairs = zip(flat[::2], flat[1::2], strict=True)
            self._published = {hashed.decode(): PublishedToken.from_json(text) for hashed, text in pairs}
            self._by_certificate = _by_certificate(self._published.values())
            self._by_secret.clear()
            self._unknown.clear()
            self._tokens_version = tokens
            log.info("tokens taken over", tokens=len(self._published))
        if switches is not None and switches != self._switches_version:
            _, *ids = (await self._connection.ask("GET", CALLBACKS_KEY) or b"").split(b"\n")
            self._with_callback = frozenset(switch_id.decode() for switch_id in ids)
            self._switches_version = switches
        if rates is not None and rates != self._rates_version:
            packed = await self._connection.ask("GET", rates_key(int(rates)))
            if packed is None:
                log.error("the deck in force is missing in the store", version=int(rates))
                return
            self.deck = await _load_in_slices(packed)
            self._rates_version = rates
            self.on_deck(self.deck)
            log.info("deck taken over", version=self.deck.version, rates=len(self.deck))
        if self.deck is not None and self._tokens_version is not None:
            self.ready.set()


def _by_certificate(tokens: Iterable[PublishedToken]) -> Mapping[str, Sequence[PublishedToken]]:
    found: dict[str, list[PublishedToken]] = {}
    for token in tokens:
        if token.certificate:
            found.setdefault(token.certificate, []).append(token)
    return found


async def _load_in_slices(packed: bytes) -> Deck:
    """Load a deck without keeping the calls that are being decided meanwhile waiting."""
    slices = Deck.load(packed)
    while True:
        try:
            next(slices)
        except StopIteration as stop:
            deck: Deck = stop.value
            return deck
        await asyncio.sleep(0)


async def publish_rates(connection: StoreConnection, deck: Deck) -> None:
    """Put a deck in force; the one before stays readable for gateways that are reading it.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    packed = await asyncio.to_thread(deck.to_bytes)
    await connection.ask("SET", rates_key(deck.version), packed)
    await connection.ask("HSET", DIRECTORY_KEY, _RATES, deck.version)
    for version in range(max(1, deck.version - _DECKS_SWEPT), deck.version - 1):
        await connection.ask("DEL", rates_key(version))


async def published_rates(connection: StoreConnection) -> int:
    """Return the version of the deck in force as the store holds it; 0: none, or it is not there whole.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    version = int(await connection.ask("HGET", DIRECTORY_KEY, _RATES) or 0)
    return version if version and await connection.ask("EXISTS", rates_key(version)) else 0


async def publish_callbacks(connection: StoreConnection, version: int, switch_ids: Iterable[str]) -> None:
    """Make every gateway know, within a second, which switches have a callback.

    Raises:
        StoreUnavailable: The store did not answer; what was known stays.
    """
    await connection.ask("SET", CALLBACKS_KEY, "\n".join([str(version), *switch_ids]))
    await connection.ask("HSET", DIRECTORY_KEY, _SWITCHES, version)


async def published_callbacks(connection: StoreConnection) -> int | None:
    """Return the version of the switches as the store holds them; None: it does not, or not whole.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    version = await connection.ask("HGET", DIRECTORY_KEY, _SWITCHES)
    held, _, _ = (await connection.ask("GET", CALLBACKS_KEY) or b"").partition(b"\n")
    return int(version) if version is not None and version == held else None


async def publish_tokens(connection: StoreConnection, tokens: Mapping[str, PublishedToken]) -> None:
    """Make the store hold just these tokens, by hash.

    Raises:
        StoreUnavailable: The store did not answer; the next attempt mends what is half done.
    """
    held = await read_tokens(connection)
    await put_tokens(connection, tokens)
    await remove_tokens(connection, held.keys() - tokens.keys())
    await announce_tokens(connection)


async def read_tokens(connection: StoreConnection) -> dict[str, str]:
    """Return the tokens as the store holds them: JSON by hash.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    flat = await connection.ask("HGETALL", TOKENS_KEY)
    return {hashed.decode(): text.decode() for hashed, text in zip(flat[::2], flat[1::2], strict=True)}


async def put_tokens(connection: StoreConnection, tokens: Mapping[str, PublishedToken]) -> None:
    """Write some tokens; `announce_tokens` makes the gateways read them.

    Raises:
        StoreUnavailable: The store did not answer; some of them may be written.
    """
    remaining = iter(tokens.items())
    while some := list(islice(remaining, _TOKENS_A_COMMAND)):
        flat = [part for hashed, token in some for part in (hashed, token.to_json())]
        await connection.ask("HSET", TOKENS_KEY, *flat)


async def remove_tokens(connection: StoreConnection, hashes: Iterable[str]) -> None:
    """Remove some tokens; `announce_tokens` makes the gateways forget them.

    Raises:
        StoreUnavailable: The store did not answer; some of them may be removed.
    """
    remaining = iter(hashes)
    while some := list(islice(remaining, _TOKENS_A_COMMAND)):
        await connection.ask("HDEL", TOKENS_KEY, *some)


async def announce_tokens(connection: StoreConnection) -> None:
    """Make every gateway read the tokens again, within a second.

    What is announced is a name and not a count: a store that lost its data would count to a known number again.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    await connection.ask("HSET", DIRECTORY_KEY, _TOKENS, secrets.token_hex(8))


async def tokens_are_announced(connection: StoreConnection) -> bool:
    """Whether the tokens were ever announced in this store.

    Raises:
        StoreUnavailable: The store did not answer.
    """
    return bool(await connection.ask("HEXISTS", DIRECTORY_KEY, _TOKENS))

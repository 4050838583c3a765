"""Pages of a list: by the key of the last item, so that inserts move nothing and no page costs more than another."""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from gateway.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000

T = TypeVar("T")
Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list; an empty next_page_token ends it."""

    items: tuple[T, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which part of a list is wanted: page_size 0 is the default, an empty page_token the first page."""

    page_size: int = 0
    page_token: str = ""

    @property
    def limit(self) -> int:
        """The number of items; more than the maximum is the maximum.

        Raises:
            InvalidArgument: It is negative.
        """
        if self.page_size < 0:
            raise InvalidArgument("page_size", f"must be 0 (for {DEFAULT_PAGE_SIZE}) to {MAX_PAGE_SIZE}")
        return min(self.page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)

    def after(self, shape: tuple[type[str] | type[int], ...], *query: object) -> Key | None:
        """The key that the page begins behind; None at the start.

        Args:
            shape: The types of the parts of a key.
            query: The list's name and its filters, the same as were given to `page`.

        Raises:
            InvalidArgument: The token is of another query, or never was one.
        """
        if not self.page_token:
            return None
        try:
            digest, *key = json.loads(base64.b64decode(self.page_token.encode("ascii"), altchars=b"-_", validate=True))
        except (ValueError, TypeError, binascii.Error) as error:
            raise _bad_token() from error
        if digest != _digest(query) or len(key) != len(shape) or not all(map(_is_part, key, shape)):
            raise _bad_token()
        return tuple(key)

    def page(self, items: Sequence[T], key: Callable[[T], Key], *query: object) -> Page[T]:
        """A page out of up to `limit + 1` items: the one too many only tells that there are more.

        Args:
            items: What was found behind `after`.
            key: The key of an item.
            query: As in `after`.
        """
        if len(items) <= self.limit:
            return Page(tuple(items), "")
        shown = tuple(items[: self.limit])
        text = json.dumps([_digest(query), *key(shown[-1])], separators=(",", ":"))
        return Page(shown, base64.urlsafe_b64encode(text.encode()).decode())


def _is_part(value: object, expected: type) -> bool:
    """Whether it can be part of a key: the token comes from outside, and must not reach the database as nonsense."""
    if type(value) is not expected:
        return False
    return value.isprintable() if isinstance(value, str) else isinstance(value, int) and abs(value) < 2**63


def _digest(query: tuple[object, ...]) -> str:
    return hashlib.sha256(repr(query).encode()).hexdigest()[:12]


def _bad_token() -> InvalidArgument:
    return InvalidArgument(
        "page_token", "is not of this query: pass next_page_token back unchanged, with the same filters"
    )

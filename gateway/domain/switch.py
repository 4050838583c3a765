"""A switch that holds no Session, as operators register it: where it is told what to do."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from gateway.domain.ids import validate_id
from gateway.errors import InvalidArgument

MAX_URL_LENGTH: Final = 500


@dataclass(frozen=True, slots=True)
class Switch:
    """A switch.

    Attributes:
        switch_id: The one that its tokens name.
        callback_url: Where its commands are posted; empty: nowhere.
        callback_secret: What they are signed with; empty without a callback. Never shown or logged by itself.
    """

    switch_id: str
    callback_url: str = ""
    callback_secret: str = field(default="", repr=False)


def validate_switch(switch_id: str, callback_url: str) -> None:
    """Hold a registration against what can be called.

    Raises:
        InvalidArgument: Names the field that is wrong, and what it may be.
    """
    validate_id(switch_id, "switch_id")
    if not callback_url:
        return
    example = "write e.g. http://10.0.0.5:8088/tollgate, or leave it empty"
    if len(callback_url) > MAX_URL_LENGTH or not (callback_url.isascii() and callback_url.isprintable()):
        raise InvalidArgument("callback_url", f"must be at most {MAX_URL_LENGTH} printable ASCII characters; {example}")
    try:
        parts = urlsplit(callback_url)
        port = parts.port
    except ValueError:
        raise InvalidArgument("callback_url", f"has a host or port that is none; {example}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or " " in callback_url:
        raise InvalidArgument("callback_url", f"must be an http or https address; {example}")
    if "@" in parts.netloc or parts.fragment:
        raise InvalidArgument(
            "callback_url", f"must have neither user nor fragment: the signature says who posts; {example}"
        )

"""How a post of ours is signed, so that its receiver knows that it came from here and is not an old one again."""

import hashlib
import hmac
from typing import Final

HEADER: Final = "Tollgate-Signature"


def sign(body: bytes, secret: str, *, at_seconds: int) -> str:
    """The value of the header: `t=<Unix seconds>,v1=<hex of HMAC-SHA256(secret, "<t>." + body)>`.

    The time is signed with the body, so that nobody can send it again as new.
    """
    signed = b"%d.%b" % (at_seconds, body)
    return f"t={at_seconds},v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"

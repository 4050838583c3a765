"""The shape of an e-mail address, as far as it is checked before a mail is sent to it."""

import re
from typing import Final

MAX_LENGTH: Final = 254

_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS: Final = re.compile(
    rf"(?!\.)(?!.*\.\.)[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}(?<!\.)@{_LABEL}(?:\.{_LABEL})*", re.ASCII
)


def is_mail_address(text: str) -> bool:
    """Whether it is an address of the common form, `name@host`, without a display name, quotes or comments.

    What a mail server makes of it only the server knows. Nothing here can end a header or begin a second address.
    """
    return len(text) <= MAX_LENGTH and _ADDRESS.fullmatch(text) is not None

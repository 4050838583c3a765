"""A request that cannot be taken as it is."""

from collections.abc import Sequence
from typing import Any

from gateway.diameter.codes import ResultCode


class Refused(Exception):
    """What is wrong with a request, as its answer will say it.

    Attributes:
        code: Result-Code.
        text: Error-Message: what is wrong and what would do.
        failed: AVPs for Failed-AVP: those at fault, or an example of one that is missing.
    """

    def __init__(self, code: ResultCode, text: str, failed: Sequence[Any] = ()) -> None:
        super().__init__(f"{code.name}: {text}")
        self.code = code
        self.text = text
        self.failed = tuple(failed)

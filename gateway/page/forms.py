"""What a browser sends: fields of forms, as strict as any other entrance."""

import re
from collections.abc import Mapping
from typing import Final, TypeVar
from urllib.parse import parse_qs

from starlette.requests import Request

from gateway.domain.money import AmountError, parse_amount
from gateway.errors import InvalidArgument

_MAX_FIELDS: Final = 50

T = TypeVar("T")

_is_in_thousands = re.compile(r"-?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?").fullmatch
"""A comma anywhere else is a decimal point to whoever wrote it: 1,23 is not 123."""


class Form:
    """The fields of one form; of a field that is there twice the last one counts."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        self._fields = fields

    @classmethod
    async def of_body(cls, request: Request) -> "Form":
        """The form that was posted.

        Raises:
            InvalidArgument: It has more fields than any of ours.
        """
        body = (await request.body()).decode("utf-8", "replace")
        try:
            fields = parse_qs(body, keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        except ValueError as error:
            raise InvalidArgument("form", "has too many fields: go back and send it again") from error
        return cls({name: values[-1] for name, values in fields.items()})

    @classmethod
    def of_query(cls, request: Request) -> "Form":
        """The form that was sent as a query."""
        return cls(dict(request.query_params))

    def text(self, name: str) -> str:
        """A field without the spaces around it; empty where it is not there."""
        return self._fields.get(name, "").strip()

    def is_on(self, name: str) -> bool:
        """Whether a box is ticked."""
        return bool(self._fields.get(name))

    def amount(self, name: str) -> int:
        """An amount of money in micros, written as a decimal of the currency: 50, 50.00 or 1,000.

        Raises:
            InvalidArgument: It is none.
        """
        text = self.text(name).removeprefix("$")
        try:
            return parse_amount(text.replace(",", "") if _is_in_thousands(text) else text)
        except AmountError as error:
            raise InvalidArgument(name, f"must be an amount such as 50.00: {error}") from error

    def micros(self, name: str) -> int:
        """An amount that one of our own pages has written in micros.

        Raises:
            InvalidArgument: It is none.
        """
        text = self.text(name)
        if not (text.isascii() and text.isdecimal() and len(text) <= 16):
            raise InvalidArgument(name, "must be one of the amounts on the page: go back and choose one")
        return int(text)

    def choice(self, name: str, choices: Mapping[str, T], usual: T) -> T:
        """What a word of a menu stands for; `usual` where nothing was chosen.

        Raises:
            InvalidArgument: The menu has no such word.
        """
        text = self.text(name)
        if not text:
            return usual
        if text not in choices:
            raise InvalidArgument(name, f"must be one of {', '.join(choices)}")
        return choices[text]

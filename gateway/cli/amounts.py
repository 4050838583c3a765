"""Amounts on the command line: exact decimals of the currency, never a float."""

from typing import Annotated, TypeAlias

import typer

from gateway.domain.money import AmountError, parse_amount


def read_amount(text: str | int) -> int:
    """Read `50.00` as micros; a default is in micros already.

    Raises:
        BadParameter: It is no such decimal; typer says so with the name of the parameter.
    """
    if isinstance(text, int):
        return text
    try:
        return parse_amount(text)
    except AmountError as error:
        raise typer.BadParameter(str(error)) from None


Amount: TypeAlias = Annotated[
    int, typer.Argument(parser=read_amount, metavar="AMOUNT", help="In units of the currency, e.g. 50.00 or -12.5.")
]

NEGATIVE_ARGUMENTS = {"ignore_unknown_options": True}
"""Context settings of a command that takes an amount: -5.00 is no option."""

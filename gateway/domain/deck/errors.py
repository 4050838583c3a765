"""What is wrong with a deck: every fault with its line, and how many there are in all."""

from dataclasses import dataclass
from typing import Final

MAX_LISTED_ERRORS: Final = 100


@dataclass(frozen=True, slots=True, order=True)
class LineError:
    """One fault of a deck.

    Attributes:
        line: The line of the file, from 1; the header is line 1.
        column: The column at fault; "" where it is the line as a whole.
        message: What is wrong and, where it helps, what would be right.
    """

    line: int
    column: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}, {self.column}" if self.column else f"line {self.line}"
        return f"{where}: {self.message}"


class DeckError(ValueError):
    """A deck is not valid; nothing of it may be used.

    Attributes:
        errors: The faults by line, at most 100 of them.
        count: How many there are in all.
    """

    def __init__(self, errors: tuple[LineError, ...], count: int) -> None:
        self.errors = errors
        self.count = count
        lines = [str(error) for error in errors]
        if count > len(errors):
            lines.append(f"and {count - len(errors)} more")
        super().__init__("; ".join(lines))


class ErrorList:
    """Collects the faults of a deck; lists the first hundred and counts the rest."""

    def __init__(self) -> None:
        self._errors: list[LineError] = []
        self.count = 0

    def add(self, line: int, column: str, message: str) -> None:
        """Note a fault."""
        self.count += 1
        if len(self._errors) < MAX_LISTED_ERRORS:
            self._errors.append(LineError(line, column, message))

    def raise_if_any(self) -> None:
        """Raise what was collected.

        Raises:
            DeckError: There was at least one fault.
        """
        if self.count:
            raise DeckError(tuple(sorted(self._errors)), self.count)

"""Rate decks as files on this machine."""

from importlib import resources
from pathlib import Path

from gateway.cli.errors import EXIT_USAGE, CommandError
from gateway.domain.deck import Deck, DeckError, parse_deck


def read_deck(path: Path) -> tuple[bytes, Deck]:
    """Read and check a deck; returns its file's content, too.

    Raises:
        CommandError: It is not valid; with every error and its line.
        OSError: The file cannot be read.
    """
    content = path.read_bytes()
    return content, _parse(content, str(path))


def packaged_deck() -> Deck:
    """The deck that the package brings, which is in force until another one is imported."""
    return _parse(packaged_rates(), "the packaged deck")


def packaged_rates() -> bytes:
    """The same as its file has it."""
    return (resources.files("gateway") / "data" / "default_rates.csv").read_bytes()


def _parse(content: bytes, name: str) -> Deck:
    try:
        return parse_deck(content)
    except DeckError as error:
        lines = [f"{name} has {error.count} errors; nothing of it is used", *map(str, error.errors)]
        if error.count > len(error.errors):
            lines.append(f"and {error.count - len(error.errors)} more")
        raise CommandError("\n".join(lines), EXIT_USAGE) from None

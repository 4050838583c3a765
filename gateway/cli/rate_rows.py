"""A row of the deck, in lines for people."""

from collections.abc import Iterator

from gateway.cli.output import pairs
from gateway.v1 import authorization_pb2 as pb


def describe_row(row: pb.RateRow) -> Iterator[str]:
    """Which row priced something, and why that one."""
    yield from pairs([("priced by", f"line {row.line} of deck {row.deck_version}"), ("because", row.why)])

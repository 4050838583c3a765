"""Messages out of a stream of bytes: a whole one at a time, within limits."""

import asyncio
from typing import Final

HEADER_BYTES: Final = 20
MAX_MESSAGE_BYTES: Final = 64 * 1024
"""A credit-control request has one or two kilobytes; the protocol's own limit of 16 MiB is an invitation."""

_VERSION: Final = 1


class NotDiameter(Exception):
    """What came cannot be the beginning of a message. Where the next one would begin nobody knows: close."""


async def read_message(reader: asyncio.StreamReader) -> bytes | None:
    """Read the next message; None at the end of the stream.

    Cancelling it between two messages loses nothing; within one, the rest of it is lost.

    Raises:
        NotDiameter: Garbage, or a message that is too long.
        ConnectionError: The stream broke.
    """
    try:
        header = await reader.readexactly(HEADER_BYTES)
        return header + await reader.readexactly(body_bytes(header))
    except asyncio.IncompleteReadError:
        return None


def body_bytes(header: bytes) -> int:
    """How many bytes follow a header.

    Raises:
        NotDiameter: It is no header of a message that would be taken.
    """
    length = int.from_bytes(header[1:4], "big")
    if header[0] != _VERSION:
        raise NotDiameter(f"version {header[0]}; this is Diameter version {_VERSION}")
    if length < HEADER_BYTES or length % 4:
        raise NotDiameter(f"a message cannot have {length} bytes")
    if length > MAX_MESSAGE_BYTES:
        raise NotDiameter(f"a message of {length} bytes; at most {MAX_MESSAGE_BYTES} are taken")
    return length - HEADER_BYTES

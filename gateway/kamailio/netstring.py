"""Netstrings: `5:hello,`."""

from typing import Final

from gateway.kamailio.errors import ProtocolError

MAX_BYTES: Final = 262_144
"""Of one netstring: a SIP message of 64 KiB whose body is written in hexadecimal digits, and then some."""

_MAX_DIGITS: Final = len(str(MAX_BYTES))

_STEP: Final = 217
"""Kamailio reads at most 32,767 bytes = 151 * 217 at a time."""


def encode_for_kamailio(payload: bytes) -> bytes:
    """A netstring, filled up with spaces, which evapi skips, to a multiple of 217 bytes.

    Where one of its reads ends within the digits of a length, evapi of Kamailio 5.6 forgets what it has read of them
    and with that loses the message. It reads 32,767 bytes at most, which happens when it is behind; lengths that begin
    only at multiples of 217 are never cut by that.
    """
    frame = b"%d:%b," % (len(payload), payload)
    return frame + b" " * (-len(frame) % _STEP)


class NetstringDecoder:
    """Puts netstrings together from what was read, however it was cut."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what was read; returns what is complete.

        Raises:
            ProtocolError: These are no netstrings, or one is too long; the connection cannot be used any longer.
        """
        buffer = self._buffer
        buffer += data
        found: list[bytes] = []
        start = 0
        while (colon := buffer.find(b":", start, start + _MAX_DIGITS + 1)) >= 0:
            digits = bytes(buffer[start:colon])
            if not digits.isdigit() or int(digits) > MAX_BYTES:
                raise ProtocolError(f"{digits!r} is no length of a netstring of up to {MAX_BYTES:,} bytes")
            end = colon + 1 + int(digits)
            if len(buffer) <= end:
                break
            if buffer[end] != ord(","):
                raise ProtocolError(f"a netstring of {int(digits)} bytes ends with {bytes(buffer[end : end + 1])!r}")
            found.append(bytes(buffer[colon + 1 : end]))
            start = end + 1
        else:
            head = bytes(buffer[start : start + _MAX_DIGITS + 1])
            if len(head) > _MAX_DIGITS or not (head.isdigit() or not head):
                raise ProtocolError(f"{head!r} begins no netstring")
        del buffer[:start]
        return found

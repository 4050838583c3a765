"""Bytes that are nearly right: what a search by chance alone would never come to."""

from random import Random

from hypothesis import strategies as st

INTERESTING = (b"", b"\x00", b"\xff", b"\x80", b"\xff" * 9 + b"\x01", b"-1", b"9" * 40, b'"', b"{", b"[" * 60)
"""Ends, signs, the largest of numbers, and what opens and does not close."""


def mutated(samples: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """A sample with some of it replaced, left out, repeated or put in; sometimes any bytes.

    Made of one number: drawn byte by byte it would take a hundred times as long.
    """
    return st.integers(0, 2**64).map(lambda seed: mutate(Random(seed), samples))


def mutate(chance: Random, samples: tuple[bytes, ...]) -> bytes:
    """The same by a generator of random numbers."""
    data = chance.choice(samples) if samples and chance.random() < 0.9 else chance.randbytes(chance.randrange(200))
    for _ in range(chance.randrange(5)):
        at = chance.randint(0, len(data))
        until = chance.randint(at, min(len(data), at + 12))
        new = chance.choice((chance.choice(INTERESTING), chance.randbytes(chance.randrange(6)), data[at:until] * 2))
        data = data[:at] + new + data[until:]
    return data

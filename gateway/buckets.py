"""Token buckets by name: how often something may be done, and how often at once.

What has to be known of a bucket is when it is full again, so each is one number (the generic cell rate algorithm).
"""

from typing import Final

MAX_KEPT: Final = 10_000
_NOTHING: Final = 1e-9
"""Seconds that are left over by rounding."""


class Buckets:
    """Buckets that fill as time goes; one that nobody knows is full.

    Args:
        burst_seconds: As much as comes in so many seconds is in a full one, and at least one.
        max_kept: So many are remembered. Then those are forgotten that are full, or would be soonest.
    """

    def __init__(self, burst_seconds: float, max_kept: int = MAX_KEPT) -> None:
        self._burst_seconds = burst_seconds
        self._max_kept = max_kept
        self._full_at: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._full_at)

    def wait(self, name: str, rate: float, now: float) -> float:
        """How many seconds it is until something can be taken; 0: it can be now.

        Args:
            name: Of the bucket.
            rate: How many come in a second, above 0.
            now: The present, in seconds of a clock that only goes on.
        """
        full_at = self._full_at.get(name, now)
        return self._wait((max(now, full_at)) + 1 / rate, rate, now)

    def take(self, name: str, rate: float, now: float) -> float:
        """Take one, if there is one: the arguments and the answer are those of `wait`."""
        full_at = self._full_at.get(name)
        if full_at is None:
            full_at = now
            if len(self._full_at) >= self._max_kept:
                self._forget(now)
        elif full_at < now:
            full_at = now
        full_at += 1 / rate
        wait = self._wait(full_at, rate, now)
        if not wait:
            self._full_at[name] = full_at
        return wait

    def _wait(self, full_at: float, rate: float, now: float) -> float:
        """How long it is until a bucket that will be full then is not overdrawn."""
        wait = full_at - now - max(self._burst_seconds, 1 / rate)
        return wait if wait > _NOTHING else 0.0

    def _forget(self, now: float) -> None:
        emptiest = sorted(self._full_at.items(), key=lambda each: each[1])[-(self._max_kept // 2) :]
        self._full_at = {name: full_at for name, full_at in emptiest if full_at > now}

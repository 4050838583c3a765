"""What some faults can be had with alone, and not every machine has."""

from collections.abc import Callable, Collection, Mapping
from enum import Enum
from typing import Final

from tests.support.false_clock import find_library
from tests.support.small_disk import may_mount


class Means(Enum):
    """What a machine must have; the value says what is missing, and the cure."""

    FALSE_CLOCK = "faketime is not on this machine (apt-get install faketime)"
    SMALL_DISK = "only root may mount a disk of its own, to be filled up (run it as root)"


INSTALLED: Final = frozenset({Means.FALSE_CLOCK})
"""Those that can be installed, and that .ci/run does install."""

_IS_THERE: Final[Mapping[Means, Callable[[], bool]]] = {
    Means.FALSE_CLOCK: lambda: find_library() is not None,
    Means.SMALL_DISK: may_mount,
}


def missing_of(needed: Collection[Means]) -> frozenset[Means]:
    """Those that this machine has not."""
    return frozenset(each for each in needed if not _IS_THERE[each]())

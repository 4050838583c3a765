"""How this Python was built."""

import sys
import sysconfig
from typing import Final

_DISTRIBUTIONS_PREFIX: Final = "/usr"


def is_optimised() -> bool:
    """Whether this Python was built by profile, which makes the front a fifth quicker.

    `configure --enable-optimizations` says so, and a distribution's own Python is one without saying so (Debian's).
    What pyenv builds, unless it is told to, is none.
    """
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    return "--enable-optimizations" in arguments or sys.base_prefix == _DISTRIBUTIONS_PREFIX

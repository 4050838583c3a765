"""Where a user's data is kept unless a setting says otherwise.

A module of its own, since commands that only want to know this need not load all settings.
"""

import os
from pathlib import Path


def default_data_directory() -> Path:
    """Where the XDG rules put a user's data: $XDG_DATA_HOME/tollgate or ~/.local/share/tollgate, not yet expanded."""
    home = os.environ.get("XDG_DATA_HOME", "")
    # The specification has relative values ignored.
    base = Path(home) if Path(home).is_absolute() else Path("~/.local/share")
    return base / "tollgate"

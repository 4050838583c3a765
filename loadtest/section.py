"""A section of a page that a program writes, of one result: `python -m loadtest.<measurement>.page RESULT.json`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtest.readme import replaced


def write_section(page: Path, render: Callable[[dict[str, Any], str], str]) -> None:
    """Put the figures of the result that the command line names between the page's markers.

    Args:
        page: Where they go.
        render: Makes them of the result and the name of its file.
    """
    path = Path(sys.argv[1])
    page.write_text(replaced(page.read_text(), render(json.loads(path.read_text()), path.name)))

"""The demo's rate deck: the packaged one, and two destinations whose cost can be watched as it grows.

The packaged deck bills whole minutes and reserves a minute at a time. The live act has no minute: where it calls is
billed by the second and reserved a few seconds at a time.
"""

from pathlib import Path
from typing import Final

from gateway.cli.deck_files import packaged_rates

_DECK_NAME: Final = "demo_rates.csv"

TICK_SECONDS: Final = 5
"""What is reserved at a time where the live calls go."""

_BY_THE_SECOND: Final = f"""\
,VOICE,OUTBOUND,,,33199,,0,1.20,60,1,0,{TICK_SECONDS},"DEMO France, numbers for fiction"
,VOICE,OUTBOUND,,,6125550,,0,0.60,60,1,0.05,{TICK_SECONDS},"DEMO Sydney, numbers for fiction"
"""


def write_deck(directory: Path) -> Path:
    """Put the demo's deck where the gateway loads it from at its start."""
    path = directory / _DECK_NAME
    path.write_bytes(packaged_rates() + _BY_THE_SECOND.encode())
    return path

"""What /proc says of the processes that a process has started."""

from pathlib import Path


def children_of(pid: int) -> list[int]:
    """The processes that a process started and that still are."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

"""What a command says when it could not do its work, and the exit code that scripts tell by."""

from typing import Final

EXIT_FAILED: Final = 1
"""The gateway refused the request, or something else went wrong; nothing was done."""

EXIT_USAGE: Final = 2
"""The command line is wrong (typer's own code), or a field of the request is."""

EXIT_DENIED: Final = 3
"""A call or message was decided, and the decision is DENIED."""

EXIT_UNAVAILABLE: Final = 4
"""No answer: nothing listens there, or the gateway could not answer in time. A retry is safe."""

EXIT_NOT_ALLOWED: Final = 5
"""The token is missing, unknown, or not one that may do this."""


EXIT_INTERRUPTED: Final = 130
"""Ended by Ctrl-C before its work was done, as shells say it."""


class CommandError(Exception):
    """A command failed; the text is for the person who typed it and says what would help."""

    def __init__(self, message: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code

"""The errors that keep a gateway from starting: each says what is wrong, with which setting, and the cure."""


class StartupError(Exception):
    """The process cannot start as it is set up.

    Its text is written for the operator, one line a problem, and is printed without a traceback. These errors never
    reach a caller of the API, which is why they stand apart from the tree in errors.py.
    """

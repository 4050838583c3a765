"""What an access list of the store must allow, and how each command is tried without doing anything.

A server looks at permissions before it looks at what is asked, so a command that changes nothing, or that makes no
sense, is refused by NOPERM all the same. deploy/store/users.acl is held against this.
"""

from collections.abc import Sequence
from typing import Final

_PROBE: Final = "tg:{0}:probe"
"""A key that is never there."""

PROBES: Final[Sequence[tuple[str | int, ...]]] = (
    ("PING",),
    ("TIME",),
    ("INFO", "server"),
    # The scripts, and what they do. A script is refused by what it calls, too.
    ("FUNCTION LIST", "LIBRARYNAME", "tollgate_probe"),
    ("FUNCTION LOAD", "none"),
    ("FCALL", "tollgate_probe", 1, _PROBE),
    ("GET", _PROBE),
    ("SET", _PROBE, "", "XX"),
    ("DEL", _PROBE),
    ("ZADD", _PROBE, "XX", 0, ""),
    ("ZREM", _PROBE, ""),
    ("XADD", _PROBE, "NOMKSTREAM", "*", "probe", ""),
    ("XTRIM", _PROBE, "MAXLEN", 0),
    ("XLEN", _PROBE),
    ("PUBLISH", "tg:probe", ""),
    # What is followed, shared and counted.
    ("EXISTS", _PROBE),
    ("HGET", _PROBE, ""),
    ("HMGET", _PROBE, ""),
    ("HGETALL", _PROBE),
    ("HKEYS", _PROBE),
    ("HEXISTS", _PROBE, ""),
    # With a field and no value it is wrong, and does nothing.
    ("HSET", _PROBE, "", "", ""),
    ("HDEL", _PROBE, ""),
    ("ZCARD", _PROBE),
    ("ZCOUNT", _PROBE, 0, 0),
    ("ZRANGE", _PROBE, 0, 0),
    ("ZREMRANGEBYSCORE", _PROBE, 0, 0),
    ("ZSCAN", _PROBE, 0),
    ("XRANGE", _PROBE, "-", "+"),
    ("XREVRANGE", _PROBE, "+", "-"),
    ("XREAD", "STREAMS", _PROBE, "0"),
    ("XINFO STREAM", _PROBE),
    ("SCAN", 0, "COUNT", 1),
    ("MULTI",),
    ("EXEC",),
    # `tollgate doctor` gives up what it has tried. Without a transaction it is wrong, and does nothing.
    ("DISCARD",),
    ("WAIT", 0, 1),
)
"""Each command but SUBSCRIBE, which would change the connection, and those of Clusters and Sentinels."""


def command_of(probe: tuple[str | int, ...]) -> str:
    """The command as an access list names it: `function|load`."""
    return str(probe[0]).lower().replace(" ", "|")

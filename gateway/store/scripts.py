"""Puts the Lua scripts together: one file an operation, libraries by include, one function library in the store.

Each file in scripts/lua is a script of its own, which EVAL would run as it stands; the store gets them as the functions
of one library, since a function keeps its helpers between calls where EVALSHA makes all of them anew: measured, an
authorization takes 44 us of the store's time instead of 69 (docs/decisions/0005-functions-instead-of-evalsha.md).

`--@include lib/office` on a line of its own stands for that file, once in the library, before whatever includes it. A
missing or circular include and the same include twice in one file are errors.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_INCLUDE: Final = re.compile(r"^--@include (\S+)$", re.MULTILINE)
_SHEBANG: Final = re.compile(r"\A#!lua(?: flags=(?P<flags>[a-z,-]+))?\n")


class ScriptError(Exception):
    """The scripts cannot be put together; says which file and why."""


@dataclass(frozen=True, slots=True)
class Library:
    """All operations as the store gets them.

    Attributes:
        name: tollgate_ and the first 12 hexadecimal digits of the content's SHA-256, so that gateways of two versions
            work on one store.
        source: What FUNCTION LOAD takes.
        functions: Operation -> the name that FCALL takes.
    """

    name: str
    source: str
    functions: Mapping[str, bytes]


NO_FUNCTIONS: Final = Library("", "", {})
"""For a connection that only looks: nothing is loaded, and plain commands are all that it can send."""


def scripts_directory() -> Path:
    """Where the scripts are: inside an installed package, or at the top of a source tree."""
    packaged = Path(__file__).parents[1] / "lua"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "scripts" / "lua"


@cache
def load_library() -> Library:
    """Put the library of this version together.

    Raises:
        ScriptError: See `build_library`.
    """
    return build_library(scripts_directory())


def build_library(directory: Path) -> Library:
    """Put all scripts of a directory together.

    Raises:
        ScriptError: A script has no `#!lua` line, or one of its includes is missing, circular or repeated.
    """
    placed: list[str] = []
    operations: list[tuple[str, str, str]] = []
    for path in sorted(directory.glob("*.lua")):
        text = path.read_text(encoding="utf-8")
        shebang = _SHEBANG.match(text)
        if shebang is None:
            raise ScriptError(f"{path.stem}: does not begin with #!lua or #!lua flags=...")
        _place_includes(directory, path.stem, text, (), placed)
        flags = ", ".join(f"'{flag}'" for flag in (shebang["flags"] or "").split(",") if flag)
        operations.append((path.stem, flags, _INCLUDE.sub("", text[shebang.end() :])))
    libraries = "\n".join(_INCLUDE.sub("", _read(directory, part, "")) for part in placed)
    content = libraries + "".join(f"{name}{flags}{body}" for name, flags, body in operations)
    version = hashlib.sha256(content.encode()).hexdigest()[:12]
    functions = {name: f"{name}_{version}".encode() for name, _, _ in operations}
    source = f"#!lua name=tollgate_{version}\n{libraries}\n" + "\n".join(
        f"redis.register_function{{ function_name = '{name}_{version}', flags = {{ {flags} }},\n"
        f"callback = function(KEYS, ARGV)\n{body}\nend }}"
        for name, flags, body in operations
    )
    return Library(f"tollgate_{version}", source, functions)


def _place_includes(directory: Path, part: str, text: str, way: tuple[str, ...], placed: list[str]) -> None:
    """Append what a file includes, and what that includes, each once and before its user."""
    named = _INCLUDE.findall(text)
    for include in named:
        if named.count(include) > 1:
            raise ScriptError(f"{part}: includes {include} twice")
        if include == part or include in way:
            raise ScriptError(f"{include}: circular include, by way of {' -> '.join((*way, part))}")
        if include not in placed:
            _place_includes(directory, include, _read(directory, include, part), (*way, part), placed)
            placed.append(include)


def _read(directory: Path, part: str, user: str) -> str:
    path = directory / f"{part}.lua"
    if not path.is_file():
        raise ScriptError(f"{user}: includes {part}, but there is no {path}")
    return path.read_text(encoding="utf-8")

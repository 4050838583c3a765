"""Lints the Lua scripts: `python tools/lint_lua.py`.

luacheck gets switches/freeswitch/tollgate.lua as it is, and the library that gateway/store/scripts.py puts together,
since only there a function of lib/ that nobody calls, or a name that no file defines, can be seen. What it finds is
reported by the file and line it stands in.

Exit code: that of luacheck. Where luacheck is missing: 0 with a message, 1 where CI=true.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gateway.store.scripts import build_library, scripts_directory

ROOT = Path(__file__).parents[1]

_RECIPE = "switches/freeswitch/tollgate.lua"
_OF_FREESWITCH = ("freeswitch", "session", "argv")

_FINDING = re.compile(r"^.*?:(\d+):(\d+): (.*)$")
_INCLUDE = re.compile(r"^--@include \S+$", re.MULTILINE)
_SHEBANG = re.compile(r"\A#!lua[^\n]*\n")


class Part(NamedTuple):
    """Where the text of a file stands in the library."""

    path: Path
    first_line: int
    last_line: int
    offset: int

    def line_of(self, library_line: int) -> int:
        """The line of the file that a line of the library is."""
        return library_line - self.offset


def main() -> int:
    """Lint, and print each finding."""
    luacheck = shutil.which("luacheck")
    if luacheck is None:
        print("lint_lua: there is no luacheck on this machine (Debian: apt-get install lua-check)", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    source = build_library(scripts_directory()).source
    parts = list(_parts(source))
    with tempfile.TemporaryDirectory() as directory:
        library = Path(directory) / "tollgate.lua"
        # Redis reads the first line, Lua does not know it; the number of lines stays.
        library.write_text(re.sub(r"\A[^\n]*", "", source), encoding="utf-8")
        done = subprocess.run(
            [luacheck, "--config", ROOT / ".luacheckrc", "--codes", "--formatter", "plain", library],
            capture_output=True,
            text=True,
            check=False,
        )
    for line in done.stdout.splitlines():
        print(_translated(line, parts))
    recipe = subprocess.run(
        [luacheck, "--config", ROOT / ".luacheckrc", "--codes", "--globals", *_OF_FREESWITCH, "--", _RECIPE],
        cwd=ROOT,
        check=False,
    )
    print(done.stderr, end="", file=sys.stderr)
    if not done.returncode:
        print(f"luacheck: {len(parts)} files, one library, nothing found")
    return done.returncode or recipe.returncode


def _parts(source: str) -> Iterator[Part]:
    directory = scripts_directory()
    for path in sorted(directory.rglob("*.lua")):
        text = path.read_text(encoding="utf-8")
        shebang = _SHEBANG.match(text)
        body = _INCLUDE.sub("", text[shebang.end() :] if shebang else text)
        begin = source.find(body)
        if begin < 0:
            sys.exit(f"lint_lua: {path} is in no script: include it somewhere, or remove it")
        first = source.count("\n", 0, begin) + 1
        cut_off = 1 if shebang else 0
        yield Part(path, first, first + body.count("\n"), first - 1 - cut_off)


def _translated(line: str, parts: list[Part]) -> str:
    found = _FINDING.match(line)
    if found is None:
        return line
    number = int(found[1])
    for part in parts:
        if part.first_line <= number <= part.last_line:
            return f"{part.path.relative_to(ROOT)}:{part.line_of(number)}:{found[2]}: {found[3]}"
    return line


if __name__ == "__main__":
    sys.exit(main())

"""How the scripts are put together: includes, what is wrong with them, and what the store gets."""

import re
from pathlib import Path

import pytest

from gateway.store.scripts import ScriptError, build_library, load_library, scripts_directory


def written(folder: Path, **files: str) -> Path:
    """Scripts in a directory; `lib_x` is lib/x."""
    (folder / "lib").mkdir()
    for name, text in files.items():
        path = folder / "lib" / f"{name[4:]}.lua" if name.startswith("lib_") else folder / f"{name}.lua"
        path.write_text(text)
    return folder


def test_an_include_stands_once_before_all_that_use_it(tmp_path: Path) -> None:
    library = build_library(
        written(
            tmp_path,
            one="#!lua\n--@include lib/b\nreturn b()\n",
            two="#!lua\n--@include lib/a\n--@include lib/b\nreturn a() + b()\n",
            lib_a="local function a() return 1 end\n",
            lib_b="--@include lib/a\nlocal function b() return a() end\n",
        )
    )
    source = library.source
    assert source.count("local function a()") == source.count("local function b()") == 1
    assert source.index("function a()") < source.index("function b()") < source.index("return b()")
    assert "@include" not in source


def test_each_script_is_a_function_with_its_flags(tmp_path: Path) -> None:
    library = build_library(written(tmp_path, sell="#!lua\nreturn 1\n", settle="#!lua flags=allow-oom\nreturn 2\n"))
    assert set(library.functions) == {"sell", "settle"}
    sell, settle = library.functions["sell"].decode(), library.functions["settle"].decode()
    assert f"function_name = '{sell}', flags = {{  }}" in library.source
    assert f"function_name = '{settle}', flags = {{ 'allow-oom' }}" in library.source
    assert library.source.startswith(f"#!lua name={library.name}\n")
    assert library.source.count("#!lua") == 1


def test_the_name_follows_the_content(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    (tmp_path / "3").mkdir()
    one = build_library(written(tmp_path / "1", a="#!lua\nreturn 1\n"))
    same = build_library(written(tmp_path / "2", a="#!lua\nreturn 1\n"))
    flagged = build_library(written(tmp_path / "3", a="#!lua flags=allow-oom\nreturn 1\n"))
    assert one == same
    assert len({one.name, flagged.name}) == 2
    assert re.fullmatch(r"tollgate_[0-9a-f]{12}", one.name)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": "return 1\n"}, "a: does not begin with #!lua"),
        ({"a": "--\n#!lua\nreturn 1\n"}, "a: does not begin with #!lua"),
        ({"a": "#!lua flags=ALLOW OOM\nreturn 1\n"}, "a: does not begin with #!lua"),
        ({"a": ""}, "a: does not begin with #!lua"),
        ({"a": "#!lua\n--@include lib/none\n"}, "a: includes lib/none, but there is no"),
        ({"a": "#!lua\n--@include lib/b\n", "lib_b": "--@include lib/none\n"}, "lib/b: includes lib/none, but there"),
        ({"a": "#!lua\n--@include lib/b\n--@include lib/b\n", "lib_b": ""}, "a: includes lib/b twice"),
        (
            {"a": "#!lua\n--@include lib/b\n", "lib_b": "--@include lib/c\n--@include lib/c\n", "lib_c": ""},
            "lib/b: includes lib/c twice",
        ),
        ({"a": "#!lua\n--@include lib/b\n", "lib_b": "--@include lib/b\n"}, "lib/b: circular include"),
        (
            {"a": "#!lua\n--@include lib/b\n", "lib_b": "--@include lib/c\n", "lib_c": "--@include lib/b\n"},
            "lib/b: circular include, by way of a -> lib/b -> lib/c",
        ),
    ],
)
def test_what_cannot_be_put_together_is_an_error_that_says_where(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    with pytest.raises(ScriptError, match=re.escape(message)):
        build_library(written(tmp_path, **files))


def test_a_comment_that_mentions_an_include_is_none(tmp_path: Path) -> None:
    library = build_library(written(tmp_path, a="#!lua\n-- see --@include lib/none\nreturn 1\n"))
    assert "see --@include" in library.source


def test_the_real_scripts_are_one_library() -> None:
    library = load_library()
    assert set(library.functions) == {path.stem for path in scripts_directory().glob("*.lua")}
    assert all(name.endswith(library.name.removeprefix("tollgate_").encode()) for name in library.functions.values())


def test_every_library_file_is_included_by_something() -> None:
    texts = [path.read_text() for path in scripts_directory().rglob("*.lua")]
    included = {name for text in texts for name in re.findall(r"^--@include (\S+)$", text, re.MULTILINE)}
    assert included == {f"lib/{path.stem}" for path in (scripts_directory() / "lib").glob("*.lua")}

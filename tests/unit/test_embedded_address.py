"""Where the embedded store's socket goes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.store.embedded.address import (
    MAX_SOCKET_PATH_BYTES,
    SocketDirectoryError,
    StoreAddress,
    choose_socket_path,
    forget_socket,
    recorded_socket_path,
)


@pytest.fixture
def long_directory(tmp_path: Path) -> Path:
    directory = tmp_path / ("d" * 100)
    directory.mkdir()
    return directory


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Path]:
    """A short stand-in for /run/user/<uid>."""
    link = Path(f"/tmp/tg-test-{os.getpid()}")
    real = tmp_path / "runtime"
    real.mkdir()
    link.symlink_to(real)
    yield link
    link.unlink()


@pytest.mark.parametrize(
    ("path", "url"),
    [("/a/store.sock", "unix:///a/store.sock"), ("/a b/#?%/ü", "unix:///a%20b/%23%3F%25/%C3%BC")],
)
def test_the_url_is_quoted(path: str, url: str) -> None:
    assert StoreAddress(Path(path)).url == url


def test_a_short_path_stays_in_the_data_directory() -> None:
    directory = Path("/tmp/short")
    assert choose_socket_path(directory) == recorded_socket_path(directory) == directory / "store.sock"


def test_a_path_just_too_long_does_not(tmp_path: Path, runtime: Path) -> None:
    room = MAX_SOCKET_PATH_BYTES - len(os.fsencode(tmp_path)) - len("//store.sock")
    fitting, too_long = tmp_path / ("d" * room), tmp_path / ("e" * (room + 1))
    too_long.mkdir()
    assert choose_socket_path(fitting, runtime).parent == fitting
    assert choose_socket_path(too_long, runtime).parent.parent == runtime


def test_bytes_are_counted_not_letters(tmp_path: Path, runtime: Path) -> None:
    room = MAX_SOCKET_PATH_BYTES - len(os.fsencode(tmp_path)) - len("//store.sock")
    directory = tmp_path / ("ü" * room)
    directory.mkdir()
    assert choose_socket_path(directory, runtime).parent != directory


def test_the_link_leads_to_the_socket_until_it_is_forgotten(long_directory: Path, runtime: Path) -> None:
    path = choose_socket_path(long_directory, runtime)
    assert recorded_socket_path(long_directory) == path
    path.touch()
    forget_socket(long_directory)
    assert not path.parent.exists()
    assert list(long_directory.iterdir()) == []
    # Again, as when the store has cleaned up behind itself.
    forget_socket(long_directory)


def test_two_directories_have_two_sockets(tmp_path: Path, runtime: Path) -> None:
    directories = [tmp_path / (letter * 100) for letter in "ab"]
    for directory in directories:
        directory.mkdir()
    first, second = (choose_socket_path(directory, runtime) for directory in directories)
    assert first != second


@pytest.mark.parametrize("spoil", ["open", "link", "file"])
def test_a_directory_that_somebody_else_made_is_refused(
    long_directory: Path, runtime: Path, tmp_path: Path, spoil: str
) -> None:
    directory = choose_socket_path(long_directory, runtime).parent
    directory.rmdir()
    if spoil == "open":
        directory.mkdir()
        directory.chmod(0o755)
    elif spoil == "link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        directory.symlink_to(tmp_path / "theirs")
    else:
        directory.touch()
    with pytest.raises(SocketDirectoryError, match="not a private directory of this user"):
        choose_socket_path(long_directory, runtime)


@pytest.mark.parametrize("value", ["", "relative", "/nowhere", "/" + "r" * 60])
def test_a_run_time_directory_that_does_not_do_is_passed_over(
    long_directory: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    path = choose_socket_path(long_directory)
    assert path.parent.parent == Path("/tmp")
    forget_socket(long_directory)

"""The cookie of a sign-in: nobody else can make one, it ends, and the token is not in it."""

import json
from collections.abc import Callable
from http.cookies import SimpleCookie

import pytest
from itsdangerous import URLSafeSerializer
from starlette.requests import Request
from starlette.responses import Response

from gateway.domain.identity import hash_secret
from gateway.page.sessions import SESSION_SECONDS, Session, Sessions
from tests.support.balances import ManualClock

KEY = b"k" * 32
SALT = "tollgate.session"
TOKEN = "tg_this-is-the-secret"
HASH = hash_secret(TOKEN)


def request(header: str) -> Request:
    return Request({"type": "http", "headers": [(b"cookie", header.encode())] if header else []})


def kept(sessions: Sessions, session: Session) -> str:
    """The cookie's value, as a browser has it."""
    response = Response()
    sessions.keep(response, session)
    return SimpleCookie(response.headers["set-cookie"])[sessions.cookie].value


def read(sessions: Sessions, value: str) -> Session | None:
    return sessions.read(request(f"{sessions.cookie}={value}"))


@pytest.mark.parametrize("secure", [False, True])
def test_what_is_kept_is_read(secure: bool) -> None:
    clock = ManualClock()
    sessions = Sessions(KEY, clock, secure=secure)
    session = sessions.begin(HASH)
    assert session == Session(HASH, session.csrf, clock.now_ms() + SESSION_SECONDS * 1000)
    assert read(sessions, kept(sessions, session)) == session
    # Another back of the same installation knows it as well.
    assert read(Sessions(KEY, clock, secure=secure), kept(sessions, session)) == session


def test_every_session_has_a_form_key_of_its_own() -> None:
    sessions = Sessions(KEY, ManualClock(), secure=False)
    assert len({sessions.begin(HASH).csrf for _ in range(100)}) == 100


@pytest.mark.parametrize(
    ("after_seconds", "is_good"),
    [
        (0, True),
        (SESSION_SECONDS - 0.001, True),
        (SESSION_SECONDS, False),
        (SESSION_SECONDS + 1, False),
        (10**9, False),
    ],
)
def test_a_session_ends(after_seconds: float, is_good: bool) -> None:
    clock = ManualClock()
    sessions = Sessions(KEY, clock, secure=False)
    value = kept(sessions, sessions.begin(HASH))
    clock.move(after_seconds)
    assert (read(sessions, value) is not None) is is_good


@pytest.mark.parametrize("secure", [False, True])
def test_a_cookie_is_for_no_script_and_no_other_site(secure: bool) -> None:
    sessions = Sessions(KEY, ManualClock(), secure=secure)
    response = Response()
    sessions.keep(response, sessions.begin(HASH))
    cookie = SimpleCookie(response.headers["set-cookie"])[sessions.cookie]
    assert cookie["httponly"]
    assert cookie["samesite"] == "lax"
    assert cookie["path"] == "/"
    assert not cookie["domain"]
    assert bool(cookie["secure"]) is secure
    assert int(cookie["max-age"]) == SESSION_SECONDS
    assert sessions.cookie.startswith("__Host-") is secure


def test_a_cookie_has_the_hash_of_the_token_and_not_the_token() -> None:
    sessions = Sessions(KEY, ManualClock(), secure=False)
    value = kept(sessions, sessions.begin(HASH))
    told = URLSafeSerializer(KEY, salt=SALT).loads(value)
    assert told[0] == HASH
    assert TOKEN not in value
    assert TOKEN not in json.dumps(told)


def test_a_cookie_is_forgotten() -> None:
    sessions = Sessions(KEY, ManualClock(), secure=False)
    response = Response()
    sessions.forget(response)
    cookie = SimpleCookie(response.headers["set-cookie"])[sessions.cookie]
    assert (cookie.value, cookie["max-age"], cookie["path"]) == ("", "0", "/")


def forged(key: bytes, salt: str, content: object) -> Callable[[str], str]:
    return lambda _: str(URLSafeSerializer(key, salt=salt).dumps(content))


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",
        lambda _: "x",
        lambda _: "...",
        lambda _: "a.b",
        lambda _: "\u00e9.b",
        lambda _: "A" * 4_000,
        lambda value: value[:-1],
        lambda value: value[1:],
        lambda value: value + "A",
        lambda value: value.rpartition(".")[0],
        lambda value: value.rpartition(".")[0] + ".",
        lambda value: "." + value.rpartition(".")[2],
        lambda value: value.swapcase(),
        lambda value: value.replace(".", "..", 1),
        lambda value: value[:10] + ("B" if value[10] != "B" else "C") + value[11:],
        forged(b"x" * 32, SALT, [HASH, "csrf", 10**15]),
        forged(KEY, "another purpose", [HASH, "csrf", 10**15]),
        forged(KEY, SALT, None),
        forged(KEY, SALT, 7),
        forged(KEY, SALT, []),
        forged(KEY, SALT, [HASH, "csrf"]),
        forged(KEY, SALT, [HASH, "csrf", 10**15, "more"]),
    ],
)
def test_a_cookie_of_somebody_else_is_none(change: Callable[[str], str]) -> None:
    sessions = Sessions(KEY, ManualClock(), secure=False)
    value = kept(sessions, sessions.begin(HASH))
    assert read(sessions, value) is not None
    assert read(sessions, change(value)) is None


@pytest.mark.parametrize(
    "header", ["", "other=1", "tollgate", "__Host-tollgate={}", "xtollgate={}", "; ;=", "tollgate=;"]
)
def test_without_the_cookie_there_is_no_session(header: str) -> None:
    sessions = Sessions(KEY, ManualClock(), secure=False)
    value = kept(sessions, sessions.begin(HASH))
    assert sessions.read(request(header.format(value))) is None


def test_where_browsers_come_by_https_a_cookie_without_the_prefix_is_none() -> None:
    clock = ManualClock()
    plain, secure = Sessions(KEY, clock, secure=False), Sessions(KEY, clock, secure=True)
    value = kept(plain, plain.begin(HASH))
    assert secure.read(request(f"tollgate={value}")) is None
    assert secure.read(request(f"__Host-tollgate={value}")) is not None

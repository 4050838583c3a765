"""The settings: which source wins, what is refused and with which words, and what is never shown."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.address import Address
from gateway.settings import Settings, load_settings
from gateway.settings_problems import SettingsError

SECRET = "s3cr3t-of-the-operator"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting from the machine the tests run on."""
    for name in list(os.environ):
        if name.upper().startswith("TOLLGATE_"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def toml(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "tollgate.toml"
        path.write_text(text)
        return path

    return write


def refused(**flags: object) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load_settings(**flags)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_the_defaults_are_those_of_the_design(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.listen == Address("127.0.0.1", 50051)
    assert settings.admin_listen == Address("127.0.0.1", 50052)
    assert settings.http_listen == Address("127.0.0.1", 8080)
    assert settings.metrics_listen == Address("127.0.0.1", 9464)
    assert settings.data_dir == tmp_path / "home/.local/share/tollgate"
    assert (settings.redis_url, settings.database_url, settings.rates, settings.operator_token) == (None,) * 4
    assert (settings.setup_timeout_seconds, settings.grace_seconds, settings.live_calls_seconds) == (180, 60, 30)
    assert (settings.max_duration_seconds, settings.stub_seconds, settings.batch_max_operations) == (14400, 3600, 1000)
    assert (settings.refill_threshold_micros, settings.refill_amount_micros) == (5_000_000, 50_000_000)
    assert settings.sql_url == f"sqlite+aiosqlite:///{settings.data_dir}/tollgate.db"


def test_the_data_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    assert load_settings().data_dir == tmp_path / "share/tollgate"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    assert load_settings().data_dir == tmp_path / "home/.local/share/tollgate"


def test_flag_beats_variable_beats_file_beats_default(
    monkeypatch: pytest.MonkeyPatch, toml: Callable[[str], Path]
) -> None:
    path = toml("setup_timeout_seconds = 11\ngrace_seconds = 12\nstub_seconds = 113")
    monkeypatch.setenv("TOLLGATE_CONFIG", str(path))
    monkeypatch.setenv("TOLLGATE_SETUP_TIMEOUT_SECONDS", "21")
    monkeypatch.setenv("TOLLGATE_GRACE_SECONDS", "22")
    settings = load_settings(setup_timeout_seconds=31, grace_seconds=None)
    assert (settings.setup_timeout_seconds, settings.grace_seconds, settings.stub_seconds) == (31, 22, 113)
    assert settings.live_calls_seconds == 30


def test_the_file_of_the_flag_beats_that_of_the_variable(
    monkeypatch: pytest.MonkeyPatch, toml: Callable[[str], Path]
) -> None:
    monkeypatch.setenv("TOLLGATE_CONFIG", "/nowhere.toml")
    assert load_settings(config=toml("grace_seconds = 5")).grace_seconds == 5


def test_an_empty_variable_is_none_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLGATE_REDIS_URL", "")
    monkeypatch.setenv("TOLLGATE_GRACE_SECONDS", "")
    settings = load_settings()
    assert (settings.redis_url, settings.grace_seconds) == (None, 60)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("LISTEN", "0.0.0.0:50051", Address("0.0.0.0", 50051)),
        ("LISTEN", "[::1]:1", Address("::1", 1)),
        ("LISTEN", "gateway.example.org:0", Address("gateway.example.org", 0)),
        ("LOG_LEVEL", "INFO", "info"),
        ("LOG_FORMAT", "console", "console"),
        ("REFILL_AMOUNT_MICROS", "60_000_000", 60_000_000),
        ("BLOCKED_DESTINATIONS", "+882, 979,+882", ("+882", "+979")),
        ("BLOCKED_DESTINATIONS", "+1900", ("+1900",)),
        ("REDIS_URL", "redis://u:p@h:1/2", "redis://u:p@h:1/2"),
        ("REDIS_URL", "redis://[::1]:6379", "redis://[::1]:6379"),
        ("REDIS_URL", "rediss://h", "rediss://h"),
        ("REDIS_URL", "unix:///run/store.sock", "unix:///run/store.sock"),
        ("DATABASE_URL", "postgresql://u@h/db", "postgresql://u@h/db"),
        ("DATABASE_URL", "postgresql://u@/db?host=/run/pg", "postgresql://u@/db?host=/run/pg"),
        ("CURRENCY", "EUR", "EUR"),
        ("PUBLIC_URL", "https://calls.example.com", "https://calls.example.com"),
        ("PUBLIC_URL", "https://example.com:8443/", "https://example.com:8443"),
        ("PUBLIC_URL", "http://[::1]:8080", "http://[::1]:8080"),
        ("PAYMENT_PROVIDER", "Sandbox", "sandbox"),
    ],
)
def test_good_values(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object) -> None:
    monkeypatch.setenv(f"TOLLGATE_{name}", text)
    assert getattr(load_settings(), name.lower()) == value


LISTEN_CURE = "write host:port, e.g. 127.0.0.1:50051"
BAD_VALUES = [
    ("LISTEN", "localhost", f"'localhost' has no port; {LISTEN_CURE}"),
    ("LISTEN", "[::1]", f"'[::1]' has no port; {LISTEN_CURE}"),
    ("LISTEN", "127.0.0.1:", f"'127.0.0.1:' has no port from 0 to 65535 after its last colon; {LISTEN_CURE}"),
    ("LISTEN", "127.0.0.1:65536", "has no port from 0 to 65535"),
    ("LISTEN", "127.0.0.1:-1", "has no port from 0 to 65535"),
    ("LISTEN", "127.0.0.1:grpc", "has no port from 0 to 65535"),
    ("LISTEN", "127.0.0.1:٣", "has no port from 0 to 65535"),
    ("LISTEN", ":50051", "has no host; write 0.0.0.0:50051 to listen on every interface"),
    ("LISTEN", "*:50051", "has no host; write 0.0.0.0:50051 to listen on every interface"),
    ("LISTEN", "::1:50051", "is ambiguous; write an IPv6 address in brackets: [::1]:50051"),
    ("LISTEN", "[]:50051", "names no host"),
    ("LISTEN", "a b:50051", "names no host"),
    ("LISTEN", "http://127.0.0.1:50051", "is a URL"),
    ("ADMIN_LISTEN", "127.0.0.1:50051", "127.0.0.1:50051 is TOLLGATE_LISTEN already"),
    ("METRICS_LISTEN", "x", LISTEN_CURE),
    ("HTTP_LISTEN", "x", LISTEN_CURE),
    ("DATA_DIR", "/dev/null", "/dev/null is no directory"),
    ("REDIS_URL", "localhost:6379", "'localhost:6379' has no scheme; write e.g. redis://127.0.0.1:6379/0"),
    ("REDIS_URL", "http://h:6379", "the scheme 'http' is none of redis, rediss, unix"),
    ("REDIS_URL", "redis://", "has no valid host and port"),
    ("REDIS_URL", "redis://h:x", "has no valid host and port"),
    ("REDIS_URL", "redis://h:0", "has no valid host and port"),
    ("REDIS_URL", "redis://h:70000", "has no valid host and port"),
    ("REDIS_URL", "redis://h/mine", "names no database number"),
    ("REDIS_URL", "redis://[::1", "has no valid host and port"),
    ("REDIS_URL", "unix://run/store.sock", "has no absolute path"),
    ("DATABASE_URL", "tollgate.db", "has no scheme"),
    ("DATABASE_URL", "mysql://h/db", "the scheme 'mysql' is none of sqlite"),
    ("DATABASE_URL", "sqlite://", "names no file"),
    ("DATABASE_URL", "sqlite:///", "names no file"),
    ("DATABASE_URL", "postgresql:///db", "has no valid host and port"),
    ("DATABASE_URL", "postgresql:///db?host=", "has no valid host and port"),
    ("DATABASE_URL", "postgresql:///db?host=run/pg", "has no valid host and port"),
    ("RATES", "/nowhere/deck.csv", "there is no file /nowhere/deck.csv; correct the path"),
    ("RATES", "/", "there is no file /"),
    ("CURRENCY", "usd", "'usd' is no currency; write the three capital letters of ISO 4217, e.g. USD"),
    ("CURRENCY", "DOLLAR", "is no currency"),
    ("PUBLIC_URL", "calls.example.com", "has no scheme; write e.g. https://calls.example.com"),
    ("PUBLIC_URL", "ftp://calls.example.com", "the scheme 'ftp' is none of http, https"),
    ("PUBLIC_URL", "https://", "has no valid host and port"),
    ("PUBLIC_URL", "https://h:0", "has no valid host and port"),
    ("PUBLIC_URL", "https://h/?q=1", "has more than scheme, host and port"),
    ("PUBLIC_URL", "https://h/#top", "has more than scheme, host and port"),
    ("PUBLIC_URL", "https://user@h", "has more than scheme, host and port"),
    ("PUBLIC_URL", "https://h/calls", "has more than scheme, host and port"),
    ("PUBLIC_URL", "https://a b", "has more than scheme, host and port"),
    ("PUBLIC_URL", "https://h/a b", "has more than scheme, host and port"),
    ("PAYMENT_PROVIDER", "strip", "'strip' is none of sandbox, stripe; did you mean stripe?"),
    ("SETUP_TIMEOUT_SECONDS", "0", "'0' is not a whole number from 1 to 86400; the default is 180"),
    ("SETUP_TIMEOUT_SECONDS", "-1", "is not a whole number from 1 to 86400"),
    ("SETUP_TIMEOUT_SECONDS", "3m", "is not a whole number from 1 to 86400"),
    ("SETUP_TIMEOUT_SECONDS", "1.5", "is not a whole number"),
    ("SETUP_TIMEOUT_SECONDS", "inf", "is not a whole number"),
    ("SETUP_TIMEOUT_SECONDS", "nan", "is not a whole number"),
    ("SETUP_TIMEOUT_SECONDS", "1e400", "is not a whole number"),
    ("SETUP_TIMEOUT_SECONDS", "9" * 100, "is not a whole number"),
    ("GRACE_SECONDS", "-1", "is not a whole number from 0 to 86400"),
    ("LIVE_CALLS_SECONDS", "45", "is not a whole number from 1 to 44"),
    ("MAX_DURATION_SECONDS", "86401", "is not a whole number from 60 to 86400"),
    ("STUB_SECONDS", "59", "is not a whole number from 60 to 604800"),
    ("BATCH_MAX_OPERATIONS", "1001", "is not a whole number from 1 to 1000"),
    ("REFILL_THRESHOLD_MICROS", "-1", "is not a whole number from 0 to 1000000000000000"),
    ("REFILL_THRESHOLD_MICROS", "50000001", "raise the amount or lower the threshold"),
    ("REFILL_AMOUNT_MICROS", "0", "is not a whole number from 1 to 1000000000000000"),
    ("STORE_TIMEOUT_MS", "9", "is not a whole number from 10 to 60000"),
    ("MAX_IN_FLIGHT", "0", "is not a whole number from 1 to 100000"),
    ("OUTBOX_MAX_ENTRIES", "999", "is not a whole number from 1000 to 10000000"),
    ("BLOCKED_DESTINATIONS", "+0", "'+0' is no E.164 prefix; write the country code and what follows"),
    ("BLOCKED_DESTINATIONS", "+882,,+979", "'' is no E.164 prefix"),
    ("BLOCKED_DESTINATIONS", "++882", "is no E.164 prefix"),
    ("BLOCKED_DESTINATIONS", "+1234567890123456", "is no E.164 prefix"),
    ("BLOCKED_DESTINATIONS", "Cuba", "is no E.164 prefix"),
    ("LOG_LEVEL", "warn", "'warn' is none of debug, info, warning, error; did you mean warning?"),
    ("LOG_FORMAT", "xml", "'xml' is none of json, console"),
    ("DRAIN_SECONDS", "3601", "is not a whole number from 0 to 3600"),
]


@pytest.mark.parametrize(("name", "text", "words"), BAD_VALUES)
def test_a_bad_value_names_its_variable_and_the_cure(
    monkeypatch: pytest.MonkeyPatch, name: str, text: str, words: str
) -> None:
    monkeypatch.setenv(f"TOLLGATE_{name}", text)
    (problem,) = refused()
    assert words in problem
    assert problem.startswith("TOLLGATE_")
    assert f"TOLLGATE_{name}" in problem


def test_every_problem_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOLLGATE_LISTEN", "localhost")
    monkeypatch.setenv("TOLLGATE_LISTN", "127.0.0.1:1")
    monkeypatch.setenv("TOLLGATE_CURRENCY", "dollars")
    assert len(refused(grace_seconds="x")) == 4


def test_a_bad_flag_is_named_as_a_flag() -> None:
    assert refused(admin_listen="x") == (f"TOLLGATE_ADMIN_LISTEN (--admin-listen): 'x' has no port; {LISTEN_CURE}",)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TOLLGATE_LISTN", "did you mean TOLLGATE_LISTEN?"),
        ("TOLLGATE_REDIS_URI", "did you mean TOLLGATE_REDIS_URL?"),
        ("tollgate_data_dirs", "did you mean TOLLGATE_DATA_DIR?"),
        ("TOLLGATE_XQZ", "docs/reference/settings.md lists them all"),
        ("TOLLGATE_PORT", "there is no such setting"),
    ],
)
def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, words: str) -> None:
    monkeypatch.setenv(name, "1")
    (problem,) = refused()
    assert problem.startswith(f"{name}: there is no such setting; ")
    assert words in problem


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TOLLGATE_SERVICE_HOST", "10.0.0.1"),
        ("TOLLGATE_SERVICE_PORT_GRPC", "50051"),
        ("TOLLGATE_PORT", "tcp://10.0.0.1:50051"),
        ("TOLLGATE_PORT_50051_TCP_ADDR", "10.0.0.1"),
        ("TOLLGATE_ADMIN_PORT_50052_TCP", "tcp://10.0.0.1:50052"),
        ("TOLLGATE_READY_FD", "3"),
    ],
)
def test_what_kubernetes_and_the_supervisor_put_there_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    load_settings()


def test_all_settings_can_stand_in_the_file(toml: Callable[[str], Path], tmp_path: Path) -> None:
    deck = tmp_path / "deck.csv"
    deck.touch()
    path = toml(
        f"""
        listen = "127.0.0.1:1"
        rates = "{deck}"
        operator_token = "{SECRET}"
        blocked_destinations = ["+882", "+979"]
        log_level = "error"
        """
    )
    settings = load_settings(config=str(path))
    assert settings.listen == Address("127.0.0.1", 1)
    assert settings.rates == deck
    assert settings.blocked_destinations == ("+882", "+979")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("listn = 'x'", "tollgate.toml: there is no such setting; did you mean listen?"),
        ("TOLLGATE_LISTEN = 'x'", "there is no such setting"),
        ("config = 'x'", "there is no such setting"),
        ("[server]\nlisten = 'x'", "there is no such setting"),
        ("listen = ", "is no valid TOML"),
        ("listen = 5", "(listen in "),
        ("listen = ['127.0.0.1:1']", "is no address"),
        ("grace_seconds = true", "true is no number"),
        ("grace_seconds = 2.5", "2.5 is not a whole number from 0 to 86400"),
        ("grace_seconds = inf", "is not a whole number"),
        ("grace_seconds = 2020-01-01", "is not a whole number"),
        ("grace_seconds = {}", "is not a whole number"),
        ("log_level = 3", "3 is none of debug, info, warning, error"),
        ("rates = 5", "TOLLGATE_RATES (rates in "),
        ("currency = 5", "TOLLGATE_CURRENCY (currency in "),
        ("redis_url = 5", "TOLLGATE_REDIS_URL (redis_url in "),
        ("operator_token = 5", "TOLLGATE_OPERATOR_TOKEN (operator_token in "),
        ("blocked_destinations = [882]", "'882' is no E.164 prefix"),
        ("blocked_destinations = 882", "882 is no list"),
    ],
)
def test_a_bad_file_is_refused(toml: Callable[[str], Path], text: str, words: str) -> None:
    (problem,) = refused(config=toml(text))
    assert words in problem


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refused(config=tmp_path / "none.toml") == (
        f"TOLLGATE_CONFIG: {tmp_path}/none.toml cannot be read (no such file or directory); correct the path",
    )


def test_a_file_of_bytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tollgate.toml"
    path.write_bytes(b"\xff\xfe")
    assert "is no valid TOML" in refused(config=path)[0]


@pytest.mark.parametrize("token", ["", " ", "two words", "x" * 129, "tökn-0123456789", f"{SECRET}\n"])
def test_a_bad_token_is_refused_without_being_shown(token: str) -> None:
    (problem,) = refused(operator_token=token)
    assert problem.startswith("TOLLGATE_OPERATOR_TOKEN (--operator-token): it must be 1 to 128 printable ASCII")
    assert SECRET not in problem


API_KEY, WEBHOOK_SECRET = f"sk_test_{SECRET}", f"whsec_{SECRET}"


@pytest.mark.parametrize("api_key", [API_KEY, f"rk_live_{SECRET}", f" {API_KEY} "])
@pytest.mark.parametrize("secret", [WEBHOOK_SECRET, f"whsec_new,{WEBHOOK_SECRET}", f"whsec_new , {WEBHOOK_SECRET}"])
def test_stripe_has_its_secrets(api_key: str, secret: str) -> None:
    settings = load_settings(payment_provider="stripe", stripe_api_key=api_key, stripe_webhook_secret=secret)
    assert settings.stripe_api_key is not None
    assert settings.stripe_api_key.get_secret_value() == api_key.strip()
    assert settings.stripe_webhook_secrets[-1] == WEBHOOK_SECRET
    assert all(each.startswith("whsec_") and "," not in each for each in settings.stripe_webhook_secrets)
    assert SECRET not in repr(settings) + str(settings.describe())
    assert settings.environment()["TOLLGATE_STRIPE_API_KEY"] == api_key.strip()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"payment_provider": "stripe", "stripe_webhook_secret": WEBHOOK_SECRET}, ["STRIPE_API_KEY: missing"]),
        ({"payment_provider": "stripe", "stripe_api_key": API_KEY}, ["STRIPE_WEBHOOK_SECRET: missing"]),
        ({"payment_provider": "stripe"}, ["STRIPE_API_KEY: missing", "STRIPE_WEBHOOK_SECRET: missing"]),
        ({"stripe_api_key": API_KEY}, ["STRIPE_API_KEY: given, and TOLLGATE_PAYMENT_PROVIDER is sandbox"]),
        ({"stripe_webhook_secret": WEBHOOK_SECRET}, ["STRIPE_WEBHOOK_SECRET: given"]),
        ({"stripe_api_key": f"pk_live_{SECRET}"}, ["this is the publishable key"]),
        ({"stripe_api_key": SECRET}, ["this is no secret key of Stripe"]),
        ({"stripe_api_key": ""}, ["this is no secret key of Stripe"]),
        ({"stripe_api_key": f"sk_{SECRET} {SECRET}"}, ["this is no secret key of Stripe"]),
        ({"stripe_api_key": WEBHOOK_SECRET}, ["this is no secret key of Stripe"]),
        ({"stripe_webhook_secret": API_KEY}, ["this is no signing secret"]),
        ({"stripe_webhook_secret": f"{WEBHOOK_SECRET},"}, ["this is no signing secret"]),
        ({"stripe_webhook_secret": f"{WEBHOOK_SECRET},{API_KEY}"}, ["this is no signing secret"]),
    ],
)
def test_what_stripe_lacks_is_told_without_its_secrets(flags: dict[str, str], words: list[str]) -> None:
    problems = refused(**flags)
    assert len(problems) == len(words)
    for problem, expected in zip(problems, words, strict=True):
        assert expected in problem
        assert SECRET not in problem


@pytest.mark.parametrize(
    ("flags", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"http_listen": "0.0.0.0:80"}, "http://127.0.0.1:80"),
        ({"http_listen": "[::]:80"}, "http://[::1]:80"),
        ({"http_listen": "[::1]:81"}, "http://[::1]:81"),
        ({"http_listen": "gateway.internal:82"}, "http://gateway.internal:82"),
        ({"public_url": "https://calls.example.com/", "http_listen": "0.0.0.0:80"}, "https://calls.example.com"),
    ],
)
def test_browsers_are_sent_to_the_public_url_or_else_to_the_listener(flags: dict[str, str], url: str) -> None:
    assert load_settings(**flags).base_url == url


@pytest.mark.parametrize(
    "url",
    [
        f"redis://u:{SECRET}@h:x",
        f"redis://:{SECRET}@",
        f"redis://u:{SECRET}/a@b@h:x/0",
        f"rdis://u:{SECRET}@h",
        f"u:{SECRET}@h:6379",
        f"redis://[::1:{SECRET}@h",
        f"redis://h/x?password={SECRET}",
    ],
)
def test_a_bad_url_is_refused_without_its_password(url: str) -> None:
    assert SECRET not in refused(redis_url=url)[0]


def test_secrets_are_neither_in_the_repr_nor_in_the_description() -> None:
    settings = load_settings(
        operator_token=SECRET,
        redis_url=f"redis://u:{SECRET}@h/0",
        database_url=f"postgresql://u@h/db?sslpassword={SECRET}",
    )
    assert SECRET not in repr(settings)
    assert SECRET not in str(settings)
    assert SECRET not in str(settings.describe())
    assert settings.describe()["redis_url"] == "redis://u:***@h/0"


def test_a_child_gets_the_same_settings_through_its_environment(
    monkeypatch: pytest.MonkeyPatch, toml: Callable[[str], Path]
) -> None:
    parent = load_settings(
        config=toml("grace_seconds = 7"),
        operator_token=SECRET,
        blocked_destinations="+882,+979",
        listen="[::1]:0",
        redis_url="unix:///run/a b.sock",
    )
    for name, value in parent.environment().items():
        monkeypatch.setenv(name, value)
    child = load_settings()
    assert child == parent.model_copy(update={"config": None})


def test_sqlite_gets_its_async_driver() -> None:
    assert load_settings(database_url="sqlite:////a/b.db").sql_url == "sqlite+aiosqlite:////a/b.db"
    assert load_settings(database_url="postgresql://h/b").sql_url == "postgresql://h/b"


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().grace_seconds = 5  # type: ignore[misc]


@pytest.mark.parametrize("text", ["127.0.0.1:50051", "[::1]:0", "gateway:65535"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    assert str(Address.parse(text)) == text


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())

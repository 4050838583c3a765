"""The values of single settings: each function reads one, or says in one line what is wrong and how to write it.

All raise ValueError only; settings.py turns that into a line that names the variable.
"""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import SplitResult, parse_qs, urlsplit

from pydantic import SecretStr

from gateway.address import Address
from gateway.domain.mail_address import is_mail_address
from gateway.domain.money import AmountError, format_amount, parse_amount
from gateway.domain.smtp_address import SmtpAddress
from gateway.store.faults import StoreAddressError
from gateway.store.location import SCHEMES, StoreLocation

DATABASE_SCHEMES = ("sqlite", "sqlite+aiosqlite", "postgresql", "postgresql+asyncpg", "postgresql+psycopg")

MAX_TOKEN_LENGTH = 128
MIN_SIGNING_SECRET_LENGTH = 16
MAX_OFFERED_AMOUNTS = 50

_E164_PREFIX = re.compile(r"\+[1-9][0-9]{0,14}")
_CURRENCY = re.compile(r"[A-Z]{3}")
_STRIPE_API_KEY = re.compile(r"[sr]k_[!-~]{1,250}")
_URL_CHARACTERS = re.compile(r"[!-~]+")
_WEBHOOK_SECRET = re.compile(r"whsec_[!-+\--~]{1,250}")


def read_address(value: object) -> object:
    """Read a listen address from `host:port`."""
    if isinstance(value, Address):
        return value
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no address; write host:port, e.g. 127.0.0.1:50051")
    return Address.parse(value)


def refuse_truth_values(value: object) -> object:
    """Keep TOML's true and false out of numbers, which pydantic would read as 1 and 0."""
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is no number; write it in digits")
    return value


def lower_case(value: object) -> object:
    """Let INFO stand for info, as many programs write it."""
    return value.lower() if isinstance(value, str) else value


def read_store_url(value: str) -> str:
    """Check the URL of the store: one server, a group that sentinels watch, or a cluster."""
    example = "write e.g. redis://127.0.0.1:6379/0"
    scheme = value.partition("://")[0]
    if scheme in SCHEMES and "+" in scheme:
        # Its hosts are many, which urllib takes for one with a strange port.
        return _read_location(value)
    parts = _split(value, SCHEMES, example)
    if parts.scheme == "unix":
        if not parts.path.startswith("/") or parts.hostname:
            raise ValueError(f"{without_password(value)!r} has no absolute path; write e.g. unix:///run/valkey.sock")
        return value
    _check_host(value, parts, example)
    if not re.fullmatch(r"/?|/[0-9]+", parts.path):
        raise ValueError(f"{without_password(value)!r} names no database number after the slash; {example}")
    return _read_location(value)


def _read_location(value: str) -> str:
    try:
        StoreLocation.parse(value)
    except StoreAddressError as error:
        raise ValueError(f"{without_password(value)!r} {error}") from error
    return value


def read_database_url(value: str) -> str:
    """Check the URL of the SQL database: sqlite:///... or postgresql://..."""
    example = "write e.g. postgresql://tollgate@127.0.0.1/tollgate or sqlite:////var/lib/tollgate/tollgate.db"
    parts = _split(value, DATABASE_SCHEMES, example)
    if not parts.scheme.startswith("sqlite"):
        # A unix socket is named by its directory: postgresql://me@/name?host=/run/postgresql.
        if not any(host.startswith("/") for host in parse_qs(parts.query).get("host", ())):
            _check_host(value, parts, example)
    elif len(parts.path) < len("/x"):
        # sqlite:// alone is a database in memory, which would forget every office at the end of the process.
        raise ValueError(f"{value!r} names no file; {example}")
    return value


def _split(value: str, schemes: Iterable[str], example: str) -> SplitResult:
    scheme, separator, _ = value.partition("://")
    if not separator:
        raise ValueError(f"{without_password(value)!r} has no scheme; {example}")
    if scheme not in schemes:
        raise ValueError(f"the scheme {scheme!r} is none of {', '.join(schemes)}; {example}")
    try:
        parts = urlsplit(value)
        # The port is read only when asked for, and refused then.
        _ = parts.port
    except ValueError as error:
        raise ValueError(f"{without_password(value)!r} has no valid host and port; {example}") from error
    return parts


def _check_host(value: str, parts: SplitResult, example: str) -> None:
    if not parts.hostname or parts.port == 0:
        raise ValueError(f"{without_password(value)!r} has no valid host and port; {example}")


def without_password(url: str) -> str:
    """The URL as it may be shown: `redis://user:***@host/0`. Text that is no URL loses what stands before an @."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return "***@" + url.rpartition("@")[2] if "@" in url else url
    # Not by urlsplit, which refuses some of the very URLs that have to be shown in an error; a password may itself
    # contain / and @, so that everything up to the last @ counts as user and password.
    if "@" in rest:
        user, colon, _ = rest.rpartition("@")[0].partition(":")
        rest = f"{user}{':***' if colon else ''}@{rest.rpartition('@')[2]}"
    return _without_secret_query(f"{scheme}{separator}{rest}")


def without_path(url: str) -> str:
    """A webhook's URL as it may be shown: many carry their key in path or query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/***"


def _without_secret_query(url: str) -> str:
    before, question_mark, query = url.partition("?")
    return before + question_mark + re.sub(r"(?i)((?:^|&)[^=&]*pass[^=&]*=)[^&]*", r"\1***", query)


def read_directory(value: Path) -> Path:
    """Make the path of a directory absolute; it need not exist yet."""
    path = _absolute(value)
    if path.exists() and not path.is_dir():
        raise ValueError(f"{path} is no directory; name a directory, which is created where missing")
    return path


def read_existing_file(value: Path) -> Path:
    """Make the path of a file absolute; it must be there and readable."""
    path = _absolute(value)
    if not path.is_file():
        raise ValueError(f"there is no file {path}; correct the path")
    if not os.access(path, os.R_OK):
        raise ValueError(f"{path} cannot be read; give its reader permission to the user of the gateway")
    return path


def _absolute(value: Path) -> Path:
    if not value.parts or "\0" in str(value):
        raise ValueError(f"{str(value)!r} is no path")
    try:
        return value.expanduser().absolute()
    except RuntimeError as error:
        raise ValueError(f"{value} has no home directory to stand in; write the whole path") from error


def read_token(value: SecretStr) -> SecretStr:
    """Check that a token fits in a metadata value: 1 to 128 printable ASCII characters, no blank."""
    token = value.get_secret_value()
    if not (1 <= len(token) <= MAX_TOKEN_LENGTH and all("!" <= letter <= "~" for letter in token)):
        raise ValueError(
            f"it must be 1 to {MAX_TOKEN_LENGTH} printable ASCII characters without blanks; "
            "make one with: openssl rand -hex 32"
        )
    return value


def read_signing_secret(value: SecretStr) -> SecretStr:
    """Check the key of a signature: as a token, and not short enough to be guessed."""
    if len(value.get_secret_value()) < MIN_SIGNING_SECRET_LENGTH:
        raise ValueError(
            f"it must be at least {MIN_SIGNING_SECRET_LENGTH} characters; make one with: openssl rand -hex 32"
        )
    return read_token(value)


def read_smtp_url(value: str) -> str:
    """Check the URL of a mail server."""
    SmtpAddress.parse(value)
    return value


def read_mail_address(value: str) -> str:
    """Check an e-mail address."""
    if not is_mail_address(value):
        raise ValueError(f"{value!r} is no e-mail address; write it without a name, e.g. ops@example.com")
    return value


def read_mail_addresses(value: object) -> object:
    """Read e-mail addresses from `a@example.com,b@example.com` or a list; sorted and without repetitions."""
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
        raise ValueError(f"{value!r} is no list; write addresses with commas between them")
    return tuple(sorted({read_mail_address(item.strip()) for item in items}))


def read_webhook_url(value: str) -> str:
    """Check the URL that notices are sent to."""
    example = "write e.g. https://billing.example.com/tollgate"
    parts = _split(value, ("http", "https"), example)
    _check_host(value, parts, example)
    if "@" in parts.netloc or parts.fragment:
        raise ValueError(f"it must have neither user nor fragment: the signature says who sends; {example}")
    return value


def read_trace_endpoint(value: str) -> str:
    """Check where traces go to: scheme, host and port of an OTLP receiver."""
    example = "write e.g. http://127.0.0.1:4317"
    parts = _split(value, ("http", "https"), example)
    _check_host(value, parts, example)
    if parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc or parts.port is None:
        raise ValueError(f"{without_password(value)!r} is not just scheme, host and port; {example}")
    return value.rstrip("/")


def read_stripe_api_key(value: SecretStr) -> SecretStr:
    """Check that this is a key that may charge; the text of the error does not repeat it."""
    key = value.get_secret_value().strip()
    if key.startswith("pk_"):
        raise ValueError("this is the publishable key, which is for browsers; set the secret one, sk_... or rk_...")
    if not _STRIPE_API_KEY.fullmatch(key):
        raise ValueError("this is no secret key of Stripe; it begins with sk_ or rk_")
    return SecretStr(key)


def read_webhook_secrets(value: SecretStr) -> SecretStr:
    """Check one or several signing secrets, with commas between them; the text of the error does not repeat them."""
    secrets = [secret.strip() for secret in value.get_secret_value().split(",")]
    if not all(_WEBHOOK_SECRET.fullmatch(secret) for secret in secrets):
        raise ValueError("this is no signing secret of a webhook; it begins with whsec_; several have commas between")
    return SecretStr(",".join(secrets))


def read_public_url(value: str) -> str:
    """Check where browsers go to: scheme and host; a slash at the end is taken off."""
    example = "write e.g. https://calls.example.com"
    parts = _split(value, ("http", "https"), example)
    _check_host(value, parts, example)
    # Pages name each other by paths that begin at the host.
    more = parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc
    if more or not _URL_CHARACTERS.fullmatch(value):
        raise ValueError(f"{without_password(value)!r} has more than scheme, host and port; {example}")
    return value.rstrip("/")


def read_currency(value: str) -> str:
    """Check an ISO 4217 code."""
    if not _CURRENCY.fullmatch(value):
        raise ValueError(f"{value!r} is no currency; write the three capital letters of ISO 4217, e.g. USD")
    return value


def read_amounts(value: object) -> object:
    """Read amounts from `10,49.90` or a list.

    Returns:
        A tuple of decimals, ascending and without repetitions.
    """
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple) or not items or len(items) > MAX_OFFERED_AMOUNTS:
        raise ValueError(
            f"{value!r} is no list of 1 to {MAX_OFFERED_AMOUNTS} amounts; write them with commas, e.g. 10,49.90"
        )
    amounts = set()
    for item in items:
        try:
            amount = parse_amount(str(item))
        except AmountError as error:
            raise ValueError(f"{error}; write amounts with commas between them, e.g. 10,49.90") from None
        if isinstance(item, float) or amount <= 0:
            raise ValueError(f"{item!r} cannot be bought; write decimals above zero, in quotes, e.g. 10,49.90")
        amounts.add(amount)
    return tuple(format_amount(amount, decimals=0) for amount in sorted(amounts))


def read_prefixes(value: object) -> object:
    """Read E.164 prefixes from `+882,+979` or a list; the plus sign may be missing and is put in front.

    Returns:
        A tuple, sorted and without repetitions, fit for str.startswith.
    """
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError(f"{value!r} is no list; write prefixes with commas between them, e.g. +882,+979")
    prefixes = set()
    for item in items:
        text = str(item).strip()
        prefix = text if text.startswith("+") else f"+{text}"
        if not isinstance(item, str) or not _E164_PREFIX.fullmatch(prefix):
            raise ValueError(
                f"{text!r} is no E.164 prefix; write the country code and what follows, 1 to 15 digits, e.g. +882,+979"
            )
        prefixes.add(prefix)
    return tuple(sorted(prefixes))

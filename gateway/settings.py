"""Every setting of the gateway: name, type, range, default and meaning.

Sources, the first that names a setting wins: flags of the command line (arguments of `load_settings`), `TOLLGATE_*`
variables, one TOML file (`--config` or TOLLGATE_CONFIG), the defaults here. docs/reference/settings.md is generated
from this file.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SecretStr,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from gateway import settings_values as values
from gateway.address import Address
from gateway.default_directory import default_data_directory
from gateway.settings_problems import PREFIX, SettingsError, describe_problems, unknown_variables, variable_name
from gateway.settings_toml import TomlFile

MAX_AMOUNT_MICROS = 10**15
"""Amounts stay below this, since Lua counts exactly only to 2^53."""

ListenAddress = Annotated[Address, BeforeValidator(values.read_address)]
Number = Annotated[int, BeforeValidator(values.refuse_truth_values)]
Text = Annotated[str, StringConstraints(strip_whitespace=True)]
NEEDS = {
    "notice_smtp_url": "notice_email_from",
    "notice_email_to": "notice_smtp_url",
    "notice_webhook_url": "notice_webhook_secret",
}
"""What makes no sense without another setting."""
LISTEN_SETTINGS = ("listen", "admin_listen", "http_listen", "metrics_listen")


class Settings(BaseSettings):
    """The settings of one gateway, checked and complete.

    Made by `load_settings`, whose errors name the variable and the cure; the constructor itself raises pydantic's
    ValidationError. What may hold a password is left out of the repr.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        # An empty variable is what a compose file passes on for "not given".
        env_ignore_empty=True,
        # Lists are written with commas, not in JSON.
        enable_decoding=False,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    config: Annotated[Path, AfterValidator(values.read_existing_file)] | None = Field(
        None, description="TOML file with settings, named as here in lower case and without the prefix."
    )
    listen: ListenAddress = Field(
        Address("127.0.0.1", 50051), description="Address of the `CallAuthorization` service, for the switches."
    )
    admin_listen: ListenAddress = Field(
        Address("127.0.0.1", 50052),
        description="Address of the `Credits` service; the switches' network need not reach it.",
    )
    http_listen: ListenAddress = Field(
        Address("127.0.0.1", 8080), description="Address of the HTTP hooks and the Credits page."
    )
    metrics_listen: ListenAddress = Field(Address("127.0.0.1", 9464), description="Address of the Prometheus metrics.")
    data_dir: Annotated[Path, AfterValidator(values.read_directory)] = Field(
        default_factory=default_data_directory,
        validate_default=True,
        description="Directory of the embedded store and the SQLite database; created with mode 0700. With "
        "the embedded store one gateway holds it at a time.",
        json_schema_extra={"default_text": "$XDG_DATA_HOME/tollgate or ~/.local/share/tollgate"},
    )
    redis_url: Annotated[Text, AfterValidator(values.read_store_url)] | None = Field(
        None,
        repr=False,
        description="Redis (7.0 or newer) or Valkey that holds the balances: redis://, rediss:// or unix://. Not "
        "given: an embedded Valkey in data_dir.",
    )
    database_url: Annotated[Text, AfterValidator(values.read_database_url)] | None = Field(
        None,
        repr=False,
        description="SQL database of companies, offices, decks and the ledger: postgresql:// or sqlite:///. Not given: "
        "SQLite in data_dir.",
    )
    rates: Annotated[Path, AfterValidator(values.read_existing_file)] | None = Field(
        None, description="Rate deck (CSV) that is loaded at start instead of the default one."
    )
    operator_token: Annotated[SecretStr, AfterValidator(values.read_token)] | None = Field(
        None,
        description="Bearer token of the first operator; 1 to 128 printable ASCII characters. Never shown or logged; "
        "better in the environment than in a flag, which every user of the machine can read.",
    )
    currency: Annotated[Text, AfterValidator(values.read_currency)] = Field(
        "USD", description="The one currency of this installation, an ISO 4217 code."
    )
    setup_timeout_seconds: Number = Field(
        180, ge=1, le=86_400, description="How long an authorized call may ring before its reservation lapses."
    )
    grace_seconds: Number = Field(
        60, ge=0, le=86_400, description="How long after its granted time a call that nobody confirms lapses."
    )
    live_calls_seconds: Number = Field(
        30,
        ge=1,
        le=44,
        description="How often a Session or callback is asked for its live calls; a list older than 45 s no longer "
        "counts.",
    )
    max_duration_seconds: Number = Field(
        14_400, ge=60, le=86_400, description="Longest time that is granted to one call."
    )
    stub_seconds: Number = Field(
        3_600,
        ge=60,
        le=604_800,
        description="How long ended calls and messages are kept, so that a repeat is recognised.",
    )
    batch_max_operations: Number = Field(1_000, ge=1, le=1_000, description="Operations allowed in one Session batch.")
    refill_threshold_micros: Number = Field(
        5_000_000,
        ge=0,
        le=MAX_AMOUNT_MICROS,
        description="Default of an office: automatic refill is triggered when available funds go below it.",
    )
    refill_amount_micros: Number = Field(
        50_000_000,
        ge=1,
        le=MAX_AMOUNT_MICROS,
        description="Default of an office: what one automatic refill adds; at least the threshold.",
    )
    store_timeout_ms: Number = Field(
        500, ge=10, le=60_000, description="How long one answer of the store is waited for before UNAVAILABLE."
    )
    max_in_flight: Number = Field(
        1_000,
        ge=1,
        le=100_000,
        description="Requests answered at once by the front; beyond that RESOURCE_EXHAUSTED, emergency calls excepted.",
    )
    blocked_destinations: Annotated[tuple[str, ...], BeforeValidator(values.read_prefixes)] = Field(
        (),
        description="E.164 prefixes that nobody may call, with commas between them, e.g. +882,+979. Emergency numbers "
        "are never blocked.",
    )
    notice_smtp_url: Annotated[Text, AfterValidator(values.read_smtp_url)] | None = Field(
        None,
        repr=False,
        description="Mail server for notices: smtp:// (STARTTLS, port 587), smtps:// (port 465), or smtp+plain:// for "
        "one on this machine; with user:password@, percent-encoded, if it wants a login. Not given: no e-mail.",
    )
    notice_email_from: Annotated[Text, AfterValidator(values.read_mail_address)] | None = Field(
        None, description="Sender of the notices; needed with TOLLGATE_NOTICE_SMTP_URL."
    )
    notice_email_to: Annotated[tuple[str, ...], BeforeValidator(values.read_mail_addresses)] = Field(
        (),
        description="Addresses of operators who get every notice, with commas between them. Those of a company or an "
        "office are set by `tollgate notices to`.",
    )
    notice_webhook_url: Annotated[Text, AfterValidator(values.read_webhook_url)] | None = Field(
        None, repr=False, description="URL that gets every notice as signed JSON: http:// or https://."
    )
    notice_webhook_secret: Annotated[SecretStr, AfterValidator(values.read_signing_secret)] | None = Field(
        None,
        description="Key of the webhook's signature, 16 to 128 printable ASCII characters; needed with "
        "TOLLGATE_NOTICE_WEBHOOK_URL. Never shown or logged.",
    )
    notice_timeout_seconds: Number = Field(
        10, ge=1, le=300, description="How long one attempt to send a notice may take."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(values.lower_case)] = Field(
        "info", description="Least severity that is logged."
    )
    log_format: Annotated[Literal["json", "console"], BeforeValidator(values.lower_case)] = Field(
        "json", description="JSON lines for a collector, or text for a terminal."
    )
    drain_seconds: Number = Field(
        30, ge=0, le=3_600, description="How long accepted requests may take to finish after SIGTERM."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - no .env: it would be a fifth place to look in
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: flags, environment, TOML file; the defaults come last by themselves."""
        path = init_settings().get("config") or env_settings().get("config")
        return init_settings, env_settings, TomlFile(settings_cls, path)

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        problems = [*self._listener_problems(), *self._refill_problems(), *self._notice_problems()]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _listener_problems(self) -> Iterator[str]:
        taken: dict[Address, str] = {}
        for name in LISTEN_SETTINGS:
            address: Address = getattr(self, name)
            if address.port and address in taken:
                yield (
                    f"{variable_name(name)}: {address} is {variable_name(taken[address])} already; "
                    "give each listener a port of its own"
                )
            taken.setdefault(address, name)

    def _refill_problems(self) -> Iterator[str]:
        if self.refill_amount_micros < self.refill_threshold_micros:
            yield (
                f"{variable_name('refill_amount_micros')}: {self.refill_amount_micros} is less than "
                f"{variable_name('refill_threshold_micros')} ({self.refill_threshold_micros}), so that one refill "
                "would trigger the next; raise the amount or lower the threshold"
            )

    def _notice_problems(self) -> Iterator[str]:
        for name, needed in NEEDS.items():
            if getattr(self, name) and not getattr(self, needed):
                yield f"{variable_name(needed)}: is missing; {variable_name(name)} does not do without it"

    @property
    def sql_url(self) -> str:
        """The database to use, with SQLAlchemy's async driver for SQLite; PostgreSQL URLs stay as given."""
        if self.database_url is None:
            return f"sqlite+aiosqlite:///{self.data_dir / 'tollgate.db'}"
        if self.database_url.startswith("sqlite:"):
            return self.database_url.replace("sqlite:", "sqlite+aiosqlite:", 1)
        return self.database_url

    def environment(self) -> dict[str, str]:
        """These settings as `TOLLGATE_*` variables for a child process, secrets included.

        A child that loads its settings from them has the same settings without reading the TOML file again, which
        may have been edited since.
        """
        variables = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name != "config" and value is not None:
                variables[variable_name(name)] = _as_text(value)
        return variables

    def describe(self) -> dict[str, str]:
        """These settings for a log: every one of them, passwords and tokens masked."""
        shown = self.environment()
        for name in ("redis_url", "database_url", "notice_smtp_url"):
            if variable_name(name) in shown:
                shown[variable_name(name)] = values.without_password(shown[variable_name(name)])
        if self.notice_webhook_url is not None:
            shown[variable_name("notice_webhook_url")] = values.without_path(self.notice_webhook_url)
        for name in ("operator_token", "notice_webhook_secret"):
            if variable_name(name) in shown:
                shown[variable_name(name)] = "***"
        return {name.removeprefix(PREFIX).lower(): value for name, value in shown.items()}


def load_settings(**flags: object) -> Settings:
    """Gather the settings from flags, environment, TOML file and defaults.

    Args:
        **flags: Values from the command line by setting name; None means that the flag was not given. `config` is
            the path of the TOML file.

    Raises:
        SettingsError: With one line for every problem found.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    problems = unknown_variables(os.environ, Settings.model_fields)
    try:
        # The names come from the command line, which mypy cannot hold against the fields; pydantic does.
        settings = Settings(**given)  # type: ignore[arg-type]
    except SettingsError as error:
        raise SettingsError([*problems, *error.problems]) from None
    except ValidationError as error:
        found = describe_problems(error, Settings.model_fields, _sources(given))
        raise SettingsError([*problems, *found]) from None
    if problems:
        raise SettingsError(problems)
    return settings


def _sources(flags: Mapping[str, object]) -> dict[str, str]:
    """Where each setting that is not from its variable came from, as an error names it."""
    path = flags.get("config") or os.environ.get(variable_name("config"))
    given = {name.upper() for name, value in os.environ.items() if value}
    in_file = {name: f"{name} in {path}" for name in Settings.model_fields if path and variable_name(name) not in given}
    return in_file | {name: f"--{name.replace('_', '-')}" for name in flags}


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(value)
    return str(value)

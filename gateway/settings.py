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
from gateway.domain.money import parse_amount
from gateway.log import LogFormat, LogLevel
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
    "tls_certificate": "tls_key",
    "tls_key": "tls_certificate",
    "tls_client_ca": "tls_certificate",
    "mtls_listen": "tls_client_ca",
}
"""What makes no sense without another setting."""
LISTEN_SETTINGS = ("listen", "mtls_listen", "admin_listen", "http_listen", "metrics_listen")


_STRIPE_SECRETS = {
    "stripe_api_key": "set the secret key from the dashboard (Developers, API keys)",
    "stripe_webhook_secret": "set the signing secret of the endpoint for <TOLLGATE_PUBLIC_URL>/payments/webhook "
    "(Developers, Webhooks)",
}
"""What Stripe cannot do without, and where it is found."""


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
        Address("127.0.0.1", 8080),
        description="Address of the HTTP server: hooks for switches, webhooks of the payment provider, pages, health.",
    )
    metrics_listen: ListenAddress = Field(Address("127.0.0.1", 9464), description="Address of the Prometheus metrics.")
    tls_certificate: Annotated[Path, AfterValidator(values.read_existing_file)] | None = Field(
        None,
        description="PEM file: the gateway's certificate and what leads to its authority. Given: listen, admin_listen "
        "and http_listen speak TLS and nothing else. Read again when it changes.",
    )
    tls_key: Annotated[Path, AfterValidator(values.read_existing_file)] | None = Field(
        None, description="PEM file: the certificate's private key, without a passphrase, that others cannot read."
    )
    tls_client_ca: Annotated[Path, AfterValidator(values.read_existing_file)] | None = Field(
        None,
        description="PEM file: the authorities that sign the certificates of switches. Given: who connects to listen "
        "must show one, unless mtls_listen is given, too.",
    )
    mtls_listen: ListenAddress | None = Field(
        None,
        description="A second address of the `CallAuthorization` service, where clients must show a certificate; "
        "listen then asks for none.",
    )
    data_dir: Annotated[Path, AfterValidator(values.read_directory)] = Field(
        default_factory=default_data_directory,
        validate_default=True,
        description="Directory of the embedded store, the SQLite database and the payment sandbox; created with mode "
        "0700. With the embedded store one gateway holds it at a time.",
        json_schema_extra={"default_text": "$XDG_DATA_HOME/tollgate or ~/.local/share/tollgate"},
    )
    redis_url: Annotated[Text, AfterValidator(values.read_store_url)] | None = Field(
        None,
        repr=False,
        description="Redis (7.0 or newer) or Valkey that holds the balances. One server: redis://, rediss:// or "
        "unix://; sentinels: redis+sentinel://host:26379,host:26379/name; a Cluster: "
        "redis+cluster://host:6379,host:6379; with rediss for TLS, the options "
        "tls_ca, tls_certificate and tls_key name PEM files. Not given: an embedded Valkey in data_dir.",
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
    old_operator_token: Annotated[SecretStr, AfterValidator(values.read_token)] | None = Field(
        None,
        description="The operator's token of before, still valid while everybody changes over to operator_token; take "
        "it away afterwards. Never shown or logged.",
    )
    currency: Annotated[Text, AfterValidator(values.read_currency)] = Field(
        "USD", description="The one currency of this installation, an ISO 4217 code."
    )
    public_url: Annotated[Text, AfterValidator(values.read_public_url)] | None = Field(
        None,
        description="Where browsers find http_listen, e.g. https://calls.example.com: links that are sent point there. "
        "Not given: http_listen, with http:// or, where there is a certificate, https://.",
    )
    payment_provider: Annotated[Literal["sandbox", "stripe"], BeforeValidator(values.lower_case)] = Field(
        "sandbox", description="Who charges cards. The sandbox takes no money: it grants credit for nothing."
    )
    stripe_api_key: Annotated[SecretStr, AfterValidator(values.read_stripe_api_key)] | None = Field(
        None, description="Stripe's secret or restricted key: sk_... or rk_.... Never shown or logged."
    )
    stripe_webhook_secret: Annotated[SecretStr, AfterValidator(values.read_webhook_secrets)] | None = Field(
        None,
        description="What Stripe signs its webhooks with: whsec_.... While it is being changed, the new and the old "
        "one with a comma between them. Never shown or logged.",
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
    refills_a_day: Number = Field(
        5,
        ge=1,
        le=1_000,
        description="Automatic refills of an office on one of its days at most; then it waits for the next day.",
    )
    fraud_country_spend_micros: Number = Field(
        25_000_000,
        ge=0,
        le=MAX_AMOUNT_MICROS,
        description="Default of an office: what its charged calls to one foreign country, or to premium-rate numbers "
        "at home, may be debited in an hour before its fraud guard trips; where it is more, half of what one refill of "
        "the office adds, or a twentieth of its credit limit. 0: no limit.",
    )
    fraud_office_spend_micros: Number = Field(
        50_000_000,
        ge=0,
        le=MAX_AMOUNT_MICROS,
        description="Default of an office: the same for all of these calls together; where it is more, what one refill "
        "of the office adds, or a tenth of its credit limit. 0: no limit.",
    )
    fraud_country_calls: Number = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Default of an office: how many calls to one foreign country, or to premium-rate numbers at home, "
        "may be debited in an hour before its fraud guard trips. 0: no limit.",
    )
    fraud_office_calls: Number = Field(
        0,
        ge=0,
        le=1_000_000,
        description="Default of an office: the same for all of these calls together. 0: no limit.",
    )
    fraud_guard_hours: Number = Field(
        12,
        ge=1,
        le=720,
        description="How long a fraud guard that has tripped refuses new calls and holds automatic refill, unless an "
        "operator lifts it before.",
    )
    offered_amounts: Annotated[tuple[str, ...], BeforeValidator(values.read_amounts)] = Field(
        ("10", "20", "50", "100", "200", "500"),
        description="What may be bought at a time, in units of the currency with commas between them, e.g. 10,49.90.",
    )
    payment_confirmation_seconds: Number = Field(
        86_400,
        ge=60,
        le=604_800,
        description="How long a charge waits for its card's owner to confirm it at their bank before it is cancelled.",
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
    switch_operations_per_second: Number = Field(
        5_000,
        ge=0,
        le=1_000_000,
        description="Operations that one switch token may ask of each front, and of the hooks; two seconds' worth at "
        "once. A token may have a rate of its own. Emergency calls are never limited. 0: no limit.",
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
    trace_endpoint: Annotated[Text, AfterValidator(values.read_trace_endpoint)] | None = Field(
        None,
        description="Collector that gets traces by OTLP over gRPC, e.g. http://127.0.0.1:4317 (https: with TLS); needs "
        "the extra `tracing`. Not given: nothing is traced. Headers, certificates and the like are OpenTelemetry's own "
        "variables, OTEL_*.",
    )
    trace_ratio: Annotated[float, BeforeValidator(values.refuse_truth_values)] = Field(
        0.01,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Share of the requests that are traced, of those whose caller does not say so itself in "
        "`traceparent`.",
    )
    log_level: Annotated[LogLevel, BeforeValidator(values.lower_case)] = Field(
        "info", description="Least severity that is logged."
    )
    log_format: Annotated[LogFormat, BeforeValidator(values.lower_case)] = Field(
        "json", description="JSON lines for a collector, or text for a terminal."
    )
    workers: Number = Field(
        1,
        ge=1,
        le=64,
        description="Front processes that share TOLLGATE_LISTEN: one for each core that is to decide, less one for the "
        "store and the rest.",
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
        problems = [
            *self._listener_problems(),
            *self._refill_problems(),
            *self._payment_problems(),
            *self._missing_problems(),
        ]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    def _listener_problems(self) -> Iterator[str]:
        taken: dict[Address, str] = {}
        for name in LISTEN_SETTINGS:
            address: Address | None = getattr(self, name)
            if address is None:
                continue
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

    def _missing_problems(self) -> Iterator[str]:
        for name, needed in NEEDS.items():
            if getattr(self, name) and not getattr(self, needed):
                yield f"{variable_name(needed)}: is missing; {variable_name(name)} does not do without it"

    def _payment_problems(self) -> Iterator[str]:
        provider = variable_name("payment_provider")
        for name, cure in _STRIPE_SECRETS.items():
            given = getattr(self, name) is not None
            if self.payment_provider == "stripe" and not given:
                yield f"{variable_name(name)}: missing, and {provider} is stripe; {cure}"
            # Whoever has a key means to be paid, and the sandbox would give credit for nothing.
            if self.payment_provider != "stripe" and given:
                yield (
                    f"{variable_name(name)}: given, and {provider} is {self.payment_provider}; set {provider}=stripe, "
                    "or leave the other out"
                )

    @property
    def operator_tokens(self) -> dict[str, str]:
        """The operators' tokens of the settings, by their token_id."""
        named = {"settings": self.operator_token, "settings-old": self.old_operator_token}
        return {token_id: token.get_secret_value() for token_id, token in named.items() if token is not None}

    @property
    def stripe_webhook_secrets(self) -> tuple[str, ...]:
        """The signing secrets of Stripe's webhooks, one or several."""
        given = self.stripe_webhook_secret
        return () if given is None else tuple(given.get_secret_value().split(","))

    @property
    def base_url(self) -> str:
        """Where browsers find the HTTP server, without a slash at the end."""
        if self.public_url is not None:
            return self.public_url
        # An address that stands for every interface is none to go to; this machine is one of them.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.http_listen.host, self.http_listen.host)  # noqa: S104
        scheme = "http" if self.tls_certificate is None else "https"
        return f"{scheme}://{Address(host, self.http_listen.port)}"

    @property
    def sql_url(self) -> str:
        """The database to use, with SQLAlchemy's async driver for SQLite; PostgreSQL URLs stay as given."""
        if self.database_url is None:
            return f"sqlite+aiosqlite:///{self.data_dir / 'tollgate.db'}"
        if self.database_url.startswith("sqlite:"):
            return self.database_url.replace("sqlite:", "sqlite+aiosqlite:", 1)
        return self.database_url

    @property
    def offered_amounts_micros(self) -> tuple[int, ...]:
        """What may be bought at a time, in micros, ascending."""
        return tuple(map(parse_amount, self.offered_amounts))

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
        for name in type(self).model_fields:
            if isinstance(getattr(self, name), SecretStr):
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

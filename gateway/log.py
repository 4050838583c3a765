"""Structured logs: one JSON object a line, or text for a terminal; never a token, never a password.

An event is a name in snake_case with fields: `log.info("call_lapsed", office_id=..., confirmed_seconds=...)`.
Libraries that log through the standard module come out in the same form. Every line that is about a request names it.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Literal, TextIO, TypeAlias

import structlog
from pydantic import SecretStr
from structlog.typing import EventDict, Processor, WrappedLogger

from gateway.request_context import current_trace, request_id
from gateway.settings_values import without_password

MASK = "***"

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LogFormat: TypeAlias = Literal["json", "console"]

_SECRET_NAME = re.compile(r"(?i)token|authorization|password|passwd|secret|api_?key|credential")
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[!-~]+")
_URL_WITH_PASSWORD = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"]*[@=][^\s'\"]*")

# Chatty at info, and about their own insides.
_QUIET_LIBRARIES = ("asyncio", "aiosqlite", "sqlalchemy", "alembic", "grpc", "hpack", "stripe", "uvicorn")


def configure_logging(
    level: LogLevel,
    log_format: LogFormat,
    process: str,
    stream: TextIO | None = None,
) -> None:
    """Set up logging for this process; calling it again replaces the set-up.

    Args:
        level: Least severity that is written.
        log_format: JSON lines, or text.
        process: front, back or supervisor; in every line.
        stream: Where to write; standard error when None, since standard output is a command's answer.
    """
    target = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        _NamesProcess(process),
        name_request,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # Exceptions become text before secrets are looked for, since their text may quote one.
                structlog.processors.format_exc_info,
                mask_secrets,
                _renderer(log_format, colors=target.isatty()),
            ],
        )
    )
    numeric = logging.getLevelNamesMapping()[level.upper()]
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(numeric)
    for name in _QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(numeric, logging.WARNING))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.stdlib.LoggerFactory(),
        # Loggers are made when modules are imported, before this runs: a cached one would keep the old set-up.
        cache_logger_on_first_use=False,
    )


def name_request(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's form
    """Name the request that a line is about, and its trace and span where it is traced."""
    if request_id.get():
        event.setdefault("request_id", request_id.get())
    trace = current_trace.get()
    if trace is not None:
        event["trace_id"], event["span_id"] = trace.trace_id.hex(), trace.span_id.hex()
    return event


def mask_secrets(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG001 - structlog's form
    """Mask what is secret by its field's name, by its type or by its look; nested values too."""
    return {name: _masked(name, value) for name, value in event.items()}


class _NamesProcess:
    """Puts the process's name into every event."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:  # noqa: ARG002
        event.setdefault("process", self._process)
        return event


def _renderer(log_format: str, *, colors: bool) -> Processor:
    if log_format == "console":
        return structlog.dev.ConsoleRenderer(colors=colors)
    return structlog.processors.JSONRenderer(ensure_ascii=False)


def _masked(name: str, value: Any) -> Any:
    if isinstance(value, SecretStr) or (_SECRET_NAME.search(name) and value is not None):
        return MASK
    if isinstance(value, str):
        return _masked_text(value)
    if isinstance(value, MutableMapping):
        return {key: _masked(str(key), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked("", item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _masked_text(str(value))


def _masked_text(text: str) -> str:
    text = _BEARER.sub(rf"\1 {MASK}", text)
    return _URL_WITH_PASSWORD.sub(lambda found: without_password(found[0]), text)

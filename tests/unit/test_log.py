"""The logs: one JSON object a line, and no secret in any of them."""

import io
import json
import logging
from contextvars import copy_context
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from gateway.domain.trace import Trace
from gateway.log import configure_logging
from gateway.request_context import current_trace, request_id

SECRET = "s3cr3t-0123456789"


pytestmark = pytest.mark.usefixtures("logging_restored")


@pytest.fixture
def stream() -> io.StringIO:
    target = io.StringIO()
    configure_logging("info", "json", "front", target)
    return target


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_says_when_who_how_bad_and_what(stream: io.StringIO) -> None:
    structlog.get_logger("x").info("call_lapsed", confirmed_seconds=3)
    (line,) = lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "call_lapsed", "level": "info", "process": "front", "confirmed_seconds": 3}


def test_libraries_log_in_the_same_form(stream: io.StringIO) -> None:
    logging.getLogger("some.library").warning("lost %s", "it")
    (line,) = lines(stream)
    assert (line["event"], line["level"], line["logger"]) == ("lost it", "warning", "some.library")
    assert line["process"] == "front"


def test_a_line_names_the_request_that_it_is_about_and_its_trace(stream: io.StringIO) -> None:
    def write() -> None:
        request_id.set("r-1")
        structlog.get_logger().info("untraced")
        current_trace.set(Trace(b"\x01" * 16, b"\x02" * 8))
        structlog.get_logger().info("traced")
        logging.getLogger("some.library").warning("traced too")

    copy_context().run(write)
    structlog.get_logger().info("about none")
    named = [{name: line.get(name) for name in ("request_id", "trace_id", "span_id")} for line in lines(stream)]
    traced = {"request_id": "r-1", "trace_id": "01" * 16, "span_id": "02" * 8}
    assert named == [traced | {"trace_id": None, "span_id": None}, traced, traced, dict.fromkeys(traced)]


def test_what_is_less_severe_is_left_out(stream: io.StringIO) -> None:
    structlog.get_logger().debug("detail")
    logging.getLogger("other").debug("detail")
    logging.getLogger("alembic.runtime").info("detail")
    assert lines(stream) == []


def test_loggers_made_before_follow_the_set_up() -> None:
    early = structlog.get_logger()
    stream = io.StringIO()
    configure_logging("error", "json", "back", stream)
    early.warning("too mild")
    early.error("failed")
    assert [line["event"] for line in lines(stream)] == ["failed"]


@pytest.mark.parametrize(
    "fields",
    [
        {"operator_token": SECRET},
        {"Authorization": f"Bearer {SECRET}"},
        {"password": SECRET},
        {"value": SecretStr(SECRET)},
        {"metadata": f"authorization: Bearer {SECRET}"},
        {"url": f"redis://user:{SECRET}@host:6379/0"},
        {"error": f"cannot connect to postgresql://u:{SECRET}@h/db?x=1."},
        {"error": f"redis://h/0?password={SECRET}"},
        {"headers": {"x-token": SECRET}},
        {"many": [{"inner": {"api_key": SECRET}}, f"bearer {SECRET}"]},
        {"cause": ValueError(f"Bearer {SECRET}")},
    ],
)
def test_secrets_are_masked(stream: io.StringIO, fields: dict[str, Any]) -> None:
    structlog.get_logger().info("event", **fields)
    assert len(lines(stream)) == 1
    assert SECRET not in stream.getvalue()
    assert "***" in stream.getvalue()


def test_secrets_in_exceptions_and_library_messages_are_masked(stream: io.StringIO) -> None:
    try:
        raise ValueError(f"redis://u:{SECRET}@h refused Bearer {SECRET}")
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("library").exception("failed with Bearer %s", SECRET)
    assert SECRET not in stream.getvalue()
    assert all("ValueError" in line["exception"] for line in lines(stream))


def test_text_for_a_terminal() -> None:
    stream = io.StringIO()
    configure_logging("info", "console", "supervisor", stream)
    structlog.get_logger().info("store_started", pid=5, token=SECRET)
    (line,) = stream.getvalue().splitlines()
    assert "store_started" in line
    assert "process=supervisor" in line
    assert SECRET not in line

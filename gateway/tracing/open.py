"""From the settings to the tracer."""

from importlib import import_module
from importlib.metadata import version

from gateway.settings import Settings
from gateway.startup import StartupError
from gateway.tracing.tracer import Tracer


def open_tracing(settings: Settings, process: str) -> Tracer | None:
    """The tracer of a process; None: nothing is traced, and nothing of OpenTelemetry is imported.

    Raises:
        StartupError: OpenTelemetry is not installed.
    """
    if settings.trace_endpoint is None:
        return None
    try:
        module = import_module("gateway.tracing.opentelemetry")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise StartupError(
            "TOLLGATE_TRACE_ENDPOINT: OpenTelemetry is not installed; install tollgate[tracing], or leave this setting "
            "out"
        ) from error
    tracer: Tracer = module.open_tracer(settings.trace_endpoint, settings.trace_ratio, process, version("tollgate"))
    return tracer

"""The settings that a start takes, and that somebody may not have meant all the same."""

import os
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

from gateway.cli.doctor.findings import Findings
from gateway.settings import Settings
from gateway.settings_problems import variable_name


def examine_settings(settings: Settings) -> Findings:
    """Look at settings that were loaded, so that each by itself makes sense."""
    findings = Findings("settings")
    if settings.config is not None:
        _examine_file(settings, settings.config, findings)
    cores = os.cpu_count() or 1
    if settings.workers > cores:
        findings.warn(
            f"TOLLGATE_WORKERS is {settings.workers}, and this machine has {cores} cores",
            "set it to the cores, less one for the store and the rest",
        )
    given = [name for name in Settings.model_fields if name in settings.model_fields_set and name != "config"]
    if findings.are_well:
        findings.ok(f"{len(given)} are given, and go together")
    return findings


def _examine_file(settings: Settings, path: Path, findings: Findings) -> None:
    secrets = sorted(set(_secret_settings(settings)) & tomllib.loads(path.read_text(encoding="utf-8")).keys())
    mode = stat.S_IMODE(path.stat().st_mode)
    if secrets and mode & 0o007:
        findings.fail(
            f"{path} has mode {mode:04o}, so that every user of the machine can read {', '.join(secrets)}",
            f"chmod o= {path}",
        )
    else:
        findings.ok(f"{path} is read" + (f", with mode {mode:04o}" if secrets else ", without secrets"))


def _secret_settings(settings: Settings) -> Iterator[str]:
    """Those whose values are not shown as they are."""
    shown, real = settings.describe(), settings.environment()
    for name, value in shown.items():
        if real.get(variable_name(name)) != value:
            yield name

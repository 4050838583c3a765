"""The whole examination, in the order in which a start needs things: a fault is best read from the top."""

from pathlib import Path

from gateway.cli.connection import ConnectionFile
from gateway.cli.doctor.database import examine_database
from gateway.cli.doctor.findings import Finding, Findings
from gateway.cli.doctor.listeners import examine_listeners
from gateway.cli.doctor.machine import (
    examine_binary,
    examine_data_directory,
    examine_file_limit,
    examine_interpreter,
)
from gateway.cli.doctor.payments import examine_payments
from gateway.cli.doctor.public_url import examine_public_url
from gateway.cli.doctor.settings import examine_settings
from gateway.cli.doctor.store import examine_store
from gateway.settings import load_settings
from gateway.settings_problems import SettingsError


async def examine(config: Path | None, data_dir: Path | None) -> list[Finding]:
    """Look at everything that a gateway of these settings needs.

    Args:
        config: Its TOML file, if not by its variable.
        data_dir: Its data directory likewise.

    Returns:
        What was found, at least a finding a subject. With settings that make no sense: what is wrong with them.
    """
    try:
        settings = load_settings(config=config, data_dir=data_dir)
    except SettingsError as error:
        findings = Findings("settings")
        findings.fail_as_told(error)
        return findings
    gateway = ConnectionFile.find(settings.data_dir)
    database, ledger = await examine_database(settings)
    return [
        *examine_settings(settings),
        *examine_interpreter(),
        *examine_file_limit(gateway),
        *examine_data_directory(settings),
        *await examine_binary(settings),
        *await examine_store(settings, ledger, gateway),
        *database,
        *await examine_payments(settings),
        *await examine_listeners(settings, gateway),
        *await examine_public_url(settings),
    ]

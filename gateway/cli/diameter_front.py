"""Runs what `tollgate diameter` describes; apart from it, because this needs the library for Diameter."""

import asyncio
import signal
from pathlib import Path

from gateway.address import Address
from gateway.cli.connection import Connection
from gateway.cli.diameter import Flags, OfficeBy
from gateway.cli.errors import EXIT_USAGE, CommandError
from gateway.client.tls import TlsFilesError
from gateway.diameter.codes import AvpKey
from gateway.diameter.memory import BadStateFile
from gateway.diameter.offices import BadTable, NamedAvp, OfficeFinder, OfficeSource, ServiceContext, SubscriberTable
from gateway.diameter.service import Options, run_diameter


def run(flags: Flags, connection: Connection) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        CommandError: A flag makes no sense, the address is taken, or the state file cannot be used.
    """
    options = Options(
        listen=_address(flags.listen),
        origin_host=_host("--origin-host", flags.origin_host),
        origin_realm=_host("--origin-realm", flags.origin_realm),
        gateway=connection.listen,
        token=connection.listen_token,
        deadline_seconds=flags.deadline_seconds,
        peers=frozenset(each.lower() for each in flags.peers),
        offices=OfficeFinder(_source(flags)),
        terms=flags.terms,
        state_file=flags.state_file,
        tls=connection.listen_tls,
    )
    try:
        asyncio.run(_serve(options))
    except TlsFilesError as error:
        raise CommandError(str(error), EXIT_USAGE) from None
    except BadStateFile as error:
        raise CommandError(f"--state-file: {error}") from None
    except OSError as error:
        raise CommandError(f"--listen: {options.listen} cannot be listened on: {error.strerror or error}") from None


async def _serve(options: Options) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run_diameter(options, stop)


def _source(flags: Flags) -> OfficeSource:
    match flags.office_by:
        case OfficeBy.SUBSCRIPTION:
            return _table(flags.offices)
        case OfficeBy.SERVICE_CONTEXT:
            return ServiceContext()
        case OfficeBy.AVP:
            return NamedAvp(_avp_key(flags.office_avp or ""))


def _table(path: Path | None) -> SubscriberTable:
    if path is None:
        raise CommandError("--offices: name a CSV file with subscription_id and office_id", EXIT_USAGE)
    try:
        return SubscriberTable.read(path)
    except (BadTable, UnicodeDecodeError) as error:
        raise CommandError(f"--offices: {error}", EXIT_USAGE) from None


def _avp_key(text: str) -> AvpKey:
    code, _, vendor = text.partition(":")
    if not all(part.isascii() and part.isdigit() for part in (code, vendor or "0")):
        raise CommandError(f"--office-avp: {text!r} is no AVP; write its code, or code:vendor", EXIT_USAGE)
    return AvpKey(int(code), int(vendor or 0))


def _address(text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise CommandError(f"--listen: {error}", EXIT_USAGE) from None


def _host(option: str, text: str) -> str:
    if not text or not all(letter.isascii() and (letter.isalnum() or letter in ".-_") for letter in text):
        raise CommandError(f"{option}: {text!r} is no host name", EXIT_USAGE)
    return text

"""The store: each primary by itself, and what all of them hold together."""

from typing import Final

from gateway.background.journaler import EpochLost
from gateway.cli.connection import ConnectionFile
from gateway.cli.doctor.database import LedgerSight
from gateway.cli.doctor.findings import Findings
from gateway.cli.doctor.primary import PrimarySight, examine_primary
from gateway.cli.installation import embedded_store_answers
from gateway.settings import Settings
from gateway.store.address import StoreAddress
from gateway.store.clock import JUMP_MS
from gateway.store.configuration import HALF_REBUILT, foreign_shards
from gateway.store.connection import StoreConnection
from gateway.store.discovery import find_primaries
from gateway.store.embedded import EmbeddedStore
from gateway.store.faults import StoreFault, StoreUnavailable
from gateway.store.keys import REBUILD_KEY, SHARDS_KEY
from gateway.store.location import Kind, StoreLocation
from gateway.store.members import SLOTS
from gateway.store.outbox import read_backlog, read_epoch
from gateway.store.plain_stream import ask_server
from gateway.store.scripts import NO_FUNCTIONS

LATE_JOURNAL_MS: Final = 120_000
"""As the alert TollgateJournalBehind."""

MANY_ENTRIES: Final = 1_000_000
"""As the alert TollgateOutboxLarge."""

_ANSWER_SECONDS: Final = 5.0


async def examine_store(settings: Settings, ledger: LedgerSight | None, gateway: ConnectionFile | None) -> Findings:
    """Look at the store.

    Args:
        settings: Where it is.
        ledger: What the database says of it; None: nothing.
        gateway: The one that runs, if one does.
    """
    findings = Findings("store")
    if settings.redis_url is not None:
        url = settings.redis_url
    elif await embedded_store_answers(settings):
        url = EmbeddedStore(settings.data_dir).address.url
    elif gateway is not None:
        findings.fail(
            "the gateway runs, and its embedded store does not answer", f"read {settings.data_dir / 'store.log'}"
        )
        return findings
    else:
        findings.ok("the embedded store does not run: the gateway starts it, and then there is more to look at")
        return findings
    location = StoreLocation.parse(url)
    try:
        primaries = await find_primaries(location)
    except StoreUnavailable as error:
        findings.fail(error.detail, "start the servers that TOLLGATE_REDIS_URL names, or correct it")
        return findings
    sights = [
        await examine_primary(address, findings, timeout_ms=settings.store_timeout_ms, runs=gateway is not None)
        for address in primaries
    ]
    seen = [sight for sight in sights if sight is not None]
    if len(seen) == len(sights):
        _compare_clocks(seen, findings)
        if location.kind is Kind.CLUSTER:
            await _examine_slots(seen[0].address, findings)
        await _examine_content(location, findings, ledger, gateway)
    return findings


def _compare_clocks(sights: list[PrimarySight], findings: Findings) -> None:
    """After a failover another primary's clock counts: by how much that differs, time would jump."""
    offsets = [sight.clock_offset_ms for sight in sights]
    if max(offsets) - min(offsets) > JUMP_MS:
        findings.fail(
            f"the clocks of the primaries are {(max(offsets) - min(offsets)) / 1000:.1f} s apart: at a failover time "
            "jumps, and nothing is ticked or cut for a while",
            "run NTP (chrony, systemd-timesyncd) on all of them",
        )


async def _examine_slots(member: StoreAddress, findings: Findings) -> None:
    told = str((await ask_server(member, "CLUSTER", "INFO", limit_seconds=_ANSWER_SECONDS)).decode())
    state = dict(line.split(":", 1) for line in told.split() if ":" in line)
    if state.get("cluster_state") == "ok" and state.get("cluster_slots_ok") == str(SLOTS):
        findings.ok(f"the cluster has all slots, on {state.get('cluster_size')} primaries")
    else:
        findings.fail(
            f"the cluster is in state {state.get('cluster_state')}, and {state.get('cluster_slots_ok')} of {SLOTS} "
            "slots answer: the offices of the others get UNAVAILABLE",
            "CLUSTER NODES says which primary is gone (docs/operating/fail-over.md)",
        )


async def _examine_content(
    location: StoreLocation, findings: Findings, ledger: LedgerSight | None, gateway: ConnectionFile | None
) -> None:
    connection = StoreConnection(location, NO_FUNCTIONS, timeout_seconds=_ANSWER_SECONDS)
    await connection.start()
    try:
        await connection.wait_connected()
        if await connection.ask("EXISTS", REBUILD_KEY):
            findings.fail_as_told(HALF_REBUILT)
        foreign = foreign_shards(await connection.ask("GET", SHARDS_KEY))
        if foreign is not None:
            findings.fail_as_told(foreign)
        _compare_epochs(await read_epoch(connection), findings, ledger)
        backlog = await read_backlog(connection)
    except (StoreUnavailable, StoreFault) as error:
        findings.fail(f"it cannot be read: {getattr(error, 'detail', error)}", "see above, and its own log")
        return
    finally:
        await connection.close()
    waiting = f"{backlog.entries:,} outbox entries are not in the ledger, the oldest for {backlog.age_ms / 1000:,.0f} s"
    if backlog.entries > MANY_ENTRIES or (gateway is not None and backlog.age_ms > LATE_JOURNAL_MS):
        findings.warn(waiting, "is the database there? The journaler's log names what stops it")
    else:
        findings.ok(waiting if backlog.entries else "the ledger has every outbox entry")


def _compare_epochs(epoch: int, findings: Findings, ledger: LedgerSight | None) -> None:
    if ledger is None:
        return
    if not epoch and ledger.offices:
        findings.fail(
            f"it is empty, and the ledger has {ledger.offices} offices",
            "name the right one, get it back, or stop every gateway and run `tollgate rebuild`",
        )
    elif not epoch:
        findings.ok("it is new: there are no offices yet")
    elif epoch < ledger.epoch:
        problem, _, cure = EpochLost(epoch, ledger.epoch).message.partition(". ")
        findings.fail(problem, cure)
    else:
        findings.ok(f"it is of epoch {epoch}, as the ledger")

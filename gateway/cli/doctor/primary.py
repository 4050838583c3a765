"""One server of the store: whether it may be trusted, takes what a gateway writes, and answers in time."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from redis.exceptions import RedisError

from gateway.cli.doctor.findings import Findings
from gateway.store.address import StoreAddress
from gateway.store.clock import JUMP_MS
from gateway.store.configuration import CHECK_SECONDS, find_misconfigurations, primary_client, read_info
from gateway.store.faults import StoreFault, StoreUnavailable
from gateway.store.plain_stream import PlainStream, plain_stream
from gateway.store.scripts import load_library

PINGS: Final = 100
SLOW_PING_MS: Final = 5.0
"""Every decision is a round trip: a store beside the gateway answers in a tenth of this."""

FAR_CLOCK_MS: Final = 60_000
"""From here on days, months and what a provider signs are wrong for people."""

FULL_SHARE: Final = 0.95
FILLING_SHARE: Final = 0.75
"""Of the memory that the store may have. A rewrite of its file takes copies of what is written meanwhile."""


@dataclass(frozen=True, slots=True)
class PrimarySight:
    """A server that answered.

    Attributes:
        address: Where.
        clock_offset_ms: Its clock less this machine's.
    """

    address: StoreAddress
    clock_offset_ms: float


async def examine_primary(
    address: StoreAddress, findings: Findings, *, timeout_ms: int, runs: bool
) -> PrimarySight | None:
    """Look at one server; None: it does not answer.

    Args:
        address: Where it is.
        findings: What was found is added.
        timeout_ms: How long a gateway waits for an answer.
        runs: Whether a gateway runs, so that its functions must be there.
    """
    try:
        async with primary_client(address) as client:
            info = await read_info(client)
        async with asyncio.timeout(CHECK_SECONDS * 4), plain_stream(address) as stream:
            _examine_set_up(address, info, findings)
            _examine_state(address, info, findings)
            _examine_memory(address, info, findings)
            _examine_replicas(address, info, findings)
            await _examine_writing(address, stream, findings)
            await _examine_library(address, stream, findings, runs=runs)
            await _examine_latency(address, stream, findings, timeout_ms=timeout_ms)
            offset = await _examine_clock(address, stream, findings)
    except (RedisError, OSError, StoreUnavailable, StoreFault) as error:
        why = getattr(error, "detail", error) or "no answer in time"
        findings.fail(f"{address} does not answer as a store: {why}", "start it, or correct TOLLGATE_REDIS_URL")
        return None
    return PrimarySight(address, offset)


def _examine_set_up(address: StoreAddress, info: Mapping[str, Any], findings: Findings) -> None:
    faults = list(find_misconfigurations(info))
    for problem, cure in faults:
        findings.fail(f"{address}: {problem}", cure)
    version = info.get("valkey_version") or info.get("redis_version")
    name = "Valkey" if "valkey_version" in info else "Redis"
    if not faults:
        findings.ok(f"{address} is {name} {version}, a primary, noeviction, with its append-only file")


def _examine_state(address: StoreAddress, info: Mapping[str, Any], findings: Findings) -> None:
    if info.get("loading"):
        findings.fail(f"{address} is loading its file", "wait: it answers when it has it all")
    failing = [
        name
        for name in ("aof_last_write_status", "aof_last_bgrewrite_status", "rdb_last_bgsave_status")
        if info.get(name, "ok") != "ok"
    ]
    if failing:
        findings.fail(
            f"{address} cannot write its files ({', '.join(failing)}): what it says is not on the disk",
            "its log says why; mostly the disk is full, or not the store's to write to",
        )


def _examine_memory(address: StoreAddress, info: Mapping[str, Any], findings: Findings) -> None:
    used, limit = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    what = "maxmemory" if limit else "the machine's memory"
    limit = limit or int(info.get("total_system_memory", 0))
    if not limit:
        return
    told = f"{address} has {used / 2**20:,.0f} MiB, {100 * used / limit:.1f} % of {what}"
    if used > FULL_SHARE * limit:
        findings.fail(f"{told}: it stops selling before it stops settling", "more memory, and a higher maxmemory")
    elif used > FILLING_SHARE * limit:
        findings.warn(told, "more memory, or more primaries (docs/operating/size.md)")
    else:
        findings.ok(told)


def _examine_replicas(address: StoreAddress, info: Mapping[str, Any], findings: Findings) -> None:
    count = int(info.get("connected_slaves", 0))
    good = info.get("min_slaves_good_slaves")
    if good == 0:
        findings.fail(
            f"{address} demands a replica that keeps up and has none: it refuses whatever writes",
            "bring a replica back, or set min-replicas-to-write 0 until there is one (docs/operating/fail-over.md)",
        )
    lagging = [
        f"{replica.get('ip')}:{replica.get('port')} ({replica.get('state')}, {replica.get('lag')} s behind)"
        for replica in (info.get(f"slave{number}") for number in range(count))
        if isinstance(replica, dict) and (replica.get("state") != "online" or int(replica.get("lag", 0)) > 10)
    ]
    if lagging:
        findings.warn(f"{address} has replicas that do not keep up: {', '.join(lagging)}", "read their logs")
    elif count:
        findings.ok(f"{address} has {count} {'replica' if count == 1 else 'replicas'} that keep up")


async def _examine_writing(address: StoreAddress, stream: PlainStream, findings: Findings) -> None:
    """A command is refused when it is put into a transaction if it would be refused alone; none is carried out.

    Loading the functions is a write like any other, and needs no key, which might be elsewhere in a Cluster.
    """
    source = load_library().source
    refused = [
        f"{what} ({why})"
        for what, command in (("writes", ("FUNCTION", "LOAD", source)), ("functions", ("FCALL", "tollgate", "0")))
        if (why := await _refusal_of(stream, *command)) is not None
    ]
    if refused:
        findings.fail(f"{address} refuses {', '.join(refused)}", "see above, and the access list of its user")
    else:
        findings.ok(f"{address} takes writes and functions")


async def _examine_library(address: StoreAddress, stream: PlainStream, findings: Findings, *, runs: bool) -> None:
    name = load_library().name
    stream.send("FUNCTION", "LIST", "LIBRARYNAME", "tollgate_*")
    names = {_named(each, b"library_name").decode() for each in await stream.read()}
    others = f", beside {len(names - {name})} of other versions" if names - {name} else ""
    if name in names:
        findings.ok(f"{address} has {name}{others}")
    elif runs:
        findings.warn(
            f"{address} has not {name}{others}, though a gateway runs: that one is of another version",
            "finish the upgrade (docs/operating/upgrade.md); a gateway that needs it loads it by itself",
        )
    else:
        findings.ok(f"{address} is yet to get {name}, which the next gateway loads{others}")


async def _examine_latency(address: StoreAddress, stream: PlainStream, findings: Findings, *, timeout_ms: int) -> None:
    took = []
    for _ in range(PINGS):
        began = time.perf_counter()
        stream.send("PING")
        await stream.read()
        took.append((time.perf_counter() - began) * 1000)
    middle = median(took)
    told = f"{address} answers {PINGS} PINGs in {middle:.2f} ms (median), {max(took):.2f} ms at most"
    if middle > timeout_ms:
        findings.fail(f"{told}: gateways wait {timeout_ms} ms", "put the store beside the gateways")
    elif middle > SLOW_PING_MS:
        findings.warn(f"{told}: each decision is such a round trip", "put the store beside the gateways")
    else:
        findings.ok(told)


async def _examine_clock(address: StoreAddress, stream: PlainStream, findings: Findings) -> float:
    before = time.time()
    stream.send("TIME")
    seconds, micros = await stream.read()
    offset_ms = int(seconds) * 1000 + int(micros) / 1000 - (before + time.time()) / 2 * 1000
    told = (
        f"the clock of {address} is {abs(offset_ms) / 1000:.3f} s {'ahead of' if offset_ms > 0 else 'behind'} this one"
    )
    cure = "run NTP (chrony, systemd-timesyncd) on both machines"
    if abs(offset_ms) > FAR_CLOCK_MS:
        findings.fail(f"{told}, and it is the one that counts", cure)
    elif abs(offset_ms) > JUMP_MS:
        findings.warn(told, cure)
    else:
        findings.ok(told)
    return offset_ms


async def _refusal_of(stream: PlainStream, *command: str) -> str | None:
    """Why a command would be refused now; None: it would not. It is put into a transaction that is given up."""
    stream.send("MULTI")
    stream.send(*command)
    stream.send("DISCARD")
    await stream.read()
    refusal = None
    try:
        await stream.read()
    except (StoreUnavailable, StoreFault) as error:
        refusal = str(getattr(error, "detail", error))
    await stream.read()
    return refusal


def _named(flat: list[bytes], name: bytes) -> bytes:
    """A field of an answer that lists names and values in turn."""
    return dict(zip(flat[::2], flat[1::2], strict=True))[name]

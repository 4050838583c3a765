"""The page on a gateway whose ledger has one office's month of very many records, asked over HTTP without a browser."""

import random
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any, Final
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import aiohttp
import uvloop

from gateway.domain.vocabulary import Reason
from gateway.ledger.database import open_database
from gateway.page.usage import ORDER_WORDS
from gateway.v1 import credits_pb2 as pb
from loadtest.figures import rounded
from loadtest.processes import BenchError
from tests.support.billing import DOLLARS
from tests.support.gateway_process import GatewayProcess, running_gateway
from tests.support.operator import OPERATOR_TOKEN, Operator
from tests.support.usage import call, free_call, message, record_many, refusal

OFFICE: Final = "large"
_ZONE: Final = ZoneInfo("America/New_York")
_USERS: Final = 2_000
_DEPARTMENTS: Final = 60
_SEED: Final = 7
_DEEP: Final = 0.9
"""How far down a table is looked at as well: behind so much of it."""

_FILTERS: Final = {
    "one of 60 departments": {"department": "department-7"},
    "one of 2,000 people": {"user": "user-77"},
    "a category that nothing is of": {"category": "fax"},
    "a name that nobody has": {"user": "nobody"},
    "one of 2,000 people, costliest first": {"user": "user-77", "order": "costliest"},
    "a category of a third, longest first": {"category": "local", "order": "longest"},
}


def measure_large_month(directory: Path, count: int, times: int) -> dict[str, Any]:
    """Fill a month on SQLite, and look at it.

    Args:
        directory: An empty one; a million records take half a gigabyte.
        count: Of records.
        times: How often each page is asked for; the first time stands for itself.

    Returns:
        By page: milliseconds of the first and the median of the other times; and the export.

    Raises:
        BenchError: A page was not what it should be.
    """
    now = datetime.now(_ZONE)
    with running_gateway(directory, TOLLGATE_OPERATOR_TOKEN=OPERATOR_TOKEN) as gateway:
        uvloop.run(_create_office(gateway))
    file = gateway.data_dir / "tollgate.db"
    uvloop.run(_fill(file, count, now))
    with running_gateway(directory, TOLLGATE_OPERATOR_TOKEN=OPERATOR_TOKEN) as gateway:
        measured = uvloop.run(_measure(gateway, count, times, f"{now:%Y-%m}"))
    return {"records": count, "times": times, "file_bytes": file.stat().st_size, **measured}


async def _create_office(gateway: GatewayProcess) -> None:
    async with Operator.of(gateway.admin_server) as operator:
        await operator.create_office(100 * DOLLARS, OFFICE)


async def _fill(file: Path, count: int, now: datetime) -> None:
    database = await open_database(f"sqlite:///{file}")
    try:
        await record_many(database, _records(count, now))
    finally:
        await database.close()


async def _measure(gateway: GatewayProcess, count: int, times: int, month: str) -> dict[str, Any]:
    # The jar is one that takes cookies of addresses, too.
    jar, limit = aiohttp.CookieJar(unsafe=True), aiohttp.ClientTimeout(total=900)
    async with aiohttp.ClientSession(f"http://{gateway.http}", timeout=limit, cookie_jar=jar) as http:
        visitor = _Visitor(http, times)
        await visitor.sign_in()
        pages = await _look(visitor, gateway, month, count)
        return {"pages": pages, "export": await visitor.export(f"/offices/{OFFICE}/usage/export?month={month}", count)}


@dataclass(slots=True)
class _Visitor:
    http: aiohttp.ClientSession
    times: int

    async def sign_in(self) -> None:
        async with self.http.post("/sign-in", data={"token": OPERATOR_TOKEN}, allow_redirects=False) as answer:
            if answer.status != 303:
                raise BenchError(f"nobody could sign in: {answer.status}")

    async def read(self, path: str) -> str:
        async with self.http.get(path, headers={"accept": "text/html"}) as answer:
            text = await answer.text()
            if answer.status != 200:
                raise BenchError(f"{path}: {answer.status}")
            return text

    async def measure(self, path: str) -> dict[str, float]:
        taken = []
        for _ in range(self.times):
            began = time.perf_counter()
            await self.read(path)
            taken.append(1000 * (time.perf_counter() - began))
        return {"first_ms": rounded(taken[0]), "median_ms": rounded(median(taken[1:] or taken))}

    async def export(self, path: str, count: int) -> dict[str, float]:
        began = time.perf_counter()
        size = lines = 0
        async with self.http.get(path) as answer:
            first_seconds = time.perf_counter() - began
            async for chunk in answer.content.iter_any():
                size += len(chunk)
                lines += chunk.count(b"\n")
        if lines != count + 1:
            raise BenchError(f"the export has {lines:,} lines for {count:,} records")
        seconds = time.perf_counter() - began
        return {"bytes": size, "head_ms": rounded(1000 * first_seconds), "seconds": rounded(seconds)}


async def _look(visitor: _Visitor, gateway: GatewayProcess, month: str, count: int) -> dict[str, dict[str, float]]:
    at = f"/offices/{OFFICE}"
    pages = {"Calling Credits": await visitor.measure(at), "Usage, whole": await visitor.measure(f"{at}/usage")}
    for order in ORDER_WORDS:
        query = urlencode({"month": month, "order": order})
        pages[f"table, {order} first"] = await visitor.measure(f"{at}/usage/records?{query}")
    for order, value in ORDER_WORDS.items():
        token = await _page_behind(gateway, month, value, int(count * _DEEP))
        query = urlencode({"month": month, "order": order, "page": token})
        name = f"table, {order} first, behind {_DEEP:.0%} of it"
        pages[name] = await visitor.measure(f"{at}/usage/records?{query}")
    for name, chosen in _FILTERS.items():
        query = urlencode({"month": month} | chosen)
        pages[f"table, {name}"] = await visitor.measure(f"{at}/usage/records?{query}")
    record = re.search(r'record\?id=([^"]+)', await visitor.read(f"{at}/usage?month={month}&category=international"))
    if record is None:
        raise BenchError("the table links to no record")
    pages["why a call cost what it did"] = await visitor.measure(f"{at}/usage/record?id={record[1]}")
    return pages


async def _page_behind(gateway: GatewayProcess, month: str, order: "pb.UsageOrder.ValueType", skipped: int) -> str:
    async with Operator.of(gateway.admin_server) as operator:
        token, seen = "", 0
        while seen < skipped:
            request = pb.ListUsageRequest(
                office_id=OFFICE, month=month, order=order, page_size=min(1_000, skipped - seen), page_token=token
            )
            listed = await operator.stub.ListUsage(request, timeout=60)
            token, seen = listed.next_page_token, seen + len(listed.records)
            if not token:
                raise BenchError(f"the table ends after {seen:,} records")
        return token


def _records(count: int, now: datetime) -> Iterator[dict[str, Any]]:
    """Calls that cost, free ones, messages and refusals, spread over the month so far."""
    chance = random.Random(_SEED)
    first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    first_ms, last_ms = (int(each.timestamp() * 1000) for each in (first, now))
    for number in range(count):
        at = chance.randrange(first_ms, last_ms)
        who = {
            "office_id": OFFICE,
            "user_id": f"user-{chance.randrange(_USERS)}",
            "department_id": f"department-{chance.randrange(_DEPARTMENTS)}",
        }
        kind, seconds = chance.random(), chance.randrange(1, 3_600)
        talked = {"duration_seconds": seconds, "billed_seconds": seconds}
        if kind < 0.45:
            yield call(f"c{number}", at, cost_micros=(seconds // 60 + 1) * 20_000, **talked, **who)
        elif kind < 0.75:
            yield free_call(f"f{number}", at, **talked, **who)
        elif kind < 0.95:
            yield message(f"m{number}", at, **who)
        else:
            yield refusal(message(f"r{number}", at, **who), Reason.INSUFFICIENT_FUNDS)

"""A large month, exported: memory does not grow with it, and its recount is the summary."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from gateway.domain.money import parse_amount
from gateway.domain.vocabulary import Category, Reason
from gateway.v1 import credits_pb2 as pb
from tests.support.back import OFFICE, BackUnderTest, bearer, running_back
from tests.support.balances import DAY_MS, NOON
from tests.support.servers import StoreServer
from tests.support.usage import call, free_call, message, record_many, refusal

RECORDS: Final = 200_000
WARM_UP: Final = 20_000
GROWTH_BYTES_MAX: Final = 16 << 20
"""The CSV has some 50 MB: were it kept anywhere on its way, it would be seen."""


def records() -> Iterator[dict[str, Any]]:
    """A month of an office, five records a step of the clock, every kind among them."""
    for number in range(RECORDS):
        at = NOON - 10 * DAY_MS + number // 5 * 40
        if number % 5 < 2:
            row = call(f"call-{number}", at, cost_micros=number * 7)
        elif number % 5 == 2:
            row = free_call(f"call-{number}", at)
        else:
            row = message(f"message-{number}", at)
        row["office_id"] = OFFICE
        yield refusal(row, Reason.INSUFFICIENT_FUNDS) if number % 31 == 0 else row


def resident_bytes() -> int:
    """What this process, which is gateway and client at once, has in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmRSS")


class Recount:
    """Counts and sums the CSV as a program does that was given nothing else, without keeping it."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.costs: Counter[str] = Counter()
        self.blocked: Counter[str] = Counter()
        self.records = 0
        self._headings: list[str] = []
        self._rest = ""

    def add(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk.decode()).split("\r\n")
        for cells in csv.reader(lines, strict=True):
            if not self._headings:
                self._headings = cells
                continue
            record = dict(zip(self._headings, cells, strict=True))
            self.records += 1
            (self.blocked if record["decision"] == "DENIED" else self.counts)[record["category"]] += 1
            self.costs[record["category"]] += parse_amount(record["cost"])

    def totals(self) -> dict[str, tuple[int, int, int]]:
        return {
            each.name: (self.counts[each.name], self.costs[each.name], self.blocked[each.name]) for each in Category
        }


async def summary(back: BackUnderTest) -> dict[str, tuple[int, int, int]]:
    request = pb.UsageSummaryRequest(office_id=OFFICE, month="2025-06")
    answer = await back.stub.UsageSummary(request, metadata=bearer())
    return {Category(each.category).name: (each.count, each.cost_micros, each.blocked) for each in answer.totals}


@pytest.mark.slow
async def test_a_large_month_is_exported_in_constant_memory(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        await record_many(back.back.database, records())
        recount, start, peak = Recount(), 0, 0
        request = pb.ExportUsageRequest(office_id=OFFICE, month="2025-06")
        async for answer in back.stub.ExportUsage(request, metadata=bearer()):
            recount.add(answer.chunk)
            if recount.records >= WARM_UP:
                now = resident_bytes()
                start, peak = start or now, max(peak, now)
        assert recount.records == RECORDS
        assert peak - start < GROWTH_BYTES_MAX
        assert recount.totals() == await summary(back)

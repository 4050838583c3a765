"""Puts figures into docs/how-to/credits-page.md: `python -m loadtest.credits_page.page RESULT.json`."""

from collections.abc import Iterator
from typing import Any, Final

from loadtest.machine import ROOT
from loadtest.section import write_section

PAGE: Final = ROOT / "docs/how-to/credits-page.md"


def render(result: dict[str, Any], file_name: str) -> str:
    """The section's figures in words and tables."""
    return "\n".join([*_taken(result, file_name), "", *_cold(result["cold_loads"]), "", *_month(result["large_month"])])


def _taken(result: dict[str, Any], file_name: str) -> Iterator[str]:
    machine = result["machine"]
    yield (
        f"{result['taken_at']}, commit {result['commit']}: {machine['cores']} cores of {machine['cpu']}, shared by "
        f"browser, gateway and store; load average {machine['load_average_before']} before the run and "
        f"{machine['load_average_after']} at its end ([figures](../../loadtest/results/{file_name}))."
    )


def _cold(cold: dict[str, Any]) -> Iterator[str]:
    aims = cold["aims"]
    yield (
        f"Cold loads, {cold['times']} of each page: everything that comes over the network, and the time until the "
        f"page can be used (aims: under {aims['most_bytes']:,} bytes and {aims['interactive_ms']:.0f} ms):"
    )
    yield ""
    yield "| page | requests | bytes | median ms | lowest | highest |"
    yield "| --- | --: | --: | --: | --: | --: |"
    for name, found in cold["pages"].items():
        took = found["interactive_ms"]
        yield (
            f"| {name} | {found['requests']} | {found['most_bytes']:,} | {took['median']:.0f} | {took['low']:.0f} "
            f"| {took['high']:.0f} |"
        )
    yield ""
    pages = cold["pages"].values()
    heavy = sum(each["most_bytes"] >= aims["most_bytes"] for each in pages)
    slow = sum(each["interactive_ms"]["median"] >= aims["interactive_ms"] for each in pages)
    once = sum(each["interactive_ms"]["high"] >= aims["interactive_ms"] for each in pages)
    yield (
        f"Of {len(pages)} pages {heavy} miss the aim by their bytes, {slow} by their median time, and {once} by their "
        "slowest."
    )


def _month(month: dict[str, Any]) -> Iterator[str]:
    export = month["export"]
    yield (
        f"A month of {month['records']:,} records of one office on SQLite ({month['file_bytes'] / 1e6:,.0f} MB), "
        "milliseconds over HTTP without a browser, the first time and the median of the "
        f"{month['times'] - 1} after it:"
    )
    yield ""
    yield "| page | first | median |"
    yield "| --- | --: | --: |"
    for name, found in month["pages"].items():
        yield f"| {name} | {found['first_ms']:,.0f} | {found['median_ms']:,.0f} |"
    yield ""
    yield (
        f"The export of it is {export['bytes'] / 1e6:,.0f} MB and takes {export['seconds']:.0f} s; its head comes "
        f"after {export['head_ms']:.0f} ms."
    )


if __name__ == "__main__":
    write_section(PAGE, render)

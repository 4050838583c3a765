"""Puts the newest figures into docs/how-to/kamailio.md: `python -m loadtest.kamailio.page RESULT.json`."""

from collections.abc import Iterator
from typing import Any, Final

from loadtest.machine import ROOT
from loadtest.section import write_section

PAGE: Final = ROOT / "docs/how-to/kamailio.md"

_NAMES: Final = {
    "plain proxy": "a plain proxy with dialogs",
    "cnxcc": "cnxcc: credit in the proxy's own memory, no gateway",
    "evapi alone": "evapi and a sidecar that grants everything",
    "Tollgate": "Tollgate",
    "session decision": "beside them: a decision over a Session, without a Kamailio",
}


def render(result: dict[str, Any], file_name: str) -> str:
    """The section's figures in words and a table."""
    return "\n".join([*_invite(result, file_name), "", *_rates(result)])


def _invite(result: dict[str, Any], file_name: str) -> Iterator[str]:
    invite, machine = result["invite"], result["machine"]
    yield (
        f"{result['taken_at']}, commit {result['commit']}: {machine['cores']} cores of {machine['cpu']}, shared by "
        f"Kamailio, sidecar, gateway, store, callers and callees; load average {machine['load_average_before']} before "
        "the run. INVITE in to INVITE out, in ms, one call at a time, the proxies taking turns, "
        f"{invite['calls_each']} calls each ([figures](../../loadtest/results/{file_name})):"
    )
    yield ""
    yield "| through | p50 | p95 | p99 | added at p50 |"
    yield "| --- | --: | --: | --: | --: |"
    for name, words in _NAMES.items():
        figures = invite["milliseconds"][name]
        added = invite["added_p50_milliseconds"].get(name)
        shown = "" if added is None else f"{added:.2f}"
        yield f"| {words} | {figures['p50']:.2f} | {figures['p95']:.2f} | {figures['p99']:.2f} | {shown} |"
    yield ""
    met = "met" if invite["ratio_to_evapi_and_decision"] <= invite["aim"] else "missed"
    yield (
        f"What Tollgate adds is {invite['ratio_to_evapi_and_decision']} times the sum of what evapi alone adds and a "
        f"decision takes (aim: {invite['aim']}, {met})."
    )


def _rates(result: dict[str, Any]) -> Iterator[str]:
    yield "| calls a second | for | succeeded | failed | INVITEs sent again | settled after |"
    yield "| --: | --: | --: | --: | --: | --: |"
    for rate in result["rates"]:
        yield (
            f"| {rate['calls_per_second']:,} | {rate['seconds']} s | {rate['succeeded']:,} | {rate['failed']:,} "
            f"| {rate['retransmissions']:,} | {rate['settled_after_seconds']} s |"
        )
    yield ""
    yield "Each call is authorized, answered and ended; after each rate nothing was reserved and the books were right."


if __name__ == "__main__":
    write_section(PAGE, render)

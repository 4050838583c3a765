"""Writes deploy/grafana/tollgate.json; tests/unit/test_alerts_reference.py holds it fresh.

tests/integration/test_monitoring.py runs each of its queries on a real Prometheus that scrapes a gateway at work.
Run from anywhere: python tools/make_dashboard.py
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

TARGET: Final = Path(__file__).parents[1] / "deploy/grafana/tollgate.json"

JOB: Final = 'job="$job"'
WINDOW: Final = "$__rate_interval"
_WIDTH: Final = 24
_MICROS: Final = "1e6"
_DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel.

    Attributes:
        title: What it shows.
        queries: An expression each, with the legend of its series.
        unit: Grafana's name of the unit.
        help: How to read it.
        is_figure: Only the latest value, large.
        alarm: From which value it is red; None: never.
        is_stacked: The series add up.
    """

    title: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    help: str = ""
    is_figure: bool = False
    alarm: float | None = None
    is_stacked: bool = False


def figure(title: str, expression: str, unit: str = "short", *, help: str = "", alarm: float | None = None) -> Panel:  # noqa: A002 - Panel's word
    """One number of now."""
    return Panel(title, ((expression, ""),), unit, help, is_figure=True, alarm=alarm)


def rate(metric: str, *, by: str = "") -> str:
    """How fast counters grow, added up over all processes and machines; by labels."""
    return f"sum{f' by ({by})' if by else ''} (rate({metric}{{{JOB}}}[{WINDOW}]))"


def quantile(q: float, metric: str, *, by: str = "") -> str:
    """A quantile of a histogram."""
    grouped = ", ".join(filter(None, (by, "le")))
    return f"histogram_quantile({q}, sum by ({grouped}) (rate({metric}_bucket{{{JOB}}}[{WINDOW}])))"


def now(metric: str, *, by: str = "") -> str:
    """What is the same on every gateway: the highest, since one without a store shows what it saw last."""
    return f"max{f' by ({by})' if by else ''} ({metric}{{{JOB}}})"


ROWS: Final = {
    "Now": (
        figure("Decisions a second", rate("tollgate_decisions_total"), "reqps"),
        figure("Live calls", now("tollgate_live_calls")),
        figure(
            "Without an answer",
            f"(max(job:tollgate_operations_unanswered:ratio5m{{{JOB}}}) or vector(0))",
            "percentunit",
            help="Of what switches ask, in five minutes, for a fault of ours.",
            alarm=0.01,
        ),
        figure("Processes without a store", f"count(tollgate_store_connected{{{JOB}}} == 0) or vector(0)", alarm=1),
        figure("Ledger behind", now("tollgate_journal_lag_seconds"), "s", alarm=120),
        figure(
            "Held for live calls", f"{now('tollgate_reserved_micros')} / {_MICROS}", help="In units of the currency."
        ),
    ),
    "Decisions": (
        Panel("By reason", ((rate("tollgate_decisions_total", by="reason"), "{{reason}}"),), "reqps", is_stacked=True),
        Panel(
            "Operations by the way they came",
            ((f"sum by (via) (job:tollgate_operations:rate5m{{{JOB}}})", "{{via}}"),),
            "reqps",
            is_stacked=True,
        ),
        Panel(
            "Time of a single rpc",
            (
                (quantile(0.5, "tollgate_rpc_seconds", by="rpc"), "{{rpc}} p50"),
                (quantile(0.99, "tollgate_rpc_seconds", by="rpc"), "{{rpc}} p99"),
            ),
            "s",
        ),
        Panel("Time of a hook", ((quantile(0.99, "tollgate_hook_seconds", by="rpc"), "{{rpc}} p99"),), "s"),
        Panel("Rpcs by code", ((rate("tollgate_rpcs_total", by="code"), "{{code}}"),), "reqps", is_stacked=True),
        Panel(
            "Operations of Sessions that got an error",
            ((rate("tollgate_session_errors_total", by="code"), "{{code}}"),),
            "reqps",
        ),
    ),
    "Calls": (
        Panel("Live calls", ((now("tollgate_live_calls"), "live"),)),
        Panel(
            "Sessions",
            (
                (f"sum(tollgate_sessions{{{JOB}}})", "Sessions"),
                (f"sum(tollgate_refill_watchers{{{JOB}}})", "WatchRefills"),
            ),
        ),
        Panel("Operations of Sessions", ((rate("tollgate_session_operations_total", by="kind"), "{{kind}}"),), "reqps"),
        Panel("Cut, by reason", ((rate("tollgate_cuts_total", by="reason"), "{{reason}}"),), "reqps"),
        Panel("Lapsed", ((rate("tollgate_lapses_total"), "lapsed"),), "reqps"),
        Panel(
            "Looked at after their time",
            (
                (quantile(0.5, "tollgate_due_lag_seconds"), "p50"),
                (quantile(0.99, "tollgate_due_lag_seconds"), "p99"),
                (quantile(0.99, "tollgate_cut_late_seconds"), "cut, p99"),
            ),
            "s",
        ),
        Panel(
            "Told to switches",
            (
                (rate("tollgate_commands_total", by="kind"), "{{kind}} by a Session"),
                (rate("tollgate_callbacks_total", by="kind, outcome"), "{{kind}} by callback: {{outcome}}"),
            ),
            "reqps",
        ),
    ),
    "Money": (
        Panel(
            "Debited, in units of the currency",
            (
                (f"{rate('tollgate_debited_micros_total')} / {_MICROS}", "debited a second"),
                (f"{rate('tollgate_refunded_micros_total')} / {_MICROS}", "refunded a second"),
                (f"{rate('tollgate_written_off_micros_total')} / {_MICROS}", "written off a second"),
            ),
        ),
        Panel(
            "Refills",
            (
                (rate("tollgate_refill_triggers_total"), "asked for"),
                (rate("tollgate_refills_ended_total", by="outcome"), "{{outcome}}"),
            ),
            "reqps",
        ),
        Panel(
            "Fraud guards",
            (
                (now("tollgate_offices_guarded"), "offices held"),
                (f"sum by (guard) (increase(tollgate_fraud_guard_trips_total{{{JOB}}}[1h]))", "{{guard}}, an hour"),
            ),
        ),
        Panel(
            "Charges of cards",
            ((rate("tollgate_charges_total", by="purpose, outcome"), "{{purpose}} {{outcome}}"),),
            "reqps",
        ),
        Panel(
            "Charges for a person to look into",
            (
                (now("tollgate_charges_undecided"), "undecided"),
                (f"sum(increase(tollgate_charges_contradicted_total{{{JOB}}}[1h]))", "contradicted, an hour"),
                (f"sum(increase(tollgate_chargebacks_total{{{JOB}}}[1d]))", "taken back, a day"),
            ),
        ),
    ),
    "Ledger": (
        Panel("Entries in the outboxes", ((now("tollgate_outbox_entries"), "entries"),)),
        Panel("Written into the ledger", ((rate("tollgate_journal_entries_total"), "entries"),), "wps"),
        Panel("Behind the store", ((now("tollgate_journal_lag_seconds"), "oldest entry"),), "s"),
        Panel(
            "What there should be none of",
            (
                (now("tollgate_offices_missing"), "offices missing"),
                (f"sum(increase(tollgate_book_gaps_total{{{JOB}}}[1h]))", "gaps in the books, an hour"),
                (f"sum(increase(tollgate_credits_stuck_total{{{JOB}}}[1h]))", "credits stuck, an hour"),
                (f"sum(increase(tollgate_credits_lost_total{{{JOB}}}[1h]))", "credits lost and sent anew, an hour"),
            ),
        ),
    ),
    "Processes and what they talk to": (
        Panel(
            "Connected to the store",
            ((f"min by (instance, process) (tollgate_store_connected{{{JOB}}})", "{{instance}} {{process}}"),),
        ),
        Panel("Spans of traces", ((rate("tollgate_trace_spans_total", by="outcome"), "{{outcome}}"),), "reqps"),
        Panel("Clock against the store's", ((f"tollgate_clock_offset_seconds{{{JOB}}}", "{{instance}}"),), "s"),
        Panel(
            "Until the certificate expires (0: no TLS)",
            ((f"clamp_min(tollgate_tls_expires_timestamp_seconds{{{JOB}}} - time(), 0)", "{{instance}}"),),
            "s",
        ),
        Panel(
            "HTTP requests",
            ((rate("tollgate_http_requests_total", by="route, status"), "{{route}} {{status}}"),),
            "reqps",
        ),
        Panel(
            "Notices",
            (
                (rate("tollgate_notices_total", by="channel, outcome"), "{{channel}} {{outcome}}"),
                (now("tollgate_notices_waiting", by="channel"), "{{channel}} waiting"),
            ),
        ),
        Panel("Up", ((f"up{{{JOB}}}", "{{instance}}"),)),
    ),
}


def expressions() -> Iterator[str]:
    """Every query of the dashboard, with Grafana's variables in it."""
    for panels in ROWS.values():
        for panel in panels:
            yield from (expression for expression, _ in panel.queries)


def render() -> str:
    """The dashboard as Grafana imports it."""
    return (
        json.dumps(
            {
                "uid": "tollgate",
                "title": "Tollgate",
                "tags": ["tollgate"],
                "timezone": "browser",
                "schemaVersion": 39,
                "refresh": "10s",
                "time": {"from": "now-1h", "to": "now"},
                "templating": {
                    "list": [
                        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Data source"},
                        {
                            "name": "job",
                            "type": "query",
                            "label": "Job",
                            "datasource": _DATASOURCE,
                            "query": "label_values(tollgate_live_calls, job)",
                            "refresh": 2,
                        },
                    ]
                },
                "panels": list(_laid_out()),
            },
            indent=2,
        )
        + "\n"
    )


def _laid_out() -> Iterator[dict[str, Any]]:
    number, y = 1, 0
    for title, panels in ROWS.items():
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "gridPos": {"x": 0, "y": y, "w": _WIDTH, "h": 1},
            "panels": [],
        }
        number, y, x = number + 1, y + 1, 0
        width, height = (4, 4) if panels[0].is_figure else (8, 8)
        for panel in panels:
            if x + width > _WIDTH:
                x, y = 0, y + height
            yield _panel(panel, number, {"x": x, "y": y, "w": width, "h": height})
            number, x = number + 1, x + width
        y += height


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.alarm is not None:
        steps.append({"color": "red", "value": panel.alarm})
    custom = (
        {} if panel.is_figure else {"fillOpacity": 10, "stacking": {"mode": "normal" if panel.is_stacked else "none"}}
    )
    return {
        "id": number,
        "type": "stat" if panel.is_figure else "timeseries",
        "title": panel.title,
        "description": panel.help,
        "datasource": _DATASOURCE,
        "gridPos": place,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": custom,
            },
            "overrides": [],
        },
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "expr": expression,
                "legendFormat": legend or "__auto",
                "datasource": _DATASOURCE,
                "instant": panel.is_figure,
                "range": not panel.is_figure,
            }
            for index, (expression, legend) in enumerate(panel.queries)
        ],
    }


if __name__ == "__main__":
    TARGET.write_text(render())

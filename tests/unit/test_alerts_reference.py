"""The alerts are told in the docs, and speak of metrics and commands that there are."""

import json
import re
from collections.abc import Iterator

import pytest
from prometheus_client import Counter, Gauge, Histogram

from gateway import metrics
from tools import make_dashboard
from tools.make_alerts_reference import ROOT, TARGET, alerts, render, rules

RECORDING = ROOT / "deploy/prometheus/recording.rules.yml"
RULE_TESTS = ROOT / "deploy/prometheus/tests/alerts.test.yml"


def known_series() -> Iterator[str]:
    for each in vars(metrics).values():
        if isinstance(each, Counter | Gauge | Histogram):
            (description,) = each.describe()
            suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"]}.get(description.type, [""])
            yield from (f"{description.name}{suffix}" for suffix in suffixes)
    yield from (rule["record"] for rule in rules(RECORDING))


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in (*rules(RECORDING), *alerts()))
    yield from make_dashboard.expressions()


def test_the_page_is_fresh() -> None:
    assert TARGET.read_text() == render(), "run: python tools/make_alerts_reference.py"


def test_the_dashboard_is_fresh() -> None:
    assert make_dashboard.TARGET.read_text() == make_dashboard.render(), "run: python tools/make_dashboard.py"
    panels = json.loads(make_dashboard.render())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)


def test_every_series_that_is_asked_for_exists() -> None:
    known = set(known_series())
    asked = {name for text in expressions() for name in re.findall(r"(?:job:)?tollgate_[a-z0-9_:]+", text)}
    assert len(asked) > 20
    assert asked <= known, asked - known


def test_every_metric_of_what_can_go_wrong_is_on_the_dashboard() -> None:
    shown = " ".join(make_dashboard.expressions())
    for alert in alerts():
        for name in re.findall(r"tollgate_[a-z0-9_]+", alert["expr"]):
            assert name.removesuffix("_bucket") in shown, f"{alert['alert']}: {name}"


def test_every_alert_is_whole_and_tried() -> None:
    tried = RULE_TESTS.read_text()
    names = [alert["alert"] for alert in alerts()]
    assert len(set(names)) == len(names)
    for alert in alerts():
        assert set(alert["annotations"]) == {"summary", "meaning", "cure"}, alert["alert"]
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert alert["alert"] in tried


@pytest.mark.parametrize("alert", list(alerts()), ids=lambda alert: alert["alert"])
def test_the_cure_names_commands_and_files_that_exist(alert: dict[str, dict[str, str]]) -> None:
    cure = alert["annotations"]["cure"]
    commands = (ROOT / "docs/reference/cli.md").read_text()
    for command in re.findall(r"`tollgate ([a-z -]+?)(?: --?[a-z]+.*?| [A-Z_ ]+)?`", cure):
        assert f"## tollgate {command.strip()}\n" in commands, command
    for page in re.findall(r"docs/[a-z/-]+\.md", cure):
        assert (ROOT / page).exists(), page
    for other in re.findall(r"Tollgate[A-Z]\w+", cure):
        assert other in {each["alert"] for each in alerts()}, other

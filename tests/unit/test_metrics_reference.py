"""The reference page of the metrics says what the code says."""

from tools.make_metrics_reference import TARGET, render


def test_the_page_is_fresh() -> None:
    assert TARGET.read_text() == render(), "run: python tools/make_metrics_reference.py"


def test_no_metric_has_an_office_or_a_number_as_a_label() -> None:
    for forbidden in ("`office", "`call_id", "`number", "`called", "`company"):
        assert forbidden not in render()

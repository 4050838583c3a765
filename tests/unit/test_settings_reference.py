"""The reference page of the settings says what the code says."""

from tools.make_settings_reference import TARGET, render


def test_the_page_is_fresh() -> None:
    assert TARGET.read_text() == render(), "run: python tools/make_settings_reference.py"

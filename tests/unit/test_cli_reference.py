"""The reference page of the command line says what the commands say."""

from tools.make_cli_reference import TARGET, render


def test_the_page_is_fresh() -> None:
    assert TARGET.read_text() == render(), "run: python tools/make_cli_reference.py"

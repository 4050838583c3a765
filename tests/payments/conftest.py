"""What the tests of payment providers have at hand."""

from tests.support.localstripe import localstripe  # noqa: F401 - fixtures are found by their names

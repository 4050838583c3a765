"""What tests with real switches share: installations that are dear to start."""

from tests.support.kamailio_scene import kamailio_parts  # noqa: F401 - fixtures are found by their names

"""`tollgate serve` with other children: settings from the environment, the children's commands as JSON in argv[1]."""

import asyncio
import json
import sys

from gateway.log import configure_logging
from gateway.settings import load_settings
from gateway.startup import StartupError
from gateway.supervisor import supervise


def main() -> int:
    try:
        settings = load_settings()
        configure_logging(settings.log_level, settings.log_format, "supervisor")
        return asyncio.run(supervise(settings, commands=json.loads(sys.argv[1])))
    except StartupError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

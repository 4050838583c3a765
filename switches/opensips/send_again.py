#!/usr/bin/env python3
"""Settle the calls whose end the gateway did not take.

    send_again.py http://127.0.0.1:8080 TOKEN < /var/log/opensips.log

Reads the TOLLGATE-UNSETTLED lines of OpenSIPS's log. Safe to run twice: an end that was taken is not taken again. The
exit code is 1 while there is one that nobody answered for.
"""

import sys
import urllib.error
import urllib.request

MARK = "TOLLGATE-UNSETTLED "


def main(url: str, token: str) -> int:
    """Send each again, and say what came of it."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    unanswered = 0
    for line in sys.stdin:
        _, found, end = line.strip().partition(MARK)
        if not found:
            continue
        request = urllib.request.Request(f"{url}/v1/calls/end", end.encode(), headers)  # noqa: S310  # yours to name
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
                outcome = f"settled {answer.read().decode()}"
        except urllib.error.HTTPError as error:
            outcome = f"refused {error.code} {error.read().decode()}"
            unanswered += error.code == 429 or error.code >= 500
        except OSError as error:
            outcome, unanswered = f"unanswered {error}", unanswered + 1
        print(outcome, end, sep="\t")  # noqa: T201
    return int(unanswered > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

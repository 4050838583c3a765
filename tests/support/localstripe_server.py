"""The program of the child process in which localstripe runs: `python localstripe_server.py PORT`.

localstripe's own command listens on every interface and writes all it knows to a fixed file in /tmp at each request;
this one listens on loopback and writes nothing. It ends when its standard input does, and so with its parent.
"""

import os
import sys
import threading

from aiohttp import web
from localstripe import resources, server


def end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    resources.Store.dump_to_disk = lambda store: None
    threading.Thread(target=end_with_parent, daemon=True).start()
    web.run_app(server.app, host="127.0.0.1", port=int(sys.argv[1]), print=None)


if __name__ == "__main__":
    main()

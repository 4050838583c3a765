"""`tollgate-kannel`: the proxy as a process."""

import argparse
import asyncio
import contextlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import aiohttp
import uvicorn

from gateway.client import Client, Tls, TlsFilesError
from gateway.sms.kannel_proxy import KannelProxy, Settings
from gateway.sms.kannel_request import offices_of
from gateway.sms.refunder import Refunder
from gateway.sms.sent_messages import SentMessages

MAX_REQUESTS: Final = 1_000
MAX_SEGMENTS: Final = 255
MAX_HEAD_BYTES: Final = 256 * 1024
"""A text of 255 segments, each octet written as %xx."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until told to stop."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.tls = Tls.of_environment(os.environ) or (Tls() if options.tls else None)
        settings = _settings(options)
    except (ValueError, TlsFilesError) as error:
        parser.error(str(error))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    asyncio.run(_serve(options, settings))


def _settings(options: argparse.Namespace) -> Settings:
    """What the proxy is told.

    Raises:
        ValueError: Something is wrong; the message says what.
    """
    if not options.token and (options.tls is None or options.tls.certificate is None):
        raise ValueError(
            "set TOLLGATE_TOKEN to a token of this switch (tollgate token create --role switch), or name its client "
            "certificate in TOLLGATE_TLS_CLIENT_CERTIFICATE and TOLLGATE_TLS_CLIENT_KEY"
        )
    if not 1 <= options.max_segments <= MAX_SEGMENTS:
        raise ValueError(f"--max-segments: from 1 to {MAX_SEGMENTS}")
    if not options.listen.rpartition(":")[2].isdigit():
        raise ValueError("--listen: write HOST:PORT")
    return Settings(
        kannel=options.kannel,
        public_url=(options.public_url or f"http://{options.listen}").rstrip("/"),
        max_segments=options.max_segments,
        offices=offices_of(options.office),
        international=options.international,
    )


async def _serve(options: argparse.Namespace, settings: Settings) -> None:
    host, _, port = options.listen.rpartition(":")
    timeout = aiohttp.ClientTimeout(total=options.kannel_seconds)
    async with (
        Client(options.gateway, options.token, tls=options.tls) as client,
        aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0)) as http,
        SentMessages(options.data, options.keep_days) as messages,
    ):
        refunder = Refunder(messages, client)
        app = KannelProxy(settings, client, http, messages, refunder).app()
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=host.strip("[]"),
                port=int(port),
                http="h11",
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MAX_REQUESTS,
                timeout_graceful_shutdown=15,
            )
        )
        refunding = asyncio.create_task(refunder.run())
        # A file that cannot be written ends the process, which would otherwise take money and never give it back.
        refunding.add_done_callback(lambda _: setattr(server, "should_exit", True))
        try:
            await server.serve()
        finally:
            refunding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await refunding


def _parser() -> argparse.ArgumentParser:
    environment = os.environ
    parser = argparse.ArgumentParser(
        prog="tollgate-kannel",
        description="Stands before Kannel's sendsms: each message is paid, or refused with the reason.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )

    def add(option: str, variable: str, default: str, text: str) -> None:
        parser.add_argument(option, default=environment.get(variable, default), help=f"{text} [{variable}]")

    add("--listen", "TOLLGATE_KANNEL_LISTEN", "127.0.0.1:13014", "where senders and Kannel connect")
    add("--kannel", "TOLLGATE_KANNEL_URL", "http://127.0.0.1:13013/cgi-bin/sendsms", "the URL of sendsms")
    add("--public-url", "TOLLGATE_KANNEL_PUBLIC_URL", "", "where Kannel reaches this; empty: the address above")
    add("--gateway", "TOLLGATE_LISTEN", "127.0.0.1:50051", "Tollgate's gRPC address")
    parser.add_argument(
        "--tls",
        action="store_true",
        help="check the gateway's certificate; by the file in TOLLGATE_TLS_CA, if it is given",
    )
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(environment.get("TOLLGATE_KANNEL_DATA", "tollgate-kannel.db")),
        help="the file of messages whose money may have to be given back [TOLLGATE_KANNEL_DATA]",
    )
    parser.add_argument(
        "--office",
        action="append",
        default=[],
        metavar="USER=OFFICE",
        help="who pays; else the office named as the user",
    )
    parser.add_argument("--max-segments", type=int, default=10, help="as Kannel's max-messages, 255 at most")
    parser.add_argument("--international", action="store_true", help="numbers without a plus are international")
    parser.add_argument(
        "--kannel-seconds", type=float, default=10.0, help="how long an answer of Kannel's is waited for"
    )
    parser.add_argument("--keep-days", type=float, default=3.0, help="how long delivery reports are waited for")
    parser.set_defaults(token=environment.get("TOLLGATE_TOKEN", ""))
    return parser


if __name__ == "__main__":
    main()

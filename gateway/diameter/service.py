"""Puts the Diameter front together and runs it."""

import asyncio
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

import structlog

from gateway.address import Address
from gateway.client.tls import Tls
from gateway.diameter.answers import Answers
from gateway.diameter.calls import Calls, CallSession
from gateway.diameter.enquiries import Enquiries
from gateway.diameter.handler import CreditControl
from gateway.diameter.identity import DiameterIdentity
from gateway.diameter.link import Link
from gateway.diameter.memory import SessionMemory
from gateway.diameter.messages import Messages, MessageSession
from gateway.diameter.offices import OfficeFinder
from gateway.diameter.server import DiameterServer
from gateway.diameter.sessions import Session, SessionTable
from gateway.diameter.terms import Terms

log = structlog.get_logger(__name__)

DRAIN_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the front is told.

    Attributes:
        listen: Where peers connect.
        origin_host: Who it is in Diameter.
        origin_realm: Its realm.
        gateway: Where CallAuthorization is.
        token: For it; empty: none.
        deadline_seconds: How long the gateway may take.
        peers: Origin-Hosts that may connect, in lower case; empty: any.
        offices: Who pays.
        terms: On which credit is given.
        state_file: Where sessions outlive the process; None: nowhere.
        tls: How what the gateway is asked is encrypted; None: it is not.
    """

    listen: Address
    origin_host: str
    origin_realm: str
    gateway: Address
    token: str
    deadline_seconds: float
    peers: Collection[str]
    offices: OfficeFinder
    terms: Terms
    state_file: Path | None = None
    tls: Tls | None = None


async def run_diameter(options: Options, stop: asyncio.Event, ready: Callable[[int], None] = lambda _: None) -> None:
    """Serve until told to stop; then what is under way is answered and settled first.

    Args:
        options: What it is told.
        stop: Set to stop.
        ready: Called with the port once peers may connect.

    Raises:
        OSError: It cannot listen.
        BadStateFile: The state file cannot be used.
    """
    memory = SessionMemory(options.state_file) if options.state_file is not None else None
    state_id = int(time.time()) if memory is None else memory.state_id
    identity = DiameterIdentity(options.origin_host, options.origin_realm, state_id)
    # Only spreads the load of asking again.
    link = Link(options.gateway, options.token, options.deadline_seconds, Random(), options.tls)  # noqa: S311
    sessions = SessionTable(time.monotonic, memory)
    calls = Calls(link, sessions, options.offices, options.terms)
    messages = Messages(link, sessions, options.offices)
    enquiries = Enquiries(link, calls, messages)
    handler = CreditControl(sessions, calls, messages, enquiries, Answers(identity, options.terms))
    server = DiameterServer(identity, options.peers, handler.handle)
    try:
        if memory is not None:
            for session in memory.restore():
                sessions.restore(session)
                if session.ended_by is not None and not session.is_settled:
                    _settle_again(session, calls, messages)
            log.info("diameter_sessions_restored", sessions=len(sessions))
        await server.start(options.listen)
        address = Address(options.listen.host, server.port)
        log.info("diameter_listens", address=str(address), gateway=str(options.gateway))
        ready(server.port)
        await stop.wait()
        log.info("diameter_stops", sessions=len(sessions))
    finally:
        await server.stop(DRAIN_SECONDS)
        await link.close(DRAIN_SECONDS)
        if memory is not None:
            memory.close()


def _settle_again(session: Session, calls: Calls, messages: Messages) -> None:
    match session:
        case CallSession():
            calls.settle_again(session)
        case MessageSession():
            messages.settle_again(session)

"""How long an INVITE takes from the caller's socket to the callee's, through proxies that take turns.

Plain blocking sockets and one clock: sipp's has steps of 4 ms. One call at a time; the callee is busy, so that a call
is over at once.
"""

import asyncio
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from gateway.client import Client
from gateway.v1 import authorization_pb2 as pb
from loadtest.processes import BenchError
from tests.support.kamailio import TRUSTED, Kamailio
from tests.support.sip import SipMessage, response

_LIMIT_SECONDS: Final = 5.0
GAP_SECONDS: Final = 0.005
"""Between two calls, so that the end of one, which is settled after it, does not meet the next."""

_CALLED: Final = "+442079460958"


@dataclass
class Invites:
    """Calls through one proxy.

    Attributes:
        kamailio: The proxy.
        office: Who pays.
        seconds: What each INVITE took.
    """

    kamailio: Kamailio
    office: str
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._caller = _bound(TRUSTED, 0)
        self._callee = _bound("127.0.0.1", self.kamailio.carrier)
        self._number = 0

    def place(self, count: int) -> None:
        """Place so many calls, one after the other.

        Raises:
            BenchError: Something did not come.
        """
        for _ in range(count):
            self._number += 1
            time.sleep(GAP_SECONDS)
            try:
                self._place_one()
            except TimeoutError:
                raise BenchError(
                    f"{self.kamailio.directory.name}: call {self._number} is stuck:\n{self.kamailio.log_text[-2000:]}"
                ) from None

    def close(self) -> None:
        """Close the sockets."""
        self._caller.close()
        self._callee.close()

    def _place_one(self) -> None:
        invite = self._request("INVITE", f"z9hG4bK{time.time_ns()}")
        data = invite.encode()
        began = time.perf_counter()
        self._caller.sendto(data, self.kamailio.address)
        arrived = self._callee.recvfrom(65535)[0]
        self.seconds.append(time.perf_counter() - began)
        busy = response(SipMessage.parse(arrived), 486).encode()
        self._callee.sendto(busy, self.kamailio.address)
        final = self._final()
        headers = tuple(
            (name, final.header("To") if name == "To" else value.replace("INVITE", "ACK") if name == "CSeq" else value)
            for name, value in invite.headers
        )
        self._caller.sendto(SipMessage(invite.start.replace("INVITE", "ACK"), headers).encode(), self.kamailio.address)
        while SipMessage.parse(self._callee.recvfrom(65535)[0]).method != "ACK":
            pass

    def _final(self) -> SipMessage:
        while (message := SipMessage.parse(self._caller.recvfrom(65535)[0])).status < 200:
            pass
        return message

    def _request(self, method: str, branch: str) -> SipMessage:
        host, port = self._caller.getsockname()
        uri = f"sip:{_CALLED}@127.0.0.1:{self.kamailio.sip}"
        headers = (
            ("Via", f"SIP/2.0/UDP {host}:{port};branch={branch}"),
            ("Max-Forwards", "70"),
            ("From", f"<sip:+12175550101@{host}>;tag=load"),
            ("To", f"<{uri}>"),
            ("Call-ID", f"{self._number}-{time.time_ns()}@load"),
            ("CSeq", f"1 {method}"),
            ("Contact", f"<sip:caller@{host}:{port}>"),
            ("X-Tollgate-Office", self.office),
        )
        return SipMessage(f"{method} {uri} SIP/2.0", headers)


async def decide(client: Client, office: str, count: int) -> list[float]:
    """What a decision takes over a Session, one at a time."""
    seconds = []
    for _ in range(count):
        call_id = f"decision-{time.time_ns()}"
        await asyncio.sleep(GAP_SECONDS)
        began = time.perf_counter()
        answer = await client.authorize_call(
            office_id=office, call_id=call_id, direction=pb.OUTBOUND, called_number=_CALLED
        )
        seconds.append(time.perf_counter() - began)
        assert answer.decision == pb.GRANTED, answer
        await client.end_call(office_id=office, call_id=call_id, duration_seconds=0)
    return seconds


async def take_turns(
    proxies: Mapping[str, Invites], client: Client, office: str, *, rounds: int, calls: int
) -> Mapping[str, Sequence[float]]:
    """Place calls through each proxy in turn, and ask for decisions between; the seconds of each, by name."""
    decisions: list[float] = []
    order, chance = list(proxies.values()), Random(1)
    for number in range(rounds + 1):
        chance.shuffle(order)  # Whoever comes after the decisions finds the caches cold.
        for invites in order:
            await asyncio.to_thread(invites.place, calls)
        decisions += await decide(client, office, calls)
        if number == 0:  # The first round warms everything up.
            decisions.clear()
            for invites in proxies.values():
                invites.seconds.clear()
    return {name: invites.seconds for name, invites in proxies.items()} | {"session decision": decisions}


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.bind((host, port))
    bound.settimeout(_LIMIT_SECONDS)
    return bound

"""A simulated SMSC: takes what ESMEs send, refuses what it is told to, and sends delivery receipts."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import smpp34

from tests.support.servers import free_port, wait_until

RECEIPT = 0x04
"""esm_class of a delivery receipt."""

# Tags of optional parameters; the stubs of smpp34 do not have its own names for them.
SAR_MSG_REF_NUM, SAR_TOTAL_SEGMENTS, SAR_SEGMENT_SEQNUM, MESSAGE_PAYLOAD = 0x020C, 0x020E, 0x020F, 0x0424


@dataclass(frozen=True, slots=True)
class Submitted:
    """A submit_sm that arrived."""

    message_id: str
    called_number: str
    payload: bytes
    data_coding: int
    esm_class: int
    registered_delivery: int
    session_id: str
    calling_number: str


@dataclass
class Smsc:
    """The simulator; numbers are those of the message as they arrive."""

    port: int
    arrived: list[Submitted] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    refuse: dict[str, list[int]] = field(default_factory=dict)
    """What the next messages to a number are answered with, each once."""
    receipts: dict[str, str] = field(default_factory=dict)
    """The state that the receipt of every message to a number has, sent at once."""
    receipt_seconds: float = 0.1
    """How long after a message its receipt leaves: with none, it may overtake the answer to the message."""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _esmes: dict[str, smpp34.Esme] = field(default_factory=dict)
    _sending: set[asyncio.Task[None]] = field(default_factory=set)
    _number: int = 0

    def to(self, called_number: str) -> list[Submitted]:
        """What arrived for a number and was taken."""
        return [each for each in self.arrived if each.called_number == called_number]

    def await_to(self, called_number: str, count: int = 1) -> list[Submitted]:
        """Wait until so many segments arrived for a number."""
        assert wait_until(lambda: len(self.to(called_number)) >= count), f"{called_number}: {self.to(called_number)}"
        return self.to(called_number)

    def send_receipt(self, of: Submitted, state: str) -> None:
        """Send a delivery receipt and wait until the ESME has taken it."""
        asyncio.run_coroutine_threadsafe(self._send_receipt(of, state), self._loop).result(timeout=10)

    async def _send_receipt(self, of: Submitted, state: str) -> None:
        await asyncio.sleep(self.receipt_seconds)
        text = (
            f"id:{of.message_id} sub:001 dlvrd:000 submit date:2611261200 done date:2611261201 stat:{state} "
            f"err:001 text:"
        )
        # A transmitter takes no receipts; its receiver may be a session of its own.
        esme = next(each for each in self._esmes.values() if each.can_receive)
        await esme.deliver_sm(
            of.calling_number, text.encode(), source_addr=of.called_number, esm_class=RECEIPT, source_addr_ton=1
        )

    async def serve(self, server: smpp34.Server) -> None:
        """Answer until cancelled."""
        while True:
            match await server.next():
                case smpp34.Esme() as esme:
                    self._esmes[esme.session_id] = esme
                case smpp34.Unbound() as gone:
                    self._esmes.pop(gone.session_id, None)
                case smpp34.SubmitSmEvent() as event:
                    await self._take(event)

    async def _take(self, event: smpp34.SubmitSmEvent) -> None:
        if self.refuse.get(event.destination_addr):
            self.refused.append(event.destination_addr)
            event.reject(self.refuse[event.destination_addr].pop(0))
            return
        self._number += 1
        payload = event.short_message
        for tlv in event.tlvs:
            if tlv.tag == MESSAGE_PAYLOAD:
                payload = tlv.value
        message = Submitted(
            f"{self._number:08X}",
            event.destination_addr,
            payload,
            event.data_coding,
            event.esm_class,
            event.registered_delivery,
            event.session_id,
            event.source_addr,
        )
        event.accept(message.message_id)
        self.arrived.append(message)
        if event.destination_addr in self.receipts:
            sending = asyncio.create_task(self._send_receipt(message, self.receipts[event.destination_addr]))
            self._sending.add(sending)
            sending.add_done_callback(self._sending.discard)


@contextmanager
def running_smsc() -> Iterator[Smsc]:
    """Run a simulator in a thread of its own until the block ends."""
    smsc = Smsc(free_port())
    started = threading.Event()
    stopping = asyncio.Event()

    async def run() -> None:
        server = smpp34.Server("127.0.0.1", smsc.port, system_id="smsc")
        await server.start()
        started.set()
        serving = asyncio.create_task(smsc.serve(server))
        await stopping.wait()
        serving.cancel()
        await server.stop()

    thread = threading.Thread(target=smsc._loop.run_until_complete, args=(run(),))
    thread.start()
    try:
        assert started.wait(timeout=10)
        yield smsc
    finally:
        smsc._loop.call_soon_threadsafe(stopping.set)
        thread.join(timeout=10)
        smsc._loop.close()

"""Where bytes from outside come in that need no store to be read: each takes any bytes, and knows what it may raise."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from google.protobuf.message import DecodeError

from gateway.diameter.avps import Incoming
from gateway.diameter.framing import HEADER_BYTES, NotDiameter, body_bytes
from gateway.diameter.refusal import Refused
from gateway.diameter.requests import Kind, Request
from gateway.domain.deck import DeckError, parse_deck
from gateway.errors import Internal, TollgateError
from gateway.hooks.proto_json import message_of, object_of, packed, read_object
from gateway.payments.stripe_webhooks import read_event
from gateway.payments.webhook_signatures import verify_webhook
from gateway.store.directory import PublishedToken
from gateway.store.records import OfficeRecord, unpack_call
from gateway.v1 import authorization_pb2 as pb

_DECK = (  # by itself: tests.support would have atheris instrument the whole gateway
    "tariff,service,direction,license,origin,prefix,number_type,from_second,price,per_seconds,increment_seconds,"
    "connect_fee,tick_seconds,description\n"
    ",VOICE,OUTBOUND,,,44,,0,0.12,60,60,0.20,60,United Kingdom\n"
    ",SMS,,,,,,,0.03,,,,,SMS\n"
)


@dataclass(frozen=True)
class Entrance:
    """One way in.

    Attributes:
        read: Takes bytes; what it raises beside `refusals` is a bug.
        refusals: How it says that bytes are not what it takes.
        samples: What it does take: where a search begins.
    """

    read: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]
    samples: tuple[bytes, ...]

    def survives(self, data: bytes) -> None:
        """Read bytes.

        Raises:
            Exception: A bug: what the entrance does not promise to raise, or an error that says it is one.
        """
        try:
            self.read(data)
        except self.refusals as refusal:
            if isinstance(refusal, Internal):
                raise


def _hook(data: bytes) -> None:
    fields = read_object(data)
    for kind in (pb.AuthorizeCallRequest, pb.EndCallRequest, pb.AuthorizeMessageRequest):
        try:
            message = message_of(dict(fields), kind)
        except TollgateError:
            continue
        packed(object_of(message))


def _signature(data: bytes) -> None:
    signature, _, payload = data.partition(b"\n")
    verify_webhook(payload, signature.decode("latin-1"), ["whsec_1", "whsec_2"], now_ms=1_700_000_000_000)


def _diameter(data: bytes) -> None:
    if len(data) < HEADER_BYTES:
        return
    length = body_bytes(data[:HEADER_BYTES])
    message = Incoming.parse(data[: HEADER_BYTES + length])
    request = Request.read(message)
    for kind in Kind:
        request.requested(kind)
        request.used(kind)
    _ = request.kind, request.call_id, request.action, request.termination_cause, request.proxy_info


def _ccr() -> bytes:
    """A request of the kind that switches send, as few AVPs as it may have."""

    def avp(code: int, value: bytes, flags: int = 0x40) -> bytes:
        return struct.pack(">IB", code, flags) + (8 + len(value)).to_bytes(3, "big") + value + bytes(-len(value) % 4)

    body = avp(263, b"session;1") + avp(264, b"sbc.example.org") + avp(296, b"example.org") + avp(283, b"example.org")
    body += avp(258, struct.pack(">I", 4)) + avp(461, b"32260@3gpp.org") + avp(416, struct.pack(">I", 1))
    body += avp(415, struct.pack(">I", 0)) + avp(437, avp(420, struct.pack(">I", 60)))
    return b"\x01" + (20 + len(body)).to_bytes(3, "big") + b"\xc0" + (272).to_bytes(3, "big") + bytes([0, 0, 0, 4]) + (
        bytes(8) + body
    )  # fmt: skip


# What the store holds is our own, and a broken value is an error of that one request, whatever its kind.
_BROKEN = (struct.error, ValueError, IndexError, KeyError, TypeError, AttributeError, DecodeError)

ENTRANCES = {
    "deck": Entrance(parse_deck, (DeckError,), (_DECK.encode(),)),
    "hook": Entrance(
        _hook,
        (TollgateError,),
        (b'{"officeId": "o", "callId": "c", "direction": "OUTBOUND", "calledNumber": "+44", "requestedSeconds": 60}',),
    ),
    "webhook": Entrance(
        read_event,
        (TollgateError,),
        (
            b'{"id": "evt_1", "object": "event", "type": "payment_intent.succeeded", "created": 1, "livemode": false, '
            b'"data": {"object": {"id": "pi_1", "object": "payment_intent", "amount": 5000, "currency": "usd", '
            b'"status": "succeeded", "metadata": {"idempotency_key": "k"}, "latest_charge": "ch_1"}}}',
            b'{"id": "evt_2", "object": "event", "type": "charge.dispute.created", "data": {"object": {"id": "dp_1", '
            b'"object": "dispute", "amount": 5000, "currency": "usd", "charge": "ch_1", "payment_intent": "pi_1"}}}',
        ),
    ),
    "webhook signature": Entrance(_signature, (TollgateError,), (b"t=1700000000,v1=00ff\n{}",)),
    "diameter": Entrance(_diameter, (Refused, NotDiameter), (_ccr(),)),
    "office of the store": Entrance(OfficeRecord.unpack, _BROKEN, (bytes(400),)),
    "call of the store": Entrance(unpack_call, _BROKEN, (bytes(200), b"\x01\x06" + bytes(60))),
    "token of the store": Entrance(
        PublishedToken.from_json,
        _BROKEN,
        (b'{"role": "SWITCH", "token_id": "t", "company_id": "", "office_ids": ["*"], "switch_id": "s", '
         b'"operations_per_second": 0, "expires_at_ms": null}',),
    ),
}  # fmt: skip

"""Who calls whom: numbers out of SIP and tel URIs, and out of what IMS and SMS say of a service."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from gateway.diameter.avps import Avps
from gateway.diameter.codes import (
    ADDRESS_DATA,
    CALLED_PARTY_ADDRESS,
    CALLING_PARTY_ADDRESS,
    IMS_EMERGENCY_INDICATOR,
    IMS_INFORMATION,
    MMS_INFORMATION,
    ORIGINATOR_ADDRESS,
    ORIGINATOR_RECEIVED_ADDRESS,
    RECIPIENT_ADDRESS,
    RECIPIENT_INFO,
    ROLE_OF_NODE,
    SERVICE_INFORMATION,
    SMS_INFORMATION,
    AvpKey,
)
from gateway.diameter.refusal import Refused
from gateway.v1 import authorization_pb2 as pb

_SCHEME: Final = re.compile(r"(?i)^(sips?|tel|urn):")
_SOS: Final = re.compile(r"(?i)^urn:service:sos(\.|$)")
_SOS_NUMBER: Final = "112"
"""An emergency call in IMS is to `urn:service:sos`, or marked as one: it is dialled as what counts everywhere."""

_SEPARATORS: Final = str.maketrans("", "", "-.() ")
_TERMINATING: Final = 1


@dataclass(frozen=True, slots=True)
class Parties:
    """The two ends of a call or message.

    Attributes:
        calling: As the client says; empty: not said.
        called: As dialled; empty: not said.
        direction: Seen from who pays.
        recipients: How many a message has.
    """

    calling: str = ""
    called: str = ""
    direction: "pb.Direction.ValueType" = pb.OUTBOUND
    recipients: int = 1


def number_of(address: str) -> str:
    """The number in a SIP or tel URI, or in what is none; whatever is no number there is left as it is.

    >>> number_of("sip:+44-20-7946-0958;npdi@ims.example.org;user=phone")
    '+442079460958'
    """
    address = address.strip().strip("<>")
    if _SOS.match(address):
        return _SOS_NUMBER
    bare = unquote(re.split("[@;:]", _SCHEME.sub("", address))[0])
    digits = bare.translate(_SEPARATORS)
    return digits if digits.removeprefix("+").isdigit() else bare


def call_parties(request: Avps) -> Parties:
    """Who calls whom, by IMS-Information.

    Raises:
        Refused: An AVP makes no sense.
    """
    ims = _within(request, IMS_INFORMATION)
    if ims is None:
        return Parties()
    called = ims.text(CALLED_PARTY_ADDRESS)
    if ims.unsigned(IMS_EMERGENCY_INDICATOR):
        called = _SOS_NUMBER
    return Parties(
        calling=next((number_of(each) for each in ims.texts(CALLING_PARTY_ADDRESS)), "")[:64],
        called=number_of(called)[:64] if called else "",
        direction=pb.INBOUND if ims.unsigned(ROLE_OF_NODE) == _TERMINATING else pb.OUTBOUND,
    )


def message_parties(request: Avps) -> Parties:
    """Who writes to whom, by SMS-Information or MMS-Information, else by IMS-Information.

    Raises:
        Refused: An AVP makes no sense.
    """
    ims = call_parties(request)
    sms, mms = _within(request, SMS_INFORMATION), _within(request, MMS_INFORMATION)
    senders: list[Avps] = []
    recipients: list[Avps] = []
    if sms is not None:
        senders = sms.groups(ORIGINATOR_RECEIVED_ADDRESS)
        recipients = [each for info in sms.groups(RECIPIENT_INFO) for each in info.groups(RECIPIENT_ADDRESS)]
    if mms is not None:
        senders += mms.groups(ORIGINATOR_ADDRESS)
        recipients += mms.groups(RECIPIENT_ADDRESS)
    called = [number for each in recipients if (number := _address(each))]
    calling = [number for each in senders if (number := _address(each))]
    return Parties(
        calling=next(iter(calling), ims.calling)[:64],
        called=next(iter(called), ims.called)[:64],
        direction=ims.direction,
        recipients=max(1, len(called)),
    )


def dialled(request: Avps) -> str:
    """The called number if there is one to be found, whatever else is wrong: for emergencies."""
    try:
        return call_parties(request).called
    except Refused:
        return ""


def _within(request: Avps, key: AvpKey) -> Avps | None:
    service = request.group(SERVICE_INFORMATION)
    return None if service is None else service.group(key)


def _address(group: Avps) -> str:
    text = group.text(ADDRESS_DATA)
    return number_of(text) if text else ""

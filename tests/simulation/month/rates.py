"""What is called and written to in the month, and what that costs: the deck's rows, each beside its price.

The prices are written down twice, as the deck has them and as the book counts: the book asks no gateway.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.domain.rate import Rate, Slot
from tests.support.back import HEADER

COUNTRY: Final = "US"
BLOCKED_PREFIX: Final = "+882"


@dataclass(frozen=True)
class Fare:
    """A kind of call and what it costs; `refused` names the reason where it is not sold at all."""

    called: str
    category: str
    rate: Rate | None = None
    direction: str = "OUTBOUND"
    license: str = "STANDARD"
    service: str = "VOICE"
    calling: str = "+12125550100"
    refused: str = ""


@dataclass(frozen=True)
class Stamp:
    """A kind of message and what a segment of it costs, in micros."""

    kind: str
    called: str
    price_micros: int
    refused: str = ""


def _per_minute(price: int, increment: int = 60, fee: int = 0, tick: int = 60) -> Rate:
    return Rate(fee, (Slot(0, price, 60, increment),), tick)


_FREE: Final = ",,,,,"

_ROWS: Final = (
    f",VOICE,INBOUND,,,,,{_FREE},inbound is free",
    ",VOICE,INBOUND,,US,,TOLL_FREE,0,0.02,60,60,0,60,inbound to a toll-free number",
    ",VOICE,INBOUND,CONTACT_CENTER,US,,LOCAL,0,0.01,60,60,0,60,inbound of a contact centre",
    f",VOICE,OUTBOUND,STANDARD,,,LOCAL,{_FREE},local is free",
    ",VOICE,OUTBOUND,CONTACT_CENTER,US,,LOCAL,0,0.02,60,60,0,60,outbound of a contact centre",
    f",VOICE,OUTBOUND,,,,TOLL_FREE,{_FREE},toll-free is free",
    ",VOICE,OUTBOUND,,,44,,0,0.12,60,60,0.20,60,United Kingdom with a fee",
    ",VOICE,OUTBOUND,,,4479,,0,0.31,60,1,0,30,United Kingdom mobile by the second",
    ",VOICE,OUTBOUND,,,33,,0,0.071,60,30,0,60,France 30/6",
    ",VOICE,OUTBOUND,,,33,,30,0.071,60,6,,,",
    ",VOICE,OUTBOUND,,,49,,0,0.20,60,60,0,60,Germany: a first minute and then by the second",
    ",VOICE,OUTBOUND,,,49,,60,0.10,60,1,,,",
    ",VOICE,OUTBOUND,,,1876,,0,1.50,60,60,0,60,Jamaica",
    ",FAX,OUTBOUND,,,,,0,0.05,60,60,0,60,faxes",
    f",FAX,INBOUND,,,,,{_FREE},inbound faxes",
    ",SMS,OUTBOUND,,,,LOCAL,,0.0085,,,,,SMS",
    ",SMS,OUTBOUND,,,44,,,0.05,,,,,SMS to the United Kingdom",
    ",MMS,OUTBOUND,,,,LOCAL,,0.02,,,,,MMS",
)

DECK: Final = HEADER + "\n".join(_ROWS) + "\n"

LONDON: Final = Fare("+442071838750", "INTERNATIONAL", _per_minute(120_000, fee=200_000))
JAMAICA: Final = Fare("+18765230100", "INTERNATIONAL", _per_minute(1_500_000))

FARES: Final[Sequence[tuple[int, Fare]]] = (
    (14, Fare("+12125550142", "LOCAL")),
    (4, Fare("+18005550199", "TOLL_FREE")),
    (6, Fare("+12125550100", "LOCAL", direction="INBOUND", calling="+12125550142")),
    (9, Fare("+18005550199", "TOLL_FREE", _per_minute(20_000), direction="INBOUND", calling="+12125550142")),
    (7, Fare("+12125550142", "LOCAL", _per_minute(20_000), license="CONTACT_CENTER")),
    (6, Fare("+12125550100", "LOCAL", _per_minute(10_000), "INBOUND", "CONTACT_CENTER", calling="+12125550142")),
    (12, LONDON),
    (9, Fare("+447911123456", "INTERNATIONAL", _per_minute(310_000, 1, tick=30))),
    (9, Fare("+33142685300", "INTERNATIONAL", Rate(0, (Slot(0, 71_000, 60, 30), Slot(30, 71_000, 60, 6))))),
    (9, Fare("+4930123456", "INTERNATIONAL", Rate(0, (Slot(0, 200_000, 60, 60), Slot(60, 100_000, 60, 1))))),
    (5, JAMAICA),
    (6, Fare("+12125550142", "FAX", _per_minute(50_000), service="FAX")),
    (2, Fare("+12125550100", "FAX", None, "INBOUND", service="FAX", calling="+12125550142")),
    (1, Fare("911", "EMERGENCY")),
    (1, Fare("+819012345678", "INTERNATIONAL", refused="NO_RATE")),
    (1, Fare("+88213300123", "INTERNATIONAL", refused="DESTINATION_BLOCKED")),
    (1, Fare("12", "", refused="INVALID_NUMBER")),
)

STAMPS: Final[Sequence[tuple[int, Stamp]]] = (
    (70, Stamp("SMS", "+12125550142", 8_500)),
    (18, Stamp("MMS", "+12125550142", 20_000)),
    (10, Stamp("SMS", "+447911123456", 50_000)),
    (1, Stamp("SMS", "+819012345678", 0, refused="NO_RATE")),
    (1, Stamp("SMS", "12", 0, refused="INVALID_NUMBER")),
)

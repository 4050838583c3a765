"""Who is in the demo: one company, its offices and switches, and the numbers they call.

Numbers are from the ranges that are kept for fiction.
"""

from dataclasses import dataclass
from time import time
from typing import TYPE_CHECKING, Final

from gateway.domain.calendar import month_of
from gateway.v1 import credits_pb2

if TYPE_CHECKING:
    from gateway.v1.credits_pb2_grpc import CreditsAsyncStub

COMPANY: Final = "meridian"
SUNRISE: Final = "sunrise"
HARBOR: Final = "harbor"
CORNER: Final = "corner"
STUDIO: Final = "studio"

LONDON: Final = "+442079460958"
NEW_YORK: Final = "+12125550142"
BOSTON: Final = "+16175550117"
BERLIN: Final = "+493023125042"
KINGSTON: Final = "+18765550123"
CARDIFF: Final = "+442920180371"
FREEPHONE: Final = "+18005550199"
OWN_FREEPHONE: Final = "+18885550100"
PARIS: Final = "+33199005678"
SYDNEY: Final = "+61255501234"
"""The demo's deck bills these two by the second."""


@dataclass(frozen=True, slots=True)
class _Office:
    office_id: str
    name: str
    country: str
    time_zone: str
    payment_terms: credits_pb2.PaymentTerms.ValueType = credits_pb2.PAYMENT_TERMS_CARD


_OFFICES: Final = (
    _Office(SUNRISE, "Sunrise Avenue", "US", "America/New_York"),
    _Office(HARBOR, "Harbor contact center", "US", "America/Los_Angeles"),
    _Office(CORNER, "The corner shop", "GB", "Europe/London", credits_pb2.PAYMENT_TERMS_INVOICE),
    _Office(STUDIO, "Studio on the hill", "US", "America/Denver"),
)

OFFICE_IDS: Final = tuple(each.office_id for each in _OFFICES)


def present_month(office_id: str) -> str:
    """The month, as the clocks of an office show it."""
    [time_zone] = [each.time_zone for each in _OFFICES if each.office_id == office_id]
    return month_of(int(time() * 1000), time_zone)


async def set_up_offices(credits: "CreditsAsyncStub") -> None:  # noqa: A002 - the contract's word
    """Have the company and its offices; those that an earlier demo left in the same directory stay as they are."""
    await credits.CreateCompany(credits_pb2.CreateCompanyRequest(company_id=COMPANY, name="Meridian"))
    for each in _OFFICES:
        await credits.CreateOffice(
            credits_pb2.CreateOfficeRequest(
                office_id=each.office_id,
                company_id=COMPANY,
                name=each.name,
                country=each.country,
                time_zone=each.time_zone,
                payment_terms=each.payment_terms,
            )
        )


async def make_admin(credits: "CreditsAsyncStub") -> str:  # noqa: A002 - the contract's word
    """Let somebody buy for these offices; returns her token."""
    made = await credits.CreateToken(
        credits_pb2.CreateTokenRequest(
            role=credits_pb2.ROLE_OFFICE_ADMIN, company_id=COMPANY, office_ids=OFFICE_IDS, description="of the demo"
        )
    )
    return made.secret


async def make_switch(credits: "CreditsAsyncStub", switch_id: str) -> str:  # noqa: A002 - the contract's word
    """Let a switch ask for all offices; returns its token."""
    made = await credits.CreateToken(
        credits_pb2.CreateTokenRequest(
            role=credits_pb2.ROLE_SWITCH, office_ids=OFFICE_IDS, switch_id=switch_id, description="of the demo"
        )
    )
    return made.secret

"""What a call or message would be answered and cost, asked by people: by the deciders, in the office's own rights."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.api.credits.rate_lookup import RateAnswer, RateQuestion
from gateway.domain.identity import Identity
from gateway.domain.vocabulary import Category, Decision, Direction, License, MessageKind, Reason, Role, Service
from gateway.errors import InvalidArgument, PermissionDenied, TollgateError
from gateway.ledger.errors import OfficeNotFound
from gateway.v1 import credits_pb2 as pb
from tests.support.back import COMPANY, HEADER, OFFICE, BackUnderTest, bearer, running_back
from tests.support.servers import StoreServer

ME = Identity(Role.OPERATOR, "tester")
LONDON = "020 7183 8750"

DECK = HEADER + (
    ",VOICE,OUTBOUND,STANDARD,,,LOCAL,,,,,,,local\n"
    ",VOICE,OUTBOUND,SALES,,,LOCAL,0,0.02,60,60,,60,local for sales\n"
    ",VOICE,OUTBOUND,,,44,,0,0.12,60,60,0.20,60,United Kingdom\n"
    ",VOICE,INBOUND,,,,TOLL_FREE,0,0.02,60,60,,60,inbound toll-free\n"
    ",FAX,OUTBOUND,,,44,,0,0.30,60,60,,60,faxes\n"
    ",SMS,,,,,,,0.03,,,,,SMS\n"
)


@dataclass(frozen=True)
class Case:
    """A question, and what is to be answered; a line of 0: no row."""

    number: str
    reason: Reason
    category: Category | None
    called: str
    price_micros: int = 0
    a_minute_micros: int = 0
    line: int = 0
    more: dict[str, Any] | None = None


INBOUND = {"direction": Direction.INBOUND, "calling_number": "+44 20 7183 8750"}

CASES = [
    Case("011 44 20 7183 8750", Reason.FUNDED, Category.INTERNATIONAL, "+442071838750", 320_000, 120_000, 4),
    Case("+442071838750", Reason.FUNDED, Category.INTERNATIONAL, "+442071838750", 440_000, 120_000, 4,
         {"duration_seconds": 61}),
    Case("+442071838750", Reason.FUNDED, Category.INTERNATIONAL, "+442071838750", 0, 120_000, 4,
         {"duration_seconds": 0}),
    Case("+442071838750", Reason.FUNDED, Category.FAX, "+442071838750", 300_000, 300_000, 6, {"service": Service.FAX}),
    Case("(212) 555-0142", Reason.FREE, Category.LOCAL, "+12125550142", 0, 0, 2),
    Case("2125550142", Reason.FUNDED, Category.LOCAL, "+12125550142", 20_000, 20_000, 3, {"license": License.SALES}),
    Case("2125550142", Reason.NO_RATE, Category.LOCAL, "+12125550142", more={"license": License.CONTACT_CENTER}),
    Case("+18005550142", Reason.FUNDED, Category.TOLL_FREE, "+18005550142", 20_000, 20_000, 5, INBOUND),
    Case("+12125550142", Reason.NO_RATE, Category.INTERNATIONAL, "+12125550142", more=INBOUND),
    Case("2125550142", Reason.FUNDED, Category.MESSAGE, "+12125550142", 90_000, 0, 7,
         {"service": MessageKind.SMS, "segments": 3}),
    Case("2125550142", Reason.NO_RATE, Category.MESSAGE, "+12125550142", more={"service": MessageKind.MMS}),
    Case("+881 6 1234 5678", Reason.DESTINATION_BLOCKED, Category.INTERNATIONAL, "+881612345678"),
    Case("12", Reason.INVALID_NUMBER, None, ""),
    Case("x", Reason.INVALID_NUMBER, Category.MESSAGE, "", more={"service": MessageKind.SMS}),
    Case("911", Reason.EMERGENCY, Category.EMERGENCY, ""),
    # Of another country, and therefore none.
    Case("18", Reason.INVALID_NUMBER, None, ""),
]  # fmt: skip


async def look_up(back: BackUnderTest, number: str, who: Identity = ME, **fields: Any) -> RateAnswer:
    question = RateQuestion(fields.pop("office_id", OFFICE), number, **fields)
    return await back.back.rate_lookup.look_up(question, who)


async def test_what_it_would_be_and_cost(valkey: StoreServer, tmp_path: Path) -> None:
    (tmp_path / "deck.csv").write_text(DECK)
    async with running_back(valkey, tmp_path, blocked_destinations="+881") as back:
        await back.open_office(balance=1_000_000)
        # Before anything else the office is unknown to the deciders, and its country with it.
        for case in (CASES[-1], *CASES):
            answer = await look_up(back, case.number, **(case.more or {}))
            found = Case(
                case.number,
                answer.reason,
                answer.category,
                answer.called.e164 if answer.called is not None else "",
                answer.price_micros,
                answer.price_per_minute_micros,
                answer.row.line if answer.row is not None else 0,
                case.more,
            )
            assert found == case
            assert answer.decision is case.reason.decision
            if answer.row is not None:
                assert answer.row.why
                assert answer.row.deck_version == 1
            assert answer.calling_number == ("+442071838750" if case.more is INBOUND else "")
        assert (await back.till.office()).reserved_micros == 0
        assert (await back.get_office()).balance_micros == 1_000_000


async def test_it_is_as_the_office_stands_now(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=319_999)
        answer = await look_up(back, "+442071838750")
        assert (answer.decision, answer.reason) == (Decision.DENIED, Reason.INSUFFICIENT_FUNDS)
        # The price is told all the same, and what there is to pay it.
        assert (answer.price_micros, answer.available_micros) == (320_000, 319_999)
        await back.adjust(1, "enough")
        assert (await look_up(back, "+442071838750")).reason is Reason.FUNDED
        await back.stub.UpdateOffice(pb.UpdateOfficeRequest(office_id=OFFICE, country="GB"), metadata=bearer())
        answer = await look_up(back, LONDON)
        assert (answer.reason, answer.category) == (Reason.FUNDED, Category.LOCAL)
        await back.stub.SuspendOffice(pb.SuspendOfficeRequest(office_id=OFFICE), metadata=bearer())
        for number, reason in ((LONDON, Reason.OFFICE_SUSPENDED), ("999", Reason.EMERGENCY)):
            assert (await look_up(back, number)).reason is reason
        valkey.flush()
        assert (await look_up(back, LONDON)).reason is Reason.UNKNOWN_OFFICE


@pytest.mark.parametrize(
    ("field", "number", "fields"),
    [
        ("office_id", "1", {"office_id": ""}),
        ("office_id", "1", {"office_id": "a/b"}),
        ("called_number", "", {}),
        ("called_number", "1" * 65, {}),
        ("called_number", "12\n", {}),
        ("called_number", "", {"service": MessageKind.SMS}),
        ("calling_number", "1", {"calling_number": "1" * 65}),
        ("calling_number", "1", {"calling_number": "\x00", "service": MessageKind.MMS}),
        ("duration_seconds", "1", {"duration_seconds": -1}),
        ("duration_seconds", "1", {"duration_seconds": 86_401}),
        ("segments", "1", {"segments": 0, "service": MessageKind.SMS}),
        ("segments", "1", {"segments": 256, "service": MessageKind.SMS}),
    ],
)
async def test_a_field_that_is_wrong(
    valkey: StoreServer, tmp_path: Path, field: str, number: str, fields: dict[str, Any]
) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office()
        with pytest.raises(InvalidArgument) as caught:
            await look_up(back, number, **fields)
        assert caught.value.field == field


async def test_who_may_read_the_office_may_ask(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await back.open_office(balance=1_000_000)
        await back.open_office("other", company_id="other")
        for who in (
            ME,
            Identity(Role.COMPANY_ADMIN, "t", COMPANY),
            Identity(Role.OFFICE_ADMIN, "t", COMPANY, frozenset({OFFICE})),
            Identity(Role.VIEWER, "t", COMPANY),
        ):
            assert (await look_up(back, "+442071838750", who)).reason is Reason.FUNDED
        refusals: list[tuple[Identity, str, type[TollgateError]]] = [
            (Identity(Role.COMPANY_ADMIN, "t", "other"), OFFICE, PermissionDenied),
            (Identity(Role.OFFICE_ADMIN, "t", COMPANY, frozenset({"another"})), OFFICE, PermissionDenied),
            (Identity(Role.VIEWER, "t", COMPANY), "other", PermissionDenied),
            (Identity(Role.VIEWER, "t", COMPANY), "nowhere", PermissionDenied),
            (Identity(Role.SWITCH, "t", office_ids=frozenset({OFFICE}), switch_id="s"), OFFICE, PermissionDenied),
            (ME, "nowhere", OfficeNotFound),
        ]
        for number in ("+442071838750", "911"):
            for who, office_id, error in refusals:
                with pytest.raises(error):
                    await look_up(back, number, who, office_id=office_id)

"""Every rpc of Credits for every role, on what is theirs, what is somebody else's and what does not exist.

The expectation is the table of docs/reference/rights.md, so that the page cannot say anything else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from grpc import StatusCode
from grpc.aio import AioRpcError, UnaryStreamCall

from gateway.api.credits.servicer import SERVICE
from gateway.domain.identity import hash_secret
from gateway.domain.vocabulary import Role
from gateway.ledger.paging import PageRequest
from gateway.v1 import credits_pb2 as pb
from tests.support.back import DECK, BackUnderTest, Refusal, bearer, refusal, refusal_of, running_back
from tests.support.billing import buy, confirmed_card
from tests.support.servers import StoreServer

PAGE: Final = Path(__file__).parents[2] / "docs" / "reference" / "rights.md"
ROLES: Final = tuple(Role)

Make = Callable[["Place"], Any]


@dataclass(frozen=True)
class Place:
    """What a request is about."""

    company_id: str
    office_id: str
    token_id: str
    payment_method_id: str = "pm_of_nobody"
    removable_id: str = "pm_of_nobody"


OWN = Place("a", "a1", "")
FOREIGN = Place("b", "b1", "")
UNKNOWN = Place("nobody", "nowhere", "0123456789ab")

REQUESTS: Final[dict[str, Make]] = {
    "CreateCompany": lambda at: pb.CreateCompanyRequest(company_id=f"new-{at.company_id}", name="n"),
    "CreateOffice": lambda at: pb.CreateOfficeRequest(
        office_id=f"new-{at.company_id}", company_id=at.company_id, name="n", country="US"
    ),
    "UpdateOffice: name": lambda at: pb.UpdateOfficeRequest(office_id=at.office_id, name="renamed"),
    "UpdateOffice: any other field": lambda at: pb.UpdateOfficeRequest(office_id=at.office_id, tariff="t"),
    "GetOffice": lambda at: pb.GetOfficeRequest(office_id=at.office_id),
    "ListCompanies": lambda at: pb.ListCompaniesRequest(),
    "ListOffices": lambda at: pb.ListOfficesRequest(company_id=at.company_id),
    "SuspendOffice": lambda at: pb.SuspendOfficeRequest(office_id=at.office_id),
    "ResumeOffice": lambda at: pb.ResumeOfficeRequest(office_id=at.office_id),
    "LiftFraudGuard": lambda at: pb.LiftFraudGuardRequest(office_id=at.office_id),
    "RegisterSwitch": lambda at: pb.RegisterSwitchRequest(switch_id=f"of-{at.office_id}", callback_url="http://h/"),
    "ListSwitches": lambda at: pb.ListSwitchesRequest(),
    "CreateToken": lambda at: pb.CreateTokenRequest(
        role=pb.ROLE_VIEWER, company_id=at.company_id, office_ids=[at.office_id]
    ),
    "ListTokens": lambda at: pb.ListTokensRequest(),
    "CreateSignInLink: for oneself": lambda at: pb.CreateSignInLinkRequest(),
    "CreateSignInLink: for another": lambda at: pb.CreateSignInLinkRequest(token_id=at.token_id),
    "RotateToken": lambda at: pb.RotateTokenRequest(token_id=at.token_id),
    "RevokeToken": lambda at: pb.RevokeTokenRequest(token_id=at.token_id),
    "ImportRates": lambda at: pb.ImportRatesRequest(deck=DECK.encode()),
    "ListRateDecks": lambda at: pb.ListRateDecksRequest(),
    "AdjustBalance": lambda at: pb.AdjustBalanceRequest(
        office_id=at.office_id, amount_micros=1, reason="r", idempotency_key="k"
    ),
    "AddPaymentMethod": lambda at: pb.AddPaymentMethodRequest(office_id=at.office_id, provider_token="tok_visa_1"),
    "ConfirmPaymentMethod": lambda at: pb.ConfirmPaymentMethodRequest(
        office_id=at.office_id, payment_method_id=at.payment_method_id, amount_micros=500_000
    ),
    "ListPaymentMethods": lambda at: pb.ListPaymentMethodsRequest(office_id=at.office_id),
    "RemovePaymentMethod": lambda at: pb.RemovePaymentMethodRequest(
        office_id=at.office_id, payment_method_id=at.removable_id
    ),
    "ListOfferedAmounts": lambda at: pb.ListOfferedAmountsRequest(),
    "AddCredits": lambda at: pb.AddCreditsRequest(
        office_id=at.office_id, amount_micros=10_000_000, payment_method_id=at.payment_method_id, idempotency_key="k"
    ),
    "ListInvoices": lambda at: pb.ListInvoicesRequest(office_id=at.office_id),
    "GetInvoice": lambda at: pb.GetInvoiceRequest(invoice_id=f"{at.office_id}/2025-06"),
    "SetAutoRefill": lambda at: pb.SetAutoRefillRequest(office_id=at.office_id),
    "ListTransactions": lambda at: pb.ListTransactionsRequest(office_id=at.office_id),
    "UsageSummary": lambda at: pb.UsageSummaryRequest(office_id=at.office_id, month="2025-06"),
    "UsageBreakdown": lambda at: pb.UsageBreakdownRequest(office_id=at.office_id, month="2025-06"),
    "ListUsage": lambda at: pb.ListUsageRequest(office_id=at.office_id, month="2025-06"),
    "ExportUsage": lambda at: pb.ExportUsageRequest(office_id=at.office_id, month="2025-06"),
    "ListCalls": lambda at: pb.ListCallsRequest(office_id=at.office_id),
    "GetCall": lambda at: pb.GetCallRequest(office_id=at.office_id, call_id="c1"),
    "ExplainCall": lambda at: pb.ExplainCallRequest(office_id=at.office_id, call_id="c1"),
    "CutCall": lambda at: pb.CutCallRequest(office_id=at.office_id, call_id="c1"),
    "WatchBalance": lambda at: pb.WatchBalanceRequest(office_id=at.office_id),
    "WatchRefills": lambda at: pb.WatchRefillsRequest(),
}

# What names no office: there is no foreign one to ask for.
EVERYWHERE: Final = frozenset(
    {"RegisterSwitch", "ListSwitches", "ListCompanies", "ListTokens", "ImportRates", "ListRateDecks"}
    | {"ListOfferedAmounts", "WatchRefills", "CreateSignInLink: for oneself"}
)


def table() -> dict[str, dict[Role, str]]:
    """The cells of the page by rpc and role."""
    rows = [line.strip("| \n").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    start = next(number for number, row in enumerate(rows) if row == ["rpc", *(role.name for role in ROLES)])
    found = {}
    for name, *cells in rows[start + 2 :]:
        if name not in REQUESTS:
            break
        found[name] = dict(zip(ROLES, cells, strict=True))
    return found


def test_the_page_has_every_rpc() -> None:
    assert set(table()) == set(REQUESTS)
    assert {name.partition(":")[0] for name in REQUESTS} == {method.name for method in SERVICE.methods}
    assert {cell for cells in table().values() for cell in cells.values()} == {"all", "own", "no"}


async def ask(back: BackUnderTest, rpc: str, request: Any, secret: str) -> Refusal | None:
    """Send a request; how it is refused, or None."""
    call = getattr(back.stub, rpc.partition(":")[0])(request, metadata=bearer(secret))
    try:
        if isinstance(call, UnaryStreamCall):
            await call.read()
        else:
            await call
    except AioRpcError as error:
        return refusal_of(error)
    finally:
        call.cancel()
    return None


async def places(back: BackUnderTest) -> tuple[Place, Place]:
    """Two companies with an office, a viewer, an invoice and two cards each; the own one has a live call."""
    made = []
    for at in (OWN, FOREIGN):
        of = at.office_id
        await back.open_office(of, company_id=at.company_id, balance=1_000_000, payment_terms=pb.PAYMENT_TERMS_INVOICE)
        await buy(back, "", office_id=of)
        terms = pb.UpdateOfficeRequest(office_id=of, payment_terms=pb.PAYMENT_TERMS_CARD)
        await back.stub.UpdateOffice(terms, metadata=bearer())
        cards = [await confirmed_card(back, token, of) for token in ("tok_visa", "tok_mastercard")]
        viewer = await back.token(Role.VIEWER, at.company_id, of)
        made.append(Place(at.company_id, of, hash_secret(viewer)[:12], *cards))
    await back.till.authorize("c1", office_id="a1", version=(await back.till.office("a1")).settings.version)
    await back.refill("a1", threshold_micros=100_000_000, amount_micros=100_000_000)
    await back.journaler.turn()
    return made[0], made[1]


async def secrets_of_roles(back: BackUnderTest) -> dict[Role, str]:
    return {
        Role.OPERATOR: await back.token(Role.OPERATOR, ""),
        Role.COMPANY_ADMIN: await back.token(Role.COMPANY_ADMIN, "a"),
        Role.OFFICE_ADMIN: await back.token(Role.OFFICE_ADMIN, "a", "a1"),
        Role.VIEWER: await back.token(Role.VIEWER, "a", "a1"),
        Role.SWITCH: await back.token(Role.SWITCH, "", "a1", switch_id="sw1"),
    }


async def everything(back: BackUnderTest) -> object:
    """All that a request could change."""
    store = await back.till.dump()
    return store, (await back.ledger.audit.list(PageRequest(1_000))).items


async def test_every_cell_of_the_table(valkey: StoreServer, tmp_path: Path) -> None:
    denied = (StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED")
    async with running_back(valkey, tmp_path) as back:
        own, foreign = await places(back)
        secrets = await secrets_of_roles(back)
        words: set[str] = set()
        # Who may do the most comes last: an operator may revoke and rename.
        for rpc, cells in table().items():
            for role in reversed(ROLES):
                for at in (own, foreign, UNKNOWN):
                    if rpc in EVERYWHERE and at is not own:
                        continue
                    allowed = cells[role] == "all" or (cells[role] == "own" and at is own)
                    before = None if allowed else await everything(back)
                    found = await ask(back, rpc, REQUESTS[rpc](at), secrets[role])
                    where = f"{rpc} as {role.name} at {at}"
                    if not allowed:
                        assert found is not None, where
                        assert (found.code, found.reason, found.metadata) == (*denied, {}), where
                        assert await everything(back) == before, where
                        words.add(found.message)
                    elif at is UNKNOWN and rpc not in ("CreateCompany", "ListOffices"):
                        assert found is not None, where
                        assert found.code is StatusCode.NOT_FOUND, (where, found)
                    elif rpc in ("GetCall", "ExplainCall", "CutCall") and at is foreign:
                        assert found is not None, where
                        assert found.reason == "CALL_NOT_FOUND", (where, found)
                    elif rpc == "RotateToken" and found is not None:
                        # Who came before has done it.
                        assert found.reason == "TOKEN_REPLACED", (where, found)
                    else:
                        assert found is None, (where, found)
        assert len(words) == 1


async def test_lists_show_just_what_is_theirs(valkey: StoreServer, tmp_path: Path) -> None:
    async with running_back(valkey, tmp_path) as back:
        await places(back)
        await back.open_office("a2", company_id="a")
        secrets = await secrets_of_roles(back)
        for role, offices, companies in [
            (Role.OPERATOR, ["a1", "a2", "b1"], ["a", "b"]),
            (Role.COMPANY_ADMIN, ["a1", "a2"], ["a"]),
            (Role.OFFICE_ADMIN, ["a1"], ["a"]),
            (Role.VIEWER, ["a1"], ["a"]),
        ]:
            who = bearer(secrets[role])
            listed = await back.stub.ListOffices(pb.ListOfficesRequest(), metadata=who)
            assert [each.office_id for each in listed.offices] == offices
            found = await back.stub.ListCompanies(pb.ListCompaniesRequest(), metadata=who)
            assert [each.company_id for each in found.companies] == companies
        # Another office of the same company is as foreign to those who are limited to one.
        for role in (Role.OFFICE_ADMIN, Role.VIEWER):
            who = bearer(secrets[role])
            found = await refusal(back.stub.GetOffice(pb.GetOfficeRequest(office_id="a2"), metadata=who))
            assert found.code is StatusCode.PERMISSION_DENIED

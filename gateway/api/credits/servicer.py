"""Credits over gRPC: each method names its operation, the rest is `Runner`'s and the operations'."""

from dataclasses import dataclass
from typing import Final

from gateway.api.credits.balances import BalanceRpcs
from gateway.api.credits.calls import CallRpcs
from gateway.api.credits.companies import CompanyRpcs
from gateway.api.credits.decks import DeckRpcs
from gateway.api.credits.invoices import InvoiceRpcs
from gateway.api.credits.offices import OfficeRpcs
from gateway.api.credits.payment_methods import PaymentMethodRpcs
from gateway.api.credits.purchases import PurchaseRpcs
from gateway.api.credits.sign_in_links import SignInLinkRpcs
from gateway.api.credits.switches import SwitchRpcs
from gateway.api.credits.tokens import TokenRpcs
from gateway.api.credits.transactions import TransactionRpcs
from gateway.api.credits.usage import UsageRpcs
from gateway.api.credits.watches import BalanceWatch, RefillWatch
from gateway.api.runner import Runner, ServicerContext
from gateway.v1 import credits_pb2 as pb
from gateway.v1.credits_pb2_grpc import CreditsServicer as Base

SERVICE: Final = pb.DESCRIPTOR.services_by_name["Credits"]


@dataclass(frozen=True)
class Operations:
    """Everything that the servicer hands requests on to."""

    companies: CompanyRpcs
    offices: OfficeRpcs
    switches: SwitchRpcs
    tokens: TokenRpcs
    sign_in_links: SignInLinkRpcs
    decks: DeckRpcs
    balances: BalanceRpcs
    payment_methods: PaymentMethodRpcs
    purchases: PurchaseRpcs
    invoices: InvoiceRpcs
    transactions: TransactionRpcs
    usage: UsageRpcs
    calls: CallRpcs
    balance_watch: BalanceWatch
    refill_watch: RefillWatch


class CreditsServicer(Base):
    """The rpcs of Credits."""

    def __init__(self, runner: Runner, operations: Operations) -> None:
        self._runner = runner
        self._of = operations

    async def CreateCompany(  # noqa: N802  # the contract's name, here and below
        self, request: pb.CreateCompanyRequest, context: ServicerContext[pb.CreateCompanyRequest, pb.Company]
    ) -> pb.Company:
        """Record a company."""
        return await self._runner.run("CreateCompany", context, request, self._of.companies.create)

    async def CreateOffice(  # noqa: N802
        self, request: pb.CreateOfficeRequest, context: ServicerContext[pb.CreateOfficeRequest, pb.Office]
    ) -> pb.Office:
        """Make an office."""
        return await self._runner.run("CreateOffice", context, request, self._of.offices.create)

    async def UpdateOffice(  # noqa: N802
        self, request: pb.UpdateOfficeRequest, context: ServicerContext[pb.UpdateOfficeRequest, pb.Office]
    ) -> pb.Office:
        """Change an office."""
        return await self._runner.run("UpdateOffice", context, request, self._of.offices.update)

    async def GetOffice(  # noqa: N802
        self, request: pb.GetOfficeRequest, context: ServicerContext[pb.GetOfficeRequest, pb.Office]
    ) -> pb.Office:
        """Say how an office stands."""
        return await self._runner.run("GetOffice", context, request, self._of.offices.get)

    async def ListCompanies(  # noqa: N802
        self,
        request: pb.ListCompaniesRequest,
        context: ServicerContext[pb.ListCompaniesRequest, pb.ListCompaniesResponse],
    ) -> pb.ListCompaniesResponse:
        """List companies."""
        return await self._runner.run("ListCompanies", context, request, self._of.companies.list)

    async def ListOffices(  # noqa: N802
        self, request: pb.ListOfficesRequest, context: ServicerContext[pb.ListOfficesRequest, pb.ListOfficesResponse]
    ) -> pb.ListOfficesResponse:
        """List offices."""
        return await self._runner.run("ListOffices", context, request, self._of.offices.list)

    async def SuspendOffice(  # noqa: N802
        self, request: pb.SuspendOfficeRequest, context: ServicerContext[pb.SuspendOfficeRequest, pb.Office]
    ) -> pb.Office:
        """Stop an office."""
        return await self._runner.run("SuspendOffice", context, request, self._of.offices.suspend)

    async def ResumeOffice(  # noqa: N802
        self, request: pb.ResumeOfficeRequest, context: ServicerContext[pb.ResumeOfficeRequest, pb.Office]
    ) -> pb.Office:
        """Let an office go on."""
        return await self._runner.run("ResumeOffice", context, request, self._of.offices.resume)

    async def LiftFraudGuard(  # noqa: N802
        self, request: pb.LiftFraudGuardRequest, context: ServicerContext[pb.LiftFraudGuardRequest, pb.Office]
    ) -> pb.Office:
        """End the fraud guards of an office."""
        return await self._runner.run("LiftFraudGuard", context, request, self._of.offices.lift_fraud_guard)

    async def RegisterSwitch(  # noqa: N802
        self, request: pb.RegisterSwitchRequest, context: ServicerContext[pb.RegisterSwitchRequest, pb.Switch]
    ) -> pb.Switch:
        """Record where a switch is told what to do."""
        return await self._runner.run("RegisterSwitch", context, request, self._of.switches.register)

    async def ListSwitches(  # noqa: N802
        self, request: pb.ListSwitchesRequest, context: ServicerContext[pb.ListSwitchesRequest, pb.ListSwitchesResponse]
    ) -> pb.ListSwitchesResponse:
        """List switches."""
        return await self._runner.run("ListSwitches", context, request, self._of.switches.list)

    async def CreateToken(  # noqa: N802
        self, request: pb.CreateTokenRequest, context: ServicerContext[pb.CreateTokenRequest, pb.CreateTokenResponse]
    ) -> pb.CreateTokenResponse:
        """Make a token."""
        return await self._runner.run("CreateToken", context, request, self._of.tokens.create)

    async def ListTokens(  # noqa: N802
        self, request: pb.ListTokensRequest, context: ServicerContext[pb.ListTokensRequest, pb.ListTokensResponse]
    ) -> pb.ListTokensResponse:
        """List tokens."""
        return await self._runner.run("ListTokens", context, request, self._of.tokens.list)

    async def RevokeToken(  # noqa: N802
        self, request: pb.RevokeTokenRequest, context: ServicerContext[pb.RevokeTokenRequest, pb.Token]
    ) -> pb.Token:
        """Revoke a token."""
        return await self._runner.run("RevokeToken", context, request, self._of.tokens.revoke)

    async def CreateSignInLink(  # noqa: N802
        self,
        request: pb.CreateSignInLinkRequest,
        context: ServicerContext[pb.CreateSignInLinkRequest, pb.CreateSignInLinkResponse],
    ) -> pb.CreateSignInLinkResponse:
        """Make a link that signs a browser in."""
        return await self._runner.run("CreateSignInLink", context, request, self._of.sign_in_links.create)

    async def ImportRates(  # noqa: N802
        self, request: pb.ImportRatesRequest, context: ServicerContext[pb.ImportRatesRequest, pb.RateDeck]
    ) -> pb.RateDeck:
        """Put a rate deck in force."""
        return await self._runner.run("ImportRates", context, request, self._of.decks.import_rates)

    async def ListRateDecks(  # noqa: N802
        self,
        request: pb.ListRateDecksRequest,
        context: ServicerContext[pb.ListRateDecksRequest, pb.ListRateDecksResponse],
    ) -> pb.ListRateDecksResponse:
        """List rate decks."""
        return await self._runner.run("ListRateDecks", context, request, self._of.decks.list)

    async def AdjustBalance(  # noqa: N802
        self,
        request: pb.AdjustBalanceRequest,
        context: ServicerContext[pb.AdjustBalanceRequest, pb.AdjustBalanceResponse],
    ) -> pb.AdjustBalanceResponse:
        """Move money by hand."""
        return await self._runner.run("AdjustBalance", context, request, self._of.balances.adjust)

    async def AddPaymentMethod(  # noqa: N802
        self,
        request: pb.AddPaymentMethodRequest,
        context: ServicerContext[pb.AddPaymentMethodRequest, pb.PaymentMethod],
    ) -> pb.PaymentMethod:
        """Add a card."""
        return await self._runner.run("AddPaymentMethod", context, request, self._of.payment_methods.add)

    async def ConfirmPaymentMethod(  # noqa: N802
        self,
        request: pb.ConfirmPaymentMethodRequest,
        context: ServicerContext[pb.ConfirmPaymentMethodRequest, pb.PaymentMethod],
    ) -> pb.PaymentMethod:
        """Confirm a card."""
        return await self._runner.run("ConfirmPaymentMethod", context, request, self._of.payment_methods.confirm)

    async def ListPaymentMethods(  # noqa: N802
        self,
        request: pb.ListPaymentMethodsRequest,
        context: ServicerContext[pb.ListPaymentMethodsRequest, pb.ListPaymentMethodsResponse],
    ) -> pb.ListPaymentMethodsResponse:
        """List cards."""
        return await self._runner.run("ListPaymentMethods", context, request, self._of.payment_methods.list)

    async def RemovePaymentMethod(  # noqa: N802
        self,
        request: pb.RemovePaymentMethodRequest,
        context: ServicerContext[pb.RemovePaymentMethodRequest, pb.PaymentMethod],
    ) -> pb.PaymentMethod:
        """Remove a card."""
        return await self._runner.run("RemovePaymentMethod", context, request, self._of.payment_methods.remove)

    async def ListOfferedAmounts(  # noqa: N802
        self,
        request: pb.ListOfferedAmountsRequest,
        context: ServicerContext[pb.ListOfferedAmountsRequest, pb.ListOfferedAmountsResponse],
    ) -> pb.ListOfferedAmountsResponse:
        """Say what may be bought."""
        return await self._runner.run("ListOfferedAmounts", context, request, self._of.purchases.offered)

    async def AddCredits(  # noqa: N802
        self, request: pb.AddCreditsRequest, context: ServicerContext[pb.AddCreditsRequest, pb.AddCreditsResponse]
    ) -> pb.AddCreditsResponse:
        """Buy credits."""
        return await self._runner.run("AddCredits", context, request, self._of.purchases.add)

    async def ListInvoices(  # noqa: N802
        self, request: pb.ListInvoicesRequest, context: ServicerContext[pb.ListInvoicesRequest, pb.ListInvoicesResponse]
    ) -> pb.ListInvoicesResponse:
        """List invoices."""
        return await self._runner.run("ListInvoices", context, request, self._of.invoices.list)

    async def GetInvoice(  # noqa: N802
        self, request: pb.GetInvoiceRequest, context: ServicerContext[pb.GetInvoiceRequest, pb.Invoice]
    ) -> pb.Invoice:
        """Show an invoice."""
        return await self._runner.run("GetInvoice", context, request, self._of.invoices.get)

    async def SetAutoRefill(  # noqa: N802
        self, request: pb.SetAutoRefillRequest, context: ServicerContext[pb.SetAutoRefillRequest, pb.Office]
    ) -> pb.Office:
        """Turn automatic refill on or off."""
        return await self._runner.run("SetAutoRefill", context, request, self._of.offices.set_auto_refill)

    async def ListTransactions(  # noqa: N802
        self,
        request: pb.ListTransactionsRequest,
        context: ServicerContext[pb.ListTransactionsRequest, pb.ListTransactionsResponse],
    ) -> pb.ListTransactionsResponse:
        """List what has moved of an office's money by credits."""
        return await self._runner.run("ListTransactions", context, request, self._of.transactions.list)

    async def UsageSummary(  # noqa: N802
        self, request: pb.UsageSummaryRequest, context: ServicerContext[pb.UsageSummaryRequest, pb.UsageSummaryResponse]
    ) -> pb.UsageSummaryResponse:
        """Sum a month up."""
        return await self._runner.run("UsageSummary", context, request, self._of.usage.summary)

    async def UsageBreakdown(  # noqa: N802
        self,
        request: pb.UsageBreakdownRequest,
        context: ServicerContext[pb.UsageBreakdownRequest, pb.UsageBreakdownResponse],
    ) -> pb.UsageBreakdownResponse:
        """Sum a month up by day and by department."""
        return await self._runner.run("UsageBreakdown", context, request, self._of.usage.breakdown)

    async def ListUsage(  # noqa: N802
        self, request: pb.ListUsageRequest, context: ServicerContext[pb.ListUsageRequest, pb.ListUsageResponse]
    ) -> pb.ListUsageResponse:
        """List a month's calls and messages."""
        return await self._runner.run("ListUsage", context, request, self._of.usage.list)

    async def ExportUsage(  # type: ignore[override]  # noqa: N802  # writes to the context instead of yielding
        self, request: pb.ExportUsageRequest, context: ServicerContext[pb.ExportUsageRequest, pb.ExportUsageResponse]
    ) -> None:
        """Send a month's calls and messages as CSV."""
        await self._runner.run_stream("ExportUsage", context, request, self._of.usage.export)

    async def ListCalls(  # noqa: N802
        self, request: pb.ListCallsRequest, context: ServicerContext[pb.ListCallsRequest, pb.ListCallsResponse]
    ) -> pb.ListCallsResponse:
        """List live calls."""
        return await self._runner.run("ListCalls", context, request, self._of.calls.list)

    async def CutCall(  # noqa: N802
        self, request: pb.CutCallRequest, context: ServicerContext[pb.CutCallRequest, pb.CutCallResponse]
    ) -> pb.CutCallResponse:
        """Have a live call hung up."""
        return await self._runner.run("CutCall", context, request, self._of.calls.cut)

    async def GetCall(  # noqa: N802
        self, request: pb.GetCallRequest, context: ServicerContext[pb.GetCallRequest, pb.Call]
    ) -> pb.Call:
        """Say how a call stands."""
        return await self._runner.run("GetCall", context, request, self._of.calls.get)

    async def ExplainCall(  # noqa: N802
        self, request: pb.ExplainCallRequest, context: ServicerContext[pb.ExplainCallRequest, pb.ExplainCallResponse]
    ) -> pb.ExplainCallResponse:
        """Say what a call cost and why."""
        return await self._runner.run("ExplainCall", context, request, self._of.calls.explain)

    async def WatchBalance(  # type: ignore[override]  # noqa: N802  # writes to the context instead of yielding
        self, request: pb.WatchBalanceRequest, context: ServicerContext[pb.WatchBalanceRequest, pb.WatchBalanceResponse]
    ) -> None:
        """Tell of a balance whenever it changes."""
        await self._runner.run_stream("WatchBalance", context, request, self._of.balance_watch.watch)

    async def WatchRefills(  # type: ignore[override]  # noqa: N802  # writes to the context instead of yielding
        self, request: pb.WatchRefillsRequest, context: ServicerContext[pb.WatchRefillsRequest, pb.WatchRefillsResponse]
    ) -> None:
        """Tell of refill triggers."""
        await self._runner.run_stream("WatchRefills", context, request, self._of.refill_watch.watch)

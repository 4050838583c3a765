"""CreateCompany and ListCompanies."""

from gateway.api.credits.fields import instant, read_page
from gateway.domain.identity import Identity
from gateway.ledger.companies import Companies, Company
from gateway.store.clock import Clock
from gateway.v1 import credits_pb2 as pb


class CompanyRpcs:
    """What is asked about companies."""

    def __init__(self, companies: Companies, clock: Clock) -> None:
        self._companies = companies
        self._clock = clock

    async def create(self, request: pb.CreateCompanyRequest, identity: Identity) -> pb.Company:
        """Record a company, once per id.

        Raises:
            PermissionDenied: The bearer is no operator.
            InvalidArgument, CompanyExists, DatabaseError: As `Companies.create`.
        """
        identity.may_operate()
        company = await self._companies.create(
            request.company_id, request.name, actor=identity.actor, now_ms=self._clock.now_ms()
        )
        return _message(company)

    async def list(self, request: pb.ListCompaniesRequest, identity: Identity) -> pb.ListCompaniesResponse:
        """The companies that the bearer may see: all, or their own.

        Raises:
            PermissionDenied: The bearer may list nothing.
            InvalidArgument: The page is not one of this list.
        """
        company_id = identity.readable_company_id()
        page = await self._companies.list(read_page(request.page_size, request.page_token), company_id)
        return pb.ListCompaniesResponse(
            companies=[_message(company) for company in page.items], next_page_token=page.next_page_token
        )


def _message(company: Company) -> pb.Company:
    return pb.Company(company_id=company.company_id, name=company.name, created_at=instant(company.created_at))

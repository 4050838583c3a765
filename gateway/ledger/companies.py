"""The companies."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.ids import validate_id, validate_text
from gateway.ledger import audit
from gateway.ledger.database import Database
from gateway.ledger.errors import CompanyExists, CompanyNotFound
from gateway.ledger.models import CompanyRow
from gateway.ledger.paging import Page, PageRequest


@dataclass(frozen=True, slots=True)
class Company:
    """A company: what offices belong to."""

    company_id: str
    name: str
    created_at: int


class Companies:
    """The repository of companies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, company_id: str, name: str, *, actor: str, now_ms: int) -> Company:
        """Record a company, once per id; a repeat with the same name gets the company that there is.

        Raises:
            InvalidArgument: The id or the name cannot be.
            CompanyExists: The id is taken by a company of another name.
        """
        validate_id(company_id, "company_id")
        validate_text(name, "name")

        async def insert(session: AsyncSession) -> Company:
            row = await session.get(CompanyRow, company_id)
            if row is not None:
                if row.name != name:
                    raise CompanyExists(company_id)
                return _company(row)
            company = Company(company_id, name, now_ms)
            session.add(CompanyRow(company_id=company_id, name=name, created_at=now_ms))
            audit.record(
                session,
                now_ms=now_ms,
                actor=actor,
                action="company.create",
                target=f"company:{company_id}",
                before=None,
                after=company,
            )
            return company

        return await self._database.transact(insert)

    async def get(self, company_id: str) -> Company:
        """One company.

        Raises:
            CompanyNotFound: There is none of this id.
        """
        async with self._database.read() as session:
            row = await session.get(CompanyRow, company_id)
        if row is None:
            raise CompanyNotFound(company_id)
        return _company(row)

    async def list(self, page: PageRequest, company_id: str | None = None) -> Page[Company]:
        """The companies in the order of their ids.

        Args:
            page: Which part.
            company_id: Only this one, for whom sees no other (`Identity.readable_company_id`).

        Raises:
            InvalidArgument: The page is not one of this list.
        """
        after = page.after((str,), "companies", company_id)
        query = select(CompanyRow).order_by(CompanyRow.company_id).limit(page.limit + 1)
        if company_id is not None:
            query = query.where(CompanyRow.company_id == company_id)
        if after is not None:
            query = query.where(CompanyRow.company_id > after[0])
        async with self._database.read() as session:
            companies = [_company(row) for row in await session.scalars(query)]
        return page.page(companies, lambda company: (company.company_id,), "companies", company_id)


def _company(row: CompanyRow) -> Company:
    return Company(row.company_id, row.name, row.created_at)

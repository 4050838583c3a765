"""Whom the notices of an office go to by e-mail, beside the operators."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from gateway.domain.mail_address import is_mail_address
from gateway.errors import InvalidArgument
from gateway.ledger import audit
from gateway.ledger.database import Database
from gateway.ledger.errors import CompanyNotFound, NoticeRecipientNotFound, OfficeNotFound
from gateway.ledger.models import CompanyRow, NoticeRecipientRow, OfficeRow


@dataclass(frozen=True, slots=True)
class NoticeRecipient:
    """An address that gets the notices of one office, or of all offices of a company (`office_id` is empty)."""

    company_id: str
    office_id: str
    address: str


class NoticeRecipients:
    """The repository of recipients."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, *, company_id: str = "", office_id: str = "", address: str, actor: str, now_ms: int
    ) -> NoticeRecipient:
        """Let an address have the notices from now on; the same again changes nothing.

        Args:
            company_id: For all its offices, also those that it will have; or
            office_id: for this one.
            address: `name@host`.
            actor: Who wants that.
            now_ms: When.

        Raises:
            InvalidArgument: It is no address, or not exactly one of company and office is named.
            CompanyNotFound, OfficeNotFound: There is none of this id.
        """
        _check(company_id, office_id, address)

        async def insert(session: AsyncSession) -> NoticeRecipient:
            recipient = await _resolve(session, company_id, office_id, address)
            if await session.get(NoticeRecipientRow, _key(recipient)) is None:
                session.add(
                    NoticeRecipientRow(
                        company_id=recipient.company_id,
                        office_id=recipient.office_id,
                        address=address,
                        created_by=actor,
                        created_at=now_ms,
                    )
                )
                _record(session, "add", recipient, actor, now_ms)
            return recipient

        return await self._database.transact(insert)

    async def remove(
        self, *, company_id: str = "", office_id: str = "", address: str, actor: str, now_ms: int
    ) -> NoticeRecipient:
        """Take an address away again; arguments as in `add`. What is on its way to it already still goes.

        Raises:
            InvalidArgument: As `add`.
            CompanyNotFound, OfficeNotFound: There is none of this id.
            NoticeRecipientNotFound: The address does not get these notices.
        """
        _check(company_id, office_id, address)

        async def delete(session: AsyncSession) -> NoticeRecipient:
            recipient = await _resolve(session, company_id, office_id, address)
            row = await session.get(NoticeRecipientRow, _key(recipient))
            if row is None:
                raise NoticeRecipientNotFound(address)
            await session.delete(row)
            _record(session, "remove", recipient, actor, now_ms)
            return recipient

        return await self._database.transact(delete)

    async def list(self) -> tuple[NoticeRecipient, ...]:
        """All of them, by company, office and address."""
        query = select(NoticeRecipientRow).order_by(
            NoticeRecipientRow.company_id, NoticeRecipientRow.office_id, NoticeRecipientRow.address
        )
        async with self._database.read() as session:
            return tuple(
                NoticeRecipient(row.company_id, row.office_id, row.address) for row in await session.scalars(query)
            )


def _check(company_id: str, office_id: str, address: str) -> None:
    if bool(company_id) == bool(office_id):
        raise InvalidArgument("office_id", "name either an office or a company")
    if not is_mail_address(address):
        raise InvalidArgument("address", "must be an e-mail address such as billing@example.com, without a name")


async def _resolve(session: AsyncSession, company_id: str, office_id: str, address: str) -> NoticeRecipient:
    if office_id:
        office = await session.get(OfficeRow, office_id)
        if office is None:
            raise OfficeNotFound(office_id)
        company_id = office.company_id
    elif await session.get(CompanyRow, company_id) is None:
        raise CompanyNotFound(company_id)
    return NoticeRecipient(company_id, office_id, address)


def _key(recipient: NoticeRecipient) -> tuple[str, str, str]:
    return recipient.company_id, recipient.office_id, recipient.address


def _record(session: AsyncSession, change: str, recipient: NoticeRecipient, actor: str, now_ms: int) -> None:
    of_office, adds = recipient.office_id != "", change == "add"
    audit.record(
        session,
        now_ms=now_ms,
        actor=actor,
        action=f"notice_recipient.{change}",
        target=f"office:{recipient.office_id}" if of_office else f"company:{recipient.company_id}",
        before=None if adds else recipient,
        after=recipient if adds else None,
    )

"""The one way from an office_id in a request to the office: rights are checked before anything else is told.

To whom an office is not, it looks the same whether it exists or not.
"""

from gateway.domain.identity import Identity
from gateway.domain.ids import validate_office_id
from gateway.ledger.errors import OfficeNotFound
from gateway.ledger.offices import Office, Offices


class OfficeAccess:
    """Looks offices up for somebody."""

    def __init__(self, offices: Offices) -> None:
        self._offices = offices

    async def readable(self, office_id: str, identity: Identity) -> Office:
        """An office that the bearer may read.

        Raises:
            InvalidArgument: It can be no office_id.
            PermissionDenied: It is not the bearer's to read, or does not exist as far as they may know.
            OfficeNotFound: It does not exist.
        """
        validate_office_id(office_id)
        office = await self._offices.find(office_id)
        identity.may_read_office(office_id, None if office is None else office.company_id)
        return _existing(office, office_id)

    async def administered(self, office_id: str, identity: Identity) -> Office:
        """An office that the bearer may administer; raises as `readable`."""
        validate_office_id(office_id)
        office = await self._offices.find(office_id)
        identity.may_administer_office(office_id, None if office is None else office.company_id)
        return _existing(office, office_id)

    async def updatable(self, office_id: str, identity: Identity, fields: frozenset[str]) -> Office:
        """An office of which the bearer may change these fields; raises as `readable`."""
        validate_office_id(office_id)
        office = await self._offices.find(office_id)
        identity.may_update_office(office_id, None if office is None else office.company_id, fields)
        return _existing(office, office_id)


def _existing(office: Office | None, office_id: str) -> Office:
    if office is None:
        raise OfficeNotFound(office_id)
    return office

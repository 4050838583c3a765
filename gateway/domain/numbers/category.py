"""Which line of the usage report a call belongs to."""

from typing import Final

from gateway.domain.numbers.kinds import NumberInfo, NumberType
from gateway.domain.vocabulary import Category, Direction, Service

# To look a member up in its enum takes 0.1 us each time (Python 3.11), and this is asked of every call.
_FAX: Final = Service.FAX
_INBOUND: Final = Direction.INBOUND
_OUTBOUND: Final = Direction.OUTBOUND
_TOLL_FREE: Final = NumberType.TOLL_FREE
_LOCAL: Final = Category.LOCAL
_INTERNATIONAL: Final = Category.INTERNATIONAL


def call_category(
    direction: Direction, service: Service, called: NumberInfo, calling: NumberInfo | None = None
) -> Category:
    """Return the category of a call that is no emergency.

    A fax is a FAX whichever way it goes. An inbound call to a toll-free number is TOLL_FREE, whatever country the
    number is of: the office pays for it. An outbound one is TOLL_FREE only to a toll-free number of the caller's own
    country; a foreign one, and +800, is an INTERNATIONAL call with a price. All else is LOCAL or INTERNATIONAL by
    whether the other end is domestic; a caller who withholds the number counts as LOCAL.

    Args:
        direction: Seen from the office.
        service: What the call carries.
        called: The called number, classified from the office's country.
        calling: The calling number, classified likewise; None if it is withheld or no number. Matters inbound only.
    """
    if service is _FAX:
        return Category.FAX
    if called.kind is _TOLL_FREE and (direction is _INBOUND or called.is_domestic):
        return Category.TOLL_FREE
    other_end = called if direction is _OUTBOUND else calling
    return _LOCAL if other_end is None or other_end.is_domestic else _INTERNATIONAL

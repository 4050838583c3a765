"""AdjustBalance: money in or out by hand, as the office's next numbered credit."""

import re
from typing import Final

from gateway.api.credits.access import OfficeAccess
from gateway.domain.credit import OWN_KEY_PREFIX, CreditKind, CreditRequest
from gateway.domain.identity import Identity
from gateway.domain.money import MAX_AMOUNT_MICROS
from gateway.domain.vocabulary import RefillState
from gateway.errors import FailedPrecondition, InvalidArgument, TollgateError
from gateway.ledger.credits import Credits
from gateway.ledger.offices import Offices
from gateway.ledger.refills import Refills
from gateway.projection.credits import Application, BalanceOutOfRange, CreditApplication
from gateway.projection.locks import OfficeLocks
from gateway.projection.offices import OfficeProjection
from gateway.store.clock import Clock
from gateway.store.codes import Code
from gateway.store.records import OfficeRecord
from gateway.v1 import credits_pb2 as pb

_REFILL_ID: Final = re.compile(r"(?P<office>[A-Za-z0-9._-]{1,64})/(?P<number>[1-9][0-9]{0,14})")


class BalanceRpcs:
    """What is asked of a balance by hand."""

    def __init__(
        self,
        offices: Offices,
        ledger: Credits,
        refills: Refills,
        projection: OfficeProjection,
        application: CreditApplication,
        locks: OfficeLocks,
        clock: Clock,
    ) -> None:
        self._access = OfficeAccess(offices)
        self._credits = ledger
        self._refills = refills
        self._projection = projection
        self._application = application
        self._locks = locks
        self._clock = clock

    async def adjust(self, request: pb.AdjustBalanceRequest, identity: Identity) -> pb.AdjustBalanceResponse:
        """Add or take money, once per idempotency key.

        The number is taken in SQL before the store moves anything. What happens in between (the store is away, the
        process dies) is finished by the applier, and a repeat with the same key tells how it ended.

        Raises:
            PermissionDenied: The bearer is no operator.
            InvalidArgument: A value is out of its range.
            OfficeNotFound: There is no office of this id.
            IdempotencyKeyReused: The office has used the key for another content.
            RefillAlreadyCredited: The refill has its credit.
            FailedPrecondition: More is taken than is available, the balance would pass its bound, or the refill is not
                asked for; the message has the largest amount that would do.
            Unavailable: The money may be moved or not: repeat with the same key.
        """
        identity.may_operate()
        credit = _read(request)
        await self._access.readable(credit.office_id, identity)
        async with self._locks.hold(credit.office_id):
            if await self._credits.find_by_key(credit.office_id, credit.idempotency_key) is None:
                await self._check(credit, identity.actor)
            new = await self._credits.new_credit(credit, actor=identity.actor, now_ms=self._clock.now_ms())
            done = await self._application.apply_through(credit.office_id, new.credit.number, actor=identity.actor)
        if done.is_refused:
            raise _refused(credit, done)
        return pb.AdjustBalanceResponse(
            number=done.credit.number,
            balance_micros=done.balance_micros,
            available_micros=done.available_micros,
            replayed=new.replayed,
        )

    async def _check(self, credit: CreditRequest, actor: str) -> None:
        """Find out what can be known before a number is taken: a number once taken is there for ever."""
        office = await self._projection.record_of(credit.office_id, actor=actor)
        largest = MAX_AMOUNT_MICROS - office.balance_micros
        if credit.amount_micros > largest:
            raise BalanceOutOfRange(largest)
        if credit.refill_id is not None:
            await self._check_refill(credit.refill_id, office)

    async def _check_refill(self, refill_id: str, office: OfficeRecord) -> None:
        """A refill may be closed once it was asked for, also when it is not needed any more: the card was charged."""
        number = int(refill_id.rpartition("/")[2])
        if number <= office.refill_number:
            return  # Credited: SQL says so, and by which key.
        asked = office.refill_state in (RefillState.PENDING, RefillState.WAITING)
        if number == office.refill_number + 1 and (asked or await self._refills.find(refill_id) is not None):
            return
        raise _not_pending()


def _read(request: pb.AdjustBalanceRequest) -> CreditRequest:
    refill_id = request.refill_id or None
    credit = CreditRequest(
        office_id=request.office_id,
        amount_micros=request.amount_micros,
        kind=CreditKind.ADJUSTMENT if refill_id is None else CreditKind.REFILL,
        reason=request.reason,
        idempotency_key=request.idempotency_key,
        refill_id=refill_id,
    )
    credit.validate()
    if credit.idempotency_key.startswith(OWN_KEY_PREFIX):
        raise InvalidArgument("idempotency_key", f"must not begin with {OWN_KEY_PREFIX!r}, which is the gateway's")
    if refill_id is not None:
        match = _REFILL_ID.fullmatch(refill_id)
        if match is None or match["office"] != credit.office_id:
            raise InvalidArgument(
                "refill_id", "must be one of this office, '<office_id>/<number>', as WatchRefills says"
            )
    return credit


def _refused(credit: CreditRequest, done: Application) -> TollgateError:
    """Why a credit moved nothing, now or when its key was first used."""
    if credit.amount_micros < 0:
        largest = -max(0, done.available_micros)
        return FailedPrecondition(
            f"amount_micros: {-credit.amount_micros} micros are more than is available; at most {-largest} can be "
            f"taken now ({largest} as amount_micros). Nothing was changed; use a new idempotency_key.",
            reason="NOT_COVERED",
            field="amount_micros",
            metadata={"largest_amount_micros": str(largest)},
        )
    if done.refusal is Code.NOT_PENDING or (done.refusal is None and credit.refill_id is not None):
        return _not_pending()
    return BalanceOutOfRange(MAX_AMOUNT_MICROS - done.balance_micros)


def _not_pending() -> FailedPrecondition:
    return FailedPrecondition(
        "refill_id: this refill was not asked for; WatchRefills and GetOffice say which one is. Nothing was changed.",
        reason="REFILL_NOT_PENDING",
        field="refill_id",
    )

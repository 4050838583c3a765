"""Offices: made and changed in SQL first, then projected into the store, which alone knows what is reserved."""

import asyncio
from typing import Final

from gateway.api.credits.access import OfficeAccess
from gateway.api.credits.fields import check_reason, read_page
from gateway.api.credits.office_messages import office_message, read_changes, read_settings
from gateway.billing.payment_methods import Cards
from gateway.domain.identity import Identity
from gateway.domain.ids import validate_id, validate_office_id
from gateway.domain.office import RefillSettings
from gateway.domain.vocabulary import OfficeState
from gateway.errors import FailedPrecondition, PermissionDenied
from gateway.ledger.fraud_guards import FraudGuards
from gateway.ledger.offices import Office, OfficeChange, Offices
from gateway.projection.locks import OfficeLocks
from gateway.projection.offices import NotCovered, OfficeLost, OfficeProjection
from gateway.store.balances import BalanceStore
from gateway.store.clock import Clock
from gateway.v1 import credits_pb2 as pb

_READS_AT_ONCE: Final = 100


class OfficeRpcs:
    """What is asked about offices.

    Args:
        offices: SQL's side.
        guards: The fraud guards, which are there as well.
        projection: From there into the store.
        store: The store's side.
        cards: Knows which card may be charged by a refill.
        locks: Held while an office is changed.
        clock: The store's.
        currency: Of this installation.
        refill_defaults: Threshold and amount of an automatic refill where a request names none.
    """

    def __init__(
        self,
        offices: Offices,
        guards: FraudGuards,
        projection: OfficeProjection,
        store: BalanceStore,
        cards: Cards,
        locks: OfficeLocks,
        clock: Clock,
        *,
        currency: str,
        refill_defaults: RefillSettings,
    ) -> None:
        self._offices = offices
        self._guards = guards
        self._access = OfficeAccess(offices)
        self._projection = projection
        self._store = store
        self._cards = cards
        self._locks = locks
        self._clock = clock
        self._currency = currency
        self._refill_defaults = refill_defaults

    async def create(self, request: pb.CreateOfficeRequest, identity: Identity) -> pb.Office:
        """Make an office, once per id.

        Raises:
            PermissionDenied: The bearer is no operator.
            InvalidArgument, CompanyNotFound, OfficeExists: As `Offices.create`.
            Unavailable: It is made in SQL or not at all; a repeat finds out.
        """
        identity.may_operate()
        settings = read_settings(request, self._currency)
        validate_office_id(settings.office_id)
        async with self._locks.hold(settings.office_id):
            office = await self._offices.create(settings, actor=identity.actor, now_ms=self._clock.now_ms())
            return await self._answer(await self._projection.settle(office, actor=identity.actor))

    async def update(self, request: pb.UpdateOfficeRequest, identity: Identity) -> pb.Office:
        """Change the given fields together, or none of them.

        Raises:
            PermissionDenied: One of the fields, or the office, is not the bearer's to change.
            InvalidArgument: A value is out of its range.
            OfficeNotFound: There is no office of this id.
            FailedPrecondition: The office would change company or currency, or its funds do not cover the credit limit.
            Unavailable: It is done or not; a repeat finds out.
        """
        changes = read_changes(request)
        fixed = frozenset(name for name in ("company_id", "currency") if request.HasField(name))
        office = await self._access.updatable(request.office_id, identity, changes.fields | fixed)
        for name in sorted(fixed):
            if getattr(request, name) != getattr(office.settings, name):
                raise FailedPrecondition(
                    f"{name}: an office keeps its company and currency; make another office instead.",
                    reason="OFFICE_FIELD_FIXED",
                    field=name,
                )
        async with self._locks.hold(request.office_id):
            change = await self._offices.update(
                request.office_id, changes, actor=identity.actor, now_ms=self._clock.now_ms()
            )
            office = change.after
            refused = await self._projection.project(office)
            if refused is not None:
                if "credit_limit_micros" in changes.fields:
                    await self._take_back(change, refused, identity)
                # An earlier limit, which nobody came to take back, is what the store refuses.
                office = await self._projection.settle(office, actor=identity.actor)
            return await self._answer(office)

    async def get(self, request: pb.GetOfficeRequest, identity: Identity) -> pb.Office:
        """An office with its money.

        Raises:
            InvalidArgument, PermissionDenied, OfficeNotFound: As `OfficeAccess.readable`.
            Unavailable: SQL or the store did not answer, or the store does not hold the office.
        """
        return await self._answer(await self._access.readable(request.office_id, identity))

    async def list(self, request: pb.ListOfficesRequest, identity: Identity) -> pb.ListOfficesResponse:
        """The offices that the bearer may see, of all companies or of one.

        An office that the store does not hold is listed without money and refill: the rest is to be seen all the same.

        Raises:
            PermissionDenied: The bearer may list nothing, or nothing of this company.
            InvalidArgument: The company_id is none, or the page is not one of this list.
            Unavailable: SQL or the store did not answer.
        """
        company_id = identity.readable_company_id()
        if request.company_id:
            validate_id(request.company_id, "company_id")
            if company_id is not None and request.company_id != company_id:
                raise PermissionDenied
            company_id = request.company_id
        page = await self._offices.list(
            read_page(request.page_size, request.page_token), company_id, identity.readable_office_ids()
        )
        response = pb.ListOfficesResponse(next_page_token=page.next_page_token)
        now_ms = self._clock.now_ms()
        for start in range(0, len(page.items), _READS_AT_ONCE):
            some = page.items[start : start + _READS_AT_ONCE]
            records = await asyncio.gather(*(self._store.read_office(office.office_id) for office in some))
            response.offices.extend(map(office_message, some, records, [now_ms] * len(some)))
        return response

    async def suspend(self, request: pb.SuspendOfficeRequest, identity: Identity) -> pb.Office:
        """Stop an office from beginning calls and messages; raises as `_set_state`."""
        return await self._set_state(request.office_id, OfficeState.SUSPENDED, request.reason, identity)

    async def resume(self, request: pb.ResumeOfficeRequest, identity: Identity) -> pb.Office:
        """Let an office begin calls and messages again; raises as `_set_state`."""
        return await self._set_state(request.office_id, OfficeState.ACTIVE, request.reason, identity)

    async def lift_fraud_guard(self, request: pb.LiftFraudGuardRequest, identity: Identity) -> pb.Office:
        """End the fraud guards of an office; raises as `_set_state`."""
        identity.may_operate()
        validate_office_id(request.office_id)
        check_reason(request.reason)
        async with self._locks.hold(request.office_id):
            change = await self._guards.lift(
                request.office_id, actor=identity.actor, now_ms=self._clock.now_ms(), reason=request.reason
            )
            return await self._answer(await self._projection.settle(change.after, actor=identity.actor))

    async def set_auto_refill(self, request: pb.SetAutoRefillRequest, identity: Identity) -> pb.Office:
        """Turn automatic refill on or off; below the threshold already, the trigger goes out at once.

        Raises:
            InvalidArgument: A value is out of its range.
            PermissionDenied: The bearer is no admin of the office.
            OfficeNotFound: There is no office of this id.
            PaymentMethodNotFound, FailedPrecondition: The card cannot be charged for it.
            Unavailable: It is done or not; repeat it.
        """
        refill = RefillSettings(
            request.enabled,
            request.threshold_micros or self._refill_defaults.threshold_micros,
            request.amount_micros or self._refill_defaults.amount_micros,
            request.payment_method_id,
        )
        refill.validate()
        office = await self._access.administered(request.office_id, identity)
        if refill.payment_method_id:
            await self._cards.check_refill(office, refill)
        async with self._locks.hold(request.office_id):
            change = await self._offices.set_auto_refill(
                request.office_id, refill, actor=identity.actor, now_ms=self._clock.now_ms()
            )
            return await self._answer(await self._projection.settle(change.after, actor=identity.actor))

    async def _set_state(self, office_id: str, state: OfficeState, reason: str, identity: Identity) -> pb.Office:
        """Set the state.

        Raises:
            PermissionDenied: The bearer is no operator.
            InvalidArgument: A value is out of its range.
            OfficeNotFound: There is no office of this id.
            Unavailable: It is done or not; repeat it.
        """
        identity.may_operate()
        validate_office_id(office_id)
        check_reason(reason)
        async with self._locks.hold(office_id):
            change = await self._offices.set_state(
                office_id, state, actor=identity.actor, now_ms=self._clock.now_ms(), reason=reason
            )
            return await self._answer(await self._projection.settle(change.after, actor=identity.actor))

    async def _take_back(self, change: OfficeChange, refused: NotCovered, identity: Identity) -> None:
        """Take a refused update back and say which credit limit would do.

        Raises:
            FailedPrecondition: Always.
        """
        back = await self._offices.revert(change, actor=identity.actor, now_ms=self._clock.now_ms())
        await self._projection.settle(back.after, actor=identity.actor)
        smallest = refused.smallest_credit_limit_micros
        raise FailedPrecondition(
            f"credit_limit_micros: what is spent and reserved is not covered by this limit; the smallest that would do "
            f"is {smallest}. Nothing was changed.",
            reason="CREDIT_LIMIT_NOT_COVERED",
            field="credit_limit_micros",
            metadata={"smallest_credit_limit_micros": str(smallest)},
        )

    async def _answer(self, office: Office) -> pb.Office:
        record = await self._store.read_office(office.office_id)
        if record is None:
            raise OfficeLost(office.office_id)
        return office_message(office, record, self._clock.now_ms())

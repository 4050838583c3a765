"""The demo's story: credits are bought, an office's day, live calls, the month's usage, and a check of the books."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from gateway.cli.demo.buying import Buying
from gateway.cli.demo.cast import (
    CARDIFF,
    COMPANY,
    LONDON,
    OFFICE_IDS,
    SUNRISE,
    make_admin,
    make_switch,
    set_up_offices,
)
from gateway.cli.demo.day import Day
from gateway.cli.demo.last_call import LastCall
from gateway.cli.demo.live_act import LiveAct
from gateway.cli.demo.proof import audited
from gateway.cli.demo.report import Report
from gateway.cli.demo.screen import Screen
from gateway.cli.demo.stage import Stage, new_run
from gateway.cli.demo.triggers import Triggers
from gateway.cli.health import SERVING, ask_health
from gateway.client_channel import open_channel
from gateway.settings import Settings
from gateway.v1 import authorization_pb2 as pb
from gateway.v1 import credits_pb2
from gateway.v1.authorization_pb2_grpc import CallAuthorizationStub
from gateway.v1.credits_pb2_grpc import CreditsStub

if TYPE_CHECKING:
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub
    from gateway.v1.credits_pb2_grpc import CreditsAsyncStub

START_SECONDS: Final = 30.0

SETTLED_SECONDS: Final = 20.0
"""For so long a refill that an earlier demo has left is waited for."""


class Story:
    """Tells the story once.

    Args:
        settings: Of the gateway.
        screen: Where it is told.
        speed: How much faster than real time the day is told; None: without pauses.
    """

    def __init__(self, settings: Settings, screen: Screen, *, speed: float | None) -> None:
        self._settings = settings
        self._screen = screen
        self._speed = speed
        self._run = new_run()
        self._operator_secret = settings.operator_token.get_secret_value() if settings.operator_token else ""
        self._switch_secret = ""
        self._admin_secret = ""

    @property
    def people(self) -> dict[str, str]:
        """Whom the reader may sign in as, once the story was told: secrets by what they are."""
        return {"the operator": self._operator_secret, f"an admin of the offices of {COMPANY}": self._admin_secret}

    @property
    def last_call(self) -> LastCall:
        """A call to leave talking, once the story was told."""
        return LastCall(self._settings, self._switch_secret, SUNRISE, LONDON, CARDIFF, f"call-{self._run}-live")

    async def tell(self) -> bool:
        """Play all acts and check the books; returns whether they are right.

        Raises:
            BooksError: A call or message cost something else than it was quoted, a refill was not paid, or the audit
                found a difference.
            ClientError: The gateway did not answer on the Session where it must.
            grpc.RpcError: The gateway did not answer where it must.
        """
        async with open_channel(self._settings.admin_listen, self._operator_secret) as channel:
            credits: CreditsAsyncStub = CreditsStub(channel)  # noqa: A001 - the contract's word
            await self._until_serving()
            await set_up_offices(credits)
            # Two switches: what one lists as live on its Session says nothing of the other's calls.
            self._switch_secret = await make_switch(credits, "pbx-1")
            session_secret = await make_switch(credits, "pbx-2")
            await self._end_leftovers(credits)
            await self._settle_refills(credits)
            self._admin_secret = await make_admin(credits)
            async with self._stage(credits) as stage:
                for office_id in OFFICE_IDS:
                    stage.books.enter(office_id, "brought forward", (await stage.office(office_id)).balance_micros)
                buying = Buying(stage, self._settings.data_dir)
                await buying.by_card()
                self._screen.title(f"Three offices of {COMPANY}")
                day = Day(stage, speed=self._speed)
                await day.fund()
                await day.play()
                live = LiveAct(stage, self._settings.listen, session_secret)
                await live.fund()
                await live.play()
                await buying.by_invoice()
                await Report(stage).show()
                return await self._check(stage)

    @asynccontextmanager
    async def _stage(self, credits: "CreditsAsyncStub") -> AsyncIterator[Stage]:  # noqa: A002 - the contract's word
        triggers = Triggers()
        watching = asyncio.create_task(triggers.watch(credits))
        try:
            async with (
                open_channel(self._settings.admin_listen, self._admin_secret) as of_admin,
                open_channel(self._settings.listen, self._switch_secret) as of_switch,
            ):
                admin: CreditsAsyncStub = CreditsStub(of_admin)
                switch: CallAuthorizationAsyncStub = CallAuthorizationStub(of_switch)
                yield Stage(credits, admin, switch, self._screen, triggers, self._run)
        finally:
            watching.cancel()

    async def _until_serving(self) -> None:
        """Wait until both services say that they answer in full.

        Raises:
            TimeoutError: They do not, for as long as a gateway may take to start.
        """
        async with asyncio.timeout(START_SECONDS):
            for address in (self._settings.listen, self._settings.admin_listen):
                while await ask_health(address, START_SECONDS) != SERVING:  # noqa: ASYNC110 - another process's affair
                    await asyncio.sleep(0.05)

    async def _end_leftovers(self, credits: "CreditsAsyncStub") -> None:  # noqa: A002 - the contract's word
        """End calls that an earlier demo on the same data directory left talking."""
        async with open_channel(self._settings.listen, self._operator_secret) as channel:
            operator: CallAuthorizationAsyncStub = CallAuthorizationStub(channel)
            for office_id in OFFICE_IDS:
                left = await credits.ListCalls(credits_pb2.ListCallsRequest(office_id=office_id))
                for call in left.calls:
                    await operator.EndCall(
                        pb.EndCallRequest(office_id=office_id, call_id=call.call_id, duration_seconds=call.used_seconds)
                    )

    async def _settle_refills(self, credits: "CreditsAsyncStub") -> None:  # noqa: A002 - the contract's word
        """Let refills end that an earlier demo on the same data directory was stopped in, before balances are noted."""
        with suppress(TimeoutError):
            # One that does not end is the books' affair.
            async with asyncio.timeout(SETTLED_SECONDS):
                for office_id in OFFICE_IDS:
                    request = credits_pb2.GetOfficeRequest(office_id=office_id)
                    while (await credits.GetOffice(request)).refill.state == credits_pb2.REFILL_STATE_PENDING:  # noqa: ASYNC110 - another process's affair
                        await asyncio.sleep(0.05)

    async def _check(self, stage: Stage) -> bool:
        self._screen.title("The demo's own books, purchases and refills included, against the gateway's")
        verdicts = []
        for office_id in stage.books.offices():
            office = await stage.office(office_id)
            verdicts.append(
                stage.books.judge(
                    office_id, balance_micros=office.balance_micros, reserved_micros=office.reserved_micros
                )
            )
        self._screen.verdicts(verdicts)
        self._screen.say(f"  {await audited(self._settings.data_dir)}", "green")
        return all(each.is_right for each in verdicts)

"""The second act, in real time: calls on one Session, ticked by the gateway; one is cut, one is saved from it."""

import asyncio
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Final

from gateway.address import Address
from gateway.cli.demo.books import BooksError, cut_billed_seconds
from gateway.cli.demo.cast import CORNER, PARIS, STUDIO, SUNRISE, SYDNEY
from gateway.cli.demo.live_board import LiveBoard
from gateway.cli.demo.live_switch import LiveSwitch, SwitchedCall
from gateway.cli.demo.refill import until_paid
from gateway.cli.demo.stage import Stage
from gateway.cli.demo.triggers import Dip
from gateway.cli.demo.wording import called, decided
from gateway.cli.output import money
from gateway.client import Client, CutCall, FundsLow, FundsRestored
from gateway.v1 import authorization_pb2 as pb
from gateway.v1 import credits_pb2

CUT_AFTER_SECONDS: Final = 10
"""For so long the corner shop's funds last."""

SAVED_AFTER_SECONDS: Final = 14
"""For so long those of the studio would last; its call goes on beyond that."""

REFILLED_BELOW_SECONDS: Final = 3
"""The studio is refilled when it has less than so many seconds of talk: by the tick at which its caller is warned."""

SPARE_SECONDS: Final = 3.0
"""For so long before the cut the refill must be there."""

TALK_AFTER_SECONDS: Final = 3.0
"""For so long the saved call goes on after it was told that it may."""

_OFFICES: Final = (STUDIO, SUNRISE, CORNER)


class LiveAct:
    """Plays it once.

    Args:
        stage: What it is played on.
        listen: Where the gateway takes Sessions.
        secret: The switch's token.
    """

    def __init__(self, stage: Stage, listen: Address, secret: str) -> None:
        self._stage = stage
        self._client = Client(str(listen), secret)
        self._switch = LiveSwitch(self._client)
        self._began = 0.0

    async def fund(self) -> None:
        """Give one office what lasts until its call is cut, and one what lasts until its refill saves it."""
        stage = self._stage
        stage.screen.title("Live, in real time: calls on one Session, ticked by the gateway, billed by the second")
        await stage.bring_to(CORNER, await stage.quote(stage.call_of(CORNER, PARIS), CUT_AFTER_SECONDS))
        await stage.set_no_refill(STUDIO)
        await stage.bring_to(STUDIO, await stage.quote(stage.call_of(STUDIO, PARIS), SAVED_AFTER_SECONDS))
        below = await stage.quote(stage.call_of(STUDIO, PARIS), REFILLED_BELOW_SECONDS)
        await stage.set_refill(STUDIO, threshold_micros=below)
        for office_id in (CORNER, STUDIO):
            stage.introduce(await stage.office(office_id))

    async def play(self) -> None:
        """Play it.

        Raises:
            BooksError: A call cost something else than it was quoted, or a command or trigger did not come.
            ClientError: The gateway did not answer on the Session.
            grpc.RpcError: It did not answer elsewhere.
        """
        async with self._client:
            await self._client.wait_connected()
            self._stage.screen.headings()
            self._began = perf_counter()
            try:
                async with asyncio.TaskGroup() as group:
                    board = LiveBoard(self._stage, _OFFICES, self._moment)
                    companions = [group.create_task(board.watch()), group.create_task(self._obey())]
                    dip = group.create_task(self._hear_dip())
                    await asyncio.gather(
                        group.create_task(self._call_that_is_saved(dip)),
                        group.create_task(self._call_for(SUNRISE, SYDNEY, begins=0.7, seconds=13)),
                        group.create_task(self._call_that_is_cut(begins=1.4)),
                        group.create_task(self._call_for(SUNRISE, PARIS, begins=2.1, seconds=9)),
                    )
                    for companion in companions:
                        companion.cancel()
            except BaseExceptionGroup as several:
                # The first is why the others ended.
                raise several.exceptions[0] from None

    async def _call_for(self, office_id: str, called_number: str, *, begins: float, seconds: float) -> None:
        """A call at whose end somebody hangs up."""
        call = await self._connect(office_id, called_number, begins)
        await call.talk(seconds)
        await self._end(call, "hangs up")

    async def _call_that_is_cut(self, *, begins: float) -> None:
        """A call that talks until its office's funds are over."""
        call = await self._connect(CORNER, PARIS, begins)
        cut = await call.told(CutCall)
        seconds = call.hang_up()
        granted_seconds, is_over = await self._end_of_grant(call)
        await self._show(
            CORNER,
            f"{called(call.request)}: its {granted_seconds} s are over",
            f"CUT {round((cut.at - is_over) / timedelta(milliseconds=1))} ms after their end",
            "",
        )
        await self._settle(call, seconds, cut_billed_seconds(seconds, granted_seconds), "cut")

    async def _call_that_is_saved(self, dip: "asyncio.Task[Dip]") -> None:
        """A call that would be cut, did the gateway not charge the card in time."""
        call = await self._connect(STUDIO, PARIS, 0.0)
        await call.told(FundsLow)
        _, would_be_cut = await self._end_of_grant(call)
        paid = await until_paid(self._stage, await dip)
        spare_seconds = (would_be_cut - datetime.now(UTC)).total_seconds()
        if spare_seconds < SPARE_SECONDS:
            raise BooksError(f"{paid.refill_id} was credited only {spare_seconds:.1f} s before the cut")
        await self._show(
            STUDIO,
            f"{paid.card} charged {spare_seconds:.1f} s before the cut",
            f"CREDITED {paid.after_seconds:.1f} s after the dip",
            money(-paid.amount_micros),
        )
        await call.told(FundsRestored)
        await call.talk(TALK_AFTER_SECONDS)
        await self._end(call, "hangs up")

    async def _hear_dip(self) -> Dip:
        """The trigger of the studio's refill, as soon as its funds dip."""
        dip = await self._stage.triggers.of(STUDIO)
        trigger = dip.trigger
        await self._show(
            STUDIO,
            f"below {money(trigger.threshold_micros)}: refill of {money(trigger.amount_micros)} is asked for",
            f"TRIGGER {trigger.refill_id}",
            "",
        )
        return dip

    async def _obey(self) -> None:
        """Tell of what the gateway says to the switch; a cut is told where it is measured."""
        async for call, command in self._switch.obey():
            match command:
                case FundsLow():
                    what, answer = "warn the caller", f"LOW, {command.granted_seconds} s are the last"
                case FundsRestored():
                    what, answer = "goes on", f"RESTORED, {command.granted_seconds} s granted"
                case _:
                    continue
            await self._show(call.request.office_id, f"{called(call.request)}: {what}", answer, "")

    async def _connect(self, office_id: str, called_number: str, begins: float) -> SwitchedCall:
        """Ask for a call when its time has come; it is answered at once."""
        await asyncio.sleep(self._began + begins - perf_counter())
        request = self._stage.call_of(office_id, called_number)
        call, answer = await self._switch.connect(request)
        if answer.decision != pb.GRANTED:
            raise BooksError(f"{request.call_id} of {office_id} was denied: {decided(answer)}")
        await self._show(
            office_id,
            called(request),
            f"{decided(answer)}, {answer.granted_seconds} s",
            f"{money(answer.price_per_minute_micros)}/min",
        )
        return call

    async def _end(self, call: SwitchedCall, what: str) -> None:
        """Somebody hangs up: what was talked is billed."""
        seconds = call.hang_up()
        await self._settle(call, seconds, seconds, what)

    async def _settle(self, call: SwitchedCall, seconds: int, billed_seconds: int, what: str) -> None:
        """End a call, and hold what it cost against a quote for what must be billed."""
        office_id, call_id = call.request.office_id, call.request.call_id
        answer = await self._switch.end(call, seconds)
        self._stage.books.settle(
            office_id,
            call_id,
            quoted_micros=await self._stage.quote(call.request, billed_seconds),
            debited_micros=answer.debited_micros,
            missing_micros=answer.written_off_micros,
        )
        await self._show(
            office_id,
            f"{called(call.request)}: {what} after {seconds} s",
            f"{answer.billed_seconds} s billed",
            money(answer.debited_micros),
        )

    async def _end_of_grant(self, call: SwitchedCall) -> tuple[int, datetime]:
        """For how long a call may talk, and until when, both by the gateway: its clock is this machine's."""
        known = await self._stage.credits.GetCall(
            credits_pb2.GetCallRequest(office_id=call.request.office_id, call_id=call.request.call_id)
        )
        answered_at = known.answered_at.ToDatetime(UTC)
        return known.granted_seconds, answered_at + timedelta(seconds=known.granted_seconds)

    async def _show(self, office_id: str, what: str, answer: str, price: str) -> None:
        await self._stage.show(self._moment(), office_id, what, answer, price)

    def _moment(self) -> str:
        return f"{perf_counter() - self._began:4.1f}s"

"""The users: what each kind of them does over and over."""

import itertools
from collections import deque
from random import Random
from typing import Any, Final

from locust import User, task

from gateway.v1 import authorization_pb2 as pb
from loadtest.load.offices import MOST_REFILLS, OVER_THRESHOLD_MICROS, REFILL_MICROS
from loadtest.users.call_life import live
from loadtest.users.desk import Desk, Unanswered
from loadtest.users.plan import Plan
from loadtest.users.profiles import Kind
from loadtest.users.talk import IDLE_SECONDS, MESSAGE_IDLE_SECONDS, abroad, plan_call, plan_number, plan_paid_call

BURST: Final = 50
"""Messages that a campaign sends in a row."""

STORM_BURST: Final = 10
"""Messages that an office sends in a row in a refill storm."""

REFUSED: Final = 0.02
"""Share of messages that the carrier refuses."""

STORM_MICROS: Final = OVER_THRESHOLD_MICROS + (MOST_REFILLS - 1) * REFILL_MICROS
"""What an office may spend in a refill storm: no day's cap is reached by it."""


class Run:
    """What all users of a process share.

    Attributes:
        plan: The run's.
        desk: Asks the gateway.
        is_surge: Whether it is the time of the surge.
        numbers: Of calls and messages.
        seats: Of users.
        storm: Refilled offices that nobody sends for at the moment, and that may still spend.
    """

    def __init__(self, plan: Plan, desk: Desk) -> None:
        self.plan = plan
        self.desk = desk
        self.is_surge = False
        self.numbers = itertools.count()
        self.seats = itertools.count()
        self.storm = deque(plan.offices.refilled)

    def new_id(self) -> str:
        """An id for a call or a message, as long as those of most switches."""
        return f"{self.plan.run_id:0>12}-4000-8000-{next(self.numbers):012x}"


class TollgateUser(User):
    """Somebody whose switch asks this gateway.

    Attributes:
        shared: Set once, before any user is made.
        idle_seconds: Between two things that it does, on the average; in seconds of talk.
    """

    abstract = True
    shared: Run
    idle_seconds = IDLE_SECONDS

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        # Seeded by its number: a user calls the same numbers in each run, whatever the others do.
        self.chance = Random(f"{self.shared.plan.seed}/{next(self.shared.seats)}")

    def on_start(self) -> None:
        """Begin at some time of one's own: many users may come at once."""
        self.shared.desk.pause(self.wait_time())

    def wait_time(self) -> float:
        """How long it idles before it does the next thing, in seconds."""
        return self.chance.uniform(0, 2 * self.idle_seconds) / self.shared.plan.scale

    @task
    def act(self) -> None:
        """Do one thing; a wrong answer is in the books."""
        if self.shared.desk.closing.is_set():
            return
        try:
            self.do(self.shared, self.shared.desk)
        except Unanswered:
            return

    def do(self, run: Run, desk: Desk) -> None:
        """What this kind of user does."""
        raise NotImplementedError


class Caller(TollgateUser):
    """Places calls."""

    abstract = False

    def do(self, run: Run, desk: Desk) -> None:
        """A call."""
        office_id = self.chance.choice(run.plan.offices.funded)
        live(desk, office_id, run.new_id(), plan_call(self.chance), run.plan.scale)


class Sender(TollgateUser):
    """Sends messages, one at a time; some are refused by the carrier, and given back."""

    abstract = False
    idle_seconds = MESSAGE_IDLE_SECONDS

    def do(self, run: Run, desk: Desk) -> None:
        """A message."""
        send(self.chance, run, desk)


class UnfundedCaller(TollgateUser):
    """Belongs to an office without funds: whatever costs something must be denied."""

    abstract = False

    def do(self, run: Run, desk: Desk) -> None:
        """A call or a message."""
        office_id = self.chance.choice(run.plan.offices.unfunded)
        if self.chance.random() < 0.5:
            live(desk, office_id, run.new_id(), plan_paid_call(self.chance), run.plan.scale, funded=False)
        elif desk.send_message(office_id, run.new_id(), plan_number(self.chance), 1, blocked_as="messages blocked"):
            desk.answers.fault(f"{office_id} has no funds, and its message was granted")


class Campaigner(TollgateUser):
    """Sends messages in bursts while the campaign lasts."""

    abstract = False
    idle_seconds = MESSAGE_IDLE_SECONDS

    def do(self, run: Run, desk: Desk) -> None:
        """A burst."""
        for _ in range(BURST):
            if not run.is_surge or desk.closing.is_set():
                return
            send(self.chance, run, desk)


class RefilledSender(TollgateUser):
    """Has offices fall below their threshold, one after the other, until they have had their refills."""

    abstract = False
    idle_seconds = MESSAGE_IDLE_SECONDS

    def do(self, run: Run, desk: Desk) -> None:
        """A few messages of the next office."""
        if not run.is_surge or not run.storm:
            return
        # Nobody else sends for it meanwhile: together they might spend more than the day's refills bring.
        office_id = run.storm.popleft()
        try:
            self._burst(office_id, run, desk)
        finally:
            if desk.answers.debited[office_id] < STORM_MICROS:
                run.storm.append(office_id)

    def _burst(self, office_id: str, run: Run, desk: Desk) -> None:
        for _ in range(STORM_BURST):
            if desk.closing.is_set():
                return
            desk.send_message(
                office_id, run.new_id(), abroad(self.chance), 1, blocked_as="messages blocked before a refill"
            )


class CeilingCaller(TollgateUser):
    """Asks without a pause, to see what locust is capable of."""

    abstract = False
    idle_seconds = 0.0

    def do(self, run: Run, desk: Desk) -> None:
        """A call that is ended at once."""
        planned = plan_paid_call(self.chance)
        call = desk.authorize_call(run.plan.offices.funded[0], run.new_id(), planned.called_number, pb.FUNDED)
        if call is not None:
            desk.end_call(call, 61)


def send(chance: Random, run: Run, desk: Desk) -> None:
    """Send a message of an office with funds."""
    office_id, message_id = chance.choice(run.plan.offices.funded), run.new_id()
    if desk.send_message(office_id, message_id, plan_number(chance), chance.choice((1, 1, 1, 2, 3))) and (
        chance.random() < REFUSED
    ):
        desk.refund_message(office_id, message_id)


POPULATION: Final[dict[Kind, type[TollgateUser]]] = {
    Kind.CALLS: Caller,
    Kind.MESSAGES: Sender,
    Kind.UNFUNDED: UnfundedCaller,
    Kind.CAMPAIGN: Campaigner,
    Kind.REFILLED: RefilledSender,
    Kind.CEILING: CeilingCaller,
}

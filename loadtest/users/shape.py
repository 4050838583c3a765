"""How a profile drives locust: how many users there are when, the surge, the outage, and the climb."""

import gc
import sys
from time import perf_counter
from typing import Final

from locust import LoadTestShape, User

from loadtest.load.fronts import kill_fronts
from loadtest.load.histogram import Histogram
from loadtest.processes import BenchError
from loadtest.users.figures import Figures
from loadtest.users.population import Run
from loadtest.users.profiles import Climb

SPAWNED_A_SECOND: Final = 500.0
"""At once, as good as: a profile says itself how fast the users come."""

FIRST_USERS: Final = 100
"""Of a climb."""

SETTLING: Final = 0.4
"""Share of a step in which the new users find their pace; its latencies are not judged."""

NOTED_EACH: Final = 30
"""So many times a run is noted how it goes."""

JUDGED_AFTER: Final = 3
"""Notes, before a whole run that a climb has led to is judged."""

Tick = tuple[int, float] | tuple[int, float, list[type[User]] | None] | None


class ProfileShape(LoadTestShape):
    """Follows the profile of the plan; locust asks it about every second."""

    abstract = False
    # Set once, before the shape is made.
    shared: Run
    figures: Figures

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.reset_time()

    def reset_time(self) -> None:
        """Begin, or begin again in the web page."""
        self._since = perf_counter()
        plan = self.shared.plan
        self._climb = Climb(plan.aim_ms, FIRST_USERS, plan.users) if plan.shape.climbs else None
        self._step_began: float | None = None
        self._is_judged = False
        self._held_since = 0.0
        self._killed = False
        self._noted = 0.0

    @property
    def climb(self) -> Climb | None:
        """The search for the highest rate, where the profile asks for it."""
        return self._climb

    def tick(self) -> Tick:
        """How many users there are to be now; None: it is over."""
        now = perf_counter() - self._since
        if self._climb is not None and self._climb.found is None:
            return self._climb_on(self._climb, now), SPAWNED_A_SECOND
        plan = self.shared.plan
        elapsed = now - self._held_since
        if elapsed >= plan.seconds:
            self._note()
            return None
        share = elapsed / plan.seconds
        self.shared.is_surge = plan.shape.is_surge(share)
        if plan.shape.outage_at is not None and share >= plan.shape.outage_at and not self._killed:
            self._killed = True
            self._kill(elapsed)
        if now - self._noted >= plan.seconds / NOTED_EACH:
            self._noted = now
            self._note()
            if self._climb is not None and elapsed >= JUDGED_AFTER * plan.seconds / NOTED_EACH:
                self._judge_whole(self._climb, now)
        most = plan.users if self._climb is None or self._climb.found is None else self._climb.found
        return plan.shape.users_at(share, most), SPAWNED_A_SECOND

    def _climb_on(self, climb: Climb, now: float) -> int:
        """Judge a step when it is over, and take the next one."""
        plan = self.shared.plan
        if self._step_began is None:
            self._step_began, self._is_judged = now, False
        elif not self._is_judged and now - self._step_began >= SETTLING * plan.step_seconds:
            self.figures.window, self._is_judged = Histogram(), True
        elif now - self._step_began >= plan.step_seconds:
            users, p99_ms = climb.users, self.figures.window.percentile_ms(99)
            rate = self.figures.window.count / ((1 - SETTLING) * plan.step_seconds)
            climb.judge(p99_ms)
            gc.freeze()
            _say(f"{users} users: {rate:.0f}/s, p99 {p99_ms:.2f} ms")
            self._step_began = None
            if climb.found is not None:
                # What counts begins here; the books have everything.
                _say(f"the run goes on with {climb.found} users")
                self.figures.begin()
                self._held_since = self._noted = now
        return climb.users

    def _judge_whole(self, climb: Climb, now: float) -> None:
        """Begin the whole run anew where it does not keep the aim: it is to be the highest rate that does."""
        p99_ms = self.figures.p99_ms()
        if p99_ms >= climb.aim_ms and climb.give_way(p99_ms):
            _say(f"p99 is {p99_ms:.2f} ms: the run begins anew with {climb.found} users")
            self.figures.begin()
            self._held_since = self._noted = now

    def _kill(self, elapsed: float) -> None:
        supervisor_pid = self.shared.plan.supervisor_pid
        try:
            if supervisor_pid is None:
                raise BenchError("nobody's front may be killed")
            _say(f"{elapsed:.0f} s: {kill_fronts(supervisor_pid)} front(s) killed")
        except (BenchError, OSError) as error:
            # locust would only log it, and the run would pass for one with an outage.
            self.shared.desk.answers.fault(f"there was no outage: {error}")

    def _note(self) -> None:
        noted = self.figures.note(0 if self.runner is None else self.runner.user_count)
        # What the books have by now stays. To walk it the collector would hold up all users, for longer and longer, and
        # it would look as if the gateway did.
        gc.freeze()
        _say(
            f"{noted['at_seconds']:.0f} s: {noted['users']} users, {noted['rate_per_second']:g}/s, "
            f"p50 {noted['p50_ms']:g} ms, p99 {noted['p99_ms']:g} ms"
        )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()

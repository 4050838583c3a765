"""What locust loads: puts the users of a plan together, and writes what came of them when locust ends."""

import json
import os
import sys
from pathlib import Path
from typing import Any, Final, NoReturn

import grpc
import grpc.experimental.gevent
from locust import events

from gateway import collector
from gateway.client.channel_options import CHANNEL_OPTIONS
from loadtest.load.answers import Answers
from loadtest.users.desk import Desk
from loadtest.users.figures import Figures
from loadtest.users.plan import PLAN_VARIABLE, Plan
from loadtest.users.population import POPULATION, Run, TollgateUser
from loadtest.users.profiles import CEILING
from loadtest.users.shape import ProfileShape

# Before the first channel: gRPC would otherwise wait where gevent sees nothing of it, and all users with it.
grpc.experimental.gevent.init_gevent()

_CHANNEL_OPTIONS: Final = (
    *CHANNEL_OPTIONS,
    # A front that was killed is back in a second or two; gRPC's own pauses grow to minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
)

LOST_ANSWERS: Final = 0.02
"""Share of answers that are taken for lost."""

_plan = Plan.read(Path(os.environ[PLAN_VARIABLE]))
_answers = Answers()
_figures = Figures()
_measured: dict[str, Any] = {}


def _report(operation: str, seconds: float, error: Exception | None) -> None:
    if error is None:
        _figures.record(operation, seconds)
    events.request.fire(  # type: ignore[no-untyped-call]
        request_type="grpc",
        name=operation,
        response_time=1000 * seconds,
        response_length=0,
        exception=error,
        context={},
    )


_desk = Desk(
    grpc.insecure_channel(_plan.server, options=_CHANNEL_OPTIONS),
    _plan.token,
    _answers,
    _report,
    seed=_plan.seed,
    lost=0.0 if _plan.shape is CEILING else LOST_ANSWERS,
)
TollgateUser.shared = ProfileShape.shared = Run(_plan, _desk)
ProfileShape.figures = _figures

# locust takes the users and the shape that it finds by name in this module; kinds without a share are kept out of it.
for _kind, _user in POPULATION.items():
    _share = _plan.shape.mix.get(_kind, 0)
    if _share:
        _user.weight = _share
        globals()[_user.__name__] = _user
del _user


def _open(**_: Any) -> None:
    collector.leave_alone()
    _desk.closing.clear()
    _figures.begin()


def _close(**_: Any) -> None:
    # That all hang up at once now is no part of the load.
    _measured.update(_figures.to_json())
    _desk.closing.set()


def _finish(environment: Any, **_: Any) -> None:
    """Stop the users, end what is open, and write what came of it."""
    environment.runner.stop()
    _desk.settle()
    # A user that raised anything but what it is meant to is one of ours that is wrong.
    for exception in environment.runner.exceptions.values():
        _answers.fault(f"{exception['count']} times a user failed: {exception['msg']}")
    climb = environment.shape_class.climb
    result = {
        "answers": _answers.to_json(),
        "figures": _measured or _figures.to_json(),
        "climb": None if climb is None else {"steps": climb.steps, "users": climb.found},
    }
    # In one step: who reads it must not find half of it.
    written = _plan.result.with_suffix(".part")
    written.write_text(json.dumps(result))
    written.rename(_plan.result)


def _leave(exit_code: int, **_: Any) -> NoReturn:
    # Not by way of the interpreter's own end: gRPC's threads, which gevent has made its own, have crashed in it, one
    # run in hundreds, when all was written.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


for _event, _listener in (
    (events.test_start, _open),
    (events.test_stopping, _close),
    (events.quitting, _finish),
    (events.quit, _leave),
):
    _event.add_listener(_listener)  # type: ignore[no-untyped-call]

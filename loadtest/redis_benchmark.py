"""Measure 11: redis-benchmark as a yardstick: the same authorize_call, raw, by a client that is not ours.

Its arguments cannot hold zero bytes, and each of its random numbers is another one, so a function of the benchmark's
own is loaded beside the gateway's: the same library, whose authorize_call gets all arguments but the id from constants.
"""

import asyncio
import csv
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.store.codes import Code
from gateway.store.offices import CachedOffice
from gateway.store.scripts import load_library
from loadtest.books import Books
from loadtest.effort import Effort
from loadtest.figures import Figure
from loadtest.machine import main_thread_cpu_seconds
from loadtest.pipeline import WINDOW, Command, Pipeline, Run
from loadtest.processes import BenchError, BenchStore
from loadtest.programs import REDIS_BENCHMARK, missing, run_program, version_of
from loadtest.store_cases import (
    OPENING_MICROS,
    Step,
    SteppedClock,
    Workload,
    call_request,
    read_offices,
    recorded,
    recording_store,
    run_step,
)
from loadtest.yardsticks import EMPTY_SCRIPT_SHA, load_empty

FUNCTION: Final = "bench_authorize"
RANDOM: Final = "__rand_int__"
ID_HEAD: Final = "rawbench-0000-4000-8000-"
ID_LENGTH: Final = len(ID_HEAD) + len(RANDOM)
RANDOM_RANGE: Final = 2**31 - 1
CONNECTIONS: Final = 2
REPEATS_ALLOWED: Final = 0.001
"""Of its random ids some may come twice, and are replays then."""

_KEYS: Final = 5
_GRANTED: Final = (Code.FUNDED, Code.REPLAYED)


@dataclass
class _Rounds:
    rates: dict[str, list[float]] = field(default_factory=lambda: {"authorize": [], "empty_script": []})
    cpu_micros: dict[str, list[float]] = field(default_factory=lambda: {"authorize": [], "empty_script": []})

    def to_json(self) -> dict[str, Any]:
        pairs = zip(self.rates["authorize"], self.rates["empty_script"], strict=True)
        return {
            **{f"{kind}_per_second": Figure.of(rates).to_json() for kind, rates in self.rates.items()},
            **{f"{kind}_cpu_micros": Figure.of(cpu).to_json() for kind, cpu in self.cpu_micros.items()},
            "ratio_to_empty_script": Figure.of(ours / empty for ours, empty in pairs).to_json(),
        }


def library_with_constants(command: Command) -> str:
    """The gateway's library with one function registered: authorize_call, whose arguments are those of a command.

    The id of the call is the end of its key, all else of the request is the same each time.
    """
    source, name = load_library().source, load_library().functions["authorize_call"].decode()
    first, _, rest = source.partition("\n")
    if not first.startswith("#!lua name="):
        raise BenchError("the library does not begin with its name")
    words = [_literal(word) for word in command[3 + _KEYS :]]
    words[2] = f"string.sub(keys[3], -{ID_LENGTH})"
    return (
        "#!lua name=bench_raw\n"
        "local function register(spec)\n"
        f"  if spec.function_name ~= '{name}' then return end\n"
        f"  redis.register_function{{ function_name = '{FUNCTION}', flags = spec.flags,\n"
        f"  callback = function(keys) return spec.callback(keys, {{ {', '.join(words)} }}) end }}\n"
        f"end\n{rest.replace('redis.register_function', 'register')}"
    )


def _literal(word: bytes | str | int) -> str:
    """As Lua reads it: an argument is a string, whatever it holds."""
    data = word if isinstance(word, bytes) else str(word).encode()
    return "'" + "".join(f"\\{byte:03d}" for byte in data) + "'"


def read_csv(text: str) -> float:
    """The rate from what `redis-benchmark --csv` writes.

    Raises:
        BenchError: There is none; it writes what the store answered instead.
    """
    lines = [line for line in text.splitlines() if line.startswith('"')]
    rows = list(csv.DictReader(lines))
    if len(rows) != 1 or "rps" not in rows[0]:
        raise BenchError(f"redis-benchmark said:\n{text[-1500:]}")
    return float(rows[0]["rps"])


async def measure_redis_benchmark(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    """Authorize calls of one office with fresh ids, in turns with an empty script, by redis-benchmark and by ours.

    Raises:
        BenchError: The store has not as many calls as were authorized, or the books are wrong.
    """
    if skipped := missing(REDIS_BENCHMARK):
        return skipped
    pipeline = Pipeline(store.socket_path, store.pid)
    try:
        load_empty(pipeline)
        pipeline.ask("FUNCTION", "LOAD", "REPLACE", load_library().source)
        workload = Workload(1, pipeline.now_ms())
        for step in workload.opening():
            run_step(pipeline, step)
        [office] = workload.funded
        # A deeper purse than the other measures have: all calls are this office's.
        sending = recording_store(SteppedClock(pipeline.now_ms()))
        micros = 2 * (effort.raw_rounds + 1) * effort.raw_requests * 120_000
        run_step(
            pipeline,
            Step("apply_credit", "", [recorded(sending.apply_credit(office.office_id, 2, micros))], (Code.OK,)),
        )
        command = recorded(sending.authorize_call(office, call_request(f"{ID_HEAD}{0:012d}")))
        pipeline.ask("FUNCTION", "LOAD", library_with_constants(command))
        keys = (office.keys.clock, office.keys.office, office.keys.call_prefix, office.keys.due, office.keys.outbox)
        clients = {"redis_benchmark": _Rounds(), "own_client": _Rounds()}
        authorized = 0
        for _ in range(effort.raw_rounds):
            for kind, head in (("empty_script", ("EVALSHA", EMPTY_SCRIPT_SHA)), ("authorize", ("FCALL", FUNCTION))):
                before = main_thread_cpu_seconds(store.pid)
                rate = await _by_redis_benchmark(store, [*head, str(_KEYS), *_text(keys)], effort.raw_requests)
                used = main_thread_cpu_seconds(store.pid) - before
                clients["redis_benchmark"].rates[kind].append(rate)
                clients["redis_benchmark"].cpu_micros[kind].append(1e6 * used / effort.raw_requests)
                chance = random.Random(authorized)
                commands: list[Command] = [
                    (*head, _KEYS, *_with_id(keys, f"{chance.randrange(RANDOM_RANGE):012d}"))
                    for _ in range(effort.raw_requests)
                ]
                run = await asyncio.to_thread(pipeline.run, commands)
                _check(kind, run)
                clients["own_client"].rates[kind].append(run.rate)
                clients["own_client"].cpu_micros[kind].append(run.cpu_micros)
            authorized += 2 * effort.raw_requests
            await asyncio.to_thread(_end_all, pipeline, office, 2 * effort.raw_requests)
        books.audit("redis_benchmark", {office.office_id: OPENING_MICROS + micros}, read_offices(pipeline, [office]))
    finally:
        pipeline.close()
    return {
        "program": version_of(REDIS_BENCHMARK),
        "requests": effort.raw_requests,
        "rounds": effort.raw_rounds,
        "in_flight": WINDOW,
        **{client: rounds.to_json() for client, rounds in clients.items()},
    }


def _check(kind: str, run: Run) -> None:
    """What our client was answered; redis-benchmark does not look, but the store has to have its calls as well."""
    for reply in run.replies:
        is_right = reply is None if kind == "empty_script" else isinstance(reply, list) and reply[0] in _GRANTED
        if not is_right:
            raise BenchError(f"{kind} answered {reply}")


def _with_id(keys: Sequence[bytes], digits: str) -> list[bytes]:
    clock, office, prefix, due, outbox = keys
    return [clock, office, prefix + (ID_HEAD + digits).encode(), due, outbox]


def _text(keys: Sequence[bytes]) -> list[str]:
    return [key.decode() for key in _with_id(keys, RANDOM)]


def _end_all(pipeline: Pipeline, office: CachedOffice, authorized: int) -> None:
    """End all calls as not answered, and leave nothing of them.

    Raises:
        BenchError: There are not as many as were authorized.
    """
    found = pipeline.ask("KEYS", office.keys.call_prefix + b"*")
    if not (1 - REPEATS_ALLOWED) * authorized - 2 <= len(found) <= authorized:
        raise BenchError(f"{authorized} calls were authorized raw, and the store has {len(found)}")
    sending = recording_store(SteppedClock(pipeline.now_ms()))
    ends = [recorded(sending.end_call(office, key[len(office.keys.call_prefix) :].decode(), 0)) for key in found]
    run_step(pipeline, Step("end_call", "", ends, (Code.OK,)))
    pipeline.run([("DEL", key) for key in (*found, office.keys.outbox)])


async def _by_redis_benchmark(store: BenchStore, command: Sequence[str], requests: int) -> float:
    said = await run_program(
        [
            *(REDIS_BENCHMARK, "-s", str(store.socket_path), "--csv"),
            *("-n", str(requests), "-c", str(CONNECTIONS), "-P", str(WINDOW // CONNECTIONS), "-r", str(RANDOM_RANGE)),
            *command,
        ]
    )
    return read_csv(said)

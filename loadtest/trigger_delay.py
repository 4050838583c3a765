"""Measure 4: from the reply to a debit, at the client, to the refill trigger at a WatchRefills client.

One process sends the debits and watches, so that one monotonic clock times both. The delay may be negative: the script
publishes the trigger before it replies, and either may be the first to arrive.
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, cast

import grpc.aio
import hiredis

from gateway.client_channel import open_channel
from gateway.domain.vocabulary import RefillState
from gateway.settings import Settings
from gateway.store.balances import BalanceStore
from gateway.store.keys import REFILLS_CHANNEL
from gateway.v1 import authorization_pb2 as pb
from gateway.v1 import credits_pb2 as cr
from gateway.v1.credits_pb2_grpc import CreditsStub
from loadtest.books import Books
from loadtest.control import Control
from loadtest.effort import Effort
from loadtest.figures import percentile, rounded
from loadtest.pipeline import pack
from loadtest.processes import BenchError, BenchStore, running_child
from loadtest.scene import FUNDS_MICROS, OPERATOR_TOKEN, bench_settings, open_stub, store_access, wait_until_decides
from loadtest.session_load import office_name, running_load

if TYPE_CHECKING:  # they are in the stubs only
    from gateway.v1.authorization_pb2_grpc import CallAuthorizationAsyncStub
    from gateway.v1.credits_pb2_grpc import CreditsAsyncStub

COMPANY: Final = "bench"
THRESHOLD_MICROS: Final = 5_000_000
REFILL_MICROS: Final = 50_000_000
CALLED: Final = "+12125550177"
LOAD_OFFICES: Final = tuple(f"load-{index:02d}" for index in range(20))
SESSION_OFFICES: Final = 20
STRETCH_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 10.0
AT_ONCE: Final = 8
"""Offices made at a time."""


class _Arrivals:
    """When the trigger of each office came, one way or another."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}
        self._changed = asyncio.Event()

    def note(self, office_id: str, at: float) -> None:
        """Keep the first arrival."""
        self.at.setdefault(office_id, at)
        self._changed.set()

    async def wait_for(self, office_id: str) -> float:
        """When it came.

        Raises:
            BenchError: It did not.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                while office_id not in self.at:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise BenchError(f"no trigger of {office_id} came within {PATIENCE_SECONDS:g} s") from error
        return self.at[office_id]


class _Watcher(_Arrivals):
    """What came over WatchRefills."""

    def __init__(self) -> None:
        super().__init__()
        self.refill_ids: dict[str, list[str]] = {}

    async def watch(self, stub: "CreditsAsyncStub") -> None:
        async for trigger in stub.WatchRefills(cr.WatchRefillsRequest()):
            self.note(trigger.office_id, perf_counter())
            self.refill_ids.setdefault(trigger.office_id, []).append(trigger.refill_id)


class _Subscriber(_Arrivals, asyncio.Protocol):
    """What the script itself published: the yardstick. It is what a watcher without a gateway would see."""

    def __init__(self) -> None:
        super().__init__()
        self._reader = hiredis.Reader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(pack(("SUBSCRIBE", REFILLS_CHANNEL)))

    def data_received(self, data: bytes) -> None:
        at = perf_counter()
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            if reply[0] == b"message":
                self.note(reply[2].split()[0].decode(), at)


async def measure_trigger_delay(store: BenchStore, effort: Effort, books: Books) -> dict[str, Any]:
    """Let offices dip below their threshold one after the other, on a quiet gateway and beside other calls.

    Those are unary ones first; then there are many more, over a Session, and a second gateway's back is watched, too.

    Raises:
        BenchError: A trigger did not come, or came for another refill, or the books are wrong.
    """
    settings = bench_settings(store, data_dir=str(store.directory))
    async with _running_gateway(settings), _stubs(settings) as (calls, admin):
        await admin.CreateCompany(cr.CreateCompanyRequest(company_id=COMPANY, name="Benchmark"))
        for office_id in LOAD_OFFICES:
            await _create_office(admin, office_id, FUNDS_MICROS)
        await wait_until_decides(calls, LOAD_OFFICES[0])
        price = await _message_price(calls)
        watcher = _Watcher()
        watching = asyncio.create_task(watcher.watch(admin))
        subscription, subscriber = await asyncio.get_running_loop().create_unix_connection(
            _Subscriber, str(store.socket_path)
        )
        try:
            # The first one is not counted: it finds streams and caches cold.
            await _dip_all(calls, admin, (watcher, subscriber), ["first"], price)
            quiet = [f"quiet-{index:04d}" for index in range(effort.dips)]
            loaded = [f"loaded-{index:04d}" for index in range(effort.dips)]
            quiet_replies = await _dip_all(calls, admin, (watcher, subscriber), quiet, price)
            written = Path(store.directory, "background.json")
            async with _background(settings, effort, written):
                loaded_replies = await _dip_all(calls, admin, (watcher, subscriber), loaded, price)
            background = json.loads(await asyncio.to_thread(written.read_text))
            busy = [f"busy-{index:04d}" for index in range(effort.dips)]
            busy_replies, elsewhere, session = await _dip_beside_session(
                store, settings, effort, calls, admin, (watcher, subscriber), busy, price
            )
        finally:
            subscription.close()
            watching.cancel()
            with suppress(asyncio.CancelledError, grpc.aio.AioRpcError):
                await watching
        offices = ["first", *quiet, *loaded, *busy]
        expected = dict.fromkeys(offices, THRESHOLD_MICROS - 1)
        expected |= {office_id: FUNDS_MICROS - background["debited"].get(office_id, 0) for office_id in LOAD_OFFICES}
        expected |= {office_id: FUNDS_MICROS - session["debited"].get(office_id, 0) for office_id in _session_offices()}
        async with store_access(store) as (_, balances):
            await books.audit_store("trigger_delay", expected, balances)
            for office_id in offices:
                await _check_refill(balances, watcher, office_id)
            for office_id in busy:
                await _check_refill(balances, elsewhere, office_id)
    return {
        "dips": effort.dips,
        "quiet_ms": _delays_json(watcher, quiet_replies),
        "quiet_published_ms": _delays_json(subscriber, quiet_replies),
        "under_load_ms": _delays_json(watcher, loaded_replies),
        "under_load_published_ms": _delays_json(subscriber, loaded_replies),
        "load_calls_per_second": effort.load_calls_per_second,
        "load_calls": background["calls"],
        "busy_ms": _delays_json(watcher, busy_replies),
        "busy_published_ms": _delays_json(subscriber, busy_replies),
        "busy_elsewhere_ms": _delays_json(elsewhere, busy_replies),
        "busy_per_second": effort.busy_per_second,
    }


async def _dip_beside_session(
    store: BenchStore,
    settings: Settings,
    effort: Effort,
    calls: "CallAuthorizationAsyncStub",
    admin: "CreditsAsyncStub",
    listeners: Sequence[_Arrivals],
    offices: Sequence[str],
    price: int,
) -> tuple[dict[str, float], _Watcher, Any]:
    """Dips beside a Session by a schedule, watched at this gateway and at another one, which has a back of its own.

    Returns:
        When the debits were replied to, what came at the other gateway, and the books of the Session's calls.
    """
    for office_id in _session_offices():
        await _create_office(admin, office_id, FUNDS_MICROS)
    there = bench_settings(store, data_dir=str(store.directory), database_url=settings.database_url)
    elsewhere = _Watcher()
    async with (
        _running_back(there),
        open_channel(there.admin_listen, OPERATOR_TOKEN) as channel,
        running_load({"gateway": settings.listen}, SESSION_OFFICES) as load,
    ):
        watching = asyncio.create_task(elsewhere.watch(CreditsStub(channel)))
        loading = asyncio.create_task(_keep_busy(load, effort.busy_per_second))
        try:
            replies = await _dip_all(calls, admin, (*listeners, elsewhere), offices, price)
        finally:
            loading.cancel()
            watching.cancel()
            ended = await asyncio.gather(loading, watching, return_exceptions=True)
        for error in ended:
            if isinstance(error, BenchError):
                raise error
        return replies, elsewhere, await load.ask("books", target="gateway")


async def _keep_busy(load: Control, per_second: int) -> None:
    """One stretch of the schedule after the other; one that has begun is finished, and its calls are ended."""
    while True:
        stretch = asyncio.ensure_future(
            load.ask("open", target="gateway", per_second=per_second, seconds=STRETCH_SECONDS)
        )
        try:
            await asyncio.shield(stretch)
        except asyncio.CancelledError:
            await stretch
            raise


def _session_offices() -> list[str]:
    return [office_name(index) for index in range(SESSION_OFFICES)]


@asynccontextmanager
async def _running_gateway(settings: Settings) -> AsyncIterator[None]:
    """All processes, in the order and with the environment in which the supervisor starts them."""
    async with (
        _running_back(settings),
        running_child("front", "gateway.process", "front", environment=settings.environment()),
    ):
        yield


@asynccontextmanager
async def _running_back(settings: Settings) -> AsyncIterator[None]:
    """The back of a gateway, with the journaler that works beside it."""
    environment = settings.environment()
    async with (
        running_child("back", "gateway.process", "back", environment=environment),
        running_child("journaler", "gateway.process", "journaler", environment=environment),
    ):
        yield


@asynccontextmanager
async def _stubs(settings: Settings) -> "AsyncIterator[tuple[CallAuthorizationAsyncStub, CreditsAsyncStub]]":
    async with open_stub(settings.listen) as calls, open_channel(settings.admin_listen, OPERATOR_TOKEN) as channel:
        yield calls, CreditsStub(channel)


def _background(settings: Settings, effort: Effort, books: Path) -> Any:
    return running_child(
        "background",
        "loadtest.background",
        *("--target", str(settings.listen)),
        *("--offices", ",".join(LOAD_OFFICES)),
        *("--calls-per-second", str(effort.load_calls_per_second)),
        *("--books", str(books)),
    )


async def _create_office(stub: "CreditsAsyncStub", office_id: str, balance_micros: int) -> None:
    await stub.CreateOffice(
        cr.CreateOfficeRequest(office_id=office_id, company_id=COMPANY, name=office_id, country="US")
    )
    await stub.AdjustBalance(
        cr.AdjustBalanceRequest(
            office_id=office_id, amount_micros=balance_micros, reason="benchmark", idempotency_key=f"open/{office_id}"
        )
    )


async def _message_price(stub: "CallAuthorizationAsyncStub") -> int:
    quote = await stub.QuoteMessage(pb.QuoteMessageRequest(office_id=LOAD_OFFICES[0], called_number=CALLED, segments=1))
    if quote.price_micros <= 0:
        raise BenchError(f"a message to {CALLED} costs nothing by the default deck: it cannot make an office dip")
    return quote.price_micros


async def _dip_all(
    calls: "CallAuthorizationAsyncStub",
    admin: "CreditsAsyncStub",
    listeners: Sequence[_Arrivals],
    offices: Sequence[str],
    price: int,
) -> dict[str, float]:
    """When the debit of each of some fresh offices was replied to; its trigger has come by then everywhere."""
    making = asyncio.Semaphore(AT_ONCE)

    async def make(office_id: str) -> None:
        async with making:
            # Two messages, the first of which warms up and the second goes below the threshold by a micro.
            await _create_office(admin, office_id, THRESHOLD_MICROS + 2 * price - 1)
            await admin.SetAutoRefill(
                cr.SetAutoRefillRequest(
                    office_id=office_id,
                    enabled=True,
                    threshold_micros=THRESHOLD_MICROS,
                    amount_micros=REFILL_MICROS,
                )
            )
            await _send(calls, office_id, 1)

    await asyncio.gather(*[make(office_id) for office_id in offices])
    jitter = random.Random(3)
    replies = {}
    for office_id in offices:
        if any(office_id in listener.at for listener in listeners):
            raise BenchError(f"{office_id} was triggered before it dipped")
        await _send(calls, office_id, 2)
        replies[office_id] = perf_counter()
        for listener in listeners:
            await listener.wait_for(office_id)
        # At odd times: no dip is to keep step with a loop of the gateway.
        await asyncio.sleep(jitter.uniform(0.002, 0.015))
    return replies


async def _send(stub: "CallAuthorizationAsyncStub", office_id: str, number: int) -> None:
    answer = await stub.AuthorizeMessage(
        pb.AuthorizeMessageRequest(
            office_id=office_id, message_id=f"message-{number}", called_number=CALLED, segments=1
        )
    )
    if answer.reason != pb.FUNDED:
        raise BenchError(f"a message of {office_id} was answered {pb.Reason.Name(answer.reason)}")


async def _check_refill(balances: BalanceStore, watcher: _Watcher, office_id: str) -> None:
    """One dip, one refill, told once: the one that the store asks for now."""
    office = await balances.read_office(office_id)
    told = watcher.refill_ids.get(office_id)
    asked = None
    if office is not None and office.refill_state is RefillState.PENDING:
        asked = [f"{office_id}/{office.refill_number + 1}"]
    if told != asked:
        raise BenchError(f"{office_id}: the store asks for {asked}, and the watcher heard of {told}")


def _delays_json(arrivals: _Arrivals, replies: Mapping[str, float]) -> dict[str, float]:
    ordered = sorted(1000 * (arrivals.at[office_id] - replied) for office_id, replied in replies.items())
    return {
        "min": rounded(ordered[0]),
        "p50": rounded(percentile(ordered, 50)),
        "p90": rounded(percentile(ordered, 90)),
        "p99": rounded(percentile(ordered, 99)),
        "max": rounded(ordered[-1]),
    }

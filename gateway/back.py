"""The back process: what needs SQL, but for the journal, which is the journaler's.

It has Credits, the loops between SQL and the store, what is on HTTP, and the metrics.
"""

import asyncio
import importlib.resources
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog
from redis.exceptions import RedisError
from starlette.middleware import Middleware

from gateway import collector, metrics
from gateway.api.calls import Calls
from gateway.api.credits.balances import BalanceRpcs
from gateway.api.credits.calls import CallRpcs
from gateway.api.credits.companies import CompanyRpcs
from gateway.api.credits.decks import DeckRpcs, read_deck
from gateway.api.credits.invoices import InvoiceRpcs
from gateway.api.credits.offices import OfficeRpcs
from gateway.api.credits.payment_methods import PaymentMethodRpcs
from gateway.api.credits.purchases import PurchaseRpcs
from gateway.api.credits.rate_lookup import RateLookup
from gateway.api.credits.rate_rows import RateRows
from gateway.api.credits.refill_queue import RefillQueue
from gateway.api.credits.servicer import SERVICE, CreditsServicer, Operations
from gateway.api.credits.sign_in_links import SignInLinkRpcs
from gateway.api.credits.switches import SwitchRpcs
from gateway.api.credits.tokens import TokenRpcs
from gateway.api.credits.transactions import TransactionRpcs
from gateway.api.credits.usage import UsageRpcs
from gateway.api.credits.watches import BalanceWatch, RefillWatch
from gateway.api.handlers import register_handlers
from gateway.api.live_calls import LiveCallsListener
from gateway.api.messages import Messages
from gateway.api.rating import CurrentRater, Rater
from gateway.api.runner import Runner
from gateway.api.sign_ins import SignIns
from gateway.api.switch_limits import SwitchLimits
from gateway.background import billing as billing_loop
from gateway.background import (
    credit_applier,
    guard_keeper,
    notifier,
    outbox_gauge,
    projector,
    reconciler,
    refill_waker,
    refiller,
    sampler,
)
from gateway.background.billing import BillingLoop
from gateway.background.journaler import EpochLost, see_epoch
from gateway.background.loops import Loop
from gateway.background.missing import MissingOffices
from gateway.background.refill_listener import RefillListener
from gateway.billing.charging import Pace
from gateway.billing.parts import Billing, Way
from gateway.domain.numbers import warm_up
from gateway.domain.office import RefillSettings
from gateway.errors import InvalidArgument
from gateway.feeds import balances as balance_feed
from gateway.feeds import decisions as decision_feed
from gateway.feeds.balances import BalanceFeed
from gateway.feeds.decisions import DecisionFeed
from gateway.feeds.refills import RefillFeed
from gateway.hooks import callbacks as callback_loop
from gateway.hooks.callback_client import CallbackClient
from gateway.hooks.callbacks import Callbacks
from gateway.hooks.operations import Hooks
from gateway.hooks.routes import hook_routes
from gateway.ledger.audit import AuditLog
from gateway.ledger.companies import Companies
from gateway.ledger.credits import Credits
from gateway.ledger.database import Database
from gateway.ledger.decks import MAX_CONTENT_BYTES, Decks
from gateway.ledger.fraud_guards import FraudGuards
from gateway.ledger.installation import page_key
from gateway.ledger.migrations import SchemaState
from gateway.ledger.notices import Notices
from gateway.ledger.offices import Offices
from gateway.ledger.open_refills import OpenRefills
from gateway.ledger.outbox import Outbox
from gateway.ledger.refills import Refills
from gateway.ledger.sign_in_links import SignInLinks
from gateway.ledger.switches import Switches
from gateway.ledger.tokens import Tokens
from gateway.ledger.usage import Usage
from gateway.ledger_opening import open_ledger
from gateway.metric_sums import read_decision_counts
from gateway.metrics_http import MetricsServer
from gateway.news import News, follow_news
from gateway.notices.open import open_senders
from gateway.page.desk import Desk
from gateway.page.routes import Page, Sources
from gateway.page.sessions import Sessions
from gateway.payments.open import open_provider
from gateway.payments.provider import PaymentProvider
from gateway.payments.sandbox import WEBHOOKS_EVERY_SECONDS, SandboxProvider
from gateway.projection.credits import CreditApplication
from gateway.projection.locks import OfficeLocks
from gateway.projection.lost_tail import LostTail
from gateway.projection.offices import OfficeProjection
from gateway.projection.rates import RateProjection
from gateway.projection.switches import SwitchProjection
from gateway.projection.tokens import TokenProjection
from gateway.serving import Service
from gateway.settings import Settings
from gateway.startup import StartupError
from gateway.store.clock import Clock, StoreClock
from gateway.store.commands import follow_commands
from gateway.store.configuration import HALF_REBUILT, check_primaries, foreign_shards
from gateway.store.directory import Directory, read_token_uses
from gateway.store.faults import StoreUnavailable
from gateway.store.keys import REBUILD_KEY, SHARDS, SHARDS_KEY
from gateway.store.location import StoreLocation
from gateway.store.offices import OfficeCache
from gateway.store.switch_lists import SwitchLists
from gateway.store_opening import lifetimes_of, location_of, make_store
from gateway.tls_files import open_certificate
from gateway.tracing.deciding import TracedRater
from gateway.tracing.http import TracedHttp
from gateway.tracing.outgoing import TracedCallbackClient, traced_refills, traced_sender
from gateway.tracing.requests import TracedRunner
from gateway.tracing.tracer import Tracer, either
from gateway.v1.credits_pb2_grpc import add_CreditsServicer_to_server
from gateway.web.app import make_app
from gateway.web.health import health_routes
from gateway.web.pages import static_route
from gateway.web.payment_pages import RETURN_ROUTE, sandbox_routes
from gateway.web.server import HttpServer
from gateway.web.webhooks import MAX_WEBHOOK_BYTES, WEBHOOK_PATH, WebhookReceiver, webhook_routes

log = structlog.get_logger(__name__)

DEFAULT_RATES: Final = "default_rates.csv"
ACTOR: Final = "start"

TAIL_EVERY_SECONDS: Final = 1.0
EPOCH_EVERY_SECONDS: Final = 5.0
"""Beside every new connection, when it may have become another store's."""

_RETRY_SECONDS: Final = 0.5
_DECK_OVERHEAD_BYTES: Final = 64 * 1024


async def run_back(
    settings: Settings, *, ready: Callable[[], None], stop: asyncio.Event, clock: Clock | None = None
) -> bool:
    """Serve until `stop` is set, then drain; returns whether it ended because it was told to.

    Args:
        settings: With `redis_url`, which the supervisor fills in for the embedded store.
        ready: Called once requests are accepted.
        stop: Set when the process is told to stop.
        clock: Instead of the store's, for tests.

    Raises:
        StartupError: An address is taken, or store, database or deck cannot be used as they are.
    """
    async with AsyncExitStack() as stack:
        back = await open_back(settings, stack, clock=clock)
        if not await back.prepare(stop):
            return True
        service = back.make_service()
        server = MetricsServer(settings.metrics_listen, back.is_healthy)
        stack.push_async_callback(asyncio.to_thread, server.close)
        http = await back.open_http()
        stack.push_async_callback(http.close)
        await http.start()
        collector.leave_alone()
        return await service.run(
            [*back.loops(stop), back.guarded(http.run(stop))],
            is_healthy=back.is_healthy,
            ready=ready,
            stop=stop,
            drain_seconds=settings.drain_seconds,
        )


async def open_back(settings: Settings, stack: AsyncExitStack, *, clock: Clock | None = None) -> "Back":
    """Open database and payment provider and begin connecting to the store; the stack closes all of them.

    Raises:
        StartupError: There is no store, or database or payment provider cannot be used.
    """
    location = location_of(settings, "back")
    database, tracer = await open_ledger(settings, "back", stack)
    if database.schema is not None and database.schema.state is SchemaState.NEWER:
        log.warning("database_is_newer", revision=database.schema.revision, this_version_has=database.schema.newest)
    clock = clock or StoreClock()
    provider = await open_provider(settings, clock_ms=clock.now_ms)
    stack.push_async_callback(provider.close)
    back = Back(settings, database, location, clock, provider, tracer)
    stack.push_async_callback(back.billing.charging.close)
    await back.connection.start()
    stack.push_async_callback(back.connection.close)
    stack.push_async_callback(back.close_hooks)
    for each in back.background.notifiers:
        stack.push_async_callback(each.close)
    return back


@dataclass(frozen=True)
class Loops:
    """The loops of the back process, of which tests take turns by hand."""

    projector: projector.Projector
    applier: credit_applier.CreditApplier
    reconciler: reconciler.Reconciler
    outbox_gauge: outbox_gauge.OutboxGauge
    sampler: sampler.Sampler
    waker: refill_waker.RefillWaker
    guard_keeper: guard_keeper.GuardKeeper
    refiller: refiller.Refiller
    notifiers: tuple[notifier.Notifier, ...]
    billing: BillingLoop


class Back:
    """All parts of the back process, put together."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        location: StoreLocation,
        clock: Clock,
        provider: PaymentProvider,
        tracer: Tracer | None = None,
    ) -> None:
        self._settings = settings
        self._tracer = tracer
        self.database = database
        self.clock, self.provider = clock, provider
        self.certificate = open_certificate(settings)
        timeout = settings.store_timeout_ms / 1000
        self.lifetimes = lifetimes_of(settings)
        self.connection, self.store = make_store(settings, location, self.clock, tracer, self._on_connect)
        self.directory = Directory(self.connection, self.clock, settings.operator_tokens)
        self.sign_ins = SignIns(self.directory)
        self._put_together(database)
        self.webhooks = WebhookReceiver(provider, self.billing.events.on_event, clock.now_ms)
        self.runner = either(tracer, Runner, TracedRunner)(
            self.directory, self.sign_ins, max_in_flight=settings.max_in_flight, store_timeout_seconds=timeout
        )
        self.servicer = CreditsServicer(self.runner, self.operations)

    def _put_together(self, database: Database) -> None:
        settings, store, connection, clock = self._settings, self.store, self.connection, self.clock
        companies, offices = Companies(database), Offices(database, settings.currency)
        self.credits, self.tokens, refills = Credits(database), Tokens(database), Refills(database)
        ledger, tokens = self.credits, self.tokens
        self.decks, self._outbox = Decks(database), Outbox(database)
        self.offices, self.locks = offices, OfficeLocks()
        self.sign_in_links = SignInLinks(database)
        locks, missing = self.locks, MissingOffices()
        office_projection = OfficeProjection(offices, store, clock, LostTail(self._outbox, connection))
        token_projection = TokenProjection(tokens, connection, clock, self.directory)
        switches = Switches(database)
        switch_projection = SwitchProjection(switches, connection)
        self._rate_projection = RateProjection(self.decks, connection)
        application = CreditApplication(ledger, store, connection, clock)
        self.refill_feed, self.balance_feed = RefillFeed(refills), BalanceFeed(store, clock)
        self.decision_feed = DecisionFeed(read_decision_counts, clock)
        self.open_refills = OpenRefills(database)
        self.refill_queue = RefillQueue(self.open_refills, store)
        way = Way(offices, ledger, store, office_projection, application, locks, clock)
        self.billing = Billing.put_together(
            database,
            self.provider,
            way,
            currency=settings.currency,
            offered=settings.offered_amounts_micros,
            refills_a_day=settings.refills_a_day,
            pace=Pace(confirmation_seconds=settings.payment_confirmation_seconds),
            wake=self._wake_billing,
        )
        billing = self.billing
        guards = FraudGuards(database)
        rows, usage = RateRows(self.decks, lambda: self.directory.deck), Usage(database)
        self.usage = usage
        self.operations = Operations(
            companies=CompanyRpcs(companies, clock),
            offices=OfficeRpcs(
                offices,
                guards,
                office_projection,
                store,
                billing.cards,
                locks,
                clock,
                currency=settings.currency,
                refill_defaults=RefillSettings(
                    threshold_micros=settings.refill_threshold_micros, amount_micros=settings.refill_amount_micros
                ),
            ),
            switches=SwitchRpcs(switches, switch_projection, clock),
            tokens=TokenRpcs(tokens, token_projection, self._last_uses, clock),
            sign_in_links=SignInLinkRpcs(
                tokens, self.sign_in_links, self.directory.settled_hash, settings.base_url, clock
            ),
            decks=DeckRpcs(self.decks, self._rate_projection, clock),
            balances=BalanceRpcs(offices, ledger, refills, office_projection, application, locks, clock),
            payment_methods=PaymentMethodRpcs(offices, billing.methods, billing.cards, clock),
            purchases=PurchaseRpcs(offices, billing.buying),
            invoices=InvoiceRpcs(offices, billing.invoices),
            transactions=TransactionRpcs(offices, ledger),
            usage=UsageRpcs(offices, usage, rows, clock),
            calls=CallRpcs(offices, store, connection, rows, usage, AuditLog(database), clock),
            balance_watch=BalanceWatch(offices, self.balance_feed),
            refill_watch=RefillWatch(self.refill_feed, refills, offices, OfficeCache(connection)),
        )
        self._put_hooks_together(switches)
        applier = credit_applier.CreditApplier(ledger, application, locks, missing)
        self.background = Loops(
            projector=projector.Projector(
                offices,
                tokens,
                office_projection,
                token_projection,
                self._rate_projection,
                switch_projection,
                locks,
                missing,
            ),
            applier=applier,
            reconciler=reconciler.Reconciler(
                offices, ledger, store, office_projection, token_projection, applier, locks, missing
            ),
            outbox_gauge=outbox_gauge.OutboxGauge(connection),
            sampler=sampler.Sampler(connection, store),
            waker=refill_waker.RefillWaker(offices, billing.refills, store, clock),
            guard_keeper=guard_keeper.GuardKeeper(guards, clock),
            refiller=refiller.Refiller(
                billing.refills, traced_refills(self._tracer, billing.refilling.advance), missing, clock
            ),
            notifiers=self._notifiers(database),
            billing=BillingLoop(billing.charges, billing.chargebacks, billing.charging, billing.charging_back, clock),
        )

    async def _last_uses(self, token_ids: Sequence[str]) -> Mapping[str, int]:
        """When tokens were last used; nothing where the store does not answer, for they are listed all the same."""
        try:
            return await read_token_uses(self.connection, token_ids)
        except StoreUnavailable:
            return {}

    def _put_hooks_together(self, switches: Switches) -> None:
        """What switches without gRPC ask: the same deciders as in the front, on the back's own connection."""
        settings, store, connection = self._settings, self.store, self.connection
        offices = OfficeCache(connection)
        rater = CurrentRater(settings.blocked_destinations, either(self._tracer, Rater, TracedRater))
        self.directory.on_deck = rater.use
        self._calls = Calls(
            store,
            offices,
            rater,
            max_duration_seconds=settings.max_duration_seconds,
            has_callback=self.directory.has_callback,
        )
        messages = Messages(store, offices, rater)
        limits = SwitchLimits(self._calls, settings.switch_operations_per_second)
        self.hooks = Hooks(self.sign_ins, self._calls, messages, limits, max_in_flight=settings.max_in_flight)
        self.rate_lookup = RateLookup(self.offices, offices, self._calls, messages)
        self._switch_lists = SwitchLists(connection)
        self.callbacks = Callbacks(
            either(self._tracer, CallbackClient, TracedCallbackClient)(self.clock),
            connection,
            self.directory,
            switches.with_callback,
            LiveCallsListener(store, offices, self._switch_lists, self.clock, self._calls),
            live_calls_ms=settings.live_calls_seconds * 1000,
        )

    def _notifiers(self, database: Database) -> tuple[notifier.Notifier, ...]:
        notices = Notices(database, self._settings.currency)
        senders = [traced_sender(self._tracer, each) for each in open_senders(self._settings)]
        channels, timeout = tuple(each.channel for each in senders), self._settings.notice_timeout_seconds
        return tuple(
            notifier.Notifier(notices, channels, each, self.clock, timeout_seconds=timeout) for each in senders
        )

    async def prepare(self, stop: asyncio.Event) -> bool:
        """Wait for the store, see that it may be trusted, give it deck and tokens; False: told to stop first.

        Raises:
            StartupError: The store is set up unsafely or belongs to something else, or the deck has errors.
        """
        deck = await self._first_deck()
        for _ in warm_up():
            await asyncio.sleep(0)
        while not stop.is_set():
            if await _is_first(self.connection.wait_connected(), stop.wait()):
                try:
                    await self.prepare_store()
                except (StoreUnavailable, RedisError) as error:
                    log.warning("store_not_ready", error=str(getattr(error, "detail", error)))
                    await asyncio.sleep(_RETRY_SECONDS)
                    continue
                log.info("store_ready", deck=deck)
                return True
        return False

    async def prepare_store(self) -> None:
        """Check the store, then publish what gateways follow.

        Raises:
            StartupError: It is set up unsafely, or has another number of shards.
            StoreUnavailable, redis.RedisError: It did not answer.
        """
        await check_primaries(self.connection.servers())
        await self._claim_shards()
        await self._claim_epoch()
        if isinstance(self.clock, StoreClock):
            await self.clock.measure(self.connection)
        await self._rate_projection.project()
        await self.background.reconciler.turn()
        await self.directory.refresh()
        await self.refill_feed.advance()

    def make_service(self) -> Service:
        """Listen for `Credits`; nothing is answered before the service runs.

        Raises:
            StartupError: The address is taken.
        """
        options = [("grpc.max_receive_message_length", MAX_CONTENT_BYTES + _DECK_OVERHEAD_BYTES)]
        certificate = self.certificate
        service = Service(
            SERVICE.full_name,
            "TOLLGATE_ADMIN_LISTEN",
            self._settings.admin_listen,
            # Nobody who comes here is a switch, so nobody is asked for a certificate.
            credentials=None if certificate is None else certificate.grpc_credentials(wants_client_certificate=False),
            options=options,
        )
        add_CreditsServicer_to_server(self.servicer, service.server)
        register_handlers(service.server, SERVICE, self.servicer, self.runner)
        return service

    async def open_http(self) -> HttpServer:
        """Listen for HTTP; nothing is answered before it is started.

        Raises:
            StartupError: The address is taken.
        """
        routes = [
            *hook_routes(self.hooks),
            *health_routes(self.is_healthy),
            *webhook_routes(self.webhooks),
            RETURN_ROUTE,
            static_route(),
        ]
        if isinstance(self.provider, SandboxProvider):
            routes += sandbox_routes(self.provider)
        self._page = await self._open_page()
        routes += self._page.routes()
        settings = self._settings
        app = make_app(
            routes,
            body_limits={WEBHOOK_PATH: MAX_WEBHOOK_BYTES},
            around=[] if self._tracer is None else [Middleware(TracedHttp, tracer=self._tracer)],
            is_https=settings.base_url.startswith("https:"),
        )
        return await HttpServer.open(
            app,
            "http_listen",
            settings.http_listen,
            drain_seconds=settings.drain_seconds,
            tls=None if self.certificate is None else self.certificate.ssl_context(),
        )

    async def _open_page(self) -> Page:
        """The Credits page, with the key of its cookies."""
        async with self.database.read() as session:
            key = await page_key(session)
        settings = self._settings
        sessions = Sessions(key, self.clock, secure=settings.base_url.startswith("https:"))
        desk = Desk(self.operations, self.directory, sessions, self.clock, currency=settings.currency)
        return Page(
            desk,
            Sources(
                links=self.sign_in_links,
                sign_ins=self.sign_ins,
                refills=self.open_refills,
                usage=self.usage,
                lookup=self.rate_lookup,
                decisions=self.decision_feed,
                queue=self.refill_queue,
                public_url=settings.base_url,
            ),
        )

    async def close_hooks(self) -> None:
        """Give up what is posted to switches, and wait for what the store is still to be told."""
        await self.callbacks.close()
        await self._calls.close()

    def is_healthy(self) -> bool:
        """Whether requests can be answered in full now."""
        metrics.STORE_CONNECTED.labels("back").set(self.connection.is_connected)
        return self.connection.is_connected and self.directory.is_ready

    def loops(self, stop: asyncio.Event) -> list[Coroutine[Any, Any, None]]:
        """Every loop, to be run beside the server."""
        turns = self.background
        self._projecting = Loop("projector", turns.projector.turn, projector.EVERY_SECONDS)
        self._woken_on_connect = [
            self._projecting,
            Loop("credit_applier", turns.applier.turn, credit_applier.EVERY_SECONDS),
            Loop("reconciler", turns.reconciler.turn, reconciler.EVERY_SECONDS),
            Loop("epoch", self.see_epoch, EPOCH_EVERY_SECONDS),
        ]
        self._woken_by_payments = [
            Loop("billing", turns.billing.turn, billing_loop.EVERY_SECONDS),
            Loop("refiller", turns.refiller.turn, refiller.EVERY_SECONDS),
        ]
        self._refill_tail = Loop("refill_tail", self._advance_refills, TAIL_EVERY_SECONDS)
        loops = [
            *self._woken_on_connect,
            *self._woken_by_payments,
            Loop("outbox_gauge", turns.outbox_gauge.turn, outbox_gauge.EVERY_SECONDS),
            self._refill_tail,
            Loop("balance_feed", self.balance_feed.turn, balance_feed.SAMPLE_EVERY_SECONDS),
            Loop("decision_feed", self.decision_feed.turn, decision_feed.SAMPLE_EVERY_SECONDS),
            Loop("callbacks", self.callbacks.turn, callback_loop.TURN_EVERY_SECONDS),
            Loop("sampler", turns.sampler.turn, sampler.EVERY_SECONDS),
            Loop("refill_waker", turns.waker.turn, refill_waker.EVERY_SECONDS),
            Loop("guard_keeper", turns.guard_keeper.turn, guard_keeper.EVERY_SECONDS),
            *(Loop(f"notifier_{each.name}", each.turn, notifier.EVERY_SECONDS) for each in turns.notifiers),
        ]
        if isinstance(self.provider, SandboxProvider):
            send = partial(self.provider.send_webhooks, self.webhooks.receive)
            loops.append(Loop("sandbox_webhooks", send, WEBHOOKS_EVERY_SECONDS))
        coroutines = [*(loop.run() for loop in loops), self.directory.follow()]
        coroutines += [
            RefillListener(self.connection, self.refill_feed).run(),
            follow_news(self.hear),
            self._end_streams_at(stop),
            self._switch_lists.follow(),
            follow_commands(self.connection, self.callbacks.deliver),
        ]
        if isinstance(self.clock, StoreClock):
            coroutines.append(self.clock.follow(self.connection))
        if self.certificate is not None:
            coroutines.append(self.certificate.follow())
        return [self.guarded(coroutine) for coroutine in coroutines]

    _projecting: Loop | None = None
    _refill_tail: Loop | None = None
    _woken_on_connect: "list[Loop] | tuple[()]" = ()
    _woken_by_payments: "list[Loop] | tuple[()]" = ()
    _page: Page | None = None

    def hear(self, news: News) -> None:
        """Look at once at what the journaler has recorded, instead of with the next turn."""
        if news is News.GUARDS_TRIPPED:
            if self._projecting is not None:
                self._projecting.wake()
            return
        if self._refill_tail is not None:
            self._refill_tail.wake()
        self._wake_billing()

    def _wake_billing(self) -> None:
        for loop in self._woken_by_payments:
            loop.wake()

    def _on_connect(self) -> None:
        self.background.reconciler.ask()
        for loop in self._woken_on_connect:
            loop.wake()

    async def _advance_refills(self) -> bool:
        await self.refill_feed.advance()
        return False

    async def guarded(self, loop: Coroutine[Any, Any, None]) -> None:
        """A loop that dies takes the process with it, and that must not wait for the streams that are open."""
        try:
            await loop
        finally:
            self._end_streams()

    async def _end_streams_at(self, stop: asyncio.Event) -> None:
        await stop.wait()
        self._end_streams()
        await asyncio.Event().wait()

    def _end_streams(self) -> None:
        self.runner.end_streams()
        if self._page is not None:
            self._page.streams.end()

    async def _first_deck(self) -> int:
        """Have a deck: the one that the settings name, else what there is, else the default; returns its version.

        Raises:
            StartupError: The deck has errors.
        """
        newest = await self.decks.newest()
        path = self._settings.rates
        if path is not None:
            source, content = str(path), path.read_bytes()
        elif newest is None:
            source = f"default ({DEFAULT_RATES})"
            content = importlib.resources.files("gateway").joinpath("data", DEFAULT_RATES).read_bytes()
        else:
            return newest.version
        try:
            deck = await read_deck(content)
            added = await self.decks.add(
                content.decode(), row_count=len(deck), source=source[:200], actor=ACTOR, now_ms=self.clock.now_ms()
            )
        except InvalidArgument as error:
            raise StartupError(f"TOLLGATE_RATES: {source}: {error.message}") from error
        return added.version

    async def _claim_shards(self) -> None:
        held = await self.connection.ask("GET", SHARDS_KEY)
        if held is None:
            await self.connection.ask("SET", SHARDS_KEY, SHARDS, "NX")
            held = await self.connection.ask("GET", SHARDS_KEY)
        if (foreign := foreign_shards(held)) is not None:
            raise StartupError(f"TOLLGATE_REDIS_URL: {foreign}")

    async def _claim_epoch(self) -> None:
        """Give a new store its epoch; refuse one from before the ledger's last rebuild, or in the midst of one."""
        if await self.connection.ask("EXISTS", REBUILD_KEY):
            raise StartupError(f"TOLLGATE_REDIS_URL: {HALF_REBUILT}")
        try:
            await self.see_epoch()
        except EpochLost as error:
            raise StartupError(f"TOLLGATE_REDIS_URL: {error.message}") from error

    async def see_epoch(self) -> bool:
        """See that the store is not one from before the ledger's last rebuild, to which a failover may have led.

        Raises:
            EpochLost: It is.
            StoreUnavailable, DatabaseError: It cannot be told now.
        """
        await see_epoch(self.connection, self._outbox)
        return False


async def _is_first(wanted: Coroutine[Any, Any, None], other: Coroutine[Any, Any, Any]) -> bool:
    """Wait for either; whether the first one came true."""
    tasks = [asyncio.ensure_future(wanted), asyncio.ensure_future(other)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

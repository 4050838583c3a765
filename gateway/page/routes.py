"""All pages, put together."""

from dataclasses import dataclass

from starlette.routing import BaseRoute

from gateway.api.credits.rate_lookup import RateLookup
from gateway.api.credits.refill_queue import RefillQueue
from gateway.api.sign_ins import SignIns
from gateway.feeds.decisions import DecisionFeed
from gateway.ledger.open_refills import OpenRefills
from gateway.ledger.sign_in_links import SignInLinks
from gateway.ledger.usage import Usage
from gateway.page.cards import CardPages
from gateway.page.desk import Desk
from gateway.page.live import LiveStreams
from gateway.page.money_in import MoneyInPages
from gateway.page.office import OfficePage
from gateway.page.offices import OfficesPages
from gateway.page.operator import OperatorPage
from gateway.page.purchases import PurchasePages
from gateway.page.rates import RatesPage
from gateway.page.refill import RefillPage
from gateway.page.sign_in import SignIn
from gateway.page.usage import UsagePages


@dataclass(frozen=True)
class Sources:
    """What pages show besides what clients of the contract are told."""

    links: SignInLinks
    sign_ins: SignIns
    refills: OpenRefills
    usage: Usage
    lookup: RateLookup
    decisions: DecisionFeed
    queue: RefillQueue
    public_url: str


class Page:
    """The Credits page. `streams` are to be ended when the server stops."""

    def __init__(self, desk: Desk, sources: Sources) -> None:
        self.streams = LiveStreams(desk)
        self._parts = (
            SignIn(desk, sources.links, sources.sign_ins),
            OfficesPages(desk),
            PurchasePages(desk),
            CardPages(desk, sources.public_url),
            RefillPage(desk),
            MoneyInPages(desk),
            UsagePages(desk),
            RatesPage(desk, sources.lookup),
            OperatorPage(desk, sources.decisions, sources.queue, self.streams),
            OfficePage(desk, sources.refills, sources.usage, self.streams),
        )

    def routes(self) -> list[BaseRoute]:
        """The paths of all of them."""
        return [route for part in self._parts for route in part.routes()]

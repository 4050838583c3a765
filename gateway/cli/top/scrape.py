"""The gateway's metrics, read as Prometheus reads them."""

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from gateway.address import Address
from gateway.cli.errors import EXIT_UNAVAILABLE, CommandError
from gateway.client_channel import reachable

ANSWER_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class Scrape:
    """What the counters and gauges stood at.

    Attributes:
        at_seconds: When, by a clock that nobody sets.
        samples: By their name and labels.
    """

    at_seconds: float
    samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float]

    def each(self, name: str) -> Iterator[tuple[dict[str, str], float]]:
        """The samples of a name, with their labels."""
        for (found, labels), value in self.samples.items():
            if found == name:
                yield dict(labels), value

    def total(self, name: str) -> float:
        """The sum of the samples of a name; 0: there is none."""
        return sum(value for _, value in self.each(name))


class Scraper:
    """Asks one gateway's metrics endpoint."""

    def __init__(self, session: aiohttp.ClientSession, address: Address) -> None:
        self._session = session
        self.address = reachable(address)

    @classmethod
    @asynccontextmanager
    async def of(cls, address: Address) -> AsyncIterator["Scraper"]:
        """A scraper until the block ends."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS)) as session:
            yield cls(session, address)

    async def scrape(self) -> Scrape:
        """Read all metrics.

        Raises:
            CommandError: Nothing answers there, or nothing that has metrics.
        """
        url = f"http://{self.address}/metrics"
        try:
            async with self._session.get(url) as answer:
                text = await answer.text()
                if answer.status != 200:
                    raise CommandError(f"{url} answers with {answer.status}: is that a gateway's?", EXIT_UNAVAILABLE)
        except (aiohttp.ClientError, TimeoutError, UnicodeDecodeError):
            raise CommandError(
                f"no metrics at {self.address}; start a gateway with `tollgate serve`, or name the address of one with "
                "--metrics or TOLLGATE_METRICS_LISTEN",
                EXIT_UNAVAILABLE,
            ) from None
        return read_scrape(text, time.monotonic())


def read_scrape(text: str, at_seconds: float) -> Scrape:
    """Read what a metrics endpoint answers.

    Raises:
        CommandError: It is no metrics.
    """
    try:
        families = list(text_string_to_metric_families(text))
    except ValueError as error:
        raise CommandError(f"what answers is no metrics: {error}", EXIT_UNAVAILABLE) from None
    return Scrape(
        at_seconds,
        {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        },
    )

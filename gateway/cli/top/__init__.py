"""`tollgate top`: what a gateway does now, redrawn each second."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from gateway.cli.client import Client, asks_gateway
from gateway.cli.connection import find_metrics
from gateway.cli.errors import EXIT_USAGE, CommandError
from gateway.cli.output import can_redraw
from gateway.cli.top.figures import figures_of
from gateway.cli.top.frame import HEIGHT, frame_of
from gateway.cli.top.offices import OfficeWatch
from gateway.cli.top.scrape import Scrape, Scraper
from gateway.cli.top.terminal import quit_key

EVERY_SECONDS: Final = 1.0

WINDOW: Final = 11
"""Scrapes over which times are taken, ten seconds: of one second there may be too few."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("top")(top)


@asks_gateway
async def top(
    client: Client,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one frame, of one second.")] = False,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Address of the metrics. [TOLLGATE_METRICS_LISTEN; default: of the running gateway, or "
            "127.0.0.1:9464]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Show what a gateway does: decisions, times, store, outboxes, refills, and the offices that are low on funds.

    On a terminal it is redrawn each second until q or Ctrl-C; elsewhere a frame is printed each second.
    """
    address = find_metrics(metrics, client.data_dir)
    if client.as_json:
        raise CommandError(f"top is for people; programs read http://{address}/metrics", EXIT_USAGE)
    async with Scraper.of(address) as scraper:
        offices = OfficeWatch(client.credits)
        try:
            async with aclosing(_frames(scraper, offices)) as frames:
                if once:
                    # Who looks on sees them in the next frame.
                    await offices.first()
                    _print(await anext(frames))
                elif can_redraw():
                    await _redraw(frames)
                else:
                    async for frame in frames:
                        _print(frame)
        finally:
            await offices.close()


async def _frames(scraper: Scraper, offices: OfficeWatch) -> AsyncGenerator[list[Text], None]:
    """A frame each second, the first when there are two scrapes."""
    scrapes = deque([await scraper.scrape()], maxlen=WINDOW)
    console = Console()
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        scrapes.append(await scraper.scrape())
        _forget_if_new(scrapes)
        if len(scrapes) > 1:
            title = f"tollgate top  {scraper.address}  {datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
            height = min(console.height - 1, 60) if can_redraw() else HEIGHT
            yield frame_of(figures_of(list(scrapes)), offices.sight, title, height)


def _forget_if_new(scrapes: deque[Scrape]) -> None:
    """A gateway that was started again counts from zero: what was before says nothing of it."""
    if len(scrapes) > 1 and scrapes[-1].total("tollgate_rpcs_total") < scrapes[-2].total("tollgate_rpcs_total"):
        newest = scrapes[-1]
        scrapes.clear()
        scrapes.append(newest)


def _print(frame: list[Text]) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    for line in frame:
        line.rstrip()
        console.print(line, soft_wrap=True)


async def _redraw(frames: AsyncGenerator[list[Text], None]) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    with quit_key() as pressed, Live(console=console, auto_refresh=False, screen=True) as live:
        drawing = asyncio.create_task(_draw(frames, live))
        quitting = asyncio.create_task(pressed.wait())
        try:
            await asyncio.wait([drawing, quitting], return_when=asyncio.FIRST_COMPLETED)
            if drawing.done():
                drawing.result()
        finally:
            for task in (drawing, quitting):
                task.cancel()
                with suppress(asyncio.CancelledError, CommandError):
                    await task


async def _draw(frames: AsyncGenerator[list[Text], None], live: Live) -> None:
    async for frame in frames:
        live.update(Group(*frame), refresh=True)

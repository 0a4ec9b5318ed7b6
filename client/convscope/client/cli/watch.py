"""`convscope watch`: what a server does, live in the terminal."""

import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from time import sleep
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from convscope.client.cli.connection import check_address_with
from convscope.client.cli.error_output import print_error
from convscope.client.cli.scrape import Difference, MetricsError, MetricsSource, Scrape
from convscope.client.cli.watch_view import lines, view

__all__ = ["watch"]

METRICS_PORT = "8002"


def _check_address(address: str) -> str:
    """Return the address or the URL of the metrics.

    Raises:
        typer.BadParameter: It has another form.
    """
    return (
        address if "://" in address or "/" in address else check_address_with(address, METRICS_PORT)
    )


def watch(
    address: Annotated[
        str,
        typer.Argument(
            metavar="HOST:PORT",
            envvar="CONVSCOPE_METRICS",
            help="The address of the server's metrics, or a URL.",
            callback=_check_address,
        ),
    ] = "localhost:8002",
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.1, help="Time between two updates.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print one interval, and exit.")] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="CONVSCOPE_METRICS_TOKEN_FILE",
            help="File with the token to send: that of the server's --metrics-token-file.",
            show_default="no token",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
    root_certificates: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            envvar="CONVSCOPE_ROOT_CERTIFICATES",
            help="Use TLS, and trust the certificates in this PEM file. The server needs "
            "--metrics-tls.",
            show_default="no TLS",
            exists=True,
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Watch a server: requests, latencies, errors, batches, queues and memory, live.

    The figures come from the server's metrics, and are those of the last interval. Several
    workers are shown as one server. Ctrl-C ends the command.

    Without a terminal, it prints one line per version and interval.

    Examples:
      convscope watch
      convscope watch vision:8002 --interval 10
      convscope watch --once
      convscope watch --interval 60 >> load.log
    """
    source = MetricsSource(address, token_file, root_certificates)
    try:
        first = source.scrape()
    except MetricsError as error:
        print_error(str(error))
        raise typer.Exit(1) from error
    try:
        _show(source, first, interval, once)
    except KeyboardInterrupt:  # the usual end
        raise typer.Exit from None


def _show(source: MetricsSource, first: Scrape, interval: float, once: bool) -> None:
    console = Console(highlight=False)
    if once or not console.is_terminal:
        for before, after in pairwise(_scrapes(source, first, interval)):
            if isinstance(after, MetricsError):
                print_error(str(after))
                if once:
                    raise typer.Exit(1)
            elif isinstance(before, Scrape):
                difference = Difference(before, after)
                if console.is_terminal:
                    console.print(view(difference, source.address, "", console.width))
                else:
                    _print_lines(difference)
            if once:
                return
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:
        last = first
        status = f"the first figures follow in {interval:g} s, end with Ctrl-C"
        live.update(
            view(Difference(first, first), source.address, status, console.width), refresh=True
        )
        for after in _scrapes(source, None, interval):
            problem = str(after) if isinstance(after, MetricsError) else ""
            now = last if isinstance(after, MetricsError) else after
            updated = f"{datetime.now():%H:%M:%S}, every {interval:g} s, end with Ctrl-C"
            live.update(
                view(Difference(last, now), source.address, problem or updated, console.width),
                refresh=True,
            )
            last = now


def _print_lines(difference: Difference) -> None:
    time = f"{datetime.now():%Y-%m-%dT%H:%M:%S}"
    for line in lines(difference):
        print(time, line)
    sys.stdout.flush()


def _scrapes(
    source: MetricsSource, first: Scrape | None, interval: float
) -> Iterator[Scrape | MetricsError]:
    """Yield a scrape after each interval, or the reason why there is none."""
    if first is not None:
        yield first
    while True:
        sleep(interval)
        try:
            yield source.scrape()
        except MetricsError as error:
            yield error

"""`convscope bench`: a load on a server, and its latencies."""

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from convscope._usage_errors import INTERRUPTED
from convscope.client._calls.async_client import AsyncClient
from convscope.client.cli.connection import Connection, with_connection
from convscope.client.cli.error_output import print_error
from convscope.client.cli.image_options import FromFile, Images, Null, Recursive
from convscope.client.cli.load import Load, LoadResult, run_load
from convscope.client.cli.load_images import read_images
from convscope.client.cli.load_report import as_json as to_object
from convscope.client.cli.load_report import report
from convscope.client.cli.options import Alias, Model, Version, check_selector
from convscope.client.cli.runs import check_images
from convscope.client.cli.sources.arguments import ImageArguments
from convscope.client.errors import ConvscopeError

__all__ = ["bench"]

DEFAULT_SECONDS = 10.0
UPDATE_SECONDS = 0.2


@with_connection
def bench(
    connection: Connection,
    model: Model,
    images: Images = None,
    recursive: Recursive = False,
    from_file: FromFile = None,
    null: Null = False,
    version: Version = None,
    alias: Alias = None,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many requests are in flight at a time.")
    ] = 8,
    duration: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            help="How long to send requests.",
            show_default="10, or until --requests are sent",
        ),
    ] = None,
    requests: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="How many requests to send.", show_default="no limit"
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="N",
            min=0.01,
            help="Send this many requests a second, instead of --concurrency at a time. "
            "The latency of a request then counts from when it was due.",
            show_default="as many as --concurrency allows",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Send a load, and print the rate, the latencies, the errors and the server's stages.

    The images are sent in turn, one in each request. The latency of a request includes the
    client's retries. The report warns if this process is the bottleneck, and not the server.
    Ctrl-C ends the load early, and prints the report.

    Examples:
      convscope bench photo.jpg --model efficientnet_lite0
      convscope bench -r photos --model efficientnet_lite0 --concurrency 32 --duration 60
      convscope bench photo.jpg --model efficientnet_lite0 --rate 200
      convscope bench photo.jpg --model digits --requests 1000 --json
    """
    check_selector(version, alias)
    found = ImageArguments(images or [], recursive=recursive, list_file=from_file, null=null)
    client = connection.async_client()
    check_images(found, prints_json=False)
    try:
        load = Load(
            images=read_images(found, connection.timeout),
            model=model,
            version=version,
            alias=alias,
            concurrency=concurrency,
            rate=rate,
            duration=DEFAULT_SECONDS if duration is None and requests is None else duration,
            requests=requests,
        )
        result = asyncio.run(_run(client, load))
    except ConvscopeError as error:
        print_error(error.message)
        raise typer.Exit(1) from error
    except asyncio.CancelledError:  # before the load began
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(to_object(connection.server, load, result)))
    else:
        for line in report(connection.server, load, result):
            typer.echo(line)
    if result.errors or not result.latencies:
        raise typer.Exit(2 if result.latencies else 1)


async def _run(client: AsyncClient, load: Load) -> LoadResult:
    async with client:
        with _progress(load) as on_start:
            work = asyncio.ensure_future(run_load(client, load, on_start))
            with suppress(NotImplementedError):  # on Windows, Ctrl-C ends the command
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, work.cancel)
            return await work


@contextmanager
def _progress(load: Load) -> Iterator[Callable[[LoadResult], None]]:
    """Show on a terminal how much of the load is sent."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.fields[done]:,} requests"), BarColumn(), TimeRemainingColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("", total=load.duration or load.requests, done=0)
        updates: list[asyncio.Task[None]] = []

        async def update(result: LoadResult) -> None:
            loop = asyncio.get_running_loop()
            started = loop.time()
            while True:
                await asyncio.sleep(UPDATE_SECONDS)
                completed = loop.time() - started if load.duration else result.done
                progress.update(task, completed=completed, done=result.done)

        try:
            yield lambda result: updates.append(asyncio.ensure_future(update(result)))
        finally:
            for each in updates:
                with suppress(RuntimeError):
                    each.cancel()

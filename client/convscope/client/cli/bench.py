"""`convscope bench`: a load on a server, and its latencies."""

import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from convscope.client._calls.async_client import AsyncClient
from convscope.client.cli.error_output import print_error
from convscope.client.cli.load import Load, LoadResult, run_load
from convscope.client.cli.load_report import as_json as to_object
from convscope.client.cli.load_report import report
from convscope.client.cli.options import (
    Alias,
    AllowInsecureToken,
    ClientCertificate,
    ClientKey,
    Model,
    RootCertificates,
    Server,
    Timeout,
    TokenFile,
    Version,
    check_selector,
    token_options,
)
from convscope.client.cli.usage_errors import INTERRUPTED
from convscope.client.errors import ConvscopeError, InvalidInputError

__all__ = ["bench"]

DEFAULT_SECONDS = 10.0
UPDATE_SECONDS = 0.2


class _CommandClient(AsyncClient):
    """A client whose messages name the options of the commands."""

    _timeout_name = "--timeout"
    _token_name = "--token-file or $CONVSCOPE_TOKEN"


def bench(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE",
            help="JPEG, PNG, WebP, BMP or GIF files, which are sent in turn.",
            exists=True,
            dir_okay=False,
        ),
    ],
    model: Model,
    version: Version = None,
    alias: Alias = None,
    concurrency: Annotated[
        int, typer.Option(metavar="N", min=1, help="How many requests are in flight.")
    ] = 8,
    duration: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            help="How long to send.",
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
            help="Send so many requests a second, whatever their latency, instead of "
            "--concurrency. Latencies then count from when a request was due.",
            show_default="as many as --concurrency allows",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    server: Server = "localhost:8001",
    root_certificates: RootCertificates = None,
    client_certificate: ClientCertificate = None,
    client_key: ClientKey = None,
    token_file: TokenFile = None,
    allow_insecure_token: AllowInsecureToken = False,
    timeout: Timeout = 30.0,
) -> None:
    """Send a load, and print the rate, the latencies, the errors and the server's stages.

    Each request has one image. The client's retries count as part of a request. One process
    sends, and the report says when it, and not the server, is the bottleneck. Ctrl-C ends the
    load early, and prints the report.

    Examples:
      convscope bench photo.jpg --model efficientnet_lite0
      convscope bench *.jpg --model efficientnet_lite0 --concurrency 32 --duration 60
      convscope bench photo.jpg --model efficientnet_lite0 --rate 200
      convscope bench photo.jpg --model digits --requests 1000 --json
    """
    check_selector(version, alias)
    load = Load(
        images=[path.read_bytes() for path in images],
        model=model,
        version=version,
        alias=alias,
        concurrency=concurrency,
        rate=rate,
        duration=DEFAULT_SECONDS if duration is None and requests is None else duration,
        requests=requests,
    )

    async def run() -> LoadResult:
        client = _CommandClient(
            server,
            timeout_seconds=timeout,
            root_certificates=root_certificates,
            client_certificate=client_certificate,
            client_key=client_key,
            allow_insecure_token=allow_insecure_token,
            coalesce=False,
            **token_options(token_file),
        )
        async with client:
            with _progress(load) as on_start:
                work = asyncio.ensure_future(run_load(client, load, on_start))
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, work.cancel)
                return await work

    try:
        result = asyncio.run(run())
    except InvalidInputError as error:
        raise typer.BadParameter(error.message) from error
    except ConvscopeError as error:
        print_error(error.message)
        raise typer.Exit(1) from error
    except asyncio.CancelledError:  # before the load began
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(to_object(server, load, result)))
    else:
        for line in report(server, load, result):
            typer.echo(line)
    if not result.latencies:
        raise typer.Exit(1)


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

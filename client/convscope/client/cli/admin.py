"""`convscope admin`: the commands for operators of a running server."""

from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from convscope.client._calls.admin_client import AdminClient, ModelStatus, TrafficSplit
from convscope.client.cli.admin_tables import print_status
from convscope.client.cli.connection import TokenFile, check_address, options_that_agree
from convscope.client.cli.error_output import print_error
from convscope.client.cli.json_output import to_json
from convscope.client.cli.missing_options import CommandGroup, ExplainingCommand
from convscope.client.cli.token_options import token_options
from convscope.client.errors import ConvscopeError

__all__ = ["app"]

app = typer.Typer(
    rich_markup_mode=None,  # its tables cut names off
    cls=CommandGroup,
    no_args_is_help=True,
    help="""Load and unload versions, and set aliases, on a running server.

The server must be started with --admin-address.

To change the repository instead, use convscope-exporter promote, canary and similar commands.

Examples:
  export CONVSCOPE_ADMIN=unix:/run/convscope.sock
  convscope admin status
  convscope admin canary digits 4 --share 0.1
  convscope admin alias digits champion 4
""",
)

Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="CONVSCOPE_ADMIN",
        metavar="unix:PATH|HOST:PORT",
        help="The server's --admin-address.",
        callback=check_address,
    ),
]
Model = Annotated[str, typer.Argument(metavar="MODEL", help="The model's name.")]
Version = Annotated[
    int | None, typer.Argument(min=1, help="One version.", show_default="all versions")
]
To = Annotated[
    str | None,
    typer.Argument(
        metavar="VERSION",
        help="The version: a number or an alias.",
        show_default="required, unless --stop is set",
    ),
]
Share = Annotated[
    float, typer.Option(min=0.0, max=1.0, help="The share of the requests, from 0 to 1.")
]
Of = Annotated[
    str | None,
    typer.Option(
        metavar="ALIAS",
        help="Split only the requests that name this alias.",
        show_default="those that name neither a version nor an alias",
    ),
]
Stop = Annotated[bool, typer.Option("--stop", help="End the traffic split.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per model.")]


@app.command(cls=ExplainingCommand)
def status(
    address: Address,
    model: Annotated[str, typer.Argument(help="One model.", show_default="all models")] = "",
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Show the versions that are served, and why others are not.

    Examples:
      convscope admin status --address unix:/run/convscope.sock
      convscope admin status digits --address 127.0.0.1:8003 --json
    """
    _run(address, token_file, as_json, lambda client: client.status(model))


@app.command(cls=ExplainingCommand)
def load(
    model: Model,
    address: Address,
    version: Version = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Load new versions now, and retry rejected ones.

    Examples:
      convscope admin load digits --address unix:/run/convscope.sock
      convscope admin load digits 4 --address unix:/run/convscope.sock
    """
    _run(address, token_file, as_json, lambda client: [client.load(model, version)])


@app.command(cls=ExplainingCommand)
def unload(
    model: Model,
    address: Address,
    version: Version = None,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Stop serving a model, or one version of it.

    Examples:
      convscope admin unload digits 3 --address unix:/run/convscope.sock
    """
    _run(address, token_file, as_json, lambda client: [client.unload(model, version)])


@app.command(cls=ExplainingCommand)
def alias(
    model: Model,
    name: Annotated[str, typer.Argument(help='The alias, such as "champion".')],
    address: Address,
    version: Annotated[
        int | None,
        typer.Argument(
            min=1,
            help="The version of the alias.",
            show_default="required, unless --remove is set",
        ),
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the alias.")] = False,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Set an alias to a version, which is loaded first.

    Examples:
      convscope admin alias digits champion 4 --address unix:/run/convscope.sock
      convscope admin alias digits champion --remove --address unix:/run/convscope.sock
    """
    if remove == (version is not None):
        raise typer.BadParameter("give either a version or --remove")
    _run(address, token_file, as_json, lambda client: [client.set_alias(model, name, version)])


@app.command(cls=ExplainingCommand)
def canary(
    model: Model,
    address: Address,
    to: To = None,
    share: Share = 0.05,
    of: Of = None,
    stop: Stop = False,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Send a share of the requests to another version.

    Examples:
      convscope admin canary digits 4 --share 0.1 --address unix:/run/convscope.sock
      convscope admin canary digits --stop --address unix:/run/convscope.sock
    """
    split = _split(to, share, of, stop)
    _run(
        address,
        token_file,
        as_json,
        lambda client: [client.set_traffic_split(model, "canary", split)],
    )


@app.command(cls=ExplainingCommand)
def shadow(
    model: Model,
    address: Address,
    to: To = None,
    share: Share = 1.0,
    of: Of = None,
    stop: Stop = False,
    token_file: TokenFile = None,
    as_json: Json = False,
) -> None:
    """Copy a share of the requests to another version, to compare them.

    Examples:
      convscope admin shadow digits 4 --address unix:/run/convscope.sock
      convscope admin shadow digits --stop --address unix:/run/convscope.sock
    """
    split = _split(to, share, of, stop)
    _run(
        address,
        token_file,
        as_json,
        lambda client: [client.set_traffic_split(model, "shadow", split)],
    )


def _split(to: str | None, share: float, of: str | None, stop: bool) -> TrafficSplit | None:
    if stop == (to is not None):
        raise typer.BadParameter("give either a version, by number or alias, or --stop")
    if to is None:
        return None
    return TrafficSplit(int(to) if to.isdecimal() else to, share, of)


class _CommandClient(AdminClient):
    """A client whose messages name the options of the commands."""

    _timeout_name = ""  # they have none for it
    _token_name = "--token-file or $CONVSCOPE_TOKEN"


def _run(
    address: str,
    token_file: Path | None,
    as_json: bool,
    call: Callable[[AdminClient], Iterable[ModelStatus]],
) -> None:
    with options_that_agree():
        client = _CommandClient(address, **token_options(token_file))
    try:
        with client:
            models = list(call(client))
    except ConvscopeError as error:
        print_error(error.message)
        raise typer.Exit(1) from error
    if as_json:
        for one in models:
            typer.echo(to_json(asdict(one)))
    else:
        print_status(models)

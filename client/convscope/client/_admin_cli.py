"""`convscope admin`: what an operator asks of a running server."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from convscope.client._admin_client import AdminClient, ModelStatus, Trial, VersionStatus
from convscope.client.errors import ConvscopeError, InvalidInputError

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    help="Load, unload, name and try versions of a running server, by its --admin-address.",
)

Address = Annotated[
    str,
    typer.Option(
        "--address",
        envvar="CONVSCOPE_ADMIN",
        metavar="unix:PATH|HOST:PORT",
        help="The server's --admin-address.",
    ),
]
Model = Annotated[str, typer.Argument(help="The model's name.")]
Version = Annotated[int | None, typer.Argument(min=1, help="One version; by default all of them.")]
To = Annotated[
    str | None, typer.Argument(metavar="[VERSION]", help="Where to: a number or an alias.")
]
Share = Annotated[float, typer.Option(min=0.0, max=1.0, help="Of the requests, from 0 to 1.")]
Of = Annotated[
    str | None,
    typer.Option(
        metavar="ALIAS", help="Of the requests that name this alias; by default of those without."
    ),
]
Stop = Annotated[bool, typer.Option("--stop", help="End it.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, an object a model.")]


@app.command()
def status(
    address: Address,
    model: Annotated[str, typer.Argument(help="One model; by default all.")] = "",
    as_json: Json = False,
) -> None:
    """Show what answers, and why the rest doesn't."""
    _ask(address, as_json, lambda client: client.status(model))


@app.command()
def load(model: Model, address: Address, version: Version = None, as_json: Json = False) -> None:
    """Load what is new now, and try again what was refused."""
    _ask(address, as_json, lambda client: [client.load(model, version)])


@app.command()
def unload(model: Model, address: Address, version: Version = None, as_json: Json = False) -> None:
    """Stop to serve a model, or one version of it."""
    _ask(address, as_json, lambda client: [client.unload(model, version)])


@app.command()
def alias(
    model: Model,
    name: Annotated[str, typer.Argument(help='The alias, such as "champion".')],
    address: Address,
    version: Annotated[
        int | None, typer.Argument(min=1, help="The version that it is to name.")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Drop the alias.")] = False,
    as_json: Json = False,
) -> None:
    """Make an alias name a version, once that one answers."""
    if remove == (version is not None):
        raise typer.BadParameter("give either a version or --remove")
    _ask(address, as_json, lambda client: [client.set_alias(model, name, version)])


@app.command()
def canary(
    model: Model,
    address: Address,
    to: To = None,
    share: Share = 0.05,
    of: Of = None,
    stop: Stop = False,
    as_json: Json = False,
) -> None:
    """Let another version answer a share of the requests."""
    trial = _trial(to, share, of, stop)
    _ask(address, as_json, lambda client: [client.set_trial(model, "canary", trial)])


@app.command()
def shadow(
    model: Model,
    address: Address,
    to: To = None,
    share: Share = 1.0,
    of: Of = None,
    stop: Stop = False,
    as_json: Json = False,
) -> None:
    """Copy a share of the requests to another version, and compare its answers."""
    trial = _trial(to, share, of, stop)
    _ask(address, as_json, lambda client: [client.set_trial(model, "shadow", trial)])


def _trial(to: str | None, share: float, of: str | None, stop: bool) -> Trial | None:
    if stop == (to is not None):
        raise typer.BadParameter("give either a version, by number or alias, or --stop")
    if to is None:
        return None
    return Trial(int(to) if to.isdecimal() else to, share, of)


def _ask(address: str, as_json: bool, call: Callable[[AdminClient], Iterable[ModelStatus]]) -> None:
    try:
        client = AdminClient(address)
    except InvalidInputError as error:
        raise typer.BadParameter(error.message) from error
    try:
        with client:
            models = list(call(client))
    except ConvscopeError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print("[bold red]error:[/]", end=" ")
        console.print(error.message, markup=False)
        raise typer.Exit(1) from error
    if as_json:
        for one in models:
            typer.echo(json.dumps(asdict(one)))
    else:
        _print(models)


def _print(models: Iterable[ModelStatus]) -> None:
    models = list(models)
    columns = ("model", "version", "state", "aliases", "trials", "provider, or why not")
    table = Table(*columns, box=None, header_style="dim")
    for model in models:
        for version in model.versions:
            names = [name for name, number in model.aliases.items() if number == version.version]
            note = f"{version.reason}: {version.message}" if version.reason else _runs_on(version)
            default = " (default)" if version.is_default else ""
            table.add_row(
                model.model,
                f"v{version.version}{default}",
                version.state,
                ", ".join(sorted(names)),
                ", ".join(_trials_of(model, version.version)),
                note,
            )
        if not model.versions:
            table.add_row(model.model, "", "unloaded", "", "", "")
    Console(highlight=False).print(table)
    for model in models:
        for problem in model.problems:
            typer.echo(f"{model.model}: {problem}", err=True)


def _trials_of(model: ModelStatus, version: int) -> Iterator[str]:
    """Say what a version is tried as: "canary of champion: 5 %"."""
    for kind, trial in (("canary", model.canary), ("shadow", model.shadow)):
        if trial and model.aliases.get(str(trial.to), trial.to) == version:
            of = f" of {trial.of}" if trial.of else ""
            yield f"{kind}{of}: {100 * trial.share:.3g} %"


def _runs_on(version: VersionStatus) -> str:
    instead = f" instead of {version.fallback_from}" if version.fallback_from else ""
    return f"{version.provider}{instead}"

"""`promote`, `canary` and `shadow`: which version of a model gets the requests.

What they need is imported inside them, so that `--help` answers at once.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from convscope.exporter.commands.console import errors_as_sentences
from convscope.exporter.commands.options import ModelInRepository, RepositoryPlace

if TYPE_CHECKING:
    from convscope.bundle.traffic import Kind

__all__ = ["register"]

Argument, Option = typer.Argument, typer.Option
To = Annotated[
    str | None,
    Argument(
        metavar="[VERSION]",
        help="The target: a version's number or an alias.",
        show_default="required, unless --stop is set",
    ),
]
Share = Annotated[float, Option(min=0.0, max=1.0, help="The share of the requests, from 0 to 1.")]
Of = Annotated[
    str | None,
    Option(
        metavar="ALIAS",
        help="Split the requests that name this alias.",
        show_default="those that name neither a version nor an alias",
    ),
]
Stop = Annotated[bool, Option("--stop", help="End it.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (promote, canary, shadow):
        app.command()(command)


def promote(
    model: ModelInRepository,
    alias: Annotated[str, Option(help="The alias, such as champion.")],
    version: Annotated[
        int | None,
        Argument(
            metavar="VERSION",
            help="The version that the alias will name.",
            show_default="required, unless --back or --remove is set",
        ),
    ] = None,
    back: Annotated[
        bool, Option("--back", help="Return to the version that the alias named before.")
    ] = False,
    remove: Annotated[bool, Option("--remove", help="Remove the alias.")] = False,
    repository: RepositoryPlace = "models",
) -> None:
    """Switch an alias to a version, back to the one before, or remove it.

    Examples:
      convscope-exporter promote digits 2 --alias champion
      convscope-exporter promote digits --alias champion --back
      convscope-exporter promote digits --alias champion --remove
    """
    if [version is not None, back, remove].count(True) != 1:
        raise typer.BadParameter("use either a VERSION, or --back, or --remove")
    with errors_as_sentences():
        from convscope.bundle import aliases
        from convscope.bundle.opening import existing_repository

        place = existing_repository(repository)
        if version is not None:
            switch = aliases.promote(place, model, version, alias)
        elif back:
            switch = aliases.go_back(place, model, alias)
        else:
            switch = aliases.remove_alias(place, model, alias)
        typer.echo(str(switch))


def canary(
    model: ModelInRepository,
    to: To = None,
    share: Share = 0.05,
    of: Of = None,
    stop: Stop = False,
    repository: RepositoryPlace = "models",
) -> None:
    """Send a share of a model's requests to another version.

    Examples:
      convscope-exporter canary digits 3 --share 0.05
      convscope-exporter canary digits --stop
    """
    _split_traffic("canary", model, to, share, of, stop, repository)


def shadow(
    model: ModelInRepository,
    to: To = None,
    share: Share = 1.0,
    of: Of = None,
    stop: Stop = False,
    repository: RepositoryPlace = "models",
) -> None:
    """Copy a share of a model's requests to another version, which is compared.

    Examples:
      convscope-exporter shadow digits 3
      convscope-exporter shadow digits --stop
    """
    _split_traffic("shadow", model, to, share, of, stop, repository)


def _split_traffic(
    kind: "Kind",
    model: str,
    to: str | None,
    share: float,
    of: str | None,
    stop: bool,
    repository: str,
) -> None:
    if stop == (to is not None):
        raise typer.BadParameter("use either a VERSION, by number or alias, or --stop")
    with errors_as_sentences():
        from convscope.bundle import traffic
        from convscope.bundle.opening import existing_repository

        place = existing_repository(repository)
        if to is None:
            ended = traffic.end_split(place, model, kind)
            typer.echo(f"{kind}: {'ended' if ended else 'not set'}")
            return
        split = traffic.TrafficSplit(int(to) if to.isdecimal() else to, share, of)
        traffic.set_split(place, model, kind, split)
        typer.echo(f"{kind}: {split}")

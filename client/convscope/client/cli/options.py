"""The options about models that several commands share, and what they mean."""

from typing import Annotated

import typer

from convscope.client.cli.completion import complete_models

__all__ = ["Alias", "Json", "Model", "Version", "check_selector"]

Model = Annotated[
    str,
    typer.Option(metavar="NAME", help="The model's name.", autocompletion=complete_models),
]
Version = Annotated[
    int | None,
    typer.Option(min=1, help="The model's version.", show_default="the server's default"),
]
Alias = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="An alias of the model's version, such as champion.",
        show_default="the server's default",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


def check_selector(version: int | None, alias: str | None) -> None:
    """Reject a version together with an alias."""
    if version is not None and alias is not None:
        raise typer.BadParameter("--version and --alias both choose a version; give one")

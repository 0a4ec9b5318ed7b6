"""The `convscope` command."""

from importlib import metadata
from typing import Annotated

import typer

from convscope.client.cli import admin, json_output, model_tables
from convscope.client.cli.bench import bench
from convscope.client.cli.classify import classify
from convscope.client.cli.completion import complete_models
from convscope.client.cli.connection import Connection, with_connection
from convscope.client.cli.error_output import print_error
from convscope.client.cli.explain import explain
from convscope.client.cli.health import health
from convscope.client.cli.missing_options import CommandGroup, ExplainingCommand
from convscope.client.cli.options import Alias, Json, Version, check_selector
from convscope.client.cli.watch import watch
from convscope.client.cli.web import web
from convscope.client.errors import ConvscopeError

__all__ = ["app"]

_HELP = """Classify images with a Convscope server, and see what the network sees.

Examples:
  convscope models
  convscope classify photo.jpg --model efficientnet_lite0
  convscope explain photo.jpg --model efficientnet_lite0 --save pictures
  convscope watch
  convscope COMMAND --help
"""

app = typer.Typer(
    rich_markup_mode=None,  # its tables cut names off
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(admin.app, name="admin")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"convscope {metadata.version('convscope')}")
        raise typer.Exit


@app.callback(help=_HELP)
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Run a command."""


@app.command(cls=ExplainingCommand)
@with_connection
def models(
    connection: Connection,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Describe this model in full.",
            show_default="list all models",
            autocompletion=complete_models,
        ),
    ] = None,
    version: Version = None,
    alias: Alias = None,
    as_json: Json = False,
) -> None:
    """List the models of the server, or describe one.

    The description of a model includes its preprocessing, classes and feature maps.

    Examples:
      convscope models
      convscope models efficientnet_lite0
      convscope models efficientnet_lite0 --alias champion --json
    """
    check_selector(version, alias)
    if name is None and (version is not None or alias is not None):
        raise typer.BadParameter("--version and --alias need the NAME of a model")
    client = connection.client()
    try:
        with client:
            if name is None:
                if found := client.models():
                    (json_output if as_json else model_tables).print_models(found)
                else:
                    typer.echo("no version is loaded now; some may be loaded on demand", err=True)
            else:
                info = client.model(name, version=version, alias=alias)
                (json_output if as_json else model_tables).print_model(info)
    except ConvscopeError as error:
        print_error(error.message)
        raise typer.Exit(1) from error


for command in (classify, explain, health, watch, bench, web):
    app.command(cls=ExplainingCommand)(command)

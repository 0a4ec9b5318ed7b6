"""The command line, on which each command module registers its commands."""

from importlib import metadata
from typing import Annotated

import typer

from convscope._commands import PlainGroup
from convscope.exporter.commands import (
    bundles,
    evaluate,
    export,
    foreign,
    init,
    networks,
    pyramid,
    quantize,
    repository,
    routing,
    signing,
    to_fp16,
    train,
)
from convscope.exporter.commands.debug import DebuggableTyper

__all__ = ["app"]

app = DebuggableTyper(
    rich_markup_mode=None,  # its tables cut names off
    cls=PlainGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"convscope-exporter {metadata.version('convscope')}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Train or load convolutional networks, and convert them to verified ONNX bundles.

    Examples:
      convscope-exporter list
      convscope-exporter export efficientnet_lite0
      convscope-exporter train lenet --dataset mnist
      convscope-exporter import network.onnx --help
      convscope-exporter init shapes
      convscope-exporter promote digits 2 --alias champion
    """


init.register(app)
networks.register(app)
pyramid.register(app)
export.register(app)
train.register(app)
foreign.register(app)
evaluate.register(app)
bundles.register(app)
quantize.register(app)
to_fp16.register(app)
routing.register(app)
repository.register(app)
signing.register(app)

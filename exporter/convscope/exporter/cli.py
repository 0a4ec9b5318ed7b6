"""The command line: each module of commands registers its own."""

import typer

from convscope.exporter import commands_export, commands_inspect, commands_list, commands_train

__all__ = ["app"]

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train or load convolutional networks, and convert them to verified ONNX bundles.",
)
commands_list.register(app)
commands_export.register(app)
commands_train.register(app)
commands_inspect.register(app)

"""The command line, on which each command module registers its commands."""

from convscope.exporter.commands import (
    bundles,
    evaluate,
    export,
    foreign,
    init,
    networks,
    pyramid,
    repository,
    signing,
    train,
)
from convscope.exporter.commands.debug import CommandGroup, DebuggableTyper

__all__ = ["app"]

app = DebuggableTyper(
    rich_markup_mode=None,  # its tables cut names off
    cls=CommandGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Train or load convolutional networks, and convert them to verified ONNX bundles.",
)
init.register(app)
networks.register(app)
pyramid.register(app)
export.register(app)
train.register(app)
foreign.register(app)
evaluate.register(app)
bundles.register(app)
repository.register(app)
signing.register(app)

"""What to do about a required option that is missing."""

from typing import Any

import typer
from typer.core import TyperCommand

__all__ = ["ExplainingCommand"]

_HINTS = {
    "address": "It is the --admin-address that the server was started with.",
    "model": "`convscope models` lists the models of the server.",
}


class ExplainingCommand(TyperCommand):
    """A command whose error about a missing option says where its value comes from."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if not error.message and error.param is not None:  # only if it is missing
                error.message = _HINTS.get(str(error.param.name), "")
            raise

"""The commands: what to do about a missing option, a token as a flag, or another program's name."""

import os
from typing import Any

import typer

from convscope._commands import PlainCommand, PlainGroup

__all__ = ["CommandGroup", "ExplainingCommand"]

_HINTS = {
    "address": "it is the --admin-address that the server was started with",
    "model": "`convscope models` lists the models of the server",
}

# What belongs to the programs of the extras exporter and server, and to another group.
_EXPORTER = "describe diff evaluate export import init promote prune publish pyramid quantize sign"
_OTHER_COMMANDS = (
    {name: f"convscope-exporter {name}" for name in f"{_EXPORTER} train verify versions".split()}
    | dict.fromkeys(("run", "serve", "server", "start"), "convscope-server")
    | {name: f"convscope admin {name}" for name in ("alias", "canary", "load", "shadow", "unload")}
)

# The base of all errors about the command line: Typer may bring its own copy of Click.
_UsageError: Any = typer.BadParameter.__bases__[0]

TOKEN_MESSAGE = (
    "--token would show the token in the list of processes and in the shell's history; put it "
    "into a file and give --token-file FILE, or set CONVSCOPE_TOKEN"
)


class ExplainingCommand(PlainCommand):
    """A command whose error about a missing option says where its value comes from."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments."""
        if any(each == "--token" or each.startswith("--token=") for each in args):
            raise typer.BadParameter(TOKEN_MESSAGE)
        given = list(args)  # parsing empties the list
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            if not error.message and error.param is not None:  # only if it is missing
                error.message = _HINTS.get(str(error.param.name), "")
            raise
        except _UsageError as error:  # an unknown option, which may be the name of a file
            if file := next((each for each in given if _is_dashed_file(each)), None):
                error.message += f"; if you mean the file, write {f'./{file}'!r}"
            raise


def _is_dashed_file(argument: str) -> bool:
    return argument.startswith("-") and os.path.lexists(argument)


class CommandGroup(PlainGroup):
    """A group of commands, which knows the names of those elsewhere."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command by its name."""
        if args and ctx.parent is None and (other := _OTHER_COMMANDS.get(args[0])):
            ctx.fail(f"there is no command {args[0]!r}; you may mean `{other}`")
        return super().resolve_command(ctx, args)

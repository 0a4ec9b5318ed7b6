"""`--debug` of every command: shows the traceback behind an error."""

import inspect
import re
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Annotated, Any, TypeVar

import typer

from convscope._commands import PlainCommand

__all__ = ["DebuggableTyper", "is_debugging"]

Function = Callable[..., Any]
C = TypeVar("C", bound=Function)
Debug = Annotated[
    bool, typer.Option("--debug", help="After an error, print the traceback before the message.")
]

# The base of all errors about the command line: Typer may bring its own copy of Click.
_UsageError: Any = typer.BadParameter.__bases__[0]

_debugging: ContextVar[bool] = ContextVar("debugging", default=False)


class Command(PlainCommand):
    """A command whose options may be lists of numbers."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; an error about the rest of a list with spaces explains these."""
        given = list(args)  # parsing empties the list
        try:
            return super().parse_args(ctx, args)
        except _UsageError as error:
            if lists := [each for each in given if _is_cut_list(each)]:
                error.message += (
                    f"; write a list of numbers without spaces, such as {lists[0]}{lists[0][:-1]}"
                )
            raise


class DebuggableTyper(typer.Typer):
    """Adds `--debug` to each of its commands."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[C], C]:
        """Register a command with the option."""

        def decorate(function: C) -> C:
            register = super(DebuggableTyper, self).command(name, cls=Command, **options)
            register(_with_debug(function))
            return function

        return decorate


def is_debugging() -> bool:
    """Return whether the running command has the option."""
    return _debugging.get()


def _is_cut_list(argument: str) -> bool:
    """Report whether an argument is the start of a list of numbers, which a space ended."""
    return re.fullmatch(r"[-\d./]+,", argument) is not None


def _with_debug(function: Function) -> Function:
    @wraps(function)
    def run(*arguments: Any, debug: bool = False, **options: Any) -> Any:
        _debugging.set(debug)
        return function(*arguments, **options)

    signature = inspect.signature(function)
    option = inspect.Parameter(
        "debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug
    )
    parameters = [*signature.parameters.values(), option]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {**function.__annotations__, "debug": Debug}
    return run

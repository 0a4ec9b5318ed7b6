"""Errors about the command line: their exit code, and their messages.

All commands of all programs have the same exit codes: 0 for success, 1 for a failure, 2 if some
images failed, 64 for a wrong command line, and 130 for Ctrl-C. Click and Typer would use 2 for a
wrong command line, which a script couldn't tell from a partial failure.

All commands of all rooms use it. It needs only the standard library, and imports no room.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from convscope._suggestions import similar

__all__ = ["INTERRUPTED", "USAGE_ERROR", "usage_errors"]

USAGE_ERROR: Final = 64  # EX_USAGE of sysexits.h
INTERRUPTED: Final = 130

# The messages of Click, and of those releases of Typer that have Pydantic check the values.
_OUT_OF_RANGE = re.compile(
    r"(?P<value>\S+) is not in the range .*|Input should be (greater|less) than .*"
)
_NO_NUMBER = re.compile(
    r"'(?P<value>.*)' is not a valid (int|float).*|Input should be a valid (integer|number).*",
    re.S,
)
_CHOICES = re.compile(r"(?P<value>'.*') is not one of (?P<choices>'.*?')\.?")
_NO_VALUE = re.compile(r"Option '(?P<name>\S+)' requires an argument\.")
_NO_FLAG = re.compile(r"Option '(?P<name>\S+)' does not take a value\.")
_EXTRA = re.compile(r"Got unexpected extra argument(?:s|\(s\))? \((?P<words>.*)\)", re.S)
_PATH = re.compile(r"(?:file|dir|directory|path) '.*\.", re.I | re.S)
_PREFIX = "Value error, "  # of Pydantic


@contextmanager
def usage_errors() -> Iterator[None]:
    """Set the exit code and the message of an error of Click or Typer about the command line."""
    try:
        yield
    except Exception as error:
        # The two libraries have classes of their own, and the server has only one of them.
        if hasattr(error, "format_message") and getattr(error, "exit_code", None) == 2:
            error.exit_code = USAGE_ERROR  # type: ignore[attr-defined]
            error.message = _in_words(error)  # type: ignore[attr-defined]
            if type(error).__name__ != "NoArgsIsHelpError":  # it shows the help page
                error.show = partial(_show, error)  # type: ignore[attr-defined]
        raise


def _show(error: Any, file: Any = None) -> None:
    """Print an error as Click does, but in the words and the form of all others."""
    context = getattr(error, "ctx", None)
    lines = []
    if context is not None:
        names = context.help_option_names
        help_line = f"Try '{context.command_path} {names[0]}' for help.\n" if names else ""
        lines = [context.get_usage(), help_line]
    print(*lines, f"error: {_sentence(error)}", sep="\n", file=file or sys.stderr)


def _sentence(error: Any) -> str:
    """Return the whole message, which names the option or the argument."""
    if name := getattr(error, "option_name", None) if _is(error, "NoSuchOption") else None:
        near = similar(name, _options(error.ctx)) if error.ctx is not None else None
        _, _, repair = error.message.partition("; ")
        repair = repair or (f"did you mean {near}?" if near else "")
        return f"there is no option {name}" + (f"; {repair}" if repair else "")
    subject = _subject(error)
    if _is(error, "MissingParameter"):
        return f"{subject} is missing" + (f"; {error.message}" if error.message else "")
    return f"{subject}: {error.message}" if subject else str(error.message)


def _is(error: Any, name: str) -> bool:
    return type(error).__name__ == name


def _subject(error: Any) -> str:
    """Return the option or the argument that an error is about; empty if they contradict."""
    if hint := getattr(error, "param_hint", None):
        return hint if isinstance(hint, str) else " / ".join(hint)
    parameter = getattr(error, "param", None)
    if parameter is None:
        return ""
    if parameter.param_type_name == "argument":
        return str(parameter.metavar or parameter.name.upper()).strip("[]{}.")
    return str(max(parameter.opts, key=len))


def _options(context: Any) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        if parameter.param_type_name == "option":
            yield from (*parameter.opts, *parameter.secondary_opts)


def _in_words(error: Any) -> Any:
    """Return the message of an error; one about a value has the value and what is allowed."""
    message: Any = error.message
    if not isinstance(message, str):
        return message
    message = message.removeprefix(_PREFIX)
    parameter = getattr(error, "param", None)
    if found := _OUT_OF_RANGE.fullmatch(message):
        return f"{_value(error, found)} is out of range; it must be {_range(parameter)}"
    if found := _NO_NUMBER.fullmatch(message):
        number = "a whole number" if " int" in message else "a number"
        allowed = f"; it must be {limits}" if (limits := _range(parameter)) else ""
        return f"{_value(error, found)!r} is not {number}{allowed}"
    if found := _CHOICES.fullmatch(message):
        return f"{found['value']} is not one of: {found['choices'].replace(chr(39), '')}"
    if found := _NO_VALUE.fullmatch(message):
        return f"{found['name']} needs a value"
    if found := _NO_FLAG.fullmatch(message):
        return f"{found['name']} takes no value"
    if found := _EXTRA.fullmatch(message):
        return f"unexpected: {found['words']}"
    if _PATH.fullmatch(message):
        return f"{message[0].lower()}{message[1:-1]}"
    return message


def _value(error: Any, found: re.Match[str]) -> str:
    if found["value"] is not None:
        return found["value"]
    return str(error.__cause__.errors()[0]["input"])  # Pydantic's


def _range(parameter: Any) -> str:
    """Return which numbers an option accepts; empty without limits."""
    kind = getattr(parameter, "type", parameter)
    low, high = getattr(kind, "min", None), getattr(kind, "max", None)
    if low is not None and high is not None:
        return f"from {low:g} to {high:g}"
    if low is not None:
        return f"more than {low:g}" if getattr(kind, "min_open", False) else f"{low:g} or more"
    return "" if high is None else f"{high:g} or less"

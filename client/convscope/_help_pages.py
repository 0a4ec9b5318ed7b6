"""The help pages of the commands, which no width of the terminal cuts off.

Click breaks long names of environment variables in two, and Typer's tables cut them off. A page
here has the usage, the description, the arguments, the options in groups, and the examples of
the docstring: what follows its line "Examples:".

All commands of all rooms use it. It needs only the standard library, and imports no room.
"""

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from textwrap import dedent, indent, wrap
from typing import Any

__all__ = ["first_sentence", "help_page", "ranges_in_words", "usage_line"]

MAX_WIDTH = 100
# Below this width, an option is on a line of its own.
TWO_COLUMNS_FROM = 72
MAX_LABEL_WIDTH = 30
EXAMPLES = "Examples:"
# The types of values, in Typer's and Click's words, and in ours.
_TYPES: Mapping[str, str] = {
    "int range": "N",
    "int": "N",
    "INTEGER RANGE": "N",
    "INTEGER": "N",
    "float range": "NUMBER",
    "float": "NUMBER",
    "FLOAT RANGE": "NUMBER",
    "FLOAT": "NUMBER",
    "str": "TEXT",
    "file": "FILE",
    "path": "PATH",
    "directory": "DIR",
    "DIRECTORY": "DIR",
}
_TYPE = re.compile(r"(?<= )<?(?:list\[)?([\w ]+?(?:\|[\w .-]+)*)\]?>?(?=$|,| /)")
_DEFAULT_IN_WORDS = re.compile(r"default: \((.*?)\)(?=[;\]])")
_DEFAULT_NUMBER = re.compile(r"(?<=default: )(\d+)(?:\.0)?(?=[;\]])")
_CHOICES = re.compile(r"\[([\w.-]+(?:\|[\w.-]+)+)\]")
_MIB = 2**20
_NUMBER = r"[\d.]+(?:e[+-]?\d+)?"
_RANGE = re.compile(
    rf"(?<=[\[ ])(?:(?P<low>{_NUMBER})<=?)?x(?:(?P<sign>[<>]=?)(?P<end>{_NUMBER}))(?=[];])"
)


def help_page(command: Any, context: Any, sections: Mapping[str, list[str]] | None = None) -> str:
    """Return the help page of a command of Click or Typer.

    Args:
        command: The command.
        context: Its context.
        sections: The options of each section, by their names; by default, those that Typer's
            `rich_help_panel` names.
    """
    width = context.terminal_width or min(shutil.get_terminal_size().columns, MAX_WIDTH)
    described, _, examples = (command.help or "").partition(f"\n{EXAMPLES}\n")
    parts = [usage_line(command, context)]
    parts += [_paragraph(text, width) for text in dedent(described).strip().split("\n\n") if text]
    parts += _lists(command, context, sections, width)
    if examples:
        parts.append(f"{EXAMPLES}\n{_examples(examples)}")
    return "\n\n".join(parts) + "\n"


def first_sentence(command: Any) -> str:
    """Return the summary of a command, which Click would cut off at 45 characters."""
    return " ".join((command.help or "").strip().partition("\n\n")[0].split())


def _examples(text: str) -> str:
    """Return the examples, and the sections after them, with the same indentation."""
    start, *sections = re.split(r"\n\n(?=\S)", text.rstrip())
    return "\n\n".join([indent(dedent(start), "  "), *sections])


def ranges_in_words(text: str) -> str:
    """Return a help text with Click's ranges, such as x>=1, in words: 1 or more."""
    return _RANGE.sub(_range, text)


def _range(found: re.Match[str]) -> str:
    low, sign, end = found["low"], found["sign"], found["end"]
    if low:
        return f"from {float(low):g} to {float(end):g}"
    limit = end if end.isdecimal() else f"{float(end):g}"
    words = {">=": f"{limit} or more", ">": f"more than {limit}", "<=": f"{limit} or less"}
    return words.get(sign, found[0])


def _default_number(found: re.Match[str]) -> str:
    """Return a default without the zero of a whole number, and many bytes also in MiB."""
    number = int(found[1])
    return f"{number}, {number // _MIB} MiB" if number and number % _MIB == 0 else found[1]


def usage_line(command: Any, context: Any) -> str:
    """Return the first line of the help page, which errors repeat."""
    words = ["Usage:", context.command_path, "[OPTIONS]"]
    words += [_argument(each, in_usage=True) for each in command.params if _is_argument(each)]
    return " ".join([*words, "COMMAND [ARGS]..."] if _commands(command) else words)


def _lists(
    command: Any, context: Any, sections: Mapping[str, list[str]] | None, width: int
) -> Iterator[str]:
    """Yield the arguments, the options of each section, and the commands."""
    titles = ("Arguments", *(sections or {}), "Options")
    rows: dict[str, list[tuple[str, str]]] = {title: [] for title in titles}
    names = {name: title for title, members in (sections or {}).items() for name in members}
    for parameter in command.get_params(context):
        if (record := parameter.get_help_record(context)) is None:
            continue
        text = _DEFAULT_IN_WORDS.sub(r"default: \1", ranges_in_words(record[1]))
        text = _DEFAULT_NUMBER.sub(_default_number, text)
        if _is_argument(parameter):
            rows["Arguments"].append((_argument(parameter), text))
            continue
        panel = getattr(parameter, "rich_help_panel", None)
        title = names.get(parameter.name) or (panel if isinstance(panel, str) else "Options")
        rows.setdefault(title, []).append((_option(record[0]), text))
    found = ((name, first_sentence(each)) for name, each in _commands(command).items())
    rows["Commands"] = list(found)
    for title, members in rows.items():
        if members:
            yield f"{title}:\n" + "\n".join(_definitions(members, width))


def _definitions(rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    """Yield the lines of a list of names and texts; only spaces break a text."""
    rows = list(rows)
    longest = max(len(label) for label, _ in rows)
    column = min(longest, MAX_LABEL_WIDTH) + 4 if width >= TWO_COLUMNS_FROM else 6
    for label, text in rows:
        first, *others = _wrap(text, width - column) or [""]
        if len(label) + 4 <= column and width >= TWO_COLUMNS_FROM:
            yield f"  {label:<{column - 2}}{first}".rstrip()
        else:
            yield f"  {label}"
            others = [first, *others] if first else others
        yield from (" " * column + line for line in others)


def _paragraph(text: str, width: int) -> str:
    return "\n".join(f"  {line}" for line in _wrap(text, width - 2))


def _wrap(text: str, width: int) -> list[str]:
    flat = " ".join(text.split())
    return wrap(flat, max(width, 30), break_long_words=False, break_on_hyphens=False)


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _argument(parameter: Any, *, in_usage: bool = False) -> str:
    name = (parameter.metavar or parameter.name.upper()).strip("[]{}")
    if parameter.nargs == -1 and not name.endswith("..."):
        name += "..."
    return f"[{name}]" if in_usage and not parameter.required else name


def _option(label: str) -> str:
    """Return the names of an option and of its value, with the value's type in plain words."""
    return _CHOICES.sub(r"\1", _TYPE.sub(lambda match: _TYPES.get(match[1], match[1]), label))


def _commands(command: Any) -> Mapping[str, Any]:
    commands = getattr(command, "commands", {})
    return {name: each for name, each in commands.items() if not each.hidden}

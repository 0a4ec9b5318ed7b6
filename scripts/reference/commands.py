"""The reference of a command line, from its Typer app or its click command.

Typer has a copy of click of its own in some releases and uses the package click in others.
Only what both have in common is used here.
"""

import re
from itertools import takewhile
from typing import Any

from convscope._help_pages import ranges_in_words
from scripts.reference.markdown import code, definition, prose, sentence

__all__ = ["command_page", "readable"]

_BRACKETS = re.compile(r"\s*\[([^\[\]]*(?:\[[^\]]*\][^\[\]]*)*)\]$")
_SEPARATOR = re.compile(r"; (?![^(]*\))")  # not within parentheses
_LEVELS = ("", "##", "###", "####")
# The names that click has for kinds of values, and ours.
_KINDS = {
    "int": "integer",
    "int range": "integer",
    "integer range": "integer",
    "float": "number",
    "float range": "number",
    "str": "text",
}


def command_page(title: str, introduction: str, name: str, command: Any) -> str:
    """Return the page of a program with all of its commands.

    Args:
        title: The heading.
        introduction: What precedes the commands.
        name: The name of the program.
        command: The click command or group.
    """
    return "\n".join([f"# {title}\n", f"{introduction}\n", *_sections(name, command, 0)])


def _sections(name: str, command: Any, depth: int) -> list[str]:
    context = command.context_class(command, info_name=name)
    commands = {
        key: value for key, value in getattr(command, "commands", {}).items() if not value.hidden
    }
    lines = []
    if depth or not commands:
        lines += [f"{_LEVELS[min(depth, 3)]} {code(name)}\n" if depth else "", _help(command.help)]
        usage = " ".join(command.collect_usage_pieces(context))
        lines += [f"```text\n{name} {usage}\n```\n"]
    lines += _parameters(command, context)
    if command.epilog:
        lines += [_help(command.epilog)]
    for key in commands:
        lines += _sections(f"{name} {key}", commands[key], depth + 1)
    return lines


def _help(text: str | None) -> str:
    """Return a help text as Markdown. Indented lines are code, such as those after "Examples:"."""
    shown = []
    for paragraph in re.split(r"\n\s*\n", (text or "").replace("\b\n", "").strip("\n ")):
        lines = paragraph.strip("\n").splitlines()
        words = list(takewhile(lambda line: not line.startswith("  "), lines))
        if words:
            shown.append(readable("\n".join(words)))
        if indented := lines[len(words) :]:
            shown.append("```text\n" + "\n".join(line[2:] for line in indented) + "\n```")
    return "\n\n".join(shown) + "\n"


def readable(paragraph: str) -> str:
    """Return a paragraph in which flags and variables are code."""
    return re.sub(
        r"(?<![\w`-])(--[a-z][a-z-]+|CONVSCOPE_[A-Z_]+)", r"`\1`", prose_with_names(paragraph)
    )


def prose_with_names(text: str) -> str:
    """Return a help text whose names of variables keep their underscores."""
    return re.sub(r"([A-Z]+(?:\\_[A-Z]+)+)", lambda found: found[0].replace("\\", ""), prose(text))


def _parameters(command: Any, context: Any) -> list[str]:
    entries = []
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is None or parameter.name == "help" or getattr(parameter, "hidden", False):
            continue
        entries.append(_parameter(*record))
    return [*entries, ""] if entries else []


def _parameter(names: str, text: str) -> str:
    """Return the entry of a parameter, whose help ends with its default in brackets."""
    facts: list[str] = []
    text = ranges_in_words(text)
    found = _BRACKETS.search(text)
    if found:
        text = text[: found.start()]
        facts = [_fact(part) for part in _SEPARATOR.split(re.sub(r"\s+", " ", found[1]))]
    flags, _, kind = names.partition(" ")
    shown = [code(flag) for flag in flags.split("/")]
    while kind.startswith(("--", "/", "-")):  # several names of one option
        flag, _, kind = kind.lstrip("/ ").partition(" ")
        shown.append(code(flag.strip(",")))
    term = ", ".join(part.replace(",`", "`") for part in shown)
    kind = kind.strip().removeprefix("<").removesuffix(">")
    kind = "" if kind.startswith("list[") else _KINDS.get(kind, kind)
    return definition(
        f"{term} *{prose(kind)}*" if kind else term, sentence(readable(text)), " · ".join(facts)
    )


def _fact(text: str) -> str:
    name, _, value = text.partition(": ")
    if name == "default":
        bare = value.strip()
        is_words = bare.startswith("(") and bare.endswith(")")
        return f"Default: {prose(bare[1:-1]) if is_words else code(bare)}"
    if name == "env var":
        return "Environment: " + ", ".join(code(part) for part in value.split(", "))
    return "**Required**" if text == "required" else prose(text)

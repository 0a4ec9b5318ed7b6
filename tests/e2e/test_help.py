"""The help of every command states what happens without an option."""

import re
from collections.abc import Iterator
from typing import Any

import click
import pytest
import typer
from click.testing import CliRunner

from convscope.client.cli import app as client_app
from convscope.exporter.cli import app as exporter_app
from convscope.server.config.command_line import command_line

PROGRAMS: dict[str, Any] = {
    "convscope-exporter": typer.main.get_command(exporter_app),
    "convscope": typer.main.get_command(client_app),
    "convscope-server": command_line(lambda settings: None),
}


def commands() -> Iterator[tuple[str, click.Command]]:
    """Return every command that has no commands of its own, by its name on the command line."""
    waiting = list(PROGRAMS.items())
    while waiting:
        name, command = waiting.pop()
        members = getattr(command, "commands", {})
        waiting += [(f"{name} {member}", each) for member, each in members.items()]
        if not members:
            yield name, command


COMMANDS = dict(commands())


def records(command: click.Command) -> Iterator[tuple[click.Parameter, str]]:
    """Return each parameter that takes a value and may be omitted, and its help."""
    context = click.Context(command)
    for parameter in command.params:
        is_switch = getattr(parameter, "is_flag", False) and not parameter.secondary_opts
        record = parameter.get_help_record(context)
        if record is not None and not parameter.required and not is_switch:
            yield parameter, " ".join(record[1].split())


def test_the_walk_finds_the_commands() -> None:
    expected = {"convscope-exporter train", "convscope admin load", "convscope-server"}
    assert expected <= COMMANDS.keys()
    assert len(COMMANDS) >= 20
    assert len(list(records(COMMANDS["convscope-exporter train"]))) >= 20


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_default_is_in_the_help(name: str) -> None:
    missing = [
        f"{parameter.name}: {text}"
        for parameter, text in records(COMMANDS[name])
        if not re.search(r"\bdefault: [^];\s]|by default", text)
    ]
    assert not missing


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_no_default_is_a_word_of_a_programming_language(name: str) -> None:
    program, *members = name.split()
    done = CliRunner().invoke(PROGRAMS[program], [*members, "--help"])
    assert done.exit_code == 0
    assert "--help" in done.output
    assert not re.findall(r"None|null|UNSET|<class|\bnan\b", done.output)


@pytest.mark.parametrize("name", sorted({*COMMANDS, *PROGRAMS, "convscope admin"}))
def test_no_name_is_cut_off(name: str) -> None:
    program, *members = name.split()
    done = CliRunner().invoke(PROGRAMS[program], [*members, "--help"], terminal_width=80)
    command = COMMANDS.get(name)
    for parameter in command.params if command is not None else ():
        for option in parameter.opts if isinstance(parameter, click.Option) else ():
            assert option in done.output
    listed = done.output.partition("Commands:")[2]
    assert "..." not in listed

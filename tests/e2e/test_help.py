"""The help of every command states what happens without an option."""

import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from click.testing import CliRunner

from convscope.client.cli import app as client_app
from convscope.exporter.cli import app as exporter_app
from convscope.server.config.command_line import command_line

pytestmark = pytest.mark.one_transport("starts no server that serves")

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


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("name", sorted({*COMMANDS, *PROGRAMS, "convscope admin"}))
def test_no_name_is_cut_off_at_any_width(name: str, width: int) -> None:
    program, *members = name.split()
    runner = CliRunner()
    done = runner.invoke(PROGRAMS[program], [*members, "--help"], terminal_width=width)
    words = re.split(r"[\s;\],]+", done.output)
    command = COMMANDS.get(name)
    for parameter in command.params if command is not None else ():
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            assert option in words
        variables = getattr(parameter, "envvar", None) or ()
        if getattr(parameter, "show_envvar", False):
            assert {variables} if isinstance(variables, str) else set(variables) <= {*words}
    assert "..." not in done.output.partition("Commands:")[2].partition("Examples:")[0]


@pytest.mark.parametrize("name", sorted({*COMMANDS, *PROGRAMS, "convscope admin"}))
def test_every_page_has_examples_that_call_an_existing_command(name: str) -> None:
    program, *members = name.split()
    page = CliRunner().invoke(PROGRAMS[program], [*members, "--help"]).output
    examples = [
        line for line in page.partition("\nExamples:\n")[2].splitlines() if f"{program} " in line
    ]
    assert examples
    for line in examples:
        after = line.partition(program)[2].split()[:1]
        assert not members or members[0] in line
        if not members and after and after[0].isalpha() and after[0].islower():
            assert after[0] in getattr(PROGRAMS[program], "commands", {}), line


@pytest.mark.parametrize("name", sorted({*COMMANDS, *PROGRAMS, "convscope admin"}))
def test_the_command_line_of_every_example_is_valid(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVSCOPE_ADMIN", "unix:admin.sock")
    program, *members = name.split()
    page = CliRunner().invoke(PROGRAMS[program], [*members, "--help"]).output
    text = page.partition("\nExamples:\n")[2].replace("\\\n", " ")
    for line in text.splitlines():
        before, found, after = line.partition(f"{program} ")
        if not line.startswith("  ") or not found or before.strip().startswith(("[", "eval")):
            continue  # a container's command, or one that a shell evaluates
        for name_and_value in before.split():
            if "=" in name_and_value:
                monkeypatch.setenv(*name_and_value.split("=", 1))
        words = shlex.split(after, comments=True)
        words = list(itertools.takewhile(lambda word: word not in ("|", "&&", ">>"), words))
        for word in words:
            if re.search(r"\.(pem|toml|pub|key)$", word):
                Path(word).parent.mkdir(parents=True, exist_ok=True)
                Path(word).touch()
        check_command_line(PROGRAMS[program], words)


def check_command_line(command: Any, words: list[str]) -> None:
    """Parse a command line, without running the command."""
    context = None
    while "COMMAND" not in words and "--help" not in words:
        context = command.make_context(command.name, list(words), parent=context)
        if not getattr(command, "commands", {}):
            return
        _, command, words = command.resolve_command(
            context, [*context._protected_args, *context.args]
        )


@pytest.mark.parametrize("module", ["convscope", "convscope.server", "convscope.exporter"])
def test_every_command_prints_its_version(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--version"], capture_output=True, text=True, check=True
    )
    program = {"convscope": "convscope"}.get(module, module.replace(".", "-"))
    assert done.stdout == f"{program} {version('convscope')}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.parametrize("module", ["convscope", "convscope.server", "convscope.exporter"])
def test_every_command_has_a_completion(module: str, shell: str) -> None:
    name = module.replace(".", "-")
    ours = "_complete" if module == "convscope.server" else ""
    variable = f"_{name.replace('-', '_').upper()}_COMPLETE"
    words = f"{name} --vers"
    environment = os.environ | {
        variable: f"{shell}{ours}" if ours else f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": "1",
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    if ours and shell == "fish":
        environment["COMP_CWORD"] = "--vers"
    done = subprocess.run(
        [sys.executable, "-m", module], capture_output=True, text=True, env=environment, check=False
    )
    assert "--version" in done.stdout

"""All commands of all programs have the same exit codes."""

import re
import subprocess
import sys
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
MODULES = ["convscope", "convscope.server", "convscope.exporter"]


def names(name: str, command: Any) -> list[str]:
    """Return the names of a command and of those below it."""
    members = getattr(command, "commands", {}).items()
    return [name, *(each for key, value in members for each in names(f"{name} {key}", value))]


COMMANDS = [each for name, program in PROGRAMS.items() for each in names(name, program)]
NUMBERS = {
    "convscope classify x --model m --top-k": ("0", "1 or more"),
    "convscope classify x --model m --min-probability": ("2", "from 0 to 1"),
    "convscope classify x --model m --timeout": ("nan", "0.001 or more"),
    "convscope explain x --model m --window": ("0", "1 or more"),
    "convscope bench x --model m --rate": ("0", "0.01 or more"),
    "convscope health --wait": ("-1", "0 or more"),
    "convscope watch --interval": ("0", "0.1 or more"),
    "convscope web --drain-seconds": ("-1", "0 or more"),
    "convscope admin canary m 2 --address x:1 --share": ("1.5", "from 0 to 1"),
    "convscope-server --models x --max-batch": ("0", "1 or more"),
    "convscope-exporter prune --keep": ("0", "1 or more"),
}


def call(command: str, *arguments: str) -> Any:
    program, *members = command.split()
    return CliRunner().invoke(PROGRAMS[program], [*members, *arguments])


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_is_a_usage_error(name: str) -> None:
    done = call(name, "--no-such-option")
    assert done.exit_code == 64
    assert "--no-such-option" in done.output


@pytest.mark.parametrize("name", ["convscope", "convscope admin", "convscope-exporter"])
def test_an_unknown_command_is_a_usage_error_that_lists_the_commands(name: str) -> None:
    done = call(name, "0")
    assert done.exit_code == 64
    program, *members = name.split()
    group = PROGRAMS[program]
    for member in members:
        group = group.commands[member]
    assert group.commands
    assert all(each in done.output for each in group.commands)
    assert call(name).exit_code == 64


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_a_success(name: str) -> None:
    assert call(name, "--help").exit_code == 0


@pytest.mark.parametrize("command", NUMBERS)
def test_a_number_out_of_range_is_named_with_the_range(command: str) -> None:
    value, allowed = NUMBERS[command]
    done = call(command, value)
    assert done.exit_code == 64
    flag = command.rpartition(" ")[2]
    expected = f"{flag}: {value} is out of range; it must be {allowed}"
    assert expected in " ".join(done.output.split())


@pytest.mark.parametrize("command", NUMBERS)
def test_a_word_in_the_place_of_a_number_is_named(command: str) -> None:
    done = call(command, "many")
    assert done.exit_code == 64
    allowed = NUMBERS[command][1]
    number = r"'many' is not a (whole )?number; it must be " + re.escape(allowed)
    assert re.search(number, " ".join(done.output.split()))


@pytest.mark.parametrize("name", COMMANDS)
def test_ranges_in_the_help_are_words(name: str) -> None:
    assert not re.search(r"[<>]=?x|\bx[<>]=?\d", call(name, "--help").output)


def test_the_choices_of_an_option_are_named_without_words_of_a_library() -> None:
    done = call("convscope classify x --model m --format word")
    assert "--format: 'word' is not one of: table, json, csv" in done.output


@pytest.mark.parametrize("module", MODULES)
def test_a_process_ends_with_the_code(module: str) -> None:
    command = [sys.executable, "-m", module, "--no-such-option"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 64


def test_the_command_token_has_the_same_code() -> None:
    command = [sys.executable, "-m", "convscope.server", "token", "--no-such-option"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 64


@pytest.mark.parametrize("module", MODULES)
def test_ctrl_c_during_the_start_has_the_code_130_and_no_traceback(module: str) -> None:
    arguments = {
        "convscope": ["health", "--server", "localhost:1", "--wait", "60"],
        "convscope.server": ["--models", "s3://nowhere/models"],
        "convscope.exporter": ["export", "digits"],
    }
    # The signal comes when the first of many modules is imported.
    code = (
        "import importlib, os, signal, sys, threading\n"
        "class Finder:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name in ('grpc', 'click', 'typer'): os.kill(os.getpid(), signal.SIGINT)\n"
        f"import {module}.__main__ as program\n"
        "sys.meta_path.insert(0, Finder())\n"
        "program.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments[module]],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr.endswith("interrupted\n")


def test_click_and_typer_have_the_code_that_is_replaced() -> None:
    assert click.UsageError.exit_code == typer.BadParameter("x").exit_code == 2

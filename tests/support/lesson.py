"""Runs the blocks of a chapter of the lesson, and compares its pictures with the committed ones."""

import io
import os
import re
import shlex
import sys
import time
from code import InteractiveConsole
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from convscope.client import Client
from support.exporter import run_exporter
from support.forked import run

__all__ = ["Block", "blocks_of", "compare_pictures", "pictures_of", "run_block"]

SERVER = "localhost:8001"
EXPORTER = ".venv/bin/convscope-exporter"
CLIENT = ".venv/bin/convscope"
LOAD_SECONDS = 120
# The side of the pictures that are compared, and the largest mean difference of their values.
THUMBNAIL = (48, 48)
TOLERANCE = 6.0
# Of a picture that depends on a training, whose result differs between processors.
TRAINED_TOLERANCE = 25.0


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code of a page.

    Args:
        language: "python", "console" or "text", which is output of the command above it.
        code: The lines.
        line: The number of the first line in the page.
    """

    language: str
    code: str
    line: int


def blocks_of(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in order."""
    text = page.read_text()
    for found in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1)


def pictures_of(page: Path) -> list[Path]:
    """Return the pictures that a page shows."""
    return [page.parent / name for name in re.findall(r"\]\((images/[^)]+)\)", page.read_text())]


def run_block(block: Block, page: Path, target: str, state: dict[str, Any]) -> None:
    """Run a block in the current directory, and check the output that the page states.

    Args:
        block: The block.
        page: Its page.
        target: The address of the server.
        state: The variables of the chapter, and the output of the last command as "_shown".
    """
    if block.language == "console":
        commands = re.findall(r"^\$ (.+?(?:\\\n.+?)*)$", block.code, re.MULTILINE)
        state["_shown"] = "".join(run_command(command, target) for command in commands)
    elif block.language == "text":
        assert squeeze(block.code) in squeeze(state["_shown"]), f"{page.name}:{block.line}"
    else:
        assert block.language == "python", block.language
        run_python(block, page, target, state)


class Session(InteractiveConsole):
    """An interactive session of Python, in which an error is raised instead of printed."""

    def showtraceback(self) -> None:
        """Raise the error of a statement."""
        raise

    def showsyntaxerror(self, *arguments: Any, **options: Any) -> None:
        """Raise the error of a statement that Python can't parse."""
        raise


def run_python(block: Block, page: Path, target: str, state: dict[str, Any]) -> None:
    """Paste lines into a session; each comment after a print is the start of a printed line."""
    session = Session(state, f"{page.name}:{block.line}")
    is_incomplete = False
    printed = io.StringIO()
    with redirect_stdout(printed), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "displayhook", lambda value: None)
        for line in (*block.code.replace(SERVER, target).splitlines(), ""):
            is_incomplete = session.push(line)
    assert not is_incomplete
    expected = re.findall(r"(?:\)  |^)# (.+)$", block.code, re.MULTILINE)
    shown = printed.getvalue().splitlines()
    assert len(shown) >= len(expected)
    for line, start in zip(shown, expected, strict=False):
        assert line.startswith(start), f"{page.name}:{block.line}"


def run_command(command: str, target: str) -> str:
    """Run a command of the exporter or the client, and return its output."""
    command, _, file = command.replace("\\\n", " ").split("#")[0].partition(" > ")
    program, *arguments = shlex.split(command)
    if program == "make":  # tested elsewhere
        return ""
    if program == EXPORTER:
        done = run_exporter(*arguments)
    else:
        assert program == CLIENT, program
        done = run("client", arguments, os.environ | {"CONVSCOPE_SERVER": target})
    assert done.returncode == 0, done.stderr
    if file:
        Path(file.strip()).write_text(done.stdout)
    if arguments[0] == "export":
        wait_until_loaded(arguments[1], target)
    return done.stdout


def wait_until_loaded(model: str, target: str) -> None:
    """Wait until the server has noticed a new model and loaded it."""
    end = time.monotonic() + LOAD_SECONDS
    with Client(target) as client:
        while model not in {one.model for one in client.models()}:
            assert time.monotonic() < end, f"{model} isn't loaded"
            time.sleep(0.1)


def compare_pictures(made: Path, committed: Path, *, is_trained: bool) -> None:
    """Check that two pictures have the same size and look the same, and that they aren't blank.

    Args:
        made: The new picture.
        committed: The picture that the chapter shows.
        is_trained: Whether the picture depends on a training. Only its brightness is compared.
    """
    with Image.open(made) as one, Image.open(committed) as other:
        assert one.size == other.size, made.name
        first, second = thumbnail(one), thumbnail(other)
    assert first.std() > 5, f"{made.name} is blank"
    if is_trained:
        difference, limit = abs(first.mean() - second.mean()), TRAINED_TOLERANCE
    else:
        difference, limit = np.abs(first - second).mean(), TOLERANCE
    assert difference < limit, f"{made.name} differs by {difference:.1f}: {committed} is stale"


def thumbnail(picture: Image.Image) -> NDArray[np.float64]:
    """Return a small version, in which differences of single pixels don't count."""
    small = picture.convert("RGB").resize(THUMBNAIL, Image.Resampling.BOX)
    return np.asarray(small, np.float64)


def squeeze(text: str) -> str:
    """Return a text in which each run of spaces is one space."""
    return " ".join(text.split())

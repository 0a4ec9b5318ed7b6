"""On narrow terminals no column is lost, and no name is cut into letters."""

import os
import re
from pathlib import Path

import pytest
from rich.console import Console
from support.forked import run
from support.server import ServerProcess

from convscope.client.cli.short_names import short_names

pytestmark = pytest.mark.one_transport("shows results in a terminal")


def lines(server: ServerProcess, width: int, *arguments: str | Path) -> list[str]:
    environment = {**os.environ, "CONVSCOPE_SERVER": server.target, "COLUMNS": str(width)}
    done = run("client", list(map(str, arguments)), environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_every_column_of_the_models_is_shown(tiny_server: ServerProcess, width: int) -> None:
    shown = " ".join(lines(tiny_server, width, "models"))
    for name in ("tiny", "v1", "version", "input", "classes", "shows", "runs on", "cpu"):
        assert name in shown


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_names_are_not_cut_into_letters(
    tiny_server: ServerProcess, photos: dict[str, Path], width: int
) -> None:
    options = ("--model", "tiny", "--top-k", "2")
    shown = lines(tiny_server, width, "classify", *photos.values(), *options)
    for word in ("red.png", "green.png", "blue.png", "class", "probability", "red", "green"):
        assert any(word in line for line in shown)
    explained = lines(tiny_server, width, "explain", photos["red"], "--model", "tiny")
    for word in ("red.png", "probability", "logit"):
        assert any(word in line for line in explained)


def test_a_narrow_terminal_has_a_list_of_all_cells(
    tiny_server: ServerProcess, photos: dict[str, Path]
) -> None:
    options = ("--model", "tiny", "--top-k", "1")
    shown = lines(tiny_server, 30, "classify", photos["red"], *options)
    name = shown.index("red.png")
    assert shown[name + 1] == "  class  red"
    assert re.fullmatch(r"  probability  0\.\d{4}", shown[name + 2])


def test_a_long_name_loses_its_middle_on_a_terminal() -> None:
    names = ["photos/holidays/IMG_0001.jpg", "photos/holidays/IMG_0002.jpg", "a.jpg"]

    def column(names: list[str], width: int) -> list[str]:
        console = Console(width=width, force_terminal=True, color_system=None)
        with console.capture() as captured:
            for name in short_names(names):
                console.print(name)
        return [line.rstrip() for line in captured.get().splitlines()]

    assert column(names, 40) == names
    assert column(names, 16) == ["photo…G_0001.jpg", "photo…G_0002.jpg", "a.jpg"]
    # These differ only in their middles.
    names = ["a/b/1/long/name.jpg", "a/b/2/long/name.jpg", "b/b/1/long/name.jpg"]
    whole = ["a/b/1/long/n", "ame.jpg", "a/b/2/long/n", "ame.jpg"]
    assert column(names, 12) == [*whole, "b/b…name.jpg"]

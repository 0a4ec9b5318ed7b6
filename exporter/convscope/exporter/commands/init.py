"""`init`: write a project to start from."""

import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from convscope.exporter.commands.console import errors_as_sentences, make_console
from convscope.exporter.commands.options import Quiet

__all__ = ["register"]

# A line's program, and its arguments.
_TRAIN_AND_SERVE = (
    ("python", "dataset.py"),
    (
        "convscope-exporter",
        "train network.py:network --name shapes --input 3x32x32 "
        "--dataset npz:dataset.npz --epochs 6 --learning-rate 0.01",
    ),
    ("convscope-server", "--models models"),
)
_CLASSIFY = (("convscope", "classify circle.png --model shapes"),)
_OTHER_SERVER = (
    "if another server uses the ports, add --grpc-address localhost:8011 --metrics-address "
    "localhost:8012 to convscope-server, and --server localhost:8011 to convscope"
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(init)


def init(
    directory: Annotated[
        Path,
        typer.Argument(
            help="Where to write the files; it is created.", show_default="the current directory"
        ),
    ] = Path(),
    quiet: Quiet = False,
) -> None:
    """Write a small network and a dataset to start from, which train in a minute.

    Examples:
      convscope-exporter init shapes
    """
    with errors_as_sentences():
        from convscope.exporter.starter import write_project

        console = make_console(quiet)
        for path in write_project(directory):
            console.print(f"wrote     {path}", markup=False)
        enter = () if directory == Path() else (f"cd {shlex.quote(str(directory))}",)
        for heading, steps in (
            ("next:", _TRAIN_AND_SERVE),
            ("then, in another terminal:", _CLASSIFY),
        ):
            console.print(heading)
            for step in (*enter, *(f"{_path_of(name)} {rest}" for name, rest in steps)):
                console.print(f"  {step}", markup=False, soft_wrap=True)
        console.print(_OTHER_SERVER, markup=False)


def _path_of(program: str) -> str:
    """Return how the shell finds a program: by its name, or by its path beside this one.

    Without an active environment, its name finds no program or that of another environment.
    """
    own = Path(sys.executable).parent / program
    found = shutil.which(program)
    if not own.is_file() or (found is not None and Path(found).parent == own.parent):
        return program
    return shlex.quote(str(own))

"""The command `import`."""

from pathlib import Path

import pytest
from support.foreign_models import (
    Foreign,
    manifest_of,
)
from typer.testing import CliRunner

from convscope.exporter.cli import app


def test_the_command_publishes_and_reports_the_input(tmp_path: Path) -> None:
    path = Foreign(channels=1).write(tmp_path)
    labels = tmp_path / "labels.txt"
    labels.write_text("one\ntwo\nthree\nfour\nfive\n")
    arguments = ("--color", "gray", "--mean", "0.5", "--std", "1/4", "--labels", str(labels))
    models = tmp_path / "models"
    done = CliRunner().invoke(
        app, ["import", str(path), "--name", "mine", "--repository", str(models), *arguments]
    )
    assert done.exit_code == 0, done.output
    assert "NCHW, 16 × 16 × 1" in done.stdout
    assert "activation softmax: the network ends in softmax" in done.stdout
    manifest = manifest_of(models / "mine/1")
    assert list(manifest.labels) == ["one", "two", "three", "four", "five"]
    assert list(manifest.preprocessing.std) == [0.25]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--mean", "a"), "--mean 'a' is no number"),
        (("--scale", "1/0"), "--scale '1/0' is no number"),
        (("--resize", "big"), "--resize 'big' is neither a length in pixels nor exact"),
        (("--crop", "x224"), "--crop 'x224' is no size in pixels"),
        (("--labels", "none.txt"), "the labels in none.txt can't be read"),
    ],
)
def test_an_invalid_option_is_explained(
    tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    path = Foreign().write(tmp_path)
    done = CliRunner().invoke(
        app, ["import", str(path), "--repository", str(tmp_path / "models"), *arguments]
    )
    assert done.exit_code == 1
    assert reason in done.stderr

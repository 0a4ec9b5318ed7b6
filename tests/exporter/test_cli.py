from pathlib import Path

import pytest
from google.protobuf import json_format
from support.demo_models import run_exporter
from typer.testing import CliRunner

from convscope.exporter.cli import app
from convscope.v1 import manifest_pb2 as pb

REFUSALS = [
    (("export", "efficientnet_light0"), "did you mean: efficientnet_lite0"),
    (("export", "digits"), "train it with: convscope-exporter train digits"),
    (("train", "efficientnet_lite0"), "name one with --dataset"),
    (("train", "digits", "--dataset", "letters"), "no dataset 'letters'; there are: mnist_sample"),
    (("train", "digits", "--name", "Digits!"), "'Digits!' can't be a model's name"),
    (("train", "digits", "--version", "0"), "versions are 1, 2, 3"),
]


@pytest.mark.parametrize(("command", "reason"), REFUSALS, ids=lambda value: str(value)[:40])
def test_what_cannot_be_is_said_in_a_sentence(
    tmp_path: Path, command: tuple[str, ...], reason: str
) -> None:
    done = CliRunner().invoke(app, [*command, "--repository", str(tmp_path)])
    assert done.exit_code == 1
    assert reason in done.stderr
    assert not list(tmp_path.iterdir())


def test_help_lists_the_commands() -> None:
    done = run_exporter("--help")
    assert done.returncode == 0
    assert "export" in done.stdout
    assert "train" in done.stdout


def test_a_wrong_flag_is_a_usage_error() -> None:
    assert run_exporter("export", "digits", "--verison", "1").returncode == 2


@pytest.mark.slow
def test_the_digits_reach_98_percent_of_their_test_images(demo_repository: Path) -> None:
    text = (demo_repository / "digits/1/manifest.json").read_text()
    (metric,) = json_format.Parse(text, pb.ModelManifest()).provenance.metrics
    assert (metric.name, metric.split) == ("top1_accuracy", "mnist_sample test")
    assert metric.value >= 0.98

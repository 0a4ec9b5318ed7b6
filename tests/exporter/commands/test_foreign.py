"""The command `import`."""

from pathlib import Path

import onnx
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
    assert "center crop 16, gray\n" in done.stdout
    assert "activation softmax: the network ends in softmax" in done.stdout
    manifest = manifest_of(models / "mine/1")
    assert list(manifest.labels) == ["one", "two", "three", "four", "five"]
    assert list(manifest.preprocessing.std) == [0.25]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--mean", "a"), "--mean 'a' is no number"),
        (("--scale", "1/0"), "--scale '1/0' is no number"),
        (("--resize", "big"), "--resize 'big' is none of: the length of the shorter edge"),
        (("--resize", "letterbox"), "pads (letterbox), such as --resize fit --padding 114"),
        (("--padding", "114"), "--padding needs --resize fit"),
        (("--output", "none"), "none"),
        (("--feature-map", "none"), "the graph has no tensor 'none'"),
        (("--version", "0"), "0"),
        (("--name", "No Name"), "No Name"),
        (("--crop", "x224"), "--crop 'x224' is no size in pixels"),
        (("--mean", "127.5", "--std", "127.5"), "use --mean 0.5 --std 0.5 for the same"),
        (("--scale", "1", "--mean", "0.485", "--std", "0.229"), "or --scale 1/255"),
        (("--labels", "none.txt"), "there is no label file 'none.txt'"),
    ],
)
def test_an_invalid_option_is_explained(
    tmp_path: Path, arguments: tuple[str, ...], reason: str
) -> None:
    path = Foreign().write(tmp_path)
    done = CliRunner().invoke(
        app, ["import", str(path), "--repository", str(tmp_path / "models"), *arguments]
    )
    assert done.exit_code in (1, 2)
    assert reason in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "content", [b"", b"no graph", b"\x08\x07\x12", None], ids=["empty", "text", "cut", "folder"]
)
def test_a_file_that_is_no_graph_prints_nothing_but_the_error(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "graph.onnx"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    done = CliRunner().invoke(app, ["import", str(path), "--repository", str(tmp_path / "models")])
    assert done.exit_code == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert str(path) in done.stderr
    assert "unexpectedly" not in done.stderr


def test_describe_shows_the_tensors_that_became_feature_maps(tmp_path: Path) -> None:
    path = Foreign().write(tmp_path)
    models = tmp_path / "models"
    CliRunner().invoke(app, ["import", str(path), "--name", "mine", "--repository", str(models)])
    maps = manifest_of(models / "mine/1").feature_maps
    assert maps
    done = CliRunner().invoke(app, ["describe", str(models / "mine/1")])
    assert "tensor or module" in done.stdout
    for one in maps:
        (line,) = [line for line in done.stdout.splitlines() if line.split()[:1] == [one.name]]
        assert line.rstrip().endswith(one.module)


def test_an_assumed_preprocessing_and_missing_labels_are_pointed_out(tmp_path: Path) -> None:
    path = Foreign().write(tmp_path)
    done = CliRunner().invoke(app, ["import", str(path), "--repository", str(tmp_path / "models")])
    assert done.exit_code == 0, done.output
    assert "center crop 16, RGB; assumed, set --preprocess, or --mean, --std and " in done.stdout
    assert "labels    0, 1, 2, 3, 4; numbers only, name the classes with --labels" in done.stdout


IMAGENET = "mean 0.485 0.456 0.406, std 0.229 0.224 0.225"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ((), "pixels/255, shorter edge 16, center crop 16, RGB"),
        (
            ("--preprocess", "torchvision"),
            f"pixels/255, {IMAGENET}, shorter edge 18, center crop 16, RGB",
        ),
        (
            ("--preprocess", "timm"),
            f"pixels/255, {IMAGENET}, shorter edge 18 (bicubic), center crop 16, RGB",
        ),
        (("--preprocess", "keras-tf"), "pixels/255, mean 0.5, std 0.5, resized to 16x16, RGB"),
        (
            ("--preprocess", "caffe", "--resize", "20"),
            "pixels of 0 to 255, mean 103.939 116.779 123.68, shorter edge 20, center crop 16, BGR",
        ),
        (
            ("--color", "bgr", "--mean", "0.1,0.2,0.3"),
            "pixels/255, mean 0.1 0.2 0.3, shorter edge 16, center crop 16, BGR",
        ),
        (
            ("--preprocess", "torchvision", "--mean", "0.5", "--std", "0.25"),
            "pixels/255, mean 0.5, std 0.25, shorter edge 18, center crop 16, RGB",
        ),
    ],
)
def test_the_preprocessing_is_printed_and_described(
    tmp_path: Path, options: tuple[str, ...], line: str
) -> None:
    path, models = Foreign().write(tmp_path), tmp_path / "models"
    command = ["import", str(path), "--name", "mine", "--repository", str(models), *options]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assumed = "" if options else "; assumed, set --preprocess, or --mean, --std and "
    assert f"images    {line}{assumed}" in done.stdout
    shown = CliRunner().invoke(app, ["describe", str(models / "mine/1")]).stdout
    printed = "\n" if options else "; assumed, publish it again with --preprocess"
    assert f"preprocessing  {line}{printed}" in shown


def test_labels_come_from_the_metadata_of_the_model(tmp_path: Path) -> None:
    path, models = Foreign().write(tmp_path), tmp_path / "models"
    model = onnx.load(path)
    onnx.helper.set_model_props(
        model, {"names": "{0: 'cat', 1: 'dog', 2: 'fox', 3: 'owl', 4: 'elk'}"}
    )
    onnx.save(model, path)
    command = ["import", str(path), "--name", "mine", "--repository", str(models), "-q"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    assert list(manifest_of(models / "mine/1").labels) == ["cat", "dog", "fox", "owl", "elk"]

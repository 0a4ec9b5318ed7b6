"""`evaluate` recognizes the inputs that a training has seen by their content."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.colors import write_colors
from support.tiny import write_tiny
from typer.testing import CliRunner

from convscope.exporter.cli import app
from convscope.exporter.datasets import load_dataset
from convscope.exporter.training.runs import begin_run
from convscope.exporter.training.seen import digest_text, record_inputs
from convscope.v1 import manifest_pb2 as pb


class Place:
    """A folder with a dataset of 20 pictures, the run that trained on it, and its bundle."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.colors = folder / "mine/colors"
        write_colors(self.colors, {"red": 10, "green": 10}, {})
        self.run = begin_run(
            folder / "runs/tiny", {"model": "tiny", "published_version": 1, "finished": True}
        )
        record_inputs(self.run, load_dataset(f"folder:{self.colors}"))

        def trained(manifest: pb.ModelManifest) -> None:
            manifest.provenance.dataset = "folder:colors"
            manifest.provenance.weights = f"trained for 3 epochs, seed 0{digest_text(self.run)}"

        self.bundle = write_tiny(folder / "models", alter_manifest=trained)

    def evaluate(self, dataset: Path, *arguments: str) -> str:
        page = self.folder / "report.html"
        options = ("--dataset", f"folder:{dataset}", "--output", str(page))
        done = CliRunner().invoke(app, ["evaluate", str(self.bundle), *options, *arguments])
        assert done.exit_code == 0, done.output
        return done.output

    def inputs(self, dataset: Path, *arguments: str) -> int:
        options = ("--dataset", f"folder:{dataset}", "--json", *arguments)
        done = CliRunner().invoke(app, ["evaluate", str(self.bundle), *options])
        assert done.exit_code == 0, done.output
        found: dict[str, Any] = json.loads(done.output)
        assert isinstance(found["inputs"], int)
        return found["inputs"]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def add_pictures(folder: Path, count: int) -> None:
    for name in ("red", "green"):
        color = (200, 0, 9) if name == "red" else (0, 200, 9)
        for index in range(count):
            Image.new("RGB", (60 + index, 31), color).save(folder / name / f"0 new {index}.png")


def test_another_folder_of_the_same_name_is_used_as_a_whole(place: Place) -> None:
    other = place.folder / "other/colors"
    write_colors(other, {"red": 0, "green": 0}, {})
    add_pictures(other, 9)
    assert place.inputs(other) == 18
    assert "none of these inputs was in the training of tiny v1 (compared by content)" in (
        place.evaluate(other)
    )


def test_a_copy_of_the_dataset_with_another_name_is_recognized(place: Place) -> None:
    copied = place.folder / "copy of it"
    shutil.copytree(place.colors, copied)
    assert place.inputs(copied) == 4
    shutil.rmtree(place.run.directory)  # the bundle alone is enough
    assert place.inputs(copied) == 4
    assert "the training inputs of tiny v1 are left out (recognized by content)" in place.evaluate(
        copied
    )


def test_inputs_that_the_training_has_seen_are_left_out_of_a_larger_dataset(place: Place) -> None:
    add_pictures(place.colors, 3)
    assert place.inputs(place.colors) == 4 + 6
    note = "16 inputs were in the training of tiny v1 and are left out (recognized by content)"
    assert note in place.evaluate(place.colors)
    assert note in (place.folder / "report.html").read_text()
    assert place.inputs(place.colors, "--split", "all") == 26
    assert "16 inputs were in the training" in place.evaluate(place.colors, "--split", "all")


def test_a_test_split_is_never_redrawn_over_training_inputs(place: Place) -> None:
    add_pictures(place.colors, 3)
    page = place.folder / "report.html"
    place.evaluate(place.colors, "--split", "test")
    found = json.loads(page.read_text().partition('id="figures">')[2].partition("</script>")[0])
    seen = (place.run.directory / "training_inputs.txt").read_text().split()
    assert len(seen) == 16
    assert 0 < found["inputs"] <= 10


def test_unknown_training_inputs_are_stated(place: Place) -> None:
    add_pictures(place.colors, 3)
    place.run.directory.rename(place.folder / "elsewhere")
    text = place.evaluate(place.colors)
    assert "the inputs of the training of tiny v1 are not known here" in text
    assert "are not known here" in (place.folder / "report.html").read_text()
    assert place.inputs(place.colors, "--run", str(place.folder / "elsewhere")) == 10


def test_only_training_inputs_are_an_error(place: Place) -> None:
    shutil.copytree(place.colors / "red", place.folder / "part/red")
    shutil.copytree(place.colors / "green", place.folder / "part/green")
    seen = set((place.run.directory / "training_inputs.txt").read_text().split())
    from convscope.exporter.datasets.content import content_hashes
    from convscope.exporter.datasets.files import image_folder

    data = image_folder(place.folder / "part", 0)
    for part in (data.train, data.test):
        for path, one in zip(part.paths, content_hashes(part), strict=True):  # type: ignore[union-attr]
            if one not in seen:
                path.unlink()
    options = ("--dataset", f"folder:{place.folder / 'part'}")
    done = CliRunner().invoke(app, ["evaluate", str(place.bundle), *options])
    assert done.exit_code == 1
    assert "the training has seen all 16 inputs" in done.output


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"model": "tiny", "published_version": 2}, "published tiny v2"),
        ({"model": "shapes", "published_version": 1}, "published shapes v1"),
        ({"model": "tiny", "published_version": None}, "has published nothing"),
        ({}, "is not a training run"),
    ],
)
def test_the_run_of_another_model_is_an_error(
    place: Place, record: dict[str, Any], message: str
) -> None:
    folder = place.folder / "wrong"
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(record))
    options = ("--dataset", f"folder:{place.colors}", "--run", str(folder))
    done = CliRunner().invoke(app, ["evaluate", str(place.bundle), *options])
    assert done.exit_code == 1
    assert message in done.output
    assert not record or "but the evaluated model is tiny v1" in done.output

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from support.alterations import change_weight
from support.tiny import write_signal, write_tiny
from typer.testing import CliRunner, Result

from convscope.exporter.cli import app
from convscope.v1 import manifest_pb2 as pb

COLORS = {"red": (200, 30, 20), "green": (20, 180, 40), "blue": (30, 20, 220)}
ANSI = re.compile(r"\x1b\[[0-9;]*m")
ORDER = [2, 0, 1]  # of the second bundle's classes


def reordered(manifest: pb.ModelManifest) -> None:
    manifest.labels[:] = [("red", "green", "blue")[index] for index in ORDER]


def reorder_outputs(model: onnx.ModelProto) -> None:
    change_weight("dense", lambda weights: weights[:, ORDER])(model)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "a")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for name, color in COLORS.items():
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (40, 30), color).save(folder / name / "one.png")
    (folder / "notes.txt").write_text("no image")
    return folder


def plain(text: str) -> str:
    return ANSI.sub("", text)


def diff(a: Path, b: Path, *options: str | Path) -> Result:
    return CliRunner().invoke(app, ["diff", str(a), str(b), *map(str, options)])


def as_json(a: Path, b: Path, *options: str | Path) -> dict[str, Any]:
    done = diff(a, b, *options, "--json")
    assert done.exit_code == 0
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_bundle_does_not_differ_from_itself(bundle: Path, images: Path) -> None:
    found = as_json(bundle, bundle, "--images", images)
    assert (found["fields"], found["same_graph"]) == ([], True)
    assert found["labels"] == {"only_a": [], "only_b": [], "same_order": True}
    seen = found["images"]
    assert (seen["images"], seen["top1"], seen["largest_difference"]) == (3, 1.0, 0.0)


def test_each_field_that_differs_is_named_with_both_values(bundle: Path, tmp_path: Path) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        manifest.preprocessing.resize.shortest_edge = 24
        manifest.precision = pb.PRECISION_INT8
        manifest.provenance.dataset = "photos"
        manifest.feature_maps[0].stride = 2
        manifest.feature_maps.add(name="more", module="m", channels=1, height=2, width=3, stride=8)

    fields = as_json(bundle, write_tiny(tmp_path / "b", alter_manifest=alter))["fields"]
    found = {one["name"]: (one["a"], one["b"]) for one in fields}
    assert found["preprocessing.resize.shortest_edge"] == (20, 24)
    assert found["precision"] == ("PRECISION_FP32", "PRECISION_INT8")
    assert found["provenance.dataset"] == ("", "photos")
    assert [one["stride"] for one in found["feature_maps.conv"]] == [1, 2]
    assert found["feature_maps.more"][0] is None
    assert len(found) == 5


def test_metrics_and_sizes_are_shown_side_by_side(bundle: Path, tmp_path: Path) -> None:
    def measured(manifest: pb.ModelManifest) -> None:
        manifest.provenance.metrics.add(name="top1_accuracy", value=0.875, split="test")
        manifest.provenance.parameters = 1234

    other = write_tiny(tmp_path / "b", version=2, alter_manifest=measured)
    found = as_json(bundle, other)
    assert found["metrics"] == [{"name": "top1_accuracy on test", "a": None, "b": 0.875}]
    assert (found["parameters"]["a"], found["parameters"]["b"]) == (0, 1234)
    printed = diff(bundle, other).stdout
    for text in ("tiny v1", "tiny v2", "0.8750", "1,234", "the same"):
        assert text in printed


def test_labels_are_compared_by_name(bundle: Path, tmp_path: Path) -> None:
    def renamed(manifest: pb.ModelManifest) -> None:
        manifest.labels[:] = ["green", "red", "violet"]

    other = write_tiny(tmp_path / "b", version=2, alter_manifest=renamed)
    labels = as_json(bundle, other)["labels"]
    assert labels == {"only_a": ["blue"], "only_b": ["violet"], "same_order": False}
    printed = diff(bundle, other).stdout
    assert "only tiny v2 has 1 of the labels: violet" in printed
    assert "the shared labels come in another order" in printed


def test_answers_agree_by_label_where_the_classes_have_another_order(
    bundle: Path, tmp_path: Path, images: Path
) -> None:
    other = write_tiny(tmp_path / "b", alter_graph=reorder_outputs, alter_manifest=reordered)
    seen = as_json(bundle, other, "--images", images)["images"]
    assert seen["top1"] == 1.0
    assert seen["largest_difference"] < 1e-5


def test_disagreements_are_named_and_measured(bundle: Path, tmp_path: Path, images: Path) -> None:
    # The graph's answers move on by one class, and the labels don't.
    other = write_tiny(
        tmp_path / "b", version=2, alter_graph=change_weight("dense", lambda w: w[:, ORDER])
    )
    seen = as_json(bundle, other, "--images", images)["images"]
    assert seen["top1"] == 0.0
    blue = next(one for one in seen["disagreements"] if "blue" in one["image"])
    assert (blue["a"], blue["b"]) == ("blue", "red")
    assert 0 < seen["mean_difference"] < seen["largest_difference"] <= 1
    printed = diff(bundle, other, "--images", images).stdout
    assert "0.00%" in printed
    assert str(images / "blue/one.png") in printed


def test_each_bundle_prepares_the_images_its_own_way(bundle: Path, tmp_path: Path) -> None:
    """One resizes to a larger picture before the crop, so that it sees only the green middle."""

    def closer(manifest: pb.ModelManifest) -> None:
        manifest.preprocessing.resize.shortest_edge = 64

    pixels = np.full((60, 60, 3), COLORS["red"], np.uint8)
    pixels[20:40, 20:40] = COLORS["green"]
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "middle.png")
    other = write_tiny(tmp_path / "b", alter_manifest=closer)
    seen = as_json(bundle, other, "--images", folder)["images"]
    assert [(one["a"], one["b"]) for one in seen["disagreements"]] == [("red", "green")]


def test_bundles_without_a_shared_label_have_no_differences_of_probabilities(
    bundle: Path, tmp_path: Path, images: Path
) -> None:
    def renamed(manifest: pb.ModelManifest) -> None:
        manifest.labels[:] = ["one", "two", "three"]

    other = write_tiny(tmp_path / "b", alter_manifest=renamed)
    seen = as_json(bundle, other, "--images", images)["images"]
    assert (seen["shared_labels"], seen["largest_difference"], seen["top1"]) == (0, None, 0.0)
    assert diff(bundle, other, "--images", images).exit_code == 0


def test_a_bundle_that_takes_no_images_is_named(bundle: Path, tmp_path: Path, images: Path) -> None:
    signal = write_signal(tmp_path)
    assert diff(bundle, signal).exit_code == 0
    done = diff(bundle, signal, "--images", images)
    assert done.exit_code == 1
    assert "signal v1 takes tensors, so leave --images out" in done.stderr


def test_an_image_that_cannot_be_read_is_named(bundle: Path, images: Path) -> None:
    (images / "broken.png").write_bytes(b"no picture")
    done = diff(bundle, bundle, "--images", images)
    assert done.exit_code == 1
    assert f"{images / 'broken.png'} can't be read as an image" in done.stderr


def test_a_folder_without_images_is_rejected(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    done = diff(bundle, bundle, "--images", tmp_path / "empty")
    assert done.exit_code == 1
    assert "no images in" in done.stderr


def test_the_table_has_plain_words_and_no_fields_at_their_defaults(
    bundle: Path, tmp_path: Path
) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        resize = manifest.preprocessing.resize
        resize.Clear()
        resize.rule, resize.height, resize.width = pb.RESIZE_RULE_EXACT, 16, 16
        manifest.preprocessing.interpolation = pb.INTERPOLATION_BICUBIC
        manifest.preprocessing.assumed = True
        manifest.provenance.metrics.add(name="top1_accuracy", value=0.875, split="test")

    other = write_tiny(tmp_path / "b", version=2, alter_manifest=alter)
    lines = [line.split("  ") for line in diff(bundle, other).stdout.splitlines()]
    rows = {line[0]: [cell.strip() for cell in line[1:] if cell.strip()] for line in lines}
    assert rows["preprocessing: resize rule"] == ["shortest edge", "exact"]
    assert rows["preprocessing: resize shortest edge"] == ["20", "none"]
    assert rows["preprocessing: resize height"] == ["none", "16"]
    assert rows["preprocessing: interpolation"] == ["bilinear", "bicubic"]
    assert rows["preprocessing: assumed"] == ["no", "yes"]
    assert rows["accuracy on test"] == ["none", "0.8750"]


def test_lines_have_no_trailing_spaces_and_fit_a_narrow_terminal(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def named(manifest: pb.ModelManifest) -> None:
        manifest.provenance.dataset = "images that were found in a long list of other places"

    other = write_tiny(tmp_path / "b", version=2, alter_manifest=named)
    piped = diff(bundle, other).stdout.splitlines()
    assert piped == [line.rstrip() for line in piped]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "50")
    table = [line for line in plain(diff(bundle, other).stdout).splitlines() if line]
    assert max(map(len, table)) <= 50
    monkeypatch.setenv("COLUMNS", "24")
    as_list = plain(diff(bundle, other).stdout).splitlines()
    assert "dataset" in as_list
    assert any(line.startswith("  tiny v2  images that were") for line in as_list)

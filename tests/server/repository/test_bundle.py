"""A bundle with one thing wrong is refused with its reason, and the others are served."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.alterations import flip_byte
from support.loading import load, only_refusal
from support.tiny import write_signal, write_tiny

from convscope.v1 import manifest_pb2 as pb

FILES = ("manifest.json", "model.onnx", "golden.npz")
Alter = Callable[[pb.ModelManifest], Any]


def test_whole_bundles_are_served(root: Path) -> None:
    write_tiny(root, "tiny")
    write_signal(root, "signal")
    repository = load(root, preload_feature_maps=True)
    assert [version.key[0] for version in repository] == ["good", "signal", "tiny"]
    assert repository.rejections == []


# Files


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
@pytest.mark.parametrize("position", [0, 200, -1])
def test_flipped_byte_is_refused_by_hash(root: Path, name: str, position: int) -> None:
    flip_byte(write_tiny(root, "bad") / name, position)
    rejection = only_refusal(root)
    assert (rejection.model, rejection.version, rejection.reason) == ("bad", 1, "hash")
    assert f"SHA-256 of {name}" in rejection.message
    assert "export the bundle again" in rejection.message


@pytest.mark.parametrize("position", [0, -1])
def test_flipped_byte_in_the_manifest_is_refused(root: Path, position: int) -> None:
    flip_byte(write_tiny(root, "bad") / "manifest.json", position)
    rejection = only_refusal(root)
    assert rejection.reason == "manifest"
    assert "manifest.json is no manifest" in rejection.message


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_changed_size_is_refused(root: Path, name: str) -> None:
    path = write_tiny(root, "bad") / name
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"\0")
    rejection = only_refusal(root)
    assert rejection.reason == "hash"
    assert rejection.message == f"{name} has {size + 1:,} bytes, the manifest says {size:,}"


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_refused(root: Path, name: str) -> None:
    (write_tiny(root, "bad") / name).unlink()
    rejection = only_refusal(root)
    assert (rejection.reason, rejection.message) == ("files", f"{name} is missing")


@pytest.mark.parametrize("name", ["model.onnx.data", "weights.bin", ".hidden"])
def test_extra_file_is_refused(root: Path, name: str) -> None:
    (write_tiny(root, "bad") / name).write_bytes(b"x")
    rejection = only_refusal(root)
    assert (rejection.reason, rejection.message) == ("files", f"{name} doesn't belong to a bundle")


@pytest.mark.parametrize("name", FILES)
def test_link_is_refused_even_to_the_right_file(root: Path, name: str) -> None:
    path = write_tiny(root, "bad") / name
    path.rename(root / f"elsewhere-{name}")
    path.symlink_to(root / f"elsewhere-{name}")
    rejection = only_refusal(root)
    assert (rejection.reason, rejection.message) == ("files", f"{name} is a link or no plain file")


@pytest.mark.parametrize("name", FILES)
def test_directory_in_place_of_a_file_is_refused(root: Path, name: str) -> None:
    path = write_tiny(root, "bad") / name
    path.unlink()
    path.mkdir()
    assert only_refusal(root).reason == "files"


def test_manifest_of_many_megabytes_is_refused(root: Path) -> None:
    path = write_tiny(root, "bad") / "manifest.json"
    path.write_text(path.read_text() + " " * 5_000_000)
    rejection = only_refusal(root)
    assert rejection.reason == "files"
    assert "at most 4,194,304 are read" in rejection.message


# Manifest


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "3", '"tiny"', "{", "[1]", "\x00", "[" * 100_000),
        *('{"schema_version": "one"}', '{"schema_version": 1, "from_the_future": 1}'),
        '{"schema_version": 1, "precision": "PRECISION_FP4"}',
    ],
)
def test_what_is_no_manifest_is_refused(root: Path, text: str) -> None:
    (write_tiny(root, "bad") / "manifest.json").write_text(text)
    rejection = only_refusal(root)
    assert rejection.reason == "manifest"
    assert 0 < len(rejection.message) < 300
    assert "\n" not in rejection.message


@pytest.mark.parametrize("version", [0, 2, 99])
def test_unknown_schema_version_is_refused(root: Path, version: int) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        manifest.schema_version = version

    write_tiny(root, "bad", alter_manifest=alter)
    rejection = only_refusal(root)
    assert rejection.reason == "manifest"
    assert rejection.message == f"the manifest has schema version {version}; this server reads 1"


def test_bundle_in_the_directory_of_another_version_is_refused(root: Path) -> None:
    write_tiny(root, "bad", 1).rename(root / "bad" / "2")
    rejection = only_refusal(root)
    assert (rejection.version, rejection.reason) == (2, "manifest")
    assert rejection.message == "the manifest is of bad v1, the directory of bad v2"


def test_bundle_in_the_directory_of_another_model_is_refused(root: Path) -> None:
    write_tiny(root, "stranger")
    (root / "stranger").rename(root / "bad")
    rejection = only_refusal(root)
    assert rejection.message == "the manifest is of stranger v1, the directory of bad v1"


def alter_labels(manifest: pb.ModelManifest) -> None:
    del manifest.labels[:]


WRONG_MANIFESTS: dict[str, Alter] = {
    "the task is not known": lambda m: m.ClearField("task"),
    "the precision is not known": lambda m: m.ClearField("precision"),
    "a classifier has no labels": alter_labels,
    "a classifier's activation is not known": lambda m: m.ClearField("activation"),
    "two feature maps have one name": lambda m: m.feature_maps.append(m.feature_maps[0]),
    "a feature map has an empty shape": lambda m: m.feature_maps[0].ClearField("height"),
    "there are no golden inputs": lambda m: m.golden.ClearField("inputs"),
    "the golden tolerance is not between 0 and 1": lambda m: m.golden.ClearField(
        "probability_tolerance"
    ),
    "the input's kind is not known": lambda m: m.input.ClearField("kind"),
    "the input's shape is empty": lambda m: m.input.ClearField("shape"),
    "the input is an image and not uint8 [height, width, channels]": lambda m: m.input.shape.append(
        1
    ),
    "the colour mode doesn't fit the channels": lambda m: m.preprocessing.ClearField("color_mode"),
    "the interpolation is not known": lambda m: m.preprocessing.ClearField("interpolation"),
    "the resize rule is not known": lambda m: m.preprocessing.resize.ClearField("rule"),
    "the image is resized to less than the graph's input": (
        lambda m: m.preprocessing.resize.ClearField("shortest_edge")
    ),
    "the manifest lists golden.npz": lambda m: m.files.remove(m.files[0]),
    "the manifest lists golden.npz, model.onnx, model.onnx": lambda m: m.files.append(m.files[0]),
}


@pytest.mark.parametrize("problem", WRONG_MANIFESTS)
def test_manifest_that_contradicts_itself_is_refused(root: Path, problem: str) -> None:
    write_tiny(root, "bad", alter_manifest=WRONG_MANIFESTS[problem])
    rejection = only_refusal(root)
    assert (rejection.reason, rejection.message) == ("manifest", problem)


@pytest.mark.parametrize("tolerance", [-0.1, 0.0, 1.0, float("nan"), float("inf")])
def test_tolerance_that_allows_anything_or_nothing_is_refused(root: Path, tolerance: float) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        manifest.golden.probability_tolerance = tolerance

    write_tiny(root, "bad", alter_manifest=alter)
    assert only_refusal(root).reason == "manifest"


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "model.onnx/../golden.npz"])
def test_file_name_that_leaves_the_bundle_is_refused(root: Path, name: str) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        manifest.files[0].name = name

    write_tiny(root, "bad", alter_manifest=alter)
    assert only_refusal(root).reason == "manifest"


def set_number(field: str) -> Callable[[Path], None]:
    """Write a number of some later schema where the manifest has the name of an enum."""

    def change(path: Path) -> None:
        text = path.read_text()
        changed = re.sub(rf'"{field}": "[A-Z0-9_]+"', f'"{field}": 9', text)
        if json.loads(changed) == json.loads(text):
            raise LookupError(f"no {field} in the manifest")
        path.write_text(changed)

    return change


@pytest.mark.parametrize(
    "field",
    [
        *("kind", "dtype", "rule", "interpolation", "color_mode"),
        pytest.param(
            "precision",
        ),
        pytest.param(
            "activation",
        ),
        pytest.param(
            "task",
        ),
    ],
)
def test_number_of_a_later_schema_is_refused(root: Path, field: str) -> None:
    set_number(field)(write_tiny(root, "bad") / "manifest.json")
    assert only_refusal(root).reason == "manifest"

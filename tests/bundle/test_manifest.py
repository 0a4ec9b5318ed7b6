"""A manifest that isn't complete and consistent is rejected, with what is allowed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.bundles import rejection
from support.tiny import write_tiny

from convscope.v1 import manifest_pb2 as pb

Alter = Callable[[pb.ModelManifest], Any]


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "3", '"tiny"', "{", "[1]", "\x00", "[" * 100_000),
        *('{"schema_version": "one"}', '{"schema_version": 1, "from_the_future": 1}'),
        '{"schema_version": 1, "precision": "PRECISION_FP4"}',
    ],
)
def test_anything_else_is_rejected(tmp_path: Path, text: str) -> None:
    bundle = write_tiny(tmp_path)
    (bundle / "manifest.json").write_text(text)
    error = rejection(bundle)
    assert error.reason == "manifest"
    assert 0 < len(error.message) < 300
    assert "\n" not in error.message


@pytest.mark.parametrize("version", [0, 4, 99])
def test_unknown_schema_version_is_rejected(tmp_path: Path, version: int) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        manifest.schema_version = version

    error = rejection(write_tiny(tmp_path, alter_manifest=alter))
    assert error.reason == "manifest"
    assert (
        f"the manifest has schema version {version}; this release reads 1, 2 and 3" in error.message
    )


def alter_labels(manifest: pb.ModelManifest) -> None:
    del manifest.labels[:]


def without_outputs(manifest: pb.ModelManifest) -> None:
    manifest.task = pb.TASK_FEATURE_EXTRACTION
    del manifest.feature_maps[:]


def padded(
    manifest: pb.ModelManifest,
    placement: pb.Placement.ValueType = pb.PLACEMENT_CENTER,
    color: tuple[int, ...] = (0, 0, 0),
) -> None:
    padding = pb.Padding(placement=placement, color=color)
    resize = pb.Resize(rule=pb.RESIZE_RULE_FIT, padding=padding)
    manifest.preprocessing.resize.CopyFrom(resize)


def exact_below_the_input(manifest: pb.ModelManifest) -> None:
    manifest.preprocessing.resize.CopyFrom(
        pb.Resize(rule=pb.RESIZE_RULE_EXACT, height=16, width=15)
    )


WRONG_MANIFESTS: dict[str, Alter] = {
    "the task is TASK_UNSPECIFIED; it must be TASK_CLASSIFICATION or TASK_FEATURE_EXTRACTION": (
        lambda m: m.ClearField("task")
    ),
    "the precision is PRECISION_UNSPECIFIED; it must be PRECISION_FP32 or PRECISION_FP16 or "
    "PRECISION_INT8": lambda m: m.ClearField("precision"),
    "a classifier has no labels; it needs one for each class": alter_labels,
    "the activation is ACTIVATION_UNSPECIFIED; it must be ACTIVATION_SOFTMAX or "
    "ACTIVATION_SIGMOID": lambda m: m.ClearField("activation"),
    "the manifest has neither classes nor feature maps": without_outputs,
    "two feature maps are named 'conv'; each needs its own name": (
        lambda m: m.feature_maps.append(m.feature_maps[0])
    ),
    "a feature map is named 'logits', which is another output's name": (
        lambda m: setattr(m.feature_maps[0], "name", "logits")
    ),
    "the feature map 'conv' has the shape [4, 0, 16]; sizes start at 1": (
        lambda m: m.feature_maps[0].ClearField("height")
    ),
    "the manifest states 0 golden inputs; it needs at least 1": (
        lambda m: m.golden.ClearField("inputs")
    ),
    "the golden tolerance is 0; it must be between 0 and 1": lambda m: m.golden.ClearField(
        "probability_tolerance"
    ),
    "the input's kind is INPUT_KIND_UNSPECIFIED; it must be INPUT_KIND_IMAGE or "
    "INPUT_KIND_TENSOR": lambda m: m.input.ClearField("kind"),
    "the input has the shape []; it needs sizes of at least 1": (
        lambda m: m.input.ClearField("shape")
    ),
    "the input is an image of DATA_TYPE_UINT8 [16, 16, 3, 1]; it must be DATA_TYPE_UINT8 "
    "[height, width, channels]": lambda m: m.input.shape.append(1),
    "the input is a tensor of DATA_TYPE_UINT8; it must be DATA_TYPE_FLOAT32": (
        lambda m: setattr(m.input, "kind", pb.INPUT_KIND_TENSOR)
    ),
    "the color mode is COLOR_MODE_UNSPECIFIED; it must be COLOR_MODE_RGB or COLOR_MODE_GRAY": (
        lambda m: m.preprocessing.ClearField("color_mode")
    ),
    "COLOR_MODE_GRAY doesn't fit an input of 3 channels": (
        lambda m: setattr(m.preprocessing, "color_mode", pb.COLOR_MODE_GRAY)
    ),
    "the interpolation is INTERPOLATION_UNSPECIFIED; it must be INTERPOLATION_BILINEAR or "
    "INTERPOLATION_BICUBIC or INTERPOLATION_LANCZOS": lambda m: m.preprocessing.ClearField(
        "interpolation"
    ),
    "the resize rule is RESIZE_RULE_UNSPECIFIED; it must be RESIZE_RULE_SHORTEST_EDGE or "
    "RESIZE_RULE_EXACT or RESIZE_RULE_FIT": lambda m: m.preprocessing.resize.ClearField("rule"),
    "images are resized to 0, less than the graph's input of 16x16": (
        lambda m: m.preprocessing.resize.ClearField("shortest_edge")
    ),
    "images are resized to 16x15, less than the graph's input of 16x16": exact_below_the_input,
    "the placement is PLACEMENT_UNSPECIFIED; it must be PLACEMENT_CENTER or PLACEMENT_TOP_LEFT": (
        lambda m: padded(m, placement=pb.PLACEMENT_UNSPECIFIED)
    ),
    "the padding has the color [256, 0, 0]; it must have 3 values of 0 to 255": (
        lambda m: padded(m, color=(256, 0, 0))
    ),
    "the padding has the color [114]; it must have 3 values of 0 to 255": (
        lambda m: padded(m, color=(114,))
    ),
    "images are resized to 65,537 pixels; at most 65,536 are allowed": (
        lambda m: setattr(m.preprocessing.resize, "shortest_edge", 65_537)
    ),
    "the manifest lists golden.npz; it must list golden.npz and model.onnx": (
        lambda m: m.files.remove(m.files[0])
    ),
    "the manifest lists golden.npz, model.onnx, model.onnx; it must list golden.npz and "
    "model.onnx": lambda m: m.files.append(m.files[0]),
}


@pytest.mark.parametrize("problem", WRONG_MANIFESTS)
def test_manifest_that_contradicts_itself_is_rejected(tmp_path: Path, problem: str) -> None:
    error = rejection(write_tiny(tmp_path, alter_manifest=WRONG_MANIFESTS[problem]))
    assert (error.reason, error.message) == ("manifest", f"{problem}; export the bundle again")


@pytest.mark.parametrize("tolerance", [-0.1, 0.0, 1.0, float("nan"), float("inf")])
def test_tolerance_that_allows_anything_or_nothing_is_rejected(
    tmp_path: Path, tolerance: float
) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        manifest.golden.probability_tolerance = tolerance

    assert rejection(write_tiny(tmp_path, alter_manifest=alter)).reason == "manifest"


@pytest.mark.parametrize("name", ["../model.onnx", "/etc/passwd", "model.onnx/../golden.npz"])
def test_file_name_that_leaves_the_bundle_is_rejected(tmp_path: Path, name: str) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        manifest.files[0].name = name

    assert rejection(write_tiny(tmp_path, alter_manifest=alter)).reason == "manifest"


@pytest.mark.parametrize(
    "field",
    [
        *("kind", "dtype", "rule", "interpolation", "color_mode"),
        *("precision", "activation", "task"),
    ],
)
def test_number_of_a_later_schema_is_rejected(tmp_path: Path, field: str) -> None:
    path = write_tiny(tmp_path) / "manifest.json"
    text = path.read_text()
    changed = re.sub(rf'"{field}": "[A-Z0-9_]+"', f'"{field}": 9', text)
    assert json.loads(changed) != json.loads(text)
    path.write_text(changed)
    error = rejection(path.parent)
    assert error.reason == "manifest"
    assert " 9" in error.message

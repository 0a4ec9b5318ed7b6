"""A bundle with explanations: its schema, its graph, and the golden heat."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.alterations import Arrays, rewrite_golden
from support.bundles import check_bundle, rejection
from support.explained import write_explained
from support.tiny import SIDE, write_tiny

from convscope.bundle.errors import BundleRejectedError
from convscope.bundle.golden import golden_arrays
from convscope.bundle.golden_comparison import compare_heat
from convscope.v1 import manifest_pb2 as pb

Alter = Callable[[onnx.ModelProto], object]


def test_explained_bundle_is_accepted(tmp_path: Path) -> None:
    bundle, model, golden = check_bundle(write_explained(tmp_path))
    assert bundle.manifest.explanation.tensor == "conv"
    assert [value.name for value in model.graph.input] == ["images", "classes"]
    assert golden.heat is not None
    assert golden.heat.shape == (3, SIDE, SIDE)


def test_bundle_without_explanations_keeps_the_first_schema(tmp_path: Path) -> None:
    bundle, _, golden = check_bundle(write_tiny(tmp_path))
    assert bundle.manifest.schema_version == 1
    assert golden.heat is None


WRONG_MANIFESTS: dict[str, Callable[[pb.ModelManifest], object]] = {
    "the manifest has an explanation and schema version 1; explanations need 2": (
        lambda m: setattr(m, "schema_version", 1)
    ),
    "the explanation names no tensor": lambda m: m.explanation.ClearField("tensor"),
    "the explanation has 4 channels and the positions []; it needs 1 to 3 dimensions": (
        lambda m: m.explanation.ClearField("positions")
    ),
    "the explanation has 0 channels and the positions [16, 16]; it needs": (
        lambda m: m.explanation.ClearField("channels")
    ),
    "an input or a feature map is named 'heat', which is a name of the explanation": (
        lambda m: setattr(m.feature_maps[0], "name", "heat")
    ),
    "the manifest has an explanation and no classes; only classifiers have explanations": (
        lambda m: setattr(m, "task", pb.TASK_FEATURE_EXTRACTION)
    ),
}


@pytest.mark.parametrize("problem", WRONG_MANIFESTS)
def test_inconsistent_explanation_is_rejected(tmp_path: Path, problem: str) -> None:
    error = rejection(
        write_explained(
            tmp_path, alter_manifest=lambda manifest: void(WRONG_MANIFESTS[problem](manifest))
        )
    )
    assert error.reason == "manifest"
    assert problem in error.message


def void(_: object) -> None:
    """Drop a value."""


def wrong_graph(tmp_path: Path, alter: Alter) -> str:
    error = rejection(write_explained(tmp_path, alter_graph=lambda model: void(alter(model))))
    assert error.reason == "graph"
    return error.message


def test_graph_without_classes_is_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        classes = helper.make_tensor("classes", TensorProto.INT64, [1, 1], [0])
        model.graph.initializer.append(classes)

    assert "the graph lacks the input 'classes' of the manifest" in wrong_graph(tmp_path, alter)


@pytest.mark.parametrize("name", ["heat", "heat_classes"])
def test_graph_without_an_output_of_the_explanation_is_rejected(tmp_path: Path, name: str) -> None:
    def alter(model: onnx.ModelProto) -> None:
        kept = [value for value in model.graph.output if value.name != name]
        del model.graph.output[:]
        model.graph.output.extend(kept)

    assert f"the graph lacks the output {name!r}" in wrong_graph(tmp_path, alter)


def test_heat_that_the_manifest_does_not_state_is_rejected(tmp_path: Path) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        manifest.schema_version = 1
        manifest.ClearField("explanation")

    error = rejection(write_explained(tmp_path, alter_manifest=alter))
    assert "the graph has an input 'classes' that the manifest doesn't state" in error.message


def test_heat_with_other_positions_is_rejected(tmp_path: Path) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        manifest.explanation.positions[0] = 5

    error = rejection(write_explained(tmp_path, alter_manifest=alter))
    assert "the output 'heat' is float [N, N, 16, 16], the manifest says float [N, N, 5, 16]" in (
        error.message
    )


def test_unknown_tensor_is_rejected(tmp_path: Path) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        manifest.explanation.tensor = "layer9"

    error = rejection(write_explained(tmp_path, alter_manifest=alter))
    assert error.message == "the graph lacks the tensor 'layer9' of the manifest's explanation"


def test_logits_that_depend_on_the_classes_are_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        """Let a branch of an If, which doesn't list it as an input, read `classes`."""
        product = next(node for node in model.graph.node if node.output[0] == "logits")
        product.output[0] = "product"
        shape = helper.make_tensor_value_info("sum", TensorProto.FLOAT, None)
        inner = [
            helper.make_node("Cast", ["classes"], ["floats_of_classes"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["product", "floats_of_classes"], ["sum"]),
        ]
        branch = helper.make_graph(inner, "branch", [], [shape])
        other = helper.make_graph(
            [helper.make_node("Identity", ["product"], ["sum"])], "other", [], [shape]
        )
        model.graph.initializer.append(helper.make_tensor("always", TensorProto.BOOL, [], [1]))
        chosen = helper.make_node(
            "If", ["always"], ["logits"], then_branch=branch, else_branch=other
        )
        position = list(model.graph.node).index(product)
        model.graph.node.insert(position + 1, chosen)

    message = wrong_graph(tmp_path, alter)
    assert message == "the output 'logits' depends on the input 'classes'; only the heat may"


def test_missing_golden_heat_is_rejected(tmp_path: Path) -> None:
    bundle = write_explained(tmp_path)
    rewrite_golden(bundle, lambda arrays: arrays.pop("heat/-1"))
    assert "golden.npz lacks 'heat/-1'" in rejection(bundle).message


def test_golden_heat_of_another_shape_is_rejected(tmp_path: Path) -> None:
    bundle = write_explained(tmp_path)

    def change(arrays: Arrays) -> None:
        arrays["heat/-1"] = arrays["heat/-1"][:, 1:]

    rewrite_golden(bundle, change)
    assert "golden.npz has float32 [3, 15, 16] for 'heat/-1'" in rejection(bundle).message


def test_heat_is_compared_relative_to_its_largest_value(tmp_path: Path) -> None:
    golden = check_bundle(write_explained(tmp_path))[2]
    assert golden.heat is not None
    largest = np.abs(golden.heat).max()
    assert compare_heat(golden.heat + np.float32(0.05) * largest, golden) == pytest.approx(0.05)
    with pytest.raises(BundleRejectedError, match="the heat of the best class differs by"):
        compare_heat(golden.heat * np.float32(0.8), golden)
    with pytest.raises(BundleRejectedError, match="is not finite"):
        compare_heat(golden.heat * np.float32(np.nan), golden)


def test_golden_heat_is_written_for_the_golden_inputs_only() -> None:
    heat = np.ones((4, 1, 7, 7), np.float32)
    arrays = golden_arrays([b"one", b"two"], {"logits": np.ones((4, 3), np.float32)}, heat[:, 0])
    assert arrays["heat/-1"].shape == (2, 7, 7)

"""A graph that isn't what its manifest says is refused."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from support.loading import only_refusal
from support.tiny import CHANNELS, LABELS, SIDE, seal, tiny_graph, tiny_manifest, write_tiny

from convscope.server.repository.graph import without_feature_maps
from convscope.v1 import manifest_pb2 as pb

Alter = Callable[[onnx.ModelProto], None]


def refused(root: Path, alter: Alter, reason: str = "graph") -> str:
    write_tiny(root, "bad", alter_graph=alter)
    rejection = only_refusal(root)
    assert rejection.reason == reason
    return rejection.message


def point_outside(tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"


def test_external_data_is_refused(root: Path) -> None:
    message = refused(root, lambda model: point_outside(model.graph.initializer[0]))
    assert message == "a tensor refers to external data; embed it"


def test_external_data_in_a_constant_is_refused(root: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.node.append(
            helper.make_node("Constant", [], ["spare"], value=model.graph.initializer[0])
        )
        point_outside(model.graph.node[-1].attribute[0].t)

    assert "external data" in refused(root, alter)


def test_external_data_in_a_branch_is_refused(root: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        branch = onnx.GraphProto(name="branch")
        branch.initializer.append(model.graph.initializer[0])
        point_outside(branch.initializer[0])
        node = helper.make_node("If", ["white"], ["spare"], then_branch=branch, else_branch=branch)
        model.graph.node.append(node)

    assert "external data" in refused(root, alter)


def test_extra_output_is_refused(root: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        shape: list[str | int | None] = ["batch", CHANNELS, SIDE, SIDE]
        value = helper.make_tensor_value_info("sums", TensorProto.FLOAT, shape)
        model.graph.output.append(value)

    message = refused(root, alter)
    assert message == "the graph has an output 'sums' that the manifest doesn't state"


@pytest.mark.parametrize("name", ["logits", "probabilities", "conv"])
def test_missing_output_is_refused(root: Path, name: str) -> None:
    def alter(model: onnx.ModelProto) -> None:
        (value,) = [value for value in model.graph.output if value.name == name]
        model.graph.output.remove(value)

    assert refused(root, alter) == f"the graph lacks the output {name!r}"


def test_renamed_input_is_refused(root: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.input[0].name = model.graph.node[0].input[0] = "photos"

    assert refused(root, alter) == "the graph lacks the input 'images'"


def test_second_input_is_refused(root: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        value = helper.make_tensor_value_info("mood", TensorProto.FLOAT, [1])
        model.graph.input.append(value)

    message = refused(root, alter)
    assert message == "the graph has an input 'mood' that the manifest doesn't state"


def test_fixed_batch_is_refused(root: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1

    message = refused(root, alter)
    assert "'images' is uint8 [1, 16, 16, 3]" in message
    assert "the manifest says uint8 [N, 16, 16, 3]" in message


@pytest.mark.parametrize("labels", [[*LABELS, "violet"], LABELS[:2]])
def test_wrong_number_of_labels_is_refused(root: Path, labels: list[str]) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        del manifest.labels[:]
        manifest.labels.extend(labels)

    write_tiny(root, "bad", alter_manifest=alter)
    rejection = only_refusal(root)
    assert rejection.reason == "graph"
    assert "[N, 3]" in rejection.message
    assert f"[N, {len(labels)}]" in rejection.message


def test_wrong_channels_of_a_feature_map_are_refused(root: Path) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        manifest.feature_maps[0].channels = 9

    write_tiny(root, "bad", alter_manifest=alter)
    rejection = only_refusal(root)
    assert (rejection.reason, "[N, 9, 16, 16]" in rejection.message) == ("graph", True)


def lie_about_channels(root: Path) -> None:
    """Write a bundle whose graph and manifest agree on 7 channels where there are 4."""

    def alter_graph(model: onnx.ModelProto) -> None:
        model.graph.output[2].type.tensor_type.shape.dim[1].dim_value = 7

    def alter_manifest(manifest: pb.ModelManifest) -> None:
        manifest.feature_maps[0].channels = 7

    write_tiny(root, "bad", alter_graph=alter_graph, alter_manifest=alter_manifest)


def test_graph_that_lies_about_a_shape_is_refused(root: Path) -> None:
    lie_about_channels(root)
    assert only_refusal(root, preload_feature_maps=True).reason in ("graph", "golden")


def test_operators_of_another_domain_are_refused(root: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.node[4].domain = "com.example"
        model.opset_import.append(helper.make_opsetid("com.example", 1))

    assert refused(root, alter) == "operators of the domain 'com.example' are not run"


def test_unknown_operator_is_refused(root: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.node[4].op_type = "Conjure"

    assert "Conjure" in refused(root, alter)


def test_opset_beyond_the_runtime_is_refused(root: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = 999

    assert "cpu can't run the graph" in refused(root, alter, "provider")


def test_weight_with_too_few_bytes_is_refused(root: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].raw_data = b"\0"

    assert "not valid ONNX" in refused(root, alter)


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\x08" * 100])
def test_what_is_no_graph_is_refused(root: Path, data: bytes) -> None:
    directory = write_tiny(root, "bad")
    (directory / "model.onnx").write_bytes(data)
    seal(directory)
    assert only_refusal(root).reason == "graph"


def test_unknown_element_type_is_refused(root: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.output[0].type.tensor_type.elem_type = 99

    assert refused(root, alter)


def test_plain_graph_has_no_feature_maps_and_keeps_the_rest() -> None:
    plain = onnx.load_from_string(without_feature_maps(tiny_graph(), tiny_manifest("tiny", 1)))
    assert [value.name for value in plain.graph.output] == ["logits", "probabilities"]
    onnx.checker.check_model(plain)

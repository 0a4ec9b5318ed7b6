"""A graph that breaks the contract, or differs from its manifest, is rejected."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from support.alterations import burden
from support.bundles import rejection
from support.tiny import CHANNELS, LABELS, SIDE, seal, write_tiny

from convscope.bundle.graph_contract import check_graph, parse_graph
from convscope.bundle.reader import read_bundle
from convscope.v1 import manifest_pb2 as pb

Alter = Callable[[onnx.ModelProto], None]


def rejected(root: Path, alter: Alter) -> str:
    error = rejection(write_tiny(root, alter_graph=alter))
    assert error.reason == "graph"
    return error.message


def point_outside(tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../../../etc/passwd"


def test_external_data_is_rejected(tmp_path: Path) -> None:
    message = rejected(tmp_path, lambda model: point_outside(model.graph.initializer[0]))
    assert message == "a tensor refers to external data; embed it and export the bundle again"


def test_external_data_in_a_constant_is_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.node.append(
            helper.make_node("Constant", [], ["spare"], value=model.graph.initializer[0])
        )
        point_outside(model.graph.node[-1].attribute[0].t)

    assert "external data" in rejected(tmp_path, alter)


def test_external_data_in_a_branch_is_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        branch = onnx.GraphProto(name="branch")
        branch.initializer.append(model.graph.initializer[0])
        point_outside(branch.initializer[0])
        node = helper.make_node("If", ["white"], ["spare"], then_branch=branch, else_branch=branch)
        model.graph.node.append(node)

    assert "external data" in rejected(tmp_path, alter)


def test_extra_output_is_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        shape: list[str | int | None] = ["batch", CHANNELS, SIDE, SIDE]
        value = helper.make_tensor_value_info("sums", TensorProto.FLOAT, shape)
        model.graph.output.append(value)

    message = rejected(tmp_path, alter)
    assert message.startswith("the graph has an output 'sums' that the manifest doesn't state;")


@pytest.mark.parametrize("name", ["logits", "probabilities", "conv"])
def test_missing_output_is_rejected(tmp_path: Path, name: str) -> None:
    def alter(model: onnx.ModelProto) -> None:
        (value,) = [value for value in model.graph.output if value.name == name]
        model.graph.output.remove(value)

    message = rejected(tmp_path, alter)
    assert message.startswith(f"the graph lacks the output {name!r} of the manifest; it has: ")


def test_renamed_input_is_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.input[0].name = model.graph.node[0].input[0] = "photos"

    message = rejected(tmp_path, alter)
    assert message == "the graph lacks the input 'images' of the manifest; it has: photos"


def test_second_input_is_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        value = helper.make_tensor_value_info("mood", TensorProto.FLOAT, [1])
        model.graph.input.append(value)

    message = rejected(tmp_path, alter)
    assert message.startswith("the graph has an input 'mood' that the manifest doesn't state;")


def test_fixed_batch_is_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1

    message = rejected(tmp_path, alter)
    assert "'images' is uint8 [1, 16, 16, 3]" in message
    assert "the manifest says uint8 [N, 16, 16, 3]" in message


@pytest.mark.parametrize("labels", [[*LABELS, "violet"], LABELS[:2]])
def test_wrong_number_of_labels_is_rejected(tmp_path: Path, labels: list[str]) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        del manifest.labels[:]
        manifest.labels.extend(labels)

    error = rejection(write_tiny(tmp_path, alter_manifest=alter))
    assert error.reason == "graph"
    assert "[N, 3]" in error.message
    assert f"[N, {len(labels)}]" in error.message


def test_wrong_channels_of_a_feature_map_are_rejected(tmp_path: Path) -> None:
    def alter(manifest: pb.ModelManifest) -> None:
        manifest.feature_maps[0].channels = 9

    error = rejection(write_tiny(tmp_path, alter_manifest=alter))
    assert (error.reason, "[N, 9, 16, 16]" in error.message) == ("graph", True)


def test_graph_and_manifest_that_agree_on_a_wrong_shape_are_rejected(tmp_path: Path) -> None:
    def alter_graph(model: onnx.ModelProto) -> None:
        model.graph.output[2].type.tensor_type.shape.dim[1].dim_value = 7

    def alter_manifest(manifest: pb.ModelManifest) -> None:
        manifest.feature_maps[0].channels = 7

    bundle = write_tiny(tmp_path, alter_graph=alter_graph, alter_manifest=alter_manifest)
    assert rejection(bundle).reason == "graph"


def test_operators_of_another_domain_are_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.node[4].domain = "com.example"
        model.opset_import.append(helper.make_opsetid("com.example", 1))

    assert "operators of the domain 'com.example'; only standard" in rejected(tmp_path, alter)


def test_unknown_operator_is_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.node[4].op_type = "Conjure"

    assert "Conjure" in rejected(tmp_path, alter)


def test_opset_of_a_later_onnx_is_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.opset_import[0].version = 999

    assert "the graph uses opset 999; this release knows up to" in rejected(tmp_path, alter)


def test_weight_with_too_few_bytes_is_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].raw_data = b"\0"

    assert "not valid ONNX" in rejected(tmp_path, alter)


def large_weight(model: onnx.ModelProto) -> onnx.TensorProto:
    burden(64)(model)
    return next(tensor for tensor in model.graph.initializer if tensor.name == "burden")


def test_large_weight_is_accepted(tmp_path: Path) -> None:
    directory = write_tiny(tmp_path, alter_graph=burden(64))
    bundle = read_bundle(directory)
    check_graph(parse_graph(bundle.read_graph()), bundle.manifest)


def test_large_weight_with_too_few_bytes_is_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        weight = large_weight(model)
        weight.raw_data = weight.raw_data[4:]

    assert "not valid ONNX" in rejected(tmp_path, alter)


def test_large_weight_with_a_shape_that_does_not_fit_is_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        weight = large_weight(model)
        weight.dims[:] = weight.dims[::-1]

    assert "not valid ONNX" in rejected(tmp_path, alter)


@pytest.mark.parametrize("data", [b"", b"not a graph", b"\x08" * 100])
def test_anything_else_than_a_graph_is_rejected(tmp_path: Path, data: bytes) -> None:
    directory = write_tiny(tmp_path)
    (directory / "model.onnx").write_bytes(data)
    seal(directory)
    assert rejection(directory).reason == "graph"


def test_unknown_element_type_is_rejected(tmp_path: Path) -> None:
    def alter(model: onnx.ModelProto) -> None:
        model.graph.output[0].type.tensor_type.elem_type = 99

    assert rejected(tmp_path, alter)


def test_graph_of_too_many_parts_is_rejected_before_it_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convscope.bundle.graph_contract.MAX_PARTS", 10)
    error = rejection(write_tiny(tmp_path))
    assert (error.reason, "at most 10 are allowed" in error.message) == ("graph", True)

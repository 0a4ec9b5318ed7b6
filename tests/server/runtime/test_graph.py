"""Graphs cut down to the outputs that a session needs."""

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from support.explained import explain_tiny
from support.tiny import SIDE, tiny_graph, tiny_manifest

from convscope.server.runtime.graph import cut, without_heat

IMAGES = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.uint8)
PLAIN = ["logits", "probabilities"]


def explained_graph() -> onnx.ModelProto:
    model = tiny_graph()
    explain_tiny(model)
    return model


def cut_graph(model: onnx.ModelProto, outputs: Sequence[str]) -> onnx.ModelProto:
    found = onnx.load_from_string(cut(model.SerializeToString(), "images", outputs))
    onnx.checker.check_model(found)
    return found


def names(values: Sequence[onnx.ValueInfoProto | onnx.TensorProto]) -> list[str]:
    return [value.name for value in values]


def test_plain_graph_computes_nothing_for_feature_maps_and_heat() -> None:
    plain, tiny = cut_graph(explained_graph(), PLAIN), tiny_graph()
    assert names(plain.graph.input) == ["images"]
    assert names(plain.graph.output) == PLAIN
    assert plain.graph.node == tiny.graph.node
    assert plain.graph.initializer == tiny.graph.initializer
    assert plain.opset_import == tiny.opset_import


def test_graph_with_feature_maps_needs_no_classes() -> None:
    outputs = without_heat(tiny_manifest("tiny", 1), feature_maps=True)
    full = cut_graph(explained_graph(), outputs)
    assert names(full.graph.input) == ["images"]
    assert set(names(full.graph.output)) == {*PLAIN, "conv"}


def test_any_tensor_can_become_an_output() -> None:
    outputs = ["logits", "heat", "means"]
    model = cut(explained_graph().SerializeToString(), "images", outputs)
    feeds = {"images": IMAGES, "classes": np.array([[0, -1], [2, -3]])}
    whole = ort.InferenceSession(explained_graph().SerializeToString())
    session = ort.InferenceSession(model)
    for found, expected in zip(
        session.run(["logits", "heat"], feeds), whole.run(["logits", "heat"], feeds), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-6)
    assert session.run(["means"], feeds)[0].shape[0] == len(IMAGES)


def test_tensors_that_only_a_branch_reads_stay() -> None:
    """A branch of an If reads tensors that are no inputs of its node."""
    shape = helper.make_tensor_value_info("shifted", TensorProto.FLOAT, None)
    branch = helper.make_graph(
        [helper.make_node("Add", ["product", "shift"], ["shifted"])], "branch", [], [shape]
    )
    other = helper.make_graph(
        [helper.make_node("Identity", ["product"], ["shifted"])], "other", [], [shape]
    )
    model = tiny_graph()
    graph = model.graph
    product = next(node for node in graph.node if node.output[0] == "logits")
    product.output[0] = "product"
    position = list(graph.node).index(product) + 1
    graph.node.insert(
        position,
        helper.make_node("If", ["always"], ["logits"], then_branch=branch, else_branch=other),
    )
    graph.initializer.append(helper.make_tensor("always", TensorProto.BOOL, [], [1]))
    graph.initializer.append(numpy_helper.from_array(np.array(100, np.float32), "shift"))
    session = ort.InferenceSession(cut_graph(model, ["logits"]).SerializeToString())
    plain = ort.InferenceSession(tiny_graph().SerializeToString())
    (shifted,), (logits,) = (s.run(["logits"], {"images": IMAGES}) for s in (session, plain))
    np.testing.assert_allclose(shifted, logits + 100, atol=1e-3)

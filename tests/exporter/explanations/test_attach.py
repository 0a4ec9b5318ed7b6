"""A graph with explanations: its classes, its heat, and what is unchanged."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from support.explained import explain_tiny
from support.heads import Case, Node, classifier, images, one, random_values
from support.tiny import CHANNELS, SIDE, tiny_graph, tiny_manifest

from convscope.bundle.graph_contract import check_graph
from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.attach import attach
from convscope.exporter.explanations.explaining import explain, unless_left_out
from convscope.exporter.explanations.removal import has_explanation, remove_explanation
from convscope.exporter.graphs.sessions import feed_session, open_graph
from convscope.exporter.graphs.static_graph import static_graph

PHOTOS = np.random.default_rng(3).integers(0, 256, (4, SIDE, SIDE, 3)).astype(np.uint8)


def attached(model: onnx.ModelProto) -> onnx.ModelProto:
    attach(model, static_graph(model), 3)
    return model


def run(
    model: onnx.ModelProto, inputs: NDArray[np.uint8], classes: list[list[int]]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    session = open_graph(model.SerializeToString())
    feed = {"images": inputs, "classes": np.array(classes)}
    heat, indices, logits = feed_session(session, feed, ["heat", "heat_classes", "logits"])
    return heat, indices, logits


def test_heat_equals_the_one_written_by_hand() -> None:
    by_hand = tiny_graph()
    explain_tiny(by_hand)
    classes = [[-1, 2], [0, -2], [1, 1], [-3, -1]]
    heat, indices, _ = run(attached(tiny_graph()), PHOTOS, classes)
    expected, expected_indices, _ = run(by_hand, PHOTOS, classes)
    np.testing.assert_allclose(heat, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(indices, expected_indices)


def test_graph_fulfills_the_contract() -> None:
    model = tiny_graph()
    explanation = attach(model, static_graph(model), 3)
    manifest = tiny_manifest("tiny", 1)
    manifest.schema_version = 2
    manifest.explanation.CopyFrom(explanation.spec())
    check_graph(model, manifest)
    assert explanation.spec().channels == CHANNELS
    assert list(explanation.spec().positions) == [SIDE, SIDE]


def test_ranks_are_resolved_for_each_input() -> None:
    _, indices, logits = run(attached(tiny_graph()), PHOTOS, [[-1, -2, -3]] * 4)
    np.testing.assert_array_equal(indices, np.argsort(-logits, axis=1))


def test_ranks_are_those_of_the_probabilities() -> None:
    """Sigmoids of large logits are all 1; the best class is the first, as in other replies."""
    model = tiny_graph()
    model.graph.node[-1].op_type = "Sigmoid"
    for tensor in model.graph.initializer:
        if tensor.name == "dense":
            dense = np.abs(numpy_helper.to_array(tensor)) * [1000, 2000, 3000]
            tensor.CopyFrom(numpy_helper.from_array(dense.astype(np.float32), "dense"))
    white = np.full_like(PHOTOS[:1], 255)
    _, indices, logits = run(attached(model), white, [[-1, -2, -3]])
    assert np.ptp(logits) > 1
    assert logits.min() > 20
    assert list(indices[0]) == [0, 1, 2]


def test_an_old_opset_gives_the_same_heat() -> None:
    """In opset 11, a Clip takes no integers."""
    old = tiny_graph()
    old.opset_import[0].version = 11
    classes = [[-1, 2, 99, -99]] * 4
    ours, theirs = (run(attached(model), PHOTOS, classes) for model in (old, tiny_graph()))
    np.testing.assert_allclose(ours[0], theirs[0], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_numbers_beyond_the_classes_are_limited() -> None:
    _, indices, logits = run(attached(tiny_graph()), PHOTOS[:1], [[99, -99]])
    assert list(indices[0]) == [2, logits[0].argmin()]


@pytest.mark.parametrize("case", [one("Relu"), one("Softmax", axis=1), one("GlobalMaxPool")])
def test_several_classes_of_several_inputs_equal_single_ones(case: Case) -> None:
    model = attached(classifier(case))
    targets = [[0, -1, 2], [-1, 1, 1], [2, 2, -3]]
    together, indices, _ = run(model, images(), targets)
    for row, classes in enumerate(indices):
        for column, index in enumerate(classes):
            alone, _, _ = run(model, images()[row : row + 1], [[int(index)]])
            np.testing.assert_allclose(together[row, column], alone[0, 0], rtol=0, atol=1e-5)


def test_sum_of_the_heat_is_the_logit_of_a_linear_head() -> None:
    model = tiny_graph()
    assert attach(model, static_graph(model), 3).spec().linear
    heat, _, logits = run(model, PHOTOS, [[0, 1, 2]] * 4)
    np.testing.assert_allclose(heat.sum(axis=(2, 3)), logits, rtol=1e-5)


@pytest.mark.parametrize("case", [one("Relu"), one("Flatten"), one("MaxPool", kernel_shape=[2, 2])])
def test_other_heads_are_not_called_linear(case: Case) -> None:
    model = classifier(case)
    assert not attach(model, static_graph(model), 3).spec().linear


def test_no_weights_are_added() -> None:
    model = classifier(one("MaxPool", kernel_shape=[2, 2]))
    before = sum(tensor.ByteSize() for tensor in model.graph.initializer)
    attached(model)
    assert sum(tensor.ByteSize() for tensor in model.graph.initializer) < before + 1000


SECOND_PATH = ("means", "flat_means", "second", "logits")


@pytest.mark.parametrize(("shape", "turned"), [((120, 7), 0), ((7, 120), 1)])
def test_a_large_dense_layer_runs_once(shape: tuple[int, int], turned: int) -> None:
    """The heat takes a product with the means of its weights, not with all of them."""
    nodes: list[Node] = [
        ("Flatten", ["x"], ["f"], {}),
        ("Gemm", ["f", "w"], ["g"], {"transB": turned}),
        ("Relu", ["g"], ["y"], {}),
    ]
    model = attached(without_second_path(Case(nodes, {"w": random_values(*shape)})))
    assert readers(model, "w") == ["Gemm", "Reshape"]


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([("Conv", ["x", "w"], ["g"], {})], ["Conv", "ReduceMean"]),
        (
            [("Reshape", ["x", "sizes"], ["f"], {}), ("Conv", ["f", "v"], ["g"], {})],
            ["Conv", "Reshape"],
        ),
        (
            [("Conv", ["x", "w"], ["g"], {"pads": [1, 1, 0, 0], "strides": [6, 7]})],
            ["Conv", "ConvTranspose"],
        ),
    ],
    ids=["whole map", "reshaped", "padded"],
)
def test_a_convolution_over_the_whole_map_runs_once(nodes: list[Node], expected: list[str]) -> None:
    """It is a dense layer, unless it is padded."""
    constants = {
        "w": random_values(7, 4, 5, 6),
        "v": random_values(7, 40, 3),
        "sizes": np.array([0, 40, 3]),
    }
    model = without_second_path(Case([*nodes, ("Relu", ["g"], ["y"], {})], constants))
    attached(model)
    assert readers(model, nodes[-1][1][1]) == expected


def test_a_class_of_a_convolution_reads_its_own_weights() -> None:
    """A last layer that is a convolution takes a row of its weights, not a product."""
    nodes: list[Node] = [
        ("Conv", ["x", "w"], ["c"], {}),
        ("Relu", ["c"], ["r"], {}),
        ("Conv", ["r", "v", "b"], ["y"], {}),
    ]
    values = {"w": random_values(7, 4, 5, 6), "v": random_values(3, 7, 1, 1), "b": random_values(3)}
    model = without_second_path(Case(nodes, values))
    del model.graph.node[-2]  # the product with the dense layer
    model.graph.node[-2].output[0] = "logits"
    attached(model)
    assert readers(model, "v") == ["Conv", "Gather"]


def without_second_path(case: Case) -> onnx.ModelProto:
    """Return the graph in which the only path from `x` to the logits passes through `y`."""
    model = classifier(case)
    kept = [node for node in model.graph.node if node.output[0] not in SECOND_PATH]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    next(node for node in model.graph.node if node.output[0] == "first").output[0] = "logits"
    return model


def readers(model: onnx.ModelProto, name: str) -> list[str]:
    return [node.op_type for node in model.graph.node if name in node.input]


def test_removal_restores_the_graph() -> None:
    model, original = tiny_graph(), tiny_graph()
    assert not has_explanation(model)
    attached(model)
    assert has_explanation(model)
    remove_explanation(model)
    assert model == original


def test_channels_may_be_the_last_axis() -> None:
    """The heat equals that of the same network with the channels first."""
    first = tiny_graph()
    last = tiny_graph()
    for node in last.graph.node:
        if node.op_type == "GlobalAveragePool":
            node.op_type, node.input[0] = "ReduceMean", "last"
            node.input.append("axes")
    at = next(i for i, node in enumerate(last.graph.node) if node.op_type == "ReduceMean")
    last.graph.node.insert(at, helper.make_node("Identity", ["turned"], ["last"]))
    turn = helper.make_node("Transpose", ["conv"], ["turned"], perm=[0, 2, 3, 1])
    last.graph.node.insert(at, turn)
    last.graph.initializer.append(numpy_helper.from_array(np.array([1, 2]), "axes"))
    spec = attach(last, static_graph(last), 3).spec()
    assert (spec.tensor, spec.linear) == ("last", True)
    ours, theirs = (run(model, PHOTOS, [[-1, 0]] * 4)[0] for model in (last, attached(first)))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


def with_branch(model: onnx.ModelProto) -> None:
    """Compute the logits in a branch that captures the convolution."""
    product = next(node for node in model.graph.node if node.output[0] == "logits")
    product.output[0] = "product"
    shape = helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["batch", 3])
    inner = [
        helper.make_node("GlobalMaxPool", ["sums"], ["largest"]),
        helper.make_node("Flatten", ["largest"], ["flat_largest"]),
        helper.make_node("MatMul", ["flat_largest", "dense"], ["more"]),
        helper.make_node("Add", ["product", "more"], ["sum"]),
    ]
    branch = helper.make_graph(inner, "branch", [], [shape])
    model.graph.initializer.append(helper.make_tensor("always", TensorProto.BOOL, [], [1]))
    node = helper.make_node("If", ["always"], ["logits"], then_branch=branch, else_branch=branch)
    at = next(i for i, one in enumerate(model.graph.node) if one.op_type == "Softmax")
    model.graph.node.insert(at, node)


def lower_opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 10


def take_a_name(model: onnx.ModelProto) -> None:
    model.graph.node[4].name = "heat"
    model.graph.node[-2].input[0] = model.graph.node[-3].output[0] = "heat"


REJECTED: dict[str, tuple[Callable[[onnx.ModelProto], None], str]] = {
    "a branch": (with_branch, "operator If on the path has no derivative rule"),
    "an old opset": (lower_opset, "the graph has opset 10; derivatives need 11"),
    "a name": (take_a_name, "the graph has a tensor named 'heat' already"),
}


@pytest.mark.parametrize("name", REJECTED)
def test_graph_that_can_not_be_explained_is_unchanged(name: str) -> None:
    alter, message = REJECTED[name]
    model = tiny_graph()
    alter(model)
    before = model.SerializeToString(deterministic=True)
    with pytest.raises(ExplanationError) as rejected:
        attached(model)
    assert str(rejected.value) == message
    assert model.SerializeToString(deterministic=True) == before


def test_operator_without_a_rule_is_named() -> None:
    with pytest.raises(ExplanationError, match="operator Sin on the path has no derivative rule"):
        attached(classifier(one("Sin")))


def test_half_precision_is_named() -> None:
    nodes = [
        ("Cast", ["x"], ["half"], {"to": TensorProto.FLOAT16}),
        ("Cast", ["half"], ["y"], {"to": TensorProto.FLOAT}),
    ]
    with pytest.raises(ExplanationError, match="'half' is float16; derivatives need float32"):
        attached(classifier(Case(nodes)))


def test_dead_network_is_not_explained() -> None:
    model = tiny_graph()
    dense = next(tensor for tensor in model.graph.initializer if tensor.name == "dense")
    dense.CopyFrom(numpy_helper.from_array(np.zeros((CHANNELS, 3), np.float32), "dense"))
    with pytest.raises(ExplanationError, match="the heat of the best class is zero for every"):
        explain(model, PHOTOS, 3)


def test_user_decides_what_a_failure_means() -> None:
    def fails() -> None:
        explain(classifier(one("Sin")), images(), 3)

    explained, line = unless_left_out(None, fails)  # type: ignore[arg-type]
    assert (explained, line) == (
        None,
        "no explanations: operator Sin on the path has no derivative rule",
    )
    assert unless_left_out(False, fails)[0] is None  # type: ignore[arg-type]
    with pytest.raises(ExplanationError, match="operator Sin on the path"):
        unless_left_out(True, fails)  # type: ignore[arg-type]

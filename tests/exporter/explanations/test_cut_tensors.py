"""Which tensors every path from the input to the logits crosses."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from support.graphs import GraphBuilder

from convscope.exporter.errors import ExplanationError
from convscope.exporter.explanations.cut_tensors import cut_tensors, last_with_positions
from convscope.exporter.graphs.static_graph import static_graph


def cuts(graph: GraphBuilder, output: str) -> list[str]:
    return cut_tensors(graph.model(output).graph, output)


@pytest.fixture
def graph() -> GraphBuilder:
    return GraphBuilder(["batch", 3, 8, 8])


def test_every_tensor_of_a_chain_is_crossed(graph: GraphBuilder) -> None:
    x = graph.conv("x", 3, 4, 3, 3)
    y = graph.add("Relu", x)
    assert cuts(graph, y) == [x, y]


def test_tensors_beside_a_shortcut_are_not_crossed(graph: GraphBuilder) -> None:
    x = graph.conv("x", 3, 4, 3, 3)
    inner = graph.add("Relu", graph.conv(x, 4, 4, 1, 1))
    y = graph.add("Add", x, inner)
    assert cuts(graph, y) == [x, y]


def test_parts_of_a_split_are_not_crossed(graph: GraphBuilder) -> None:
    x = graph.conv("x", 3, 4, 3, 3)
    graph.nodes.append(helper.make_node("Split", [x], ["a", "b"], axis=1, num_outputs=2))
    y = graph.add("Add", "a", "b")
    assert cuts(graph, y) == [x, y]


def test_a_shape_is_no_path(graph: GraphBuilder) -> None:
    x = graph.conv("x", 3, 4, 3, 3)
    y = graph.add("Relu", x)
    z = graph.add("Reshape", y, graph.add("Shape", x))
    assert cuts(graph, z) == [x, y, z]


def test_a_tensor_that_a_branch_captures_is_a_path(graph: GraphBuilder) -> None:
    """An If reads outer tensors that aren't among its inputs."""
    x = graph.conv("x", 3, 4, 3, 3)
    y = graph.add("Relu", x)
    shape = helper.make_tensor_value_info("sum", TensorProto.FLOAT, None)
    branch = helper.make_graph([helper.make_node("Add", [x, y], ["sum"])], "branch", [], [shape])
    condition = graph.constant(np.array(True))
    z = graph.add("If", condition, then_branch=branch, else_branch=branch)
    assert cuts(graph, z) == [x, z]


def test_tensors_beside_the_path_are_left_out(graph: GraphBuilder) -> None:
    x = graph.conv("x", 3, 4, 3, 3)
    y = graph.add("Relu", x)
    graph.add("Sigmoid", x)  # an output for other purposes
    assert cuts(graph, y) == [x, y]


def last(model: onnx.ModelProto, output: str) -> tuple[str, tuple[int, ...], int]:
    found = last_with_positions(static_graph(model), model.graph, output)
    return found.name, found.positions, found.channel_axis


def test_the_last_tensor_with_positions_is_chosen(graph: GraphBuilder) -> None:
    x = graph.conv("x", 3, 4, 3, 3)
    y = graph.add("Relu", x)
    flat = graph.add("Flatten", graph.add("GlobalAveragePool", y))
    model = graph.model(flat)
    assert last(model, flat) == (y, (6, 6), 1)


def test_channels_may_be_the_last_axis(graph: GraphBuilder) -> None:
    x = graph.add("Transpose", graph.conv("x", 3, 4, 3, 2), perm=[0, 2, 3, 1])
    y = graph.add("Relu", x)
    mean = graph.add("ReduceMean", y, graph.constant(np.array([1, 2])), keepdims=0)
    assert last(graph.model(mean), mean) == (y, (6, 7), 3)


def test_signals_and_clips_have_positions() -> None:
    signal = GraphBuilder(["batch", 2, 32])
    x = signal.conv("x", 2, 4, 3)
    flat = signal.add("Flatten", x)
    assert last(signal.model(flat), flat) == (x, (30,), 1)
    clip = GraphBuilder(["batch", 3, 4, 8, 8])
    x = clip.conv("x", 3, 4, 2, 3, 3)
    flat = clip.add("Flatten", x)
    assert last(clip.model(flat), flat) == (x, (3, 6, 6), 1)


def test_tensors_after_a_normalization_of_groups_have_positions(graph: GraphBuilder) -> None:
    """Many of them: each regroups the axes."""
    x = graph.conv("x", 3, 4, 3, 3)
    scale = graph.constant(np.ones(2, np.float32))
    grouped = graph.constant(np.array([0, 2, -1]))
    back = graph.constant(np.array([0, 4, 6, 6]))
    for _ in range(30):
        normal = graph.add("InstanceNormalization", graph.add("Reshape", x, grouped), scale, scale)
        x = graph.add("Reshape", normal, back)
    flat = graph.add("Flatten", graph.add("GlobalAveragePool", x))
    assert last(graph.model(flat), flat) == (x, (6, 6), 1)


def test_a_network_without_positions_has_no_such_tensor(graph: GraphBuilder) -> None:
    flat = graph.add("Flatten", "x")
    y = graph.add("MatMul", flat, graph.weight(192, 3))
    with pytest.raises(ExplanationError, match="no tensor that every path crosses has channels"):
        last(graph.model(y), y)

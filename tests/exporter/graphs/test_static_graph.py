"""Shapes and constants, in graphs written as ONNX text."""

import onnx
import pytest
from onnx import parser

from convscope.exporter.errors import ExporterError
from convscope.exporter.graphs.static_graph import static_graph


def model(text: str) -> onnx.ModelProto:
    return parser.parse_model(f'<ir_version: 8, opset_import: ["": 18]> {text}')


# As PyTorch writes padding to a multiple of 4: the amount follows from the input's shape.
COMPUTED_PADS = """
padded (float[batch, 1, 6, 8] x) => (float[batch, 1, h, w] y)
<int64[1] six = {6}, int64[1] four = {4}>
{
    sides = Shape <start = 2> (x)
    missing = Mod (sides, four)
    front = ConstantOfShape <value = int64[1] {0}> (six)
    pads = Concat <axis = 0> (front, missing)
    y = Pad (x, pads)
}
"""


def test_pads_that_the_graph_computes_from_a_shape_are_known() -> None:
    graph = static_graph(model(COMPUTED_PADS))
    assert graph.shape("y") == (1, 1, 8, 8)
    assert graph.constants["pads"].tolist() == [0, 0, 0, 0, 0, 0, 2, 0]
    assert graph.integers(graph.nodes[-1], "pads", 1) == [0, 0, 0, 0, 0, 0, 2, 0]


def test_both_halves_of_a_split_shape_are_known() -> None:
    text = """
    halves (float[batch, 3, 4, 5] x) => (float[a, b] y)
    {
        shape = Shape (x)
        first, second = Split <axis = 0, num_outputs = 2> (shape)
        left = ReduceProd <keepdims = 1> (first)
        right = ReduceProd <keepdims = 1> (second)
        target = Concat <axis = 0> (left, right)
        y = Reshape (x, target)
    }
    """
    assert static_graph(model(text)).shape("y") == (3, 20)


def test_a_shape_behind_a_computed_shape_is_followed() -> None:
    """The second Reshape needs the shape that the first one results in."""
    text = """
    twice (float[batch, 8, 4] x) => (float[a, b] y)
    <int64 two = {2}, int64[1] zero = {0}, int64[1] rest = {-1}>
    {
        half = Shape <start = 1, end = 2> (x)
        quarter = Div (half, two)
        first = Concat <axis = 0> (quarter, rest)
        flat = Reshape (x, first)
        width = Shape <start = 1> (flat)
        fewer = Div (width, two)
        second = Concat <axis = 0> (rest, fewer)
        y = Reshape (flat, second)
    }
    """
    graph = static_graph(model(text))
    assert (graph.shape("flat"), graph.shape("y")) == ((4, 8), (8, 4))


def test_a_large_constant_is_not_computed() -> None:
    text = """
    shifted (float[batch, 1, 64, 64] x) => (float[batch, 1, 64, 64] y)
    <int64[4] shape = {1, 1, 64, 64}>
    {
        zeros = ConstantOfShape (shape)
        y = Add (x, zeros)
    }
    """
    graph = static_graph(model(text))
    assert graph.shape("zeros") == (1, 1, 64, 64)
    assert "zeros" not in graph.constants


def test_a_shape_that_depends_on_the_pixels_is_an_error() -> None:
    graph = static_graph(model("places (float[1, 4] x) => (int64[2, n] y) { y = NonZero (x) }"))
    with pytest.raises(ExporterError, match="the shape of the tensor 'y' can't be inferred"):
        graph.shape("y")


def test_a_graph_that_contradicts_itself_is_an_error() -> None:
    text = """
    wrong (float[1, 4] x) => (float[n, 2] y)
    <float[3, 2] weight = {1, 2, 3, 4, 5, 6}>
    {
        shape = Shape (x)
        same = Reshape (x, shape)
        y = MatMul (same, weight)
    }
    """
    with pytest.raises(ExporterError, match=r"can't open the graph: .*MatMul"):
        static_graph(model(text))

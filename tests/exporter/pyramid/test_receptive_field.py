"""Receptive fields, compared with the input cells that change an output."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from support.graphs import GraphBuilder

from convscope.exporter.graphs.sessions import open_graph
from convscope.exporter.pyramid.facts import feature_map_facts


def dilated() -> tuple[GraphBuilder, str]:
    network = GraphBuilder([1, 1, 64, 64])
    x = network.conv("x", 1, 2, 3, 3, dilations=[1, 3], strides=[1, 2])
    return network, network.conv(x, 2, 1, 3, 3, dilations=[2, 2])


def automatic_padding() -> tuple[GraphBuilder, str]:
    network = GraphBuilder([1, 1, 65, 65])
    x = network.conv("x", 1, 1, 5, 5, auto_pad="SAME_UPPER", strides=[2, 2])
    x = network.conv(x, 1, 1, 4, 4, auto_pad="SAME_LOWER", strides=[2, 2])
    return network, network.conv(x, 1, 1, 3, 3, auto_pad="VALID")


def ceiled_pools() -> tuple[GraphBuilder, str]:
    network = GraphBuilder([1, 1, 66, 66])
    x = network.add("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    x = network.conv(x, 1, 1, 3, 3)
    return network, network.add("AveragePool", x, kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1)


def residual() -> tuple[GraphBuilder, str]:
    network = GraphBuilder([1, 1, 64, 64])
    x = network.conv("x", 1, 4, 3, 3, strides=[2, 2], pads=[1] * 4)
    branch = network.conv(network.add("Relu", x), 4, 4, 5, 5, pads=[2] * 4)
    return network, network.add("Relu", network.add("Add", x, branch))


def inception() -> tuple[GraphBuilder, str]:
    network = GraphBuilder([1, 1, 64, 64])
    wide = network.conv("x", 1, 2, 1, 7, pads=[0, 3, 0, 3])
    branches = [
        network.conv("x", 1, 2, 1, 1),
        network.conv(wide, 2, 1, 7, 1, pads=[3, 0, 3, 0]),
        network.add("MaxPool", "x", kernel_shape=[3, 3], pads=[1] * 4),
    ]
    return network, network.conv(network.add("Concat", *branches, axis=1), 4, 1, 3, 3)


def uneven_branches() -> tuple[GraphBuilder, str]:
    """Each branch looks to another side."""
    network = GraphBuilder([1, 1, 64, 64])
    left = network.conv("x", 1, 1, 3, 5, pads=[1, 4, 1, 0])
    right = network.conv("x", 1, 1, 3, 5, pads=[1, 0, 1, 4])
    return network, network.add("Add", left, right)


def transposed() -> tuple[GraphBuilder, str]:
    network = GraphBuilder([1, 1, 48, 48])
    x = network.conv("x", 1, 1, 3, 3, strides=[2, 2])
    up = network.add("ConvTranspose", x, network.weight(1, 1, 6, 6), strides=[2, 2], pads=[1] * 4)
    return network, network.conv(up, 1, 1, 3, 3)


def channels_last() -> tuple[GraphBuilder, str]:
    network = GraphBuilder([1, 64, 64, 1])
    x = network.conv(network.add("Transpose", "x", perm=[0, 3, 1, 2]), 1, 1, 3, 3, strides=[2, 2])
    x = network.conv(x, 1, 1, 3, 3, strides=[2, 2])
    return network, network.add("Transpose", x, perm=[0, 2, 3, 1])


def focus() -> tuple[GraphBuilder, str]:
    """Every second pixel, from each of four corners, side by side as channels."""
    network = GraphBuilder([1, 1, 64, 64])
    ends, axes, steps = (network.constant(np.array(value)) for value in ([64, 64], [2, 3], [2, 2]))
    corners = [
        network.add("Slice", "x", network.constant(np.array(start)), ends, axes, steps)
        for start in ([0, 0], [0, 1], [1, 0], [1, 1])
    ]
    return network, network.conv(network.add("Concat", *corners, axis=1), 4, 1, 3, 3)


def explicit_padding() -> tuple[GraphBuilder, str]:
    network = GraphBuilder([1, 1, 64, 64])
    pads = network.constant(np.array([0, 0, 0, 0, 0, 0, 1, 1]))
    x = network.conv(network.add("Pad", "x", pads), 1, 1, 3, 3, strides=[2, 2])
    return network, network.conv(x, 1, 1, 3, 3)


def shuffled_groups() -> tuple[GraphBuilder, str]:
    network = GraphBuilder([1, 4, 64, 64])
    x = network.conv("x", 2, 4, 3, 3, group=2, strides=[2, 2], pads=[1] * 4)
    x = network.add("Reshape", x, network.constant(np.array([0, 2, 2, 32, 32])))
    x = network.add("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = network.add("Reshape", x, network.constant(np.array([0, -1, 32, 32])))
    return network, network.conv(x, 1, 4, 5, 5, group=4)


def signal() -> tuple[GraphBuilder, str]:
    network = GraphBuilder([1, 2, 128])
    x = network.conv("x", 2, 3, 9, strides=[4], pads=[4, 4])
    return network, network.add("MaxPool", x, kernel_shape=[2], strides=[2])


def clip() -> tuple[GraphBuilder, str]:
    network = GraphBuilder([1, 1, 8, 48, 48])
    x = network.conv("x", 1, 1, 3, 5, 5, strides=[1, 2, 2], pads=[1, 2, 2] * 2)
    return network, network.conv(x, 1, 1, 3, 3, 3)


MEASURED = (
    *(dilated, automatic_padding, ceiled_pools, residual, inception, uneven_branches, transposed),
    *(channels_last, focus, explicit_padding, shuffled_groups, signal, clip),
)


@pytest.mark.parametrize("build", MEASURED, ids=lambda build: build.__name__)
def test_the_receptive_field_equals_the_inputs_that_change_the_output(
    build: Callable[[], tuple[GraphBuilder, str]],
) -> None:
    network, name = build()
    model = network.model(name)
    facts = feature_map_facts(model, [name])[name]
    axis = -2 if build is channels_last else -1
    fields = measure(model, axis)
    sizes = [high - low + 1 for low, high in fields]
    assert max(sizes) == facts.receptive_field
    # The last and the first but one: transposed convolutions see by turns.
    assert (fields[-1][0] - fields[0][0]) / (len(fields) - 1) == pytest.approx(facts.stride)


def measure(model: onnx.ModelProto, axis: int) -> list[tuple[int, int]]:
    """Which columns of the input change each of a few columns in the middle of the output."""
    session = open_graph(model.SerializeToString())
    shape = [size.dim_value for size in model.graph.input[0].type.tensor_type.shape.dim]
    plain = np.random.default_rng(0).random(shape).astype(np.float32)
    (before,) = session.run(None, {"x": plain})
    changed = []
    for column in range(shape[axis]):
        disturbed = plain.copy()
        np.moveaxis(disturbed, axis, 0)[column] += 1000  # the largest, of any pool
        (after,) = session.run(None, {"x": disturbed})
        moved = np.moveaxis(np.abs(after - before), axis, 0)
        changed.append(moved.reshape(len(moved), -1).max(axis=1) > 0.01)
    seen = np.array(changed)  # [input column, output column]
    middle = seen.shape[1] // 2
    columns = (np.flatnonzero(seen[:, at]) for at in range(middle - 2, middle + 3))
    return [(int(found.min()), int(found.max())) for found in columns]


def test_squeeze_and_excitation_sees_the_whole_image_and_keeps_the_stride() -> None:
    network = GraphBuilder([1, 3, 32, 32])
    x = network.conv("x", 3, 8, 3, 3, strides=[2, 2])
    squeezed = network.conv(network.add("GlobalAveragePool", x), 8, 8, 1, 1)
    gated = network.add("Mul", x, network.add("Sigmoid", squeezed))
    facts = feature_map_facts(network.model(gated), [x, gated])
    assert (facts[x].stride, facts[x].receptive_field) == (2, 3)
    assert (facts[gated].stride, facts[gated].receptive_field) == (2, None)
    assert facts[gated].parameters == 8 * 27 + 64

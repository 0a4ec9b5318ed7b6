from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from convscope.exporter.errors import ExporterError, UnknownNameError
from convscope.exporter.graphs.sessions import open_graph
from convscope.exporter.pyramid.facts import feature_map_facts

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"

# What layers are made of: a node's type, its kernel, its attributes.
Layer = tuple[str, int, dict[str, Any]]


class Network:
    """Writes a graph node by node; every weight is positive, so that nothing cancels."""

    def __init__(self, shape: Sequence[int | str], opset: int = 18) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.shape = shape
        self.opset = opset

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def constant(self, value: NDArray[np.generic]) -> str:
        name = f"constant{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def weight(self, *shape: int) -> str:
        return self.constant(np.full(shape, 0.1, np.float32))

    def conv(self, x: str, before: int, after: int, *kernel: int, **attributes: Any) -> str:
        return self.add("Conv", x, self.weight(after, before, *kernel), **attributes)

    def model(self, *outputs: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            self.weights,
        )
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)


def chain(layers: Sequence[Layer], size: int) -> tuple[onnx.ModelProto, list[str]]:
    """A network of one channel throughout, and the name of each layer's output."""
    network = Network([1, 1, size, size])
    names, x = [], "x"
    for kind, kernel, attributes in layers:
        if kind == "Conv":
            x = network.conv(x, 1, 1, kernel, kernel, **attributes)
        else:
            x = network.add(kind, x, kernel_shape=[kernel, kernel], **attributes)
        names.append(x)
    return network.model(*names), names


def conv(kernel: int, stride: int = 1, pad: int = 0) -> Layer:
    return "Conv", kernel, {"strides": [stride] * 2, "pads": [pad] * 4}


def pool(kernel: int = 2, stride: int = 2, pad: int = 0) -> Layer:
    return "MaxPool", kernel, {"strides": [stride] * 2, "pads": [pad] * 4}


def test_lenet_by_hand() -> None:
    model, names = chain([conv(5), pool(), conv(5), pool(), conv(5)], 32)
    facts = feature_map_facts(model, names)
    assert [facts[name].stride for name in names] == [1, 2, 2, 4, 4]
    assert [facts[name].receptive_field for name in names] == [5, 6, 14, 16, 32]
    assert facts[names[-1]].parameters == 3 * 25
    assert facts[names[-1]].multiply_adds == 25 * (28**2 + 10**2 + 1)


# Araujo, Norris and Sim, Computing Receptive Fields of Convolutional Neural
# Networks, Distill 2019: its table's VGG-16, ResNet-50 (v1, whose stages end with
# their stride), AlexNet and Inception v2 (the last concatenation).
VGG16 = [layer for n in (2, 2, 3, 3, 3) for layer in [conv(3, pad=1)] * n + [pool()]]
RESNET50 = [
    *(conv(7, 2, 3), pool(3, 2, 1)),
    *(layer for n in (3, 4, 6) for layer in [conv(3, pad=1)] * (n - 1) + [conv(3, 2, 1)]),
    *([conv(3, pad=1)] * 3),
]


@pytest.mark.parametrize(("layers", "field"), [(VGG16, 212), (RESNET50, 483)])
def test_chains_as_published(layers: list[Layer], field: int) -> None:
    model, names = chain(layers, 224)
    last = feature_map_facts(model, names)[names[-1]]
    assert (last.stride, last.receptive_field) == (32, field)


@pytest.mark.parametrize(
    ("name", "tensor", "stride", "field"),
    [("bvlc_alexnet", "r14", 32, 195), ("inception_v2", "r504", 32, 699)],
)
def test_networks_of_others_as_published(name: str, tensor: str, stride: int, field: int) -> None:
    facts = feature_map_facts(onnx.load(LIGHT / f"light_{name}.onnx"), [tensor])[tensor]
    assert (facts.stride, facts.receptive_field) == (stride, field)


# By hand, for the variant whose stride lies in the first 3×3 convolution of a stage.
def test_the_stages_of_resnet50() -> None:
    model = onnx.load(LIGHT / "light_resnet50.onnx")
    stages = ("r3", "r35", "r77", "r139", "r171")
    facts = feature_map_facts(model, stages)
    assert [facts[name].stride for name in stages] == [4, 4, 8, 16, 32]
    assert [facts[name].receptive_field for name in stages] == [11, 35, 91, 267, 427]


# torchvision's documentation of the same networks: parameters, and "GFLOPS",
# which counts multiply-adds.
@pytest.mark.parametrize(
    ("name", "parameters", "billions"),
    [("resnet50", 25_557_032, 4.09), ("vgg19", 143_667_240, 19.63)],
)
def test_parameters_and_work_as_published(name: str, parameters: int, billions: float) -> None:
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    (output,) = (value.name for value in model.graph.output)
    facts = feature_map_facts(model, [output])[output]
    assert facts.parameters == parameters
    assert round(facts.multiply_adds / 1e9, 2) == billions
    assert facts.receptive_field is None


def dilated() -> tuple[Network, str]:
    network = Network([1, 1, 64, 64])
    x = network.conv("x", 1, 2, 3, 3, dilations=[1, 3], strides=[1, 2])
    return network, network.conv(x, 2, 1, 3, 3, dilations=[2, 2])


def automatic_padding() -> tuple[Network, str]:
    network = Network([1, 1, 65, 65])
    x = network.conv("x", 1, 1, 5, 5, auto_pad="SAME_UPPER", strides=[2, 2])
    x = network.conv(x, 1, 1, 4, 4, auto_pad="SAME_LOWER", strides=[2, 2])
    return network, network.conv(x, 1, 1, 3, 3, auto_pad="VALID")


def ceiled_pools() -> tuple[Network, str]:
    network = Network([1, 1, 66, 66])
    x = network.add("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1)
    x = network.conv(x, 1, 1, 3, 3)
    return network, network.add("AveragePool", x, kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1)


def residual() -> tuple[Network, str]:
    network = Network([1, 1, 64, 64])
    x = network.conv("x", 1, 4, 3, 3, strides=[2, 2], pads=[1] * 4)
    branch = network.conv(network.add("Relu", x), 4, 4, 5, 5, pads=[2] * 4)
    return network, network.add("Relu", network.add("Add", x, branch))


def inception() -> tuple[Network, str]:
    network = Network([1, 1, 64, 64])
    wide = network.conv("x", 1, 2, 1, 7, pads=[0, 3, 0, 3])
    branches = [
        network.conv("x", 1, 2, 1, 1),
        network.conv(wide, 2, 1, 7, 1, pads=[3, 0, 3, 0]),
        network.add("MaxPool", "x", kernel_shape=[3, 3], pads=[1] * 4),
    ]
    return network, network.conv(network.add("Concat", *branches, axis=1), 4, 1, 3, 3)


def uneven_branches() -> tuple[Network, str]:
    """Each branch looks to another side."""
    network = Network([1, 1, 64, 64])
    left = network.conv("x", 1, 1, 3, 5, pads=[1, 4, 1, 0])
    right = network.conv("x", 1, 1, 3, 5, pads=[1, 0, 1, 4])
    return network, network.add("Add", left, right)


def transposed() -> tuple[Network, str]:
    network = Network([1, 1, 48, 48])
    x = network.conv("x", 1, 1, 3, 3, strides=[2, 2])
    up = network.add("ConvTranspose", x, network.weight(1, 1, 6, 6), strides=[2, 2], pads=[1] * 4)
    return network, network.conv(up, 1, 1, 3, 3)


def channels_last() -> tuple[Network, str]:
    network = Network([1, 64, 64, 1])
    x = network.conv(network.add("Transpose", "x", perm=[0, 3, 1, 2]), 1, 1, 3, 3, strides=[2, 2])
    x = network.conv(x, 1, 1, 3, 3, strides=[2, 2])
    return network, network.add("Transpose", x, perm=[0, 2, 3, 1])


def focus() -> tuple[Network, str]:
    """Every second pixel, from each of four corners, side by side as channels."""
    network = Network([1, 1, 64, 64])
    ends, axes, steps = (network.constant(np.array(value)) for value in ([64, 64], [2, 3], [2, 2]))
    corners = [
        network.add("Slice", "x", network.constant(np.array(start)), ends, axes, steps)
        for start in ([0, 0], [0, 1], [1, 0], [1, 1])
    ]
    return network, network.conv(network.add("Concat", *corners, axis=1), 4, 1, 3, 3)


def explicit_padding() -> tuple[Network, str]:
    network = Network([1, 1, 64, 64])
    pads = network.constant(np.array([0, 0, 0, 0, 0, 0, 1, 1]))
    x = network.conv(network.add("Pad", "x", pads), 1, 1, 3, 3, strides=[2, 2])
    return network, network.conv(x, 1, 1, 3, 3)


def shuffled_groups() -> tuple[Network, str]:
    network = Network([1, 4, 64, 64])
    x = network.conv("x", 2, 4, 3, 3, group=2, strides=[2, 2], pads=[1] * 4)
    x = network.add("Reshape", x, network.constant(np.array([0, 2, 2, 32, 32])))
    x = network.add("Transpose", x, perm=[0, 2, 1, 3, 4])
    x = network.add("Reshape", x, network.constant(np.array([0, -1, 32, 32])))
    return network, network.conv(x, 1, 4, 5, 5, group=4)


def signal() -> tuple[Network, str]:
    network = Network([1, 2, 128])
    x = network.conv("x", 2, 3, 9, strides=[4], pads=[4, 4])
    return network, network.add("MaxPool", x, kernel_shape=[2], strides=[2])


def clip() -> tuple[Network, str]:
    network = Network([1, 1, 8, 48, 48])
    x = network.conv("x", 1, 1, 3, 5, 5, strides=[1, 2, 2], pads=[1, 2, 2] * 2)
    return network, network.conv(x, 1, 1, 3, 3, 3)


MEASURED = (
    *(dilated, automatic_padding, ceiled_pools, residual, inception, uneven_branches, transposed),
    *(channels_last, focus, explicit_padding, shuffled_groups, signal, clip),
)


@pytest.mark.parametrize("build", MEASURED, ids=lambda build: build.__name__)
def test_what_is_computed_is_what_a_disturbed_input_changes(
    build: Callable[[], tuple[Network, str]],
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
    network = Network([1, 3, 32, 32])
    x = network.conv("x", 3, 8, 3, 3, strides=[2, 2])
    squeezed = network.conv(network.add("GlobalAveragePool", x), 8, 8, 1, 1)
    gated = network.add("Mul", x, network.add("Sigmoid", squeezed))
    facts = feature_map_facts(network.model(gated), [x, gated])
    assert (facts[x].stride, facts[x].receptive_field) == (2, 3)
    assert (facts[gated].stride, facts[gated].receptive_field) == (2, None)
    assert facts[gated].parameters == 8 * 27 + 64


def test_a_mean_and_a_deviation_before_the_first_layer_are_no_parameters() -> None:
    network = Network([1, 3, 8, 8])
    x = network.add(
        "Div", network.add("Sub", "x", network.weight(3, 1, 1)), network.weight(3, 1, 1)
    )
    x = network.add("Add", network.conv(x, 3, 4, 1, 1), network.weight(4, 1, 1))
    assert feature_map_facts(network.model(x), [x])[x].parameters == 3 * 4 + 4


def test_a_weight_that_two_layers_share_counts_once() -> None:
    network = Network([1, 2, 8, 8])
    weight = network.weight(2, 2, 1, 1)
    x = network.add("Conv", network.add("Conv", "x", weight), weight)
    facts = feature_map_facts(network.model(x), [x])[x]
    assert (facts.parameters, facts.multiply_adds) == (4, 2 * 4 * 64)


def test_a_shape_that_the_graph_computes_is_followed() -> None:
    network = Network(["batch", 2, 8, 8])
    x = network.conv("x", 2, 4, 3, 3, strides=[2, 2])
    first = network.add("Gather", network.add("Shape", x), network.constant(np.array([0])))
    shape = network.add("Concat", first, network.constant(np.array([-1])), axis=0)
    flat = network.add("Reshape", x, shape)
    logits = network.add("Gemm", flat, network.weight(36, 10))
    facts = feature_map_facts(network.model(logits), [logits])[logits]
    assert (facts.receptive_field, facts.parameters) == (None, 72 + 360)


def test_an_unknown_tensor_is_named() -> None:
    model, _ = chain([conv(3)], 8)
    with pytest.raises(UnknownNameError, match="no tensor 'conv9'"):
        feature_map_facts(model, ["conv9"])


def test_a_shape_that_cannot_be_known_is_said() -> None:
    network = Network([1, 1, 8, 8])
    x = network.add("NonZero", "x")
    y = network.add("Transpose", x, perm=[1, 0])
    z = network.add("Softmax", network.add("Unsqueeze", y, network.constant(np.array([0, 1]))))
    flat = network.add("Reshape", z, network.constant(np.array([-1])))
    with pytest.raises(ExporterError, match="can't be inferred"):
        feature_map_facts(network.model(flat), [flat])

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.graphs import GraphBuilder

from convscope.exporter.errors import ExporterError, UnknownNameError
from convscope.exporter.pyramid.facts import feature_map_facts

LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"


# What layers are made of: a node's type, its kernel, its attributes.
Layer = tuple[str, int, dict[str, Any]]


def chain(layers: Sequence[Layer], size: int) -> tuple[onnx.ModelProto, list[str]]:
    """A network of one channel throughout, and the name of each layer's output."""
    network = GraphBuilder([1, 1, size, size])
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


def test_the_facts_of_lenet_are_as_computed_by_hand() -> None:
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
def test_the_receptive_fields_of_chains_are_as_published(layers: list[Layer], field: int) -> None:
    model, names = chain(layers, 224)
    last = feature_map_facts(model, names)[names[-1]]
    assert (last.stride, last.receptive_field) == (32, field)


@pytest.mark.parametrize(
    ("name", "tensor", "stride", "field"),
    [("bvlc_alexnet", "r14", 32, 195), ("inception_v2", "r504", 32, 699)],
)
def test_the_receptive_fields_of_published_networks_are_as_published(
    name: str, tensor: str, stride: int, field: int
) -> None:
    facts = feature_map_facts(onnx.load(LIGHT / f"light_{name}.onnx"), [tensor])[tensor]
    assert (facts.stride, facts.receptive_field) == (stride, field)


# Computed by hand, for the variant with the stride in the first 3×3 convolution of a stage.
def test_the_stages_of_resnet50_are_as_computed_by_hand() -> None:
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
def test_parameters_and_multiply_adds_are_as_published(
    name: str, parameters: int, billions: float
) -> None:
    model = onnx.load(LIGHT / f"light_{name}.onnx")
    (output,) = (value.name for value in model.graph.output)
    facts = feature_map_facts(model, [output])[output]
    assert facts.parameters == parameters
    assert round(facts.multiply_adds / 1e9, 2) == billions
    assert facts.receptive_field is None


def test_the_normalization_before_the_first_layer_has_no_parameters() -> None:
    network = GraphBuilder([1, 3, 8, 8])
    x = network.add(
        "Div", network.add("Sub", "x", network.weight(3, 1, 1)), network.weight(3, 1, 1)
    )
    x = network.add("Add", network.conv(x, 3, 4, 1, 1), network.weight(4, 1, 1))
    assert feature_map_facts(network.model(x), [x])[x].parameters == 3 * 4 + 4


def test_a_shared_weight_counts_once() -> None:
    network = GraphBuilder([1, 2, 8, 8])
    weight = network.weight(2, 2, 1, 1)
    x = network.add("Conv", network.add("Conv", "x", weight), weight)
    facts = feature_map_facts(network.model(x), [x])[x]
    assert (facts.parameters, facts.multiply_adds) == (4, 2 * 4 * 64)


def test_a_computed_shape_is_followed() -> None:
    network = GraphBuilder(["batch", 2, 8, 8])
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


def test_an_unknown_shape_is_an_error() -> None:
    network = GraphBuilder([1, 1, 8, 8])
    x = network.add("NonZero", "x")
    y = network.add("Transpose", x, perm=[1, 0])
    z = network.add("Softmax", network.add("Unsqueeze", y, network.constant(np.array([0, 1]))))
    flat = network.add("Reshape", z, network.constant(np.array([-1])))
    with pytest.raises(ExporterError, match="can't be inferred"):
        feature_map_facts(network.model(flat), [flat])

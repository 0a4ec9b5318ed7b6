"""Joins preprocessing, heads and feature maps to a foreign graph, by the bundle's contract."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from convscope.exporter.errors import ExporterError, reason
from convscope.exporter.foreign.graph import ImageInput
from convscope.exporter.graphs.static_graph import StaticGraph

__all__ = ["ForeignMap", "Head", "Normalization", "find_head", "join"]

Activation = Literal["softmax", "sigmoid"]

# The foreign names stand behind it, so that none is ours by chance.
PREFIX = "model/"
# The smallest normal float32, so that no logarithm is of zero.
TINY = np.float32(1.1754944e-38)
_ACTIVATIONS: dict[str, Activation] = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
_TRANSPARENT = ("Identity", "Flatten", "Reshape", "Squeeze", "Cast", "Dropout")


@dataclass(frozen=True, slots=True)
class Normalization:
    """What a graph expects of pixels: (pixel * scale - mean) / std.

    Args:
        scale: What pixels of 0 to 255 are multiplied by first.
        mean: For each channel, in the graph's own order.
        std: For each channel, in the graph's own order.
        bgr: Whether that order is blue, green, red.
    """

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool

    @property
    def nothing(self) -> bool:
        """Whether the graph takes pixels as they are."""
        return self.scale == 1 and not any(self.mean) and set(self.std) == {1}

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalise uint8 [n, H, W, C], in double precision; float32 [n, H, W, C]."""
        channels = images[..., ::-1] if self.bgr else images
        normal = (channels * np.float64(self.scale) - np.array(self.mean)) / np.array(self.std)
        return np.asarray(normal, dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Head:
    """Where a foreign graph says the classes.

    Args:
        tensor: The tensor of the logits, or of the probabilities.
        activation: What makes probabilities of it, or made them.
        probable: Whether it already holds the probabilities.
        classes: How many classes there are.
    """

    tensor: str
    activation: Activation
    probable: bool
    classes: int


@dataclass(frozen=True, slots=True)
class ForeignMap:
    """A tensor of a foreign graph that becomes a feature map.

    Args:
        tensor: Its name in the foreign graph.
        name: Its name in the bundle.
        channels_last: Whether it is [N, height, width, channels] there.
        shape: Channels, height and width.
    """

    tensor: str
    name: str
    channels_last: bool
    shape: tuple[int, int, int]


def find_head(
    graph: StaticGraph, output: str, activation: Literal["softmax", "sigmoid", "none"] | None
) -> Head:
    """Find the logits: what an activation at the graph's end is applied to, or the end itself.

    Args:
        graph: The foreign graph.
        output: The output of the classes.
        activation: What the user says; None for softmax unless the graph ends otherwise.

    Raises:
        ExporterError: The output is no vector of classes, or the graph ends in
            another activation than the user says.
    """
    shape = graph.shape(output)
    wide = [size for size in shape[1:] if size > 1]
    if len(shape) < 2 or shape[0] != 1 or len(wide) > 1:
        raise ExporterError(
            f"the output {output!r} is {list(shape)} for one image, not one number a class, [1, K]"
        )
    classes = max(shape[1:])
    own, before = _own_activation(graph, output)
    if own is None:
        return Head(output, _said(activation), activation == "none", classes)
    if activation not in (None, "none", own):
        raise ExporterError(
            f"the graph ends in {own} itself, and --activation says {activation}; leave it out"
        )
    return Head(before, own, False, classes)


def _said(activation: str | None) -> Activation:
    return "sigmoid" if activation == "sigmoid" else "softmax"


def _own_activation(graph: StaticGraph, output: str) -> tuple[Activation | None, str]:
    """Follow the output back to its activation, past what only changes its shape."""
    makers = {name: node for node in graph.nodes for name in node.output}
    name = output
    while (node := makers.get(name)) is not None:
        if node.op_type in _ACTIVATIONS:
            return _ACTIVATIONS[node.op_type], node.input[0]
        if node.op_type not in _TRANSPARENT:
            break
        name = node.input[0]
    return None, output


def join(
    model: onnx.ModelProto,
    image: ImageInput,
    normalization: Normalization,
    head: Head,
    maps: Sequence[ForeignMap],
) -> onnx.ModelProto:
    """Make a graph by the contract of a foreign one.

    Args:
        model: The foreign graph, its batch already free.
        image: Its input.
        normalization: What it expects of pixels.
        head: Where it says the classes.
        maps: Which of its tensors become feature maps.

    Returns:
        The graph: uint8 [N, H, W, C] to logits, probabilities and feature maps.
    """
    inner = compose.add_prefix(model, PREFIX)
    graph = helper.make_graph([], "classifier", [], [])
    builder = _Builder(graph)
    builder.preprocess(image, normalization)
    graph.node.extend(inner.graph.node)
    graph.initializer.extend(inner.graph.initializer)
    graph.sparse_initializer.extend(inner.graph.sparse_initializer)
    builder.classify(head)
    for one in maps:
        builder.show(one)
    joined = helper.make_model(graph, opset_imports=inner.opset_import, ir_version=inner.ir_version)
    _forget_notes(joined.graph)
    try:
        onnx.checker.check_model(joined, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExporterError(f"the graph can't be joined: {reason(error)}") from error
    return joined


class _Builder:
    """Adds nodes, inputs and outputs to a graph."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph

    def preprocess(self, image: ImageInput, normalization: Normalization) -> None:
        sizes = (image.height, image.width, image.channels)
        self._graph.input.append(
            helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", *sizes])
        )
        first = image.layout == "nchw"
        name = self._add("Transpose", "images", perm=[0, 3, 1, 2]) if first else "images"
        shape = (1, -1, 1, 1) if first else (1, 1, 1, -1)
        if normalization.bgr:
            order = self._constant("bgr", np.array([2, 1, 0], dtype=np.int64))
            name = self._add("Gather", name, order, axis=1 if first else 3)
        if image.element != TensorProto.UINT8:
            name = self._normalize(name, normalization, shape)
            if image.element != TensorProto.FLOAT:
                name = self._add("Cast", name, to=image.element)
        self._name(name, PREFIX + image.name)

    def _normalize(self, name: str, how: Normalization, shape: tuple[int, ...]) -> str:
        # On uint8's scale, so that one subtraction and one division do it.
        offset = np.reshape(np.array(how.mean) / how.scale, shape).astype(np.float32)
        divisor = np.reshape(np.array(how.std) / how.scale, shape).astype(np.float32)
        name = self._add("Cast", name, to=TensorProto.FLOAT)
        if offset.any():
            name = self._add("Sub", name, self._constant("mean", offset))
        if (divisor != 1).any():
            name = self._add("Div", name, self._constant("std", divisor))
        return name

    def classify(self, head: Head) -> None:
        flat = self._add("Flatten", PREFIX + head.tensor, axis=1)  # [N, K]
        values = self._add("Cast", flat, to=TensorProto.FLOAT)
        if head.probable:
            tiny = self._constant("tiny", TINY)
            self._name(self._add("Log", self._add("Max", values, tiny)), "logits")
            self._name(values, "probabilities")
        else:
            self._name(values, "logits")
            options = {"axis": 1} if head.activation == "softmax" else {}
            kind = "Softmax" if head.activation == "softmax" else "Sigmoid"
            self._name(self._add(kind, values, **options), "probabilities")
        for name in ("logits", "probabilities"):
            self._output(name, (head.classes,))

    def show(self, one: ForeignMap) -> None:
        name = PREFIX + one.tensor
        if one.channels_last:
            name = self._add("Transpose", name, perm=[0, 3, 1, 2])
        self._name(self._add("Cast", name, to=TensorProto.FLOAT), one.name)
        self._output(one.name, one.shape)

    def _add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"convscope/{kind.lower()}_{len(self._graph.node)}"
        self._graph.node.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _name(self, tensor: str, name: str) -> None:
        self._graph.node.append(helper.make_node("Identity", [tensor], [name]))

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        full = f"convscope/{name}"
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), full))
        return full

    def _output(self, name: str, shape: tuple[int, ...]) -> None:
        self._graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        )


def _forget_notes(graph: onnx.GraphProto) -> None:
    """Remove notes of the graph's maker: they may hold paths of another machine."""
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""

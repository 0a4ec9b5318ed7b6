"""Adds preprocessing, heads and feature maps to a foreign graph, by the bundle's contract."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper

from convscope.exporter.errors import ExporterError, reason
from convscope.exporter.foreign.head import Head
from convscope.exporter.foreign.image_input import ImageInput
from convscope.exporter.foreign.maps import ForeignMap
from convscope.exporter.foreign.normalization import Normalization
from convscope.exporter.outputs.semantics import ALMOST_ONE, TINY, Semantics

__all__ = ["join"]

# The foreign names get this prefix, so that none of them equals one of ours.
PREFIX = "model/"


def join(
    model: onnx.ModelProto,
    image: ImageInput,
    normalization: Normalization,
    head: Head,
    semantics: Semantics,
    maps: Sequence[ForeignMap],
) -> onnx.ModelProto:
    """Turn a foreign graph into a bundle's graph.

    Args:
        model: The foreign graph, with a dynamic batch.
        image: Its input.
        normalization: The normalization that it expects.
        head: Its end.
        semantics: What its final output contains.
        maps: The tensors that become feature maps.

    Returns:
        The graph: uint8 [N, H, W, C] to logits, probabilities and feature maps.

    Raises:
        ExporterError: The result is no valid graph.
    """
    inner = compose.add_prefix(model, PREFIX)
    graph = helper.make_graph([], "classifier", [], [])
    builder = _Builder(graph)
    builder.preprocess(image, normalization)
    graph.node.extend(inner.graph.node)
    graph.initializer.extend(inner.graph.initializer)
    graph.sparse_initializer.extend(inner.graph.sparse_initializer)
    builder.classify(head, semantics)
    for one in maps:
        builder.add_map(one)
    joined = helper.make_model(graph, opset_imports=inner.opset_import, ir_version=inner.ir_version)
    _remove_metadata(joined.graph)
    try:
        onnx.checker.check_model(joined, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExporterError(
            f"the graph doesn't fit a dynamic batch of images: {reason(error)}; export it again "
            "with a dynamic batch"
        ) from error
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
        self._rename(name, PREFIX + image.name)

    def _normalize(self, name: str, rule: Normalization, shape: tuple[int, ...]) -> str:
        # On uint8's scale, which saves the multiplication.
        offset = np.reshape(np.array(rule.mean) / rule.scale, shape).astype(np.float32)
        divisor = np.reshape(np.array(rule.std) / rule.scale, shape).astype(np.float32)
        name = self._add("Cast", name, to=TensorProto.FLOAT)
        if offset.any():
            name = self._add("Sub", name, self._constant("mean", offset))
        if (divisor != 1).any():
            name = self._add("Div", name, self._constant("std", divisor))
        return name

    def classify(self, head: Head, semantics: Semantics) -> None:
        values = self._flat(head.output)
        if semantics.form == "probabilities":
            probabilities = self._both_classes(values) if semantics.is_binary else values
            logits = (
                self._logits_of(probabilities, semantics)
                if head.logits is None
                else self._of_both(self._flat(head.logits), semantics)
            )
        else:
            logits = self._of_both(values, semantics)
            probabilities = self._activated(logits, semantics)
            if head.logits is not None:
                logits = self._flat(head.logits)
        self._rename(logits, "logits")
        self._rename(probabilities, "probabilities")
        for name in ("logits", "probabilities"):
            self._output(name, (semantics.classes,))

    def _flat(self, tensor: str) -> str:
        flat = self._add("Flatten", PREFIX + tensor, axis=1)  # [N, outputs]
        return self._add("Cast", flat, to=TensorProto.FLOAT)

    def _activated(self, logits: str, semantics: Semantics) -> str:
        if semantics.form == "log-probabilities":
            return self._add("Exp", logits)
        if semantics.activation == "sigmoid" and not semantics.is_binary:
            return self._add("Sigmoid", logits)
        return self._add("Softmax", logits, axis=1)

    def _of_both(self, values: str, semantics: Semantics) -> str:
        """Turn the logit z of a binary classifier into those of its classes, [-z/2, z/2]."""
        if not semantics.is_binary:
            return values
        return self._add(
            "Mul", values, self._constant("halves", np.array([[-0.5, 0.5]], np.float32))
        )

    def _both_classes(self, values: str) -> str:
        """Turn the probability p of a binary classifier into [1 - p, p]."""
        signed = self._add("Mul", values, self._constant("signs", np.array([[-1, 1]], np.float32)))
        return self._add("Add", signed, self._constant("first", np.array([[1, 0]], np.float32)))

    def _logits_of(self, probabilities: str, semantics: Semantics) -> str:
        least = self._constant("tiny", TINY)
        logits = self._add("Log", self._add("Max", probabilities, least))
        if semantics.activation == "sigmoid" and not semantics.is_binary:
            most = self._constant("almost_one", ALMOST_ONE)
            rest = self._add(
                "Sub", self._constant("one", np.float32(1)), self._add("Min", probabilities, most)
            )
            logits = self._add("Sub", logits, self._add("Log", rest))
        return logits

    def add_map(self, one: ForeignMap) -> None:
        name = PREFIX + one.tensor
        if one.channels_last:
            name = self._add("Transpose", name, perm=[0, 3, 1, 2])
        self._rename(self._add("Cast", name, to=TensorProto.FLOAT), one.name)
        self._output(one.name, one.shape)

    def _add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"convscope/{kind.lower()}_{len(self._graph.node)}"
        self._graph.node.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def _rename(self, tensor: str, name: str) -> None:
        self._graph.node.append(helper.make_node("Identity", [tensor], [name]))

    def _constant(self, name: str, value: NDArray[np.generic] | np.generic) -> str:
        full = f"convscope/{name}"
        self._graph.initializer.append(numpy_helper.from_array(np.asarray(value), full))
        return full

    def _output(self, name: str, shape: tuple[int, ...]) -> None:
        self._graph.output.append(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
        )


def _remove_metadata(graph: onnx.GraphProto) -> None:
    """Remove metadata, which may include paths of another machine."""
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""

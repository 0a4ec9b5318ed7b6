"""A small ONNX classifier as another tool might write it, in many variants."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf import json_format
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from convscope.exporter.bundles.reader import open_bundle, open_unexplained
from convscope.exporter.foreign.importing import ForeignSource
from convscope.v1 import manifest_pb2 as pb

SIDE = 16


CLASSES = 5


Arrays = dict[str, NDArray[np.float32]]


class Foreign:
    """A small classifier in ONNX.

    Args:
        layout: The position of the channels.
        channels: The number of channels.
        batch: The batch of its input and its Reshape, or the name of a dynamic one.
        opset: The version of its operators.
        ends_in: The operator after its dense layer, if there is one.
        element: The type of its input, as an onnx.TensorProto.DataType.
        size: The height and width of its input, or the name of a dynamic size.
    """

    def __init__(
        self,
        layout: str = "nchw",
        channels: int = 3,
        batch: int | str = 1,
        opset: int = 13,
        ends_in: str | None = "Softmax",
        element: int = TensorProto.FLOAT,
        size: int | str = SIDE,
    ) -> None:
        random = np.random.default_rng(3)
        dtype = helper.tensor_dtype_to_np_dtype(element)
        self.weights = {
            "kernel": random.normal(0, 0.4, (6, channels, 3, 3)).astype(dtype),
            "dense": random.normal(0, 0.2, (6 * (SIDE // 2) ** 2, CLASSES)).astype(dtype),
            "shape": np.array([batch if isinstance(batch, int) else -1, 6 * (SIDE // 2) ** 2]),
        }
        self.nodes = (
            [] if layout == "nchw" else [self._node("Transpose", "x", "t", perm=[0, 3, 1, 2])]
        )
        self.nodes += [
            self._node("Conv", "x" if layout == "nchw" else "t", "kernel", "stem", pads=[1] * 4),
            self._node("Relu", "stem", "relu"),
            self._node("MaxPool", "relu", "pool", kernel_shape=[2, 2], strides=[2, 2]),
            self._node("Reshape", "pool", "shape", "flat"),
            self._node("MatMul", "flat", "dense", "scores"),
        ]
        self.output = "scores"
        if ends_in:
            options = {"axis": -1} if ends_in == "Softmax" and opset >= 13 else {}
            self.nodes.append(self._node(ends_in, "scores", "answer", **options))
            self.output = "answer"
        sides: list[int | str] = [size, size]
        self.shape = [batch, channels, *sides] if layout == "nchw" else [batch, *sides, channels]
        self.more_inputs: list[onnx.ValueInfoProto] = []
        self.element = element
        self.answers = element
        self.opset = opset

    @staticmethod
    def _node(kind: str, *names: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, names[:-1], names[-1:], name=names[-1], **attributes)

    def model(self) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "foreign",
            [helper.make_tensor_value_info("x", self.element, self.shape), *self.more_inputs],
            [helper.make_tensor_value_info(self.output, self.answers, None)],
            [numpy_helper.from_array(value, name) for name, value in self.weights.items()],
        )
        imports = [helper.make_opsetid("", self.opset)]
        return helper.make_model(graph, opset_imports=imports, ir_version=8)

    def write(self, folder: Path) -> Path:
        path = folder / "foreign.onnx"
        onnx.save(self.model(), path)
        return path


def source(path: Path, **options: Any) -> ForeignSource:
    return replace(ForeignSource(path=path, model="foreign", version=1), **options)


def manifest_of(directory: Path) -> pb.ModelManifest:
    return json_format.Parse((directory / "manifest.json").read_text(), pb.ModelManifest())


def run_bundle(directory: Path, images: NDArray[np.uint8]) -> Arrays:
    session = open_unexplained(open_bundle(directory))
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def some_images(channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (3, SIDE, SIDE, channels), dtype=np.uint8)


def reference(foreign: Foreign, values: NDArray[np.floating]) -> list[NDArray[np.float32]]:
    """Run images one by one in the onnx package's evaluator, which shares no code with ours."""
    evaluator = ReferenceEvaluator(foreign.model())
    each = [evaluator.run([foreign.output], {"x": value[np.newaxis]}) for value in values]
    return [np.asarray(answer) for (answer,) in each]


def other_head(kind: str, *inputs: str, **attributes: Any) -> Foreign:
    foreign = Foreign(ends_in=None)
    foreign.nodes.append(helper.make_node(kind, ["scores", *inputs], ["answer"], **attributes))
    foreign.output = "answer"
    return foreign

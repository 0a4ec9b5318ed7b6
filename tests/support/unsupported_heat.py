"""A bundle with explanations that ONNX Runtime can't run."""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from support.explained import write_explained


def write_unsupported_heat(repository: Path, model: str) -> Path:
    """Write it: its heat takes an operator that ONNX Runtime doesn't have for doubles."""

    def alter(graph: onnx.ModelProto) -> None:
        nodes = graph.graph.node
        heat = next(node for node in nodes if node.output[0] == "heat")
        heat.output[0] = "plain_heat"
        nodes.extend(
            [
                helper.make_node("Cast", ["plain_heat"], ["doubles"], to=TensorProto.DOUBLE),
                helper.make_node("LRN", ["doubles"], ["normal_doubles"], size=1),
                helper.make_node("Cast", ["normal_doubles"], ["heat"], to=TensorProto.FLOAT),
            ]
        )

    return write_explained(repository, model, alter_graph=alter)

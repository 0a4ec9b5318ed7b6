"""A bundle of signals with explanations, made from the small one by hand."""

import json
from pathlib import Path

import numpy as np
import onnx
from google.protobuf import json_format
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from convscope.v1 import manifest_pb2 as pb
from support.alterations import Arrays, rewrite_golden
from support.tiny import SIGNAL_LENGTH, seal, write_signal


def write_explained_signal(repository: Path, model: str) -> Path:
    """Write it: the heat of a class is the signal times the mean of the class's weights."""
    directory = write_signal(repository, model)
    graph_file, manifest_file = directory / "model.onnx", directory / "manifest.json"
    graph = onnx.load(graph_file)
    _explain(graph.graph)
    graph_file.write_bytes(graph.SerializeToString())
    manifest = json_format.Parse(manifest_file.read_text(), pb.ModelManifest())
    manifest.schema_version = 2
    manifest.explanation.CopyFrom(
        pb.ExplanationSpec(tensor="copy", channels=1, positions=[SIGNAL_LENGTH])
    )
    content = json_format.MessageToDict(manifest, preserving_proto_field_name=True)
    manifest_file.write_text(json.dumps(content, indent=2))
    seal(directory)

    def add_heat(arrays: Arrays) -> None:
        signals = np.stack([arrays["input_0"], arrays["input_1"]])
        feeds = {"signal": signals, "classes": arrays["logits"].argmax(axis=1)[:, np.newaxis]}
        (heat,) = ReferenceEvaluator(graph).run(["heat"], feeds)
        arrays["heat/-1"] = np.asarray(heat)[:, 0]

    rewrite_golden(directory, add_heat)
    return directory


def _explain(graph: onnx.GraphProto) -> None:
    graph.node.insert(0, helper.make_node("Identity", ["signal"], ["copy"]))
    graph.node[1].input[0] = "copy"
    constants = {"two": np.array([2]), "minus_one": np.array(-1), "zero": np.array(0)}
    constants["first"] = np.array([0])
    graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constants.items())
    graph.node.extend(
        [
            helper.make_node("TopK", ["logits", "two"], ["sorted", "best"], axis=1),
            helper.make_node("Sub", ["minus_one", "classes"], ["rank"]),
            helper.make_node("Max", ["rank", "zero"], ["rank_or_zero"]),
            helper.make_node("GatherElements", ["best", "rank_or_zero"], ["by_rank"], axis=1),
            helper.make_node("Less", ["classes", "zero"], ["is_rank"]),
            helper.make_node("Where", ["is_rank", "by_rank", "classes"], ["heat_classes"]),
            helper.make_node("ReduceMean", ["weight", "first"], ["means"], keepdims=0),
            helper.make_node("Gather", ["means", "heat_classes"], ["chosen"]),  # [N, T]
            helper.make_node("Unsqueeze", ["chosen", "two"], ["factors"]),
            helper.make_node("Mul", ["factors", "copy"], ["heat"]),  # [N, T, length]
        ]
    )
    pair: list[str | int | None] = ["batch", "targets"]
    info = helper.make_tensor_value_info
    graph.input.append(info("classes", TensorProto.INT64, pair))
    graph.output.append(info("heat", TensorProto.FLOAT, [*pair, SIGNAL_LENGTH]))
    graph.output.append(info("heat_classes", TensorProto.INT64, pair))

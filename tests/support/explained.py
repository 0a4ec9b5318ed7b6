"""A real bundle with explanations, made in milliseconds from the tiny one.

The heat is written by hand: the tiny network ends in a global mean and a product,
so that the gradient of a logit is a column of the matrix, divided by the number of
positions.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import onnx
from google.protobuf import json_format
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from convscope.v1 import manifest_pb2 as pb
from support.tiny import CHANNELS, LABELS, SIDE, reference_preprocess, seal, write_tiny


def write_explained(
    repository: Path,
    model: str = "tiny",
    version: int = 1,
    *,
    alter_graph: Callable[[onnx.ModelProto], None] = lambda graph: None,
    alter_manifest: Callable[[pb.ModelManifest], None] = lambda manifest: None,
) -> Path:
    """Write the tiny bundle with the input `classes` and the outputs `heat` and `heat_classes`.

    With the alterations a test makes a bundle that is wrong in one way.
    """

    def alter(manifest: pb.ModelManifest) -> None:
        manifest.schema_version = 2
        manifest.explanation.CopyFrom(
            pb.ExplanationSpec(
                tensor="conv", channels=CHANNELS, positions=[SIDE, SIDE], linear=True
            )
        )
        alter_manifest(manifest)

    directory = write_tiny(repository, model, version)
    graph = onnx.load(directory / "model.onnx")
    explain_tiny(graph)
    _add_golden_heat(directory / "golden.npz", graph)
    alter_graph(graph)
    (directory / "model.onnx").write_bytes(graph.SerializeToString())
    manifest = json_format.Parse((directory / "manifest.json").read_text(), pb.ModelManifest())
    alter(manifest)
    content = json_format.MessageToDict(manifest, preserving_proto_field_name=True)
    (directory / "manifest.json").write_text(json.dumps(content, indent=2))
    seal(directory)
    return directory


def explain_tiny(model: onnx.ModelProto) -> None:
    """Add the explanation to the tiny graph."""
    graph = model.graph
    constants: Mapping[str, NDArray[np.generic]] = {
        "all_classes": np.array([len(LABELS)], np.int64),
        "minus_one": np.array(-1, np.int64),
        "zero": np.array(0, np.int64),
        "area": np.array(SIDE * SIDE, np.float32),
        "flat_map": np.array([0, CHANNELS, -1], np.int64),
        "map_sides": np.array([SIDE, SIDE], np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in constants.items())
    graph.node.extend(
        [
            helper.make_node("TopK", ["logits", "all_classes"], ["sorted", "best"], axis=1),
            helper.make_node("Sub", ["minus_one", "classes"], ["rank"]),
            helper.make_node("Max", ["rank", "zero"], ["rank_or_zero"]),
            helper.make_node("GatherElements", ["best", "rank_or_zero"], ["by_rank"], axis=1),
            helper.make_node("Less", ["classes", "zero"], ["is_rank"]),
            helper.make_node("Where", ["is_rank", "by_rank", "classes"], ["heat_classes"]),
            helper.make_node("Transpose", ["dense"], ["columns"], perm=[1, 0]),
            helper.make_node("Gather", ["columns", "heat_classes"], ["chosen"]),  # [N, T, C]
            helper.make_node("Div", ["chosen", "area"], ["channel_weights"]),
            helper.make_node("Reshape", ["conv", "flat_map"], ["cells"]),  # [N, C, positions]
            helper.make_node("MatMul", ["channel_weights", "cells"], ["heat_cells"]),
            helper.make_node("Shape", ["classes"], ["rows_and_targets"]),
            helper.make_node("Concat", ["rows_and_targets", "map_sides"], ["heat_shape"], axis=0),
            helper.make_node("Reshape", ["heat_cells", "heat_shape"], ["heat"]),
        ]
    )
    pair: list[str | int | None] = ["batch", "targets"]
    graph.input.append(helper.make_tensor_value_info("classes", TensorProto.INT64, pair))
    graph.output.append(
        helper.make_tensor_value_info("heat", TensorProto.FLOAT, [*pair, SIDE, SIDE])
    )
    graph.output.append(helper.make_tensor_value_info("heat_classes", TensorProto.INT64, pair))


def _add_golden_heat(path: Path, graph: onnx.ModelProto) -> None:
    with np.load(path) as stored:
        arrays = dict(stored)
    photos = [arrays[name].tobytes() for name in sorted(arrays) if name.startswith("input_")]
    feed = {
        "images": np.stack([reference_preprocess(photo) for photo in photos]),
        "classes": np.full((len(photos), 1), -1),
    }
    (found,) = ReferenceEvaluator(graph).run(["heat"], feed)
    heat = np.asarray(found)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays, **{"heat/-1": heat[:, 0]})

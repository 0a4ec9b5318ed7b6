"""Alterations that make a bundle wrong or slow."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from support.tiny import seal

Arrays = dict[str, NDArray[np.generic]]

# The golden inputs of the tiny bundle have less in each channel, other pictures have more.
CONTRAST = 100


def slow_down(turns: int, *, always: bool = False) -> Callable[[onnx.ModelProto], None]:
    """Make a graph flip the sign of its logits in a loop. An even number of turns restores them.

    A million turns take about a second.

    Args:
        turns: The turns for a batch with a picture of several colors.
        always: Whether the golden inputs, which have one color each, take as many. Otherwise
            they take none, and the version loads as fast as any other.
    """

    def alter(model: onnx.ModelProto) -> None:
        nodes = list(model.graph.node)
        at = next(i for i, node in enumerate(nodes) if "logits" in node.output)
        nodes[at].output[0] = "slow_logits"
        del model.graph.node[:]
        before = [] if always else _count_if_colorful()
        added = [*before, _loop("turns" if always else "counted")]
        model.graph.node.extend([*nodes[: at + 1], *added, *nodes[at + 1 :]])
        constants = {
            "turns": np.array(turns),
            "no_turns": np.array(0),
            "sides": np.array([1, 2]),
            "noise": np.array(CONTRAST, np.int32),
        }
        names = ["turns"] if always else [*constants]
        model.graph.initializer.extend(
            numpy_helper.from_array(constants[name], name) for name in names
        )

    return alter


def _count_if_colorful() -> list[onnx.NodeProto]:
    """Return nodes that count no turns for a batch of pictures of one color each."""
    return [
        helper.make_node("Cast", ["images"], ["levels"], to=TensorProto.INT32),  # [N, H, W, C]
        helper.make_node("ReduceMax", ["levels", "sides"], ["brightest"]),
        helper.make_node("ReduceMin", ["levels", "sides"], ["darkest"]),
        helper.make_node("Sub", ["brightest", "darkest"], ["contrasts"]),
        helper.make_node("ReduceMax", ["contrasts"], ["contrast"], keepdims=0),
        helper.make_node("Greater", ["contrast", "noise"], ["colorful"]),
        helper.make_node("Where", ["colorful", "turns", "no_turns"], ["counted"]),
    ]


def _loop(turns: str) -> onnx.NodeProto:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["still_go"]),
            helper.make_node("Neg", ["turning"], ["turned"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("turning", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("still_go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("turned", TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", [turns, "", "slow_logits"], ["logits"], body=body)


def stumble_over_white(model: onnx.ModelProto) -> None:
    """Make a graph fail for images with a white pixel, by an index outside a table."""
    extra = [
        helper.make_node("Cast", ["images"], ["numbers"], to=TensorProto.INT64),
        helper.make_node("ReduceMax", ["numbers"], ["brightest"], keepdims=0),
        helper.make_node("Gather", ["table", "brightest"], ["nothing"]),
        helper.make_node("Add", ["sure_logits", "nothing"], ["logits"]),
    ]
    nodes = list(model.graph.node)
    at = next(i for i, node in enumerate(nodes) if "logits" in node.output)
    nodes[at].output[0] = "sure_logits"
    del model.graph.node[:]
    model.graph.node.extend([*nodes[: at + 1], *extra, *nodes[at + 1 :]])
    table = numpy_helper.from_array(np.zeros(255, np.float32), "table")
    model.graph.initializer.append(table)


def burden(columns: int) -> Callable[[onnx.ModelProto], None]:
    """Add a weight of 4 kB per column to a graph, with almost no effect on the logits."""

    def alter(model: onnx.ModelProto) -> None:
        weight = np.random.default_rng(0).normal(size=(1024, columns)).astype(np.float32)
        extra = [
            helper.make_node("Flatten", ["conv"], ["cells"]),
            helper.make_node("MatMul", ["cells", "burden"], ["products"]),
            helper.make_node("ReduceMean", ["products", "axis"], ["product"], keepdims=1),
            helper.make_node("Mul", ["product", "little"], ["rest"]),
            helper.make_node("Add", ["light_logits", "rest"], ["logits"]),
        ]
        nodes = list(model.graph.node)
        at = next(i for i, node in enumerate(nodes) if "logits" in node.output)
        nodes[at].output[0] = "light_logits"
        del model.graph.node[:]
        model.graph.node.extend([*nodes[: at + 1], *extra, *nodes[at + 1 :]])
        constants = {"burden": weight, "axis": np.array([1]), "little": np.float32(1e-9)}
        model.graph.initializer.extend(
            numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
        )

    return alter


def change_weight(
    name: str, change: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> Callable[[onnx.ModelProto], None]:
    """Change one weight of a graph."""

    def alter(model: onnx.ModelProto) -> None:
        (tensor,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
        changed = change(numpy_helper.to_array(tensor)).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(changed), name))

    return alter


def rewrite_golden(directory: Path, change: Callable[[Arrays], object]) -> None:
    """Change the golden arrays of a bundle, and update its hashes."""
    path = directory / "golden.npz"
    with np.load(path) as stored:
        arrays: Arrays = dict(stored)
    change(arrays)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
    seal(directory)


def flip_byte(path: Path, position: int) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[position] ^= 0xFF
    path.write_bytes(data)

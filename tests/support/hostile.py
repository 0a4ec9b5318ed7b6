"""Bundles that are valid in every respect but what they take, and are bounded where they run."""

import os
from collections.abc import Callable
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import onnx
from numpy.lib import format as npy
from onnx import helper, numpy_helper

from support.alterations import slow_down
from support.tiny import seal, write_tiny

MIB = 2**20
# An even number of turns, so that the logits would be right at the end of time.
ENDLESS = 2**62


def write_endless_loop(root: Path, model: str = "tiny", version: int = 1) -> Path:
    """Write a bundle whose graph runs for centuries."""
    return write_tiny(root, model, version, alter_graph=slow_down(ENDLESS, always=True))


def write_large_constant(
    root: Path, model: str = "tiny", version: int = 1, mib: int = 3072
) -> Path:
    """Write a bundle of a few kilobytes whose session or run takes much memory."""
    return write_tiny(root, model, version, alter_graph=_allocate(mib, per_input=False))


def write_large_batch(root: Path, model: str = "tiny", version: int = 1, mib: int = 100) -> Path:
    """Write a bundle that takes much memory for each input of a batch."""
    return write_tiny(root, model, version, alter_graph=_allocate(mib, per_input=True))


def write_inflating_golden(
    root: Path, model: str = "tiny", version: int = 1, mib: int = 200
) -> Path:
    """Write a bundle whose golden file inflates to a thousand times its size."""
    directory = write_tiny(root, model, version)
    path = directory / "golden.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    rows = mib * MIB // 12
    with ZipFile(path, "w", ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                if name != "probabilities":
                    npy.write_array(member, array)
                    continue
                header = {"descr": "<f4", "fortran_order": False, "shape": (rows, 3)}
                npy.write_array_header_1_0(member, header)
                block = bytes(MIB)
                for _ in range(mib):
                    member.write(block)
    seal(directory)
    return directory


def write_fifo(root: Path, model: str = "tiny", version: int = 1, name: str = "golden.npz") -> Path:
    """Write a bundle with a FIFO in place of a file: opening it would wait forever."""
    directory = write_tiny(root, model, version)
    (directory / name).unlink()
    os.mkfifo(directory / name)
    return directory


def _allocate(mib: int, *, per_input: bool) -> Callable[[onnx.ModelProto], None]:
    def alter(model: onnx.ModelProto) -> None:
        nodes = list(model.graph.node)
        at = next(i for i, node in enumerate(nodes) if "logits" in node.output)
        nodes[at].output[0] = "light_logits"
        count = mib * MIB // 4
        zero = numpy_helper.from_array(np.zeros(1, np.float32))
        if per_input:
            made = [
                helper.make_node("ReduceMean", ["flat", "rows"], ["one"], keepdims=1),
                helper.make_node("Expand", ["one", "count"], ["many"]),  # [N, count]
                helper.make_node("Neg", ["many"], ["large"]),
                helper.make_node("Sub", ["large", "large"], ["zeros"]),
                helper.make_node("ReduceMax", ["zeros", "rows"], ["nothing"], keepdims=1),
            ]
            shape = np.array([1, count])
        else:
            made = [
                helper.make_node("ConstantOfShape", ["count"], ["large"], value=zero),
                helper.make_node("ReduceMax", ["large"], ["nothing"], keepdims=0),
            ]
            shape = np.array([count])
        added = [*made, helper.make_node("Add", ["light_logits", "nothing"], ["logits"])]
        kept = [*nodes[: at + 1], *added, *nodes[at + 1 :]]
        copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
        del model.graph.node[:]
        model.graph.node.extend(copies)
        model.graph.initializer.append(numpy_helper.from_array(shape, "count"))
        model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "rows"))

    return alter

"""Mutants of bundles, with hashes that fit, so that the later checks and the runtime see them."""

import io
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
from google.protobuf import json_format
from google.protobuf.message import Message
from numpy.typing import NDArray

from convscope.v1 import manifest_pb2 as pb
from support.fuzz.protobuf import mutate
from support.fuzz.values import FLOATS, damage_bytes, damage_text, integer
from support.tiny import seal

__all__ = ["write_mutant"]

GRAPH, GOLDEN, MANIFEST = "model.onnx", "golden.npz", "manifest.json"

_MAX_ELEMENTS = 100_000
_OPERATORS = (
    *("Loop", "If", "Scan", "ConstantOfShape", "Expand", "Tile", "Range", "Resize", "Pad"),
    *("Conv", "Relu", "Softmax", "Identity", "Cast", "Reshape", "Gather", "RandomNormal", "none"),
)
_NAMES = ("images", "classes", "logits", "probabilities", "conv", "heat", "floats", "flat", "white")
# What the fields of a graph may hold, so that it gets past the first checks.
_GRAPH_WORDS: Mapping[str, Sequence[Any]] = {
    "op_type": _OPERATORS,
    "domain": ("", "ai.onnx", "com.microsoft", "evil"),
    "input": _NAMES,
    "output": _NAMES,
    "name": (*_NAMES, "axis", "perm", "to", "pads", "kernel_shape", "group", "value"),
    "dim_value": (0, 1, 3, 4, 16, -1, 2**31, 2**40),
    "dim_param": ("batch", "batch", "other", ""),
    "dims": (0, 1, 3, 4, 16, -1, 2**31, 2**62),
    "version": (20, 1, 7, 23, 999),
    "data_location": (0, 0, 1),
    "ints": (0, 1, 2, 3, -1, 10**6, 2**31),
    "i": (0, 1, 2, 3, -1, 10**6, 2**31),
}
_MANIFEST_WORDS: Mapping[str, Sequence[Any]] = {
    "name": (*_NAMES, GRAPH, GOLDEN, "../../etc/passwd"),
    "model": ("tiny", "other"),
    "version": (1, 2),
    "schema_version": (1, 2, 3, 4),
    "shape": (16, 3, 1, 0, 10**6),
    "size_bytes": (0, 1, 2**40),
    "shortest_edge": (20, 16, 1, 10**6),
    "channels": (3, 4, 1, 10**6),
    "height": (16, 1, 10**6),
    "width": (16, 1, 10**6),
    "inputs": (1, 3, 4, 10**6),
}


def write_mutant(valid: Path, directory: Path, random: Random) -> None:
    """Write a mutant of a bundle.

    Args:
        valid: The directory of a valid bundle.
        directory: The directory of the mutant, which is replaced.
        random: The randomness.
    """
    shutil.rmtree(directory, ignore_errors=True)
    shutil.copytree(valid, directory)
    for _ in range(random.choice((1, 1, 2))):
        random.choice(_MUTATIONS)(directory, random)
    if random.random() < 0.1:
        _change_files(directory, random)
    if random.random() < 0.9:
        _seal(directory)


def _seal(directory: Path) -> None:
    """Correct the hashes, if the manifest can still be read."""
    try:
        seal(directory)
    except (ValueError, KeyError, TypeError, OSError):
        return


def _mutate_graph(directory: Path, random: Random) -> None:
    graph = onnx.ModelProto.FromString(_read(directory / GRAPH, onnx.ModelProto()))
    mutate(graph, random, _GRAPH_WORDS)
    (directory / GRAPH).write_bytes(graph.SerializeToString())


def _read(path: Path, empty: Message) -> bytes:
    """Read a message; what is no longer one, because of an earlier mutation, counts as empty."""
    data = path.read_bytes()
    try:
        type(empty).FromString(data)
    except Exception:  # noqa: BLE001 - each implementation of protobuf has its own
        return empty.SerializeToString()
    return data


def _damage_file(directory: Path, random: Random) -> None:
    path = directory / random.choice((GRAPH, GRAPH, GOLDEN, GOLDEN, MANIFEST))
    path.write_bytes(damage_bytes(path.read_bytes(), random))


def _mutate_manifest(directory: Path, random: Random) -> None:
    path = directory / MANIFEST
    text = path.read_text(errors="replace")
    if random.random() < 0.3:
        path.write_text(damage_text(text, random, ("null", "1e999", "{}", "[]", '"')))
        return
    try:
        manifest = json_format.Parse(text, pb.ModelManifest())
    except json_format.ParseError:
        return
    mutate(manifest, random, _MANIFEST_WORDS)
    try:
        content = json_format.MessageToDict(manifest, preserving_proto_field_name=True)
    except json_format.SerializeToJsonError:  # a point in time that JSON can't express
        return
    path.write_text(json.dumps(content))


def _mutate_golden(directory: Path, random: Random) -> None:
    path = directory / GOLDEN
    try:
        with np.load(io.BytesIO(path.read_bytes())) as stored:
            arrays = dict(stored)
    except Exception:  # noqa: BLE001 - an earlier mutation damaged it
        return
    name = random.choice(list(arrays))
    match random.randrange(5):
        case 0:
            del arrays[name]
        case 1:
            arrays[random.choice((*_NAMES, "input_3", "heat/-1", "heat/x", ""))] = arrays[name]
        case 2:
            arrays[name] = arrays[name].astype(random.choice((">f4", "f8", "i8", "u1", "c16", "?")))
        case 3:
            arrays[name] = _reshaped(arrays[name], random)
        case _:
            values = arrays[name].copy().reshape(-1)
            if values.size and values.dtype.kind == "f":
                with np.errstate(over="ignore"):
                    values[random.randrange(values.size)] = random.choice(FLOATS)
            arrays[name] = values.reshape(arrays[name].shape)
    out = io.BytesIO()
    save: Callable[..., None] = random.choice((np.savez, np.savez_compressed))
    save(out, allow_pickle=False, **arrays)
    path.write_bytes(out.getvalue())


def _reshaped(array: NDArray[Any], random: Random) -> NDArray[Any]:
    """Return an array of another shape, which may be much larger."""
    shape = [integer(random, 0, 1000) for _ in range(random.randrange(5))]
    if np.prod(shape, dtype=np.int64) > _MAX_ELEMENTS:
        return np.zeros(_MAX_ELEMENTS * 10, array.dtype)
    return np.zeros(shape, array.dtype)


def _change_files(directory: Path, random: Random) -> None:
    path = directory / random.choice((GRAPH, GOLDEN, MANIFEST))
    match random.randrange(4):
        case 0:
            path.unlink(missing_ok=True)
        case 1:
            path.write_bytes(b"")
        case 2:
            path.unlink(missing_ok=True)
            path.symlink_to(directory.parent / "outside")
        case _:
            path.unlink(missing_ok=True)
            path.mkdir()


_MUTATIONS: Sequence[Callable[[Path, Random], None]] = (
    *(_mutate_graph,) * 6,
    *(_mutate_golden,) * 3,
    *(_mutate_manifest,) * 3,
    *(_damage_file,) * 3,
)

"""Opens a published bundle, and believes nothing of it before the hashes agree."""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import onnx
from google.protobuf import json_format
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from convscope.exporter.bundles.writer import (
    GOLDEN,
    GRAPH,
    MANIFEST,
    MAX_FILE_BYTES,
    MAX_MANIFEST_BYTES,
)
from convscope.exporter.errors import ExporterError, reason
from convscope.exporter.preprocessing import ImagePreprocessing
from convscope.v1 import manifest_pb2 as pb

__all__ = [
    "BundleError",
    "check_hashes",
    "parse_graph",
    "preprocess",
    "read_arrays",
    "read_manifest",
]


# What numpy and its readers of archives raise for bytes that hold no plain arrays.
_NO_ARRAYS = (
    AttributeError,  # a single array instead of an archive
    BadZipFile,
    EOFError,
    KeyError,
    NotImplementedError,  # a way of compression that Python doesn't know
    OSError,
    RuntimeError,  # encrypted
    TypeError,
    ValueError,
    zlib.error,
)


class BundleError(ExporterError):
    """A bundle is damaged, or isn't what its manifest says."""


@dataclass(frozen=True, slots=True)
class Contents:
    """The bytes of a bundle's files, as the manifest fixes them."""

    graph: bytes
    golden: bytes


def read_manifest(directory: Path) -> pb.ModelManifest:
    """Read the manifest of a version's directory.

    Raises:
        BundleError: A file is missing, superfluous or no plain file, or the
            manifest can't be read.
    """
    if not directory.is_dir():
        raise BundleError(f"{directory} is no directory; name one like models/MODEL/VERSION")
    expected, found = {MANIFEST, GRAPH, GOLDEN}, {path.name for path in directory.iterdir()}
    if missing := sorted(expected - found):
        versions = sorted(path.name for path in directory.iterdir() if (path / MANIFEST).exists())
        hint = f"; did you mean {directory / versions[-1]}?" if versions else ""
        raise BundleError(f"{', '.join(missing)} is missing in {directory}{hint}")
    if extra := sorted(found - expected):
        raise BundleError(f"{', '.join(extra)} doesn't belong to a bundle")
    for name in sorted(expected):
        if (directory / name).is_symlink() or not (directory / name).is_file():
            raise BundleError(f"{name} is a link or no plain file")
    try:
        text = _read_at_most(directory / MANIFEST, MAX_MANIFEST_BYTES)
        return json_format.Parse(text, pb.ModelManifest())
    except (json_format.ParseError, UnicodeDecodeError) as error:
        raise BundleError(f"{MANIFEST} is no manifest: {reason(error)}") from error


def check_hashes(directory: Path, manifest: pb.ModelManifest) -> Contents:
    """Read the other files, and hold them against the manifest.

    Raises:
        BundleError: A size or a hash isn't the one stated.
    """
    listed = sorted(file.name for file in manifest.files)
    if listed != sorted((GRAPH, GOLDEN)):
        raise BundleError(f"the manifest lists {', '.join(listed) or 'no files'}")
    stated = {file.name: file for file in manifest.files}
    return Contents(*(_read(directory / name, stated[name]) for name in (GRAPH, GOLDEN)))


def _read(path: Path, stated: pb.BundleFile) -> bytes:
    data = _read_at_most(path, MAX_FILE_BYTES)
    if len(data) != stated.size_bytes:
        raise BundleError(
            f"{path.name} has {len(data):,} bytes, the manifest says {stated.size_bytes:,}"
        )
    digest = hashlib.sha256(data).hexdigest()
    if digest != stated.sha256:
        raise BundleError(
            f"the SHA-256 of {path.name} is {digest[:12]}…, the manifest says "
            f"{stated.sha256[:12]}…; the file was changed, so publish the bundle again"
        )
    return data


def _read_at_most(path: Path, max_bytes: int) -> bytes:
    size = path.stat().st_size
    if size > max_bytes:
        raise BundleError(f"{path.name} has {size:,} bytes; at most {max_bytes:,} are read")
    return path.read_bytes()


def parse_graph(data: bytes) -> onnx.ModelProto:
    """Parse the bytes of model.onnx.

    Raises:
        BundleError: They aren't ONNX.
    """
    try:
        return onnx.load_model_from_string(data)
    except DecodeError as error:
        raise BundleError(f"{GRAPH} is not an ONNX model") from error


def read_arrays(data: bytes) -> Mapping[str, NDArray[np.generic]]:
    """Parse the bytes of golden.npz.

    Raises:
        BundleError: They are no plain arrays.
    """
    try:
        with np.load(BytesIO(data), allow_pickle=False) as arrays:
            return {name: _plain_array(arrays[name]) for name in arrays.files}
    except _NO_ARRAYS as error:
        raise BundleError(f"{GOLDEN} can't be read as arrays") from error


def _plain_array(member: object) -> NDArray[np.generic]:
    if not isinstance(member, np.ndarray):  # a member that is no .npy comes as bytes
        raise TypeError(f"{type(member).__name__} is no array")
    return member


def preprocess(manifest: pb.ModelManifest, encoded: bytes) -> NDArray[np.uint8]:
    """Prepare an encoded image the reference way; uint8 [height, width, channels]."""
    height, width, channels = manifest.input.shape
    rule, resize = manifest.preprocessing, manifest.preprocessing.resize
    exact = resize.rule == pb.RESIZE_RULE_EXACT
    reference = ImagePreprocessing(
        height=resize.height if exact else height,
        width=resize.width if exact else width,
        mean=(0.0,) * channels,
        std=(1.0,) * channels,
        interpolation="bicubic" if rule.interpolation == pb.INTERPOLATION_BICUBIC else "bilinear",
        shortest_edge=None if exact else resize.shortest_edge,
    )
    image = reference.prepare(encoded)
    top, left = (round((a - b) / 2) for a, b in zip(image.shape, (height, width), strict=False))
    return image[top : top + height, left : left + width]

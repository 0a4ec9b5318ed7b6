"""Reads a bundle from disk and believes nothing of it before the hashes agree."""

import hashlib
import re
import stat
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray

from convscope.server.errors import BundleRejectedError
from convscope.v1 import manifest_pb2 as pb

__all__ = [
    "BUNDLE_FILES",
    "GRAPH",
    "MANIFEST",
    "MAX_FILE_BYTES",
    "MAX_MANIFEST_BYTES",
    "MODEL_NAME",
    "Bundle",
    "check_listed",
    "parse_manifest",
    "read_bundle",
]

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
GRAPH = "model.onnx"
GOLDEN = "golden.npz"
BUNDLE_FILES = frozenset((MANIFEST, GRAPH, GOLDEN))
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_FILE_BYTES = 2**30
MAX_SIDE = 2**16

# What golden.npz holds: encoded images, tensors and outputs.
_STORED = (np.uint8, np.float16, np.float32, np.float64)
# Proto enums are open: a number of a later schema parses.
_TASKS = (pb.TASK_CLASSIFICATION, pb.TASK_FEATURE_EXTRACTION)
_ACTIVATIONS = (pb.ACTIVATION_SOFTMAX, pb.ACTIVATION_SIGMOID)
_PRECISIONS = (pb.PRECISION_FP32, pb.PRECISION_FP16, pb.PRECISION_INT8)
_KINDS = (pb.INPUT_KIND_IMAGE, pb.INPUT_KIND_TENSOR)
_INTERPOLATIONS = (pb.INTERPOLATION_BILINEAR, pb.INTERPOLATION_BICUBIC)
_RESIZE_RULES = (pb.RESIZE_RULE_SHORTEST_EDGE, pb.RESIZE_RULE_EXACT)


@dataclass(frozen=True, slots=True)
class Bundle:
    """One version of one model on disk, its manifest checked."""

    directory: Path
    manifest: pb.ModelManifest

    def read_graph(self) -> bytes:
        """Read the ONNX graph.

        Raises:
            BundleRejectedError: Its bytes aren't those that the manifest fixes.
        """
        return self._read(GRAPH)

    def read_golden(self) -> dict[str, NDArray[np.generic]]:
        """Read the golden inputs and outputs.

        Raises:
            BundleRejectedError: The bytes aren't those that the manifest fixes,
                or hold no plain arrays.
        """
        data = self._read(GOLDEN)
        try:
            with np.load(BytesIO(data), allow_pickle=False) as arrays:
                return {name: _plain_array(arrays[name]) for name in arrays.files}
        except (
            AttributeError,  # a single array instead of an archive
            BadZipFile,
            EOFError,
            KeyError,
            NotImplementedError,  # a compression that Python doesn't know
            OSError,
            RuntimeError,  # an encrypted member
            TypeError,
            ValueError,
            zlib.error,
        ) as error:
            raise BundleRejectedError("golden", f"{GOLDEN} can't be read as arrays") from error

    def _read(self, name: str) -> bytes:
        stated = next(file for file in self.manifest.files if file.name == name)
        data = _read_plain_file(self.directory / name, MAX_FILE_BYTES)
        if len(data) != stated.size_bytes:
            raise BundleRejectedError(
                "hash", f"{name} has {len(data):,} bytes, the manifest says {stated.size_bytes:,}"
            )
        digest = hashlib.sha256(data).hexdigest()
        if digest != stated.sha256:
            raise BundleRejectedError(
                "hash",
                f"the SHA-256 of {name} is {digest[:12]}…, the manifest says "
                f"{stated.sha256[:12]}…; export the bundle again",
            )
        return data


def read_bundle(directory: Path) -> Bundle:
    """Read and check the manifest of a version directory, and which files lie there.

    Raises:
        BundleRejectedError: A file is missing, superfluous or no plain file, or
            the manifest isn't one or contradicts itself or its place.
    """
    _check_files(directory)
    manifest = parse_manifest(_read_plain_file(directory / MANIFEST, MAX_MANIFEST_BYTES))
    _check_place(manifest, directory)
    check_listed(manifest)
    _check_content(manifest)
    return Bundle(directory, manifest)


def parse_manifest(data: bytes) -> pb.ModelManifest:
    """Read a manifest's JSON, and believe nothing of what it says.

    Raises:
        BundleRejectedError: It isn't one.
    """
    try:
        return json_format.Parse(data, pb.ModelManifest())
    except (json_format.ParseError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0][:200]
        raise BundleRejectedError("manifest", f"{MANIFEST} is no manifest: {reason}") from error


def check_listed(manifest: pb.ModelManifest) -> None:
    """Check that a manifest lists a bundle's files, each once, and nothing else.

    Raises:
        BundleRejectedError: It doesn't.
    """
    listed = sorted(file.name for file in manifest.files)
    if listed != sorted((GRAPH, GOLDEN)):
        raise BundleRejectedError(
            "manifest", f"the manifest lists {', '.join(listed)[:200] or 'no files'}"
        )


def _plain_array(member: object) -> NDArray[np.generic]:
    if not isinstance(member, np.ndarray):  # a member that is no .npy comes as bytes
        raise TypeError(f"{type(member).__name__} is no array")
    if member.dtype not in _STORED:
        raise TypeError(f"an array of {member.dtype} is neither input nor output")
    return member


def _check_files(directory: Path) -> None:
    found = {path.name for path in directory.iterdir()}
    if missing := sorted(BUNDLE_FILES - found):
        raise BundleRejectedError("files", f"{', '.join(missing)} is missing")
    if extra := sorted(found - BUNDLE_FILES):
        raise BundleRejectedError("files", f"{', '.join(extra)} doesn't belong to a bundle")


def _read_plain_file(path: Path, max_bytes: int) -> bytes:
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise BundleRejectedError("files", f"{path.name} is a link or no plain file")
    if status.st_size > max_bytes:
        raise BundleRejectedError(
            "files", f"{path.name} has {status.st_size:,} bytes; at most {max_bytes:,} are read"
        )
    return path.read_bytes()


def _check_place(manifest: pb.ModelManifest, directory: Path) -> None:
    if manifest.schema_version != SCHEMA_VERSION:
        raise BundleRejectedError(
            "manifest",
            f"the manifest has schema version {manifest.schema_version}; this server reads "
            f"{SCHEMA_VERSION}",
        )
    place = (directory.parent.name, directory.name)
    if (manifest.model, str(manifest.version)) != place:
        raise BundleRejectedError(
            "manifest",
            f"the manifest is of {manifest.model} v{manifest.version}, "
            f"the directory of {place[0]} v{place[1]}",
        )


def _check_content(manifest: pb.ModelManifest) -> None:
    for problem in _problems(manifest):
        raise BundleRejectedError("manifest", problem)


def _problems(manifest: pb.ModelManifest) -> list[str]:
    """What the manifest leaves open or says against itself."""
    spec, rule = manifest.input, manifest.preprocessing
    classifies = manifest.task == pb.TASK_CLASSIFICATION
    names = [spec.name for spec in manifest.feature_maps]
    checks = {
        "the task is not known": manifest.task not in _TASKS,
        "the precision is not known": manifest.precision not in _PRECISIONS,
        "a classifier has no labels": classifies and not manifest.labels,
        "a classifier's activation is not known": (
            classifies and manifest.activation not in _ACTIVATIONS
        ),
        "it has neither classes nor feature maps": not classifies and not names,
        "two feature maps have one name": len(set(names)) != len(names),
        "a feature map has an empty shape": any(
            min(spec.channels, spec.height, spec.width) < 1 for spec in manifest.feature_maps
        ),
        "there are no golden inputs": manifest.golden.inputs < 1,
        "the golden tolerance is not between 0 and 1": not (
            0 < manifest.golden.probability_tolerance < 1
        ),
        "the input's kind is not known": spec.kind not in _KINDS,
        "the input's shape is empty": not spec.shape or min(spec.shape) < 1,
    }
    if spec.kind == pb.INPUT_KIND_IMAGE:
        checks |= _image_checks(spec, rule)
    elif spec.dtype != pb.DATA_TYPE_FLOAT32:
        checks["the input is a tensor and not float32"] = True
    return [problem for problem, holds in checks.items() if holds]


def _image_checks(spec: pb.InputSpec, rule: pb.Preprocessing) -> dict[str, bool]:
    if spec.dtype != pb.DATA_TYPE_UINT8 or len(spec.shape) != 3:
        return {"the input is an image and not uint8 [height, width, channels]": True}
    height, width, channels = spec.shape
    expected = {pb.COLOR_MODE_RGB: 3, pb.COLOR_MODE_GRAY: 1}.get(rule.color_mode)
    exact = rule.resize.rule == pb.RESIZE_RULE_EXACT
    return {
        "the colour mode doesn't fit the channels": channels != expected,
        "the interpolation is not known": rule.interpolation not in _INTERPOLATIONS,
        "the resize rule is not known": rule.resize.rule not in _RESIZE_RULES,
        "the image is resized to more than any picture has": (
            max(rule.resize.shortest_edge, rule.resize.height, rule.resize.width) > MAX_SIDE
        ),
        "the image is resized to less than the graph's input": (
            rule.resize.height < height or rule.resize.width < width
            if exact
            else rule.resize.shortest_edge < max(height, width)
        ),
    }

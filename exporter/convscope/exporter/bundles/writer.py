"""Publishes a bundle: all of it at once, or nothing."""

import hashlib
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray

from convscope.exporter.errors import PublishError, reason
from convscope.v1 import manifest_pb2 as pb

__all__ = ["check_free", "next_version", "publish"]

MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
GRAPH = "model.onnx"
GOLDEN = "golden.npz"
MANIFEST = "manifest.json"
# What the server reads at most.
MAX_MANIFEST_BYTES = 4 * 2**20
MAX_FILE_BYTES = 2**30
_TEMPORARY = ".tmp-"
_ABANDONED_AFTER_SECONDS = 3600.0


def next_version(repository: Path, model: str) -> int:
    """The number after the latest version of a model; 1 for a new one."""
    directory = repository / model
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=0) + 1


def check_free(repository: Path, model: str, version: int) -> None:
    """Check that a version can be published, before the work of making it.

    Raises:
        PublishError: The name or number isn't allowed, or the version exists.
    """
    if not MODEL_NAME.fullmatch(model):
        raise PublishError(
            f"{model!r} can't be a model's name; use up to 63 of a-z, 0-9, _ and -, "
            "the first a letter or digit"
        )
    if version < 1:
        raise PublishError(f"version {version} can't be; versions are 1, 2, 3 and so on")
    if (repository / model / str(version)).exists():
        raise PublishError(
            f"{model} v{version} exists, and a published version never changes; "
            f"leave --version out to publish v{next_version(repository, model)}"
        )


def publish(
    repository: Path,
    manifest: pb.ModelManifest,
    write_graph: Callable[[Path], None],
    golden: Mapping[str, NDArray[np.generic]],
) -> Path:
    """Write a bundle beside its place, then rename it into it.

    Args:
        repository: Where the model's directory is, or will be.
        manifest: The manifest, but for the files, which are added to it.
        write_graph: Writes the ONNX file to the path that it is given.
        golden: The arrays of golden.npz.

    Returns:
        The version's directory.

    Raises:
        PublishError: The version can't be published.
    """
    check_free(repository, manifest.model, manifest.version)
    parent = repository / manifest.model
    temporary = parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(parent)
        temporary.mkdir()
        write_graph(temporary / GRAPH)
        _write_rest(temporary, manifest, golden)
        return _place(temporary, parent / str(manifest.version))
    except OSError as error:
        raise PublishError(
            f"{manifest.model} v{manifest.version} can't be written into {repository}: "
            f"{reason(error)}; nothing was published"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)  # it is there only after a failure


def _write_rest(
    directory: Path, manifest: pb.ModelManifest, golden: Mapping[str, NDArray[np.generic]]
) -> None:
    """Write the golden arrays, and the manifest last; wait until all is on the disk."""
    with (directory / GOLDEN).open("wb") as file:
        np.savez(file, allow_pickle=False, **golden)
    for name in (GRAPH, GOLDEN):
        manifest.files.append(_describe(directory / name))
    text = json_format.MessageToJson(manifest, preserving_proto_field_name=True)
    (directory / MANIFEST).write_text(text + "\n")
    _check_sizes(directory)
    _sync(directory / GRAPH, directory / GOLDEN, directory / MANIFEST, directory)


def _place(temporary: Path, target: Path) -> Path:
    try:
        temporary.rename(target)
    except OSError as error:
        raise PublishError(
            f"{target.parent.name} v{target.name} was published by somebody else meanwhile"
        ) from error
    _sync(target.parent)
    return target


def _check_sizes(directory: Path) -> None:
    limits = {MANIFEST: MAX_MANIFEST_BYTES, GRAPH: MAX_FILE_BYTES, GOLDEN: MAX_FILE_BYTES}
    for name, limit in limits.items():
        size = (directory / name).stat().st_size
        if size > limit:
            raise PublishError(
                f"{name} has {size:,} bytes, and no server reads more than {limit:,}; "
                "publish a smaller network, or with fewer labels"
            )


def _describe(path: Path) -> pb.BundleFile:
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return pb.BundleFile(name=path.name, sha256=digest, size_bytes=len(data))


def _sync(*paths: Path) -> None:
    """Wait until files and directories are on the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove_abandoned(parent: Path) -> None:
    """Remove what a killed publisher left behind."""
    for path in parent.glob(f"{_TEMPORARY}*"):
        with suppress(FileNotFoundError):  # another publisher finished meanwhile
            if time.time() - path.stat().st_mtime > _ABANDONED_AFTER_SECONDS:
                shutil.rmtree(path, ignore_errors=True)

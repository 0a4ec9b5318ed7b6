"""Publishes a new bundle: all of it at once, or nothing."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convscope.bundle.durable import new_directory, sync, write_file
from convscope.bundle.errors import PublishError, reason_of
from convscope.bundle.golden import parse_golden
from convscope.bundle.hashes import describe_file
from convscope.bundle.layout import (
    GOLDEN,
    GRAPH,
    MANIFEST,
    MAX_FILE_BYTES,
    MAX_MANIFEST_BYTES,
    check_model_name,
    check_version,
    enclosing_repository,
    is_version,
)
from convscope.bundle.local import model_directory
from convscope.bundle.manifest import check_manifest, write_manifest
from convscope.v1 import manifest_pb2 as pb

__all__ = ["check_free", "next_version", "write_bundle"]

_LIMITS = {MANIFEST: MAX_MANIFEST_BYTES, GRAPH: MAX_FILE_BYTES, GOLDEN: MAX_FILE_BYTES}


def next_version(repository: Path, model: str) -> int:
    """Return the number after the latest version of a model; 1 for a new one."""
    directory = repository / model
    names = [path.name for path in directory.iterdir()] if directory.is_dir() else []
    return max((int(name) for name in names if is_version(name)), default=0) + 1


def check_free(repository: Path, model: str, version: int) -> None:
    """Check that a version can be published, before the work of producing it.

    Raises:
        InvalidValueError: The name or number isn't allowed.
        PublishError: The version exists, or the directory is a part of a repository.
    """
    check_model_name(model)
    check_version(version)
    if (part := enclosing_repository(repository)) is not None:
        raise PublishError(f"{repository} is {part[0]}; the repository is {part[1]}")
    if (repository / model / str(version)).exists():
        raise PublishError(
            f"{model} v{version} exists, and a published version never changes; "
            f"leave --version out to publish v{next_version(repository, model)}"
        )


def write_bundle(
    repository: Path,
    manifest: pb.ModelManifest,
    write_graph: Callable[[Path], None],
    golden: Mapping[str, NDArray[np.generic]],
) -> Path:
    """Write a bundle beside its place, then rename it.

    Args:
        repository: The repository's directory.
        manifest: The manifest without the files, which are added to it.
        write_graph: Writes the ONNX file to the path that it receives.
        golden: The arrays of golden.npz.

    Returns:
        The version's directory.

    Raises:
        InvalidValueError: The name or number isn't allowed.
        BundleRejectedError: The manifest or the golden arrays aren't valid.
        PublishError: The version exists, is too large, or can't be written.
    """
    check_free(repository, manifest.model, manifest.version)
    target = repository / manifest.model / str(manifest.version)
    try:
        with model_directory(target.parent), new_directory(target) as temporary:
            write_graph(temporary / GRAPH)
            sync(temporary / GRAPH)
            _write_rest(temporary, manifest, golden)
    except FileExistsError as error:
        raise PublishError(
            f"{manifest.model} v{manifest.version} was published by another process meanwhile; "
            "publish again without --version"
        ) from error
    except OSError as error:
        raise PublishError(
            f"{manifest.model} v{manifest.version} can't be written into {repository}: "
            f"{reason_of(error)}; nothing was published"
        ) from error
    return target


def _write_rest(
    directory: Path, manifest: pb.ModelManifest, golden: Mapping[str, NDArray[np.generic]]
) -> None:
    """Write the golden arrays, and the manifest last."""
    with (directory / GOLDEN).open("wb") as file:
        np.savez(file, allow_pickle=False, **golden)
    sync(directory / GOLDEN)
    for name in (GRAPH, GOLDEN):
        manifest.files.append(describe_file(directory / name))
    write_file(directory / MANIFEST, write_manifest(manifest))
    _check_sizes(directory)
    # What a server would reject is never published.
    check_manifest(manifest, manifest.model, str(manifest.version))
    parse_golden((directory / GOLDEN).read_bytes(), manifest)


def _check_sizes(directory: Path) -> None:
    for name, limit in _LIMITS.items():
        size = (directory / name).stat().st_size
        if size > limit:
            raise PublishError(
                f"{name} has {size:,} bytes, and no server reads more than {limit:,}; "
                "publish a smaller network, or with fewer labels"
            )

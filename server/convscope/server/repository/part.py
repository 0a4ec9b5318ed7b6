"""A part of a repository, one model or one version, as a repository of its own.

A mounted volume or a download, such as that of KServe's storage initializer, often has one
model. The manifest states its name.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from convscope.bundle.errors import BundleRejectedError, InvalidValueError
from convscope.bundle.layout import MANIFEST, MAX_MANIFEST_BYTES, is_model_name, is_version
from convscope.bundle.local import read_small_file
from convscope.bundle.manifest import parse_manifest
from convscope.server.errors import StartError

__all__ = ["whole_repository"]


@contextmanager
def whole_repository(directory: Path) -> Iterator[Path]:
    """Provide a repository for the duration of a with block.

    Args:
        directory: A repository, one model of one (`VERSION/manifest.json`), or one version
            (`manifest.json`).

    Yields:
        The directory itself if it is a repository. Otherwise, a temporary one, which links to it.

    Raises:
        StartError: Its manifest can't be read, or there is no place for the temporary one.
    """
    place = _place(directory)
    if place is None:
        yield directory
        return
    try:
        temporary = TemporaryDirectory(prefix="convscope-models-")
    except OSError as error:
        raise StartError(
            f"--models {directory} is {' v'.join(place)}, and a repository that links to it "
            f"can't be created: {error.strerror}; set TMPDIR to a directory that can be written"
        ) from error
    with temporary as root:
        link = Path(root, *place)
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(Path(os.path.abspath(directory)))  # noqa: PTH100 - links keep their names
        yield Path(root)


def _place(directory: Path) -> tuple[str, ...] | None:
    """Return where a directory is located in its repository; None if it is the repository."""
    if (directory / MANIFEST).exists():
        return _stated(directory)
    try:
        versions = [
            path
            for path in directory.iterdir()
            if is_version(path.name) and (path / MANIFEST).exists()
        ]
    except OSError:  # the first load reports it
        return None
    problems: list[StartError] = []
    for version in sorted(versions, key=lambda path: int(path.name), reverse=True):
        try:
            return _stated(version)[:1]
        except StartError as error:  # a version that is damaged is rejected when it is loaded
            problems.append(error)
    if problems:
        raise problems[0]
    return None


def _stated(version: Path) -> tuple[str, str]:
    """Return the model and the version that a manifest states.

    Raises:
        StartError: It can't be read, or states none.
    """
    try:
        data = read_small_file(version / MANIFEST, MAX_MANIFEST_BYTES)
        manifest = parse_manifest(data or b"")
    except OSError as error:
        raise StartError(f"{version / MANIFEST} can't be read: {error.strerror}") from error
    except (BundleRejectedError, InvalidValueError) as error:
        raise StartError(f"{version}: {error}") from error
    model, number = manifest.model, str(manifest.version)
    if not (is_model_name(model) and is_version(number)):
        raise StartError(f"{version / MANIFEST} states no model and version; export it again")
    return model, number

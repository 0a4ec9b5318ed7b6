import errno
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.tiny import tiny_manifest

from convscope.bundle.errors import BundleRejectedError, InvalidValueError, PublishError
from convscope.bundle.writer import check_free, next_version, write_bundle
from convscope.v1 import manifest_pb2 as pb

GOLDEN: dict[str, NDArray[np.generic]] = {
    **{f"input_{index}": np.zeros(1, np.uint8) for index in range(3)},
    "probabilities": np.zeros((3, 3), np.float32),
    "feature_map_means/conv": np.zeros((3, 4), np.float32),
}


def publish_small(repository: Path, version: int = 1) -> Path:
    manifest = tiny_manifest("small", version)

    def write(path: Path) -> None:
        path.write_bytes(b"graph")

    return write_bundle(repository, manifest, write, GOLDEN)


def test_next_version_follows_the_latest(tmp_path: Path) -> None:
    assert next_version(tmp_path, "small") == 1
    publish_small(tmp_path, 7)
    assert next_version(tmp_path, "small") == 8


@pytest.mark.parametrize("name", ["", "Upper", "../up", "a/b", "-dash", "x" * 64, "dot.ted"])
def test_a_name_that_is_not_allowed_is_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidValueError, match="can't be a model's name"):
        check_free(tmp_path, name, 1)


@pytest.mark.parametrize("version", [0, -1])
def test_a_version_below_one_is_rejected(tmp_path: Path, version: int) -> None:
    with pytest.raises(InvalidValueError, match=f"{version} can't be a version"):
        check_free(tmp_path, "small", version)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    manifest = tiny_manifest("small", 1)
    with pytest.raises(PublishError, match=r"v1 can't be written .*: No space left on device; n"):
        write_bundle(tmp_path, manifest, fail, GOLDEN)
    assert not list(tmp_path.iterdir())


def test_a_repository_that_cannot_be_created_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PublishError, match=r"can't be written into .*/file: Not a directory;"):
        publish_small(tmp_path / "file")


def test_a_manifest_that_no_server_would_read_is_not_published(tmp_path: Path) -> None:
    labels = ["x" * 1000 + str(index) for index in range(5000)]
    manifest = pb.ModelManifest(schema_version=1, model="small", version=1, labels=labels)
    with pytest.raises(PublishError, match=r"manifest\.json has .* no server reads more than 4,19"):
        write_bundle(tmp_path, manifest, lambda path: path.touch(), GOLDEN)
    assert not list(tmp_path.iterdir())


def without_labels(manifest: pb.ModelManifest) -> None:
    del manifest.labels[:]


def more_labels(manifest: pb.ModelManifest) -> None:
    manifest.labels.append("violet")


@pytest.mark.parametrize(
    ("alter", "reason"),
    [(without_labels, "a classifier has no labels"), (more_labels, "has float32 .* 'probabil")],
)
def test_bundle_that_a_server_would_reject_is_not_published(
    tmp_path: Path, alter: Callable[[pb.ModelManifest], None], reason: str
) -> None:
    manifest = tiny_manifest("small", 1)
    alter(manifest)
    with pytest.raises(BundleRejectedError, match=reason):
        write_bundle(tmp_path, manifest, lambda path: path.touch(), GOLDEN)
    assert not list(tmp_path.iterdir())


def test_one_of_several_publishers_of_a_version_succeeds(tmp_path: Path) -> None:
    def attempt(_: int) -> bool:
        try:
            publish_small(tmp_path)
        except PublishError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
    assert [path.name for path in (tmp_path / "small").iterdir()] == ["1"]


def test_leftovers_of_a_killed_publisher_are_removed_after_an_hour(tmp_path: Path) -> None:
    old, fresh = tmp_path / "small/.tmp-old", tmp_path / "small/.tmp-fresh"
    for path in (old, fresh):
        path.mkdir(parents=True)
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    publish_small(tmp_path)
    assert not old.exists()
    assert fresh.exists()

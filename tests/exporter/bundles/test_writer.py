import errno
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from convscope.exporter.bundles.writer import check_free, next_version, publish
from convscope.exporter.errors import PublishError
from convscope.v1 import manifest_pb2 as pb


def publish_small(repository: Path, version: int = 1) -> Path:
    manifest = pb.ModelManifest(schema_version=1, model="small", version=version)

    def write(path: Path) -> None:
        path.write_bytes(b"graph")

    return publish(repository, manifest, write, {"input_0": np.zeros(1)})


def test_versions_count_on_from_the_latest(tmp_path: Path) -> None:
    assert next_version(tmp_path, "small") == 1
    publish_small(tmp_path, 7)
    assert next_version(tmp_path, "small") == 8


@pytest.mark.parametrize("name", ["", "Upper", "../up", "a/b", "-dash", "x" * 64, "dot.ted"])
def test_a_name_that_is_not_allowed_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(PublishError, match="can't be a model's name"):
        check_free(tmp_path, name, 1)


@pytest.mark.parametrize("version", [0, -1])
def test_a_version_below_one_is_refused(tmp_path: Path, version: int) -> None:
    with pytest.raises(PublishError, match=f"version {version} can't be"):
        check_free(tmp_path, "small", version)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    manifest = pb.ModelManifest(schema_version=1, model="small", version=1)
    with pytest.raises(PublishError, match=r"v1 can't be written .*: No space left on device; n"):
        publish(tmp_path, manifest, fail, {})
    assert not list((tmp_path / "small").iterdir())


def test_a_repository_that_cannot_be_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PublishError, match=r"can't be written into .*/file: Not a directory;"):
        publish_small(tmp_path / "file")


def test_a_manifest_that_no_server_would_read_is_not_published(tmp_path: Path) -> None:
    labels = ["x" * 1000 + str(index) for index in range(5000)]
    manifest = pb.ModelManifest(schema_version=1, model="small", version=1, labels=labels)
    with pytest.raises(PublishError, match=r"manifest\.json has .* no server reads more than 4,19"):
        publish(tmp_path, manifest, lambda path: path.touch(), {"input_0": np.zeros(1)})
    assert not list((tmp_path / "small").iterdir())


def test_of_several_publishers_of_one_version_one_succeeds(tmp_path: Path) -> None:
    def attempt(_: int) -> bool:
        try:
            publish_small(tmp_path)
        except PublishError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
    assert [path.name for path in (tmp_path / "small").iterdir()] == ["1"]


def test_what_a_killed_publisher_left_is_removed_after_an_hour(tmp_path: Path) -> None:
    old, fresh = tmp_path / "small/.tmp-old", tmp_path / "small/.tmp-fresh"
    for path in (old, fresh):
        path.mkdir(parents=True)
    two_hours_ago = time.time() - 7200
    os.utime(old, (two_hours_ago, two_hours_ago))
    publish_small(tmp_path)
    assert not old.exists()
    assert fresh.exists()

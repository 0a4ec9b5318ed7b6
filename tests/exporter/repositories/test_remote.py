"""Repositories behind a URL, on fsspec's own file system in memory."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
from fsspec.registry import _registry  # type: ignore[import-untyped]
from support.tiny import write_tiny
from typer.testing import CliRunner, Result

from convscope.bundle.errors import PublishError
from convscope.bundle.opening import open_repository
from convscope.bundle.publishing import prepare, publish
from convscope.bundle.reader import read_bundle
from convscope.exporter.cli import app

MEMORY = fsspec.filesystem("memory")


@pytest.fixture
def url() -> Iterator[str]:
    yield "memory://bucket/models"
    if MEMORY.exists("/bucket"):
        MEMORY.rm("/bucket", recursive=True)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny(tmp_path / "source")


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def stored(folder: str) -> dict[str, bytes]:
    """Return the files of a folder in memory, by name."""
    paths = MEMORY.find(f"/bucket/models/{folder}")
    return {path.rpartition("/")[2]: MEMORY.cat_file(path) for path in paths}


def local(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_a_bundle_travels_there_and_back(bundle: Path, url: str, tmp_path: Path) -> None:
    done = run("publish", bundle, url)
    assert done.exit_code == 0
    assert f"published {url}/tiny/1" in done.stdout
    assert stored("tiny/1") == local(bundle)
    assert run("publish", f"{url}/tiny/1", tmp_path / "back").exit_code == 0
    assert local(tmp_path / "back/tiny/1") == local(bundle)


def test_publishing_again_succeeds_and_another_bundle_is_rejected(
    bundle: Path, url: str, tmp_path: Path
) -> None:
    run("publish", bundle, url)
    assert "is the same; nothing to do" in run("publish", bundle, url).stdout

    def other_label(manifest: object) -> None:
        manifest.labels[0] = "crimson"  # type: ignore[attr-defined]

    other = write_tiny(tmp_path / "other", alter_manifest=other_label)
    done = run("publish", other, url)
    assert done.exit_code == 1
    assert f"{url}/tiny/1 exists with other contents" in done.stderr
    assert stored("tiny/1") == local(bundle)


def test_an_upload_that_breaks_off_is_no_version_and_can_be_repeated(
    bundle: Path, url: str
) -> None:
    repository, prepared = open_repository(url), prepare(read_bundle(bundle))
    golden = bundle / "golden.npz"
    golden.rename(bundle.parent / "golden.npz")
    with pytest.raises(PublishError, match="nothing was published, so try again"):
        publish(repository, prepared)
    assert list(stored("tiny/1")) == ["model.onnx"]
    assert repository.models() == []
    (bundle.parent / "golden.npz").rename(golden)
    assert publish(repository, prepared)
    assert stored("tiny/1") == local(bundle)


def test_the_manifest_is_uploaded_last(bundle: Path, url: str) -> None:
    seen: list[set[str]] = []
    publish(
        open_repository(url),
        prepare(read_bundle(bundle)),
        lambda _: seen.append(set(stored("tiny/1"))),
    )
    earlier = [names for names in seen if "manifest.json" not in names]
    assert earlier
    assert seen[-1] == {"model.onnx", "golden.npz", "manifest.json"}
    assert all({"model.onnx", "golden.npz"} <= names for names in seen if names not in earlier)


def test_the_progress_adds_up_to_the_size(bundle: Path, url: str) -> None:
    reported: list[int] = []
    publish(open_repository(url), prepare(read_bundle(bundle)), reported.append)
    assert sum(reported) == sum(path.stat().st_size for path in bundle.iterdir())


def test_second_publisher_of_a_number_fails(bundle: Path, url: str) -> None:
    repository = open_repository(url)

    def another_process(_: int) -> None:
        if not repository.has("tiny", 1):
            publish(repository, prepare(read_bundle(bundle)))

    with pytest.raises(PublishError, match="was published by another process meanwhile"):
        publish(repository, prepare(read_bundle(bundle)), another_process)
    assert repository.versions("tiny") == [1]


def test_aliases_versions_and_pruning(bundle: Path, url: str) -> None:
    for version in ("1", "2", "3", "4"):
        run("publish", bundle, url, "--version", version)
    place = ("--repository", url)
    champion = ("--alias", "champion", *place)
    assert run("promote", "tiny", "1", *champion).stdout == "champion: none -> v1\n"
    assert run("promote", "tiny", "2", *champion).stdout == "champion: v1 -> v2\n"
    assert run("promote", "tiny", "--back", *champion).stdout == "champion: v2 -> v1\n"
    assert json.loads(stored("tiny")["aliases.json"]) == {"champion": 1}
    done = run("prune", "tiny", "--keep", "1", *place)
    assert "removed tiny v2" in done.stdout
    assert set(stored("tiny/2")) | set(stored("tiny/3")) == set()
    rows = json.loads(run("versions", *place, "--json").stdout)
    assert [(row["version"], row["aliases"]) for row in rows] == [(1, ["champion"]), (4, [])]


def test_bundles_are_compared_across_places(bundle: Path, url: str) -> None:
    run("publish", bundle, url, "--version", "2")
    found = json.loads(run("diff", bundle, f"{url}/tiny/2", "--json").stdout)
    assert (found["same_graph"], found["fields"]) == (True, [])


def test_an_unknown_version_names_those_that_exist(bundle: Path, url: str) -> None:
    run("publish", bundle, url)
    done = run("publish", f"{url}/tiny/2", f"{url}/elsewhere")
    assert done.exit_code == 1
    assert "tiny has no version 2; it has: 1" in done.stderr


@pytest.mark.parametrize(
    ("url", "package"),
    [("s3://b/models", "s3fs"), ("gs://b/models", "gcsfs"), ("hf://u/m", "huggingface_hub")],
)
def test_a_file_system_that_is_not_installed_names_its_package(
    monkeypatch: pytest.MonkeyPatch, url: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)  # as if it weren't installed
    # Another test of this process may have used it.
    monkeypatch.delitem(_registry, url.partition(":")[0], raising=False)
    done = run("versions", "--repository", url)
    assert done.exit_code == 1
    assert f"needs a package that isn't installed: pip install {package}" in done.stderr


def test_an_unknown_url_scheme_is_named() -> None:
    done = run("versions", "--repository", "nowhere://b/models")
    assert done.exit_code == 1
    assert "no file system is known for nowhere://" in done.stderr

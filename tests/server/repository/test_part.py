"""One model or one version is served as a repository of its own, by the name in its manifest.

The layouts are those of /mnt/models, where KServe's storage initializer puts a `storageUri`.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.calls import wait_until
from support.oip import oip_connected, raw_request
from support.server import ServerProcess
from support.tiny import write_tiny

from convscope.open_inference import open_inference_pb2 as pb
from convscope.server.errors import StartError
from convscope.server.repository.part import whole_repository


def one_version(root: Path, mounted: Path) -> None:
    """Copy s3://bucket/models/tiny/2."""
    shutil.copytree(root / "tiny/2", mounted)


def linked_version(root: Path, mounted: Path) -> None:
    """Link the files of file:///models/tiny/2."""
    mounted.mkdir()
    for path in (root / "tiny/2").iterdir():
        (mounted / path.name).symlink_to(path)


def one_model(root: Path, mounted: Path) -> None:
    """Copy s3://bucket/models/tiny, with another file in the folder."""
    shutil.copytree(root / "tiny", mounted)
    (mounted / "README.md").write_text("Not a version.")


def all_models(root: Path, mounted: Path) -> None:
    """Copy s3://bucket/models."""
    shutil.copytree(root, mounted)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for version in (1, 2):
        write_tiny(root, version=version)
    return root


@pytest.mark.parametrize("lay_out", [one_version, linked_version, one_model, all_models])
def test_a_repository_has_the_model(
    root: Path, tmp_path: Path, lay_out: Callable[[Path, Path], None]
) -> None:
    mounted = tmp_path / "mnt"
    lay_out(root, mounted)
    with whole_repository(mounted) as repository:
        assert (repository / "tiny/2/manifest.json").is_file()
        assert (repository == mounted) is (lay_out is all_models)
    assert repository.exists() is (lay_out is all_models)
    assert (mounted / "manifest.json").exists() or any(mounted.rglob("manifest.json"))


@pytest.mark.slow(seconds=3)
def test_one_model_is_served_and_followed(root: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "mnt"
    linked_version(root, mounted)
    with ServerProcess(mounted) as server, oip_connected(server) as stub:
        assert stub.ModelInfer(raw_request()).model_version == "2"
    shutil.rmtree(mounted)
    one_model(root, mounted)
    flags = ("--poll-seconds", "0.1")
    with ServerProcess(mounted, *flags) as server, oip_connected(server) as stub:
        assert stub.ModelMetadata(pb.ModelMetadataRequest(name="tiny")).versions == ["2"]
        shutil.move(write_tiny(tmp_path / "new", version=3), mounted / "3")
        wait_until(lambda: stub.ModelInfer(raw_request()).model_version == "3")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("{", r"manifest.json is not a manifest: .*[^.]; export the bundle again$"),
        ('{"model": "../tiny", "version": 1}', "states no model and version"),
        ('{"model": "tiny"}', "states no model and version"),
    ],
)
def test_a_manifest_that_names_no_model(tmp_path: Path, manifest: str, message: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(StartError, match=message), whole_repository(tmp_path):
        pass


def test_a_damaged_newest_version_is_left_to_the_load(root: Path, tmp_path: Path) -> None:
    mounted = tmp_path / "mnt"
    one_model(root, mounted)
    (mounted / "2" / "manifest.json").write_text("{")
    with whole_repository(mounted) as repository:
        assert (repository / "tiny/1/manifest.json").is_file()
    (mounted / "1" / "manifest.json").write_text("{")
    with (
        pytest.raises(StartError, match=r"2: manifest\.json is not a manifest"),
        whole_repository(mounted),
    ):
        pass

"""A bundle with one file wrong is rejected, with the reason."""

import os
from pathlib import Path

import pytest
from support.alterations import flip_byte
from support.bundles import check_bundle, rejection
from support.tiny import write_extractor, write_signal, write_tiny

from convscope.bundle.plain_files import NotPlainError, read_plain

FILES = ("manifest.json", "model.onnx", "golden.npz")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny(tmp_path)


def test_whole_bundles_pass(tmp_path: Path) -> None:
    for directory in (write_tiny(tmp_path), write_signal(tmp_path)):
        check_bundle(directory)
    check_bundle(write_extractor(tmp_path, "filters"))


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
@pytest.mark.parametrize("position", [0, 200, -1])
def test_flipped_byte_is_rejected_by_hash(bundle: Path, name: str, position: int) -> None:
    flip_byte(bundle / name, position)
    error = rejection(bundle)
    assert error.reason == "hash"
    assert f"SHA-256 of {name}" in error.message
    assert "publish the bundle again" in error.message


@pytest.mark.parametrize("position", [0, -1])
def test_flipped_byte_in_the_manifest_is_rejected(bundle: Path, position: int) -> None:
    flip_byte(bundle / "manifest.json", position)
    error = rejection(bundle)
    assert error.reason == "manifest"
    assert "manifest.json is not a manifest" in error.message


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_changed_size_is_rejected(bundle: Path, name: str) -> None:
    path = bundle / name
    size = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"\0")
    error = rejection(bundle)
    assert error.reason == "hash"
    assert error.message.startswith(f"{name} has {size + 1:,} bytes, the manifest says {size:,};")


@pytest.mark.parametrize("name", FILES)
def test_missing_file_is_rejected(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    error = rejection(bundle)
    assert error.reason == "files"
    assert error.message == f"{name} is missing; publish the bundle again"


@pytest.mark.parametrize("name", ["model.onnx.data", "weights.bin", "notes.txt"])
def test_extra_file_is_rejected(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"x")
    error = rejection(bundle)
    assert error.reason == "files"
    assert error.message.startswith(f"{name} doesn't belong to a bundle; it has: golden.npz, ")


@pytest.mark.parametrize("name", FILES)
def test_link_to_nothing_is_rejected(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    (bundle / name).symlink_to("elsewhere")
    error = rejection(bundle)
    assert error.reason == "files"
    assert error.message.startswith(f"{name} is a link to a file that doesn't exist")


def test_loop_of_links_is_rejected(bundle: Path) -> None:
    (bundle / "golden.npz").unlink()
    (bundle / "golden.npz").symlink_to("golden.npz")
    assert rejection(bundle).reason == "files"


def test_link_to_other_content_is_rejected(bundle: Path, tmp_path: Path) -> None:
    path = bundle / "model.onnx"
    (tmp_path / "other").write_bytes(path.read_bytes()[:-1] + b"x")
    path.unlink()
    path.symlink_to(tmp_path / "other")
    assert rejection(bundle).reason == "hash"


def test_files_behind_links_are_read(bundle: Path, tmp_path: Path) -> None:
    """As in a data version control system's cache."""
    for name in FILES:
        (bundle / name).rename(tmp_path / name)
        (bundle / name).symlink_to(tmp_path / name)
    check_bundle(bundle)


def test_mounted_configmap_is_read(bundle: Path) -> None:
    (bundle / "..2026_11_28").mkdir()
    (bundle / "..data").symlink_to("..2026_11_28")
    for name in FILES:
        (bundle / name).rename(bundle / "..data" / name)
        (bundle / name).symlink_to(f"..data/{name}")
    check_bundle(bundle)


@pytest.mark.parametrize("name", [".DS_Store", ".nfs000000000001", "._model.onnx"])
def test_hidden_files_do_not_count(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"x")
    check_bundle(bundle)


@pytest.mark.parametrize("name", FILES)
def test_directory_in_place_of_a_file_is_rejected(bundle: Path, name: str) -> None:
    path = bundle / name
    path.unlink()
    path.mkdir()
    assert rejection(bundle).reason == "files"


def test_manifest_of_many_megabytes_is_rejected(bundle: Path) -> None:
    path = bundle / "manifest.json"
    path.write_text(path.read_text() + " " * 5_000_000)
    error = rejection(bundle)
    assert error.reason == "files"
    assert "at most 4,194,304 are allowed" in error.message


def test_directory_of_a_model_suggests_its_version(bundle: Path) -> None:
    error = rejection(bundle.parent)
    assert error.message == "manifest.json is missing; did you mean tiny/1?"


def test_version_behind_a_link_is_read(bundle: Path) -> None:
    bundle.rename(bundle.parent / ".1-content")
    bundle.symlink_to(".1-content")  # as in the cache of a remote repository
    check_bundle(bundle)


def test_bundle_in_the_directory_of_another_version_is_rejected(bundle: Path) -> None:
    moved = bundle.rename(bundle.parent / "2")
    error = rejection(moved)
    assert error.reason == "manifest"
    assert "the manifest is of tiny v1, the directory of tiny v2" in error.message


def test_bundle_in_the_directory_of_another_model_is_rejected(bundle: Path) -> None:
    moved = bundle.parent.rename(bundle.parent.parent / "other") / "1"
    assert "the manifest is of tiny v1, the directory of other v1" in rejection(moved).message


def test_fifo_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.json")
    with pytest.raises(NotPlainError):
        read_plain(tmp_path / "manifest.json", 10)


def test_file_that_grows_is_not_read_to_its_end(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(100))
    assert read_plain(tmp_path / "file", 7) == bytes(7)
    assert read_plain(tmp_path / "file", 2**40) == bytes(100)

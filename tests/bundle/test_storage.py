"""Files behind a URL: listing and reading, addresses, and secrets that appear in no message."""

import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem  # type: ignore[import-untyped]
from fsspec.registry import _registry  # type: ignore[import-untyped]
from support.tiny import write_tiny
from support.web import over_http

from convscope.bundle.addresses import local_path, without_secrets
from convscope.bundle.errors import (
    AddressError,
    BundleRejectedError,
    InvalidValueError,
    RepositoryError,
)
from convscope.bundle.fetching import fetch_version
from convscope.bundle.listing import content_id, sort_listing
from convscope.bundle.opening import find_bundle, open_repository
from convscope.bundle.reader import read_bundle
from convscope.bundle.storage import REQUEST_BYTES, Storage, StoredFile

MEMORY = fsspec.filesystem("memory")
URL = "memory://storage/models"
SECRET_URL = "memory://me:secret@storage/models?token=hidden"


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    write_tiny(tmp_path)
    MEMORY.put(str(tmp_path / "tiny"), "/storage/models/tiny", recursive=True)
    yield Storage(URL)
    MEMORY.rm("/storage", recursive=True)


@pytest.mark.parametrize("location", ["file:///models", "local:///models", "/models"])
def test_local_urls_are_directories(location: str) -> None:
    assert local_path(location) == Path("/models")


def test_relative_paths_are_directories() -> None:
    assert local_path("models") == Path("models")
    assert local_path("s3://models") is None


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("s3://bucket/models/", "s3://bucket/models"),
        ("https://me:pass@host:8080/models?token=pass#part", "https://host:8080/models"),
        (SECRET_URL, URL),
    ],
)
def test_secrets_are_removed_from_a_url(url: str, plain: str) -> None:
    assert without_secrets(url) == plain


@pytest.mark.parametrize(
    ("raised", "shown"),
    [
        (f"can't connect to {SECRET_URL}", "can't connect to memory://…@storage/models?…"),
        ("me has no password secret", "me has no password …"),
    ],
)
def test_secrets_of_a_url_are_in_no_message(
    monkeypatch: pytest.MonkeyPatch, raised: str, shown: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError(raised)

    monkeypatch.setattr(MemoryFileSystem, "find", fail)
    monkeypatch.setattr(MemoryFileSystem, "ls", fail)
    monkeypatch.setattr(MemoryFileSystem, "info", fail)
    storage, repository = Storage(SECRET_URL), open_repository(SECRET_URL)
    for read in (storage.files, repository.names, lambda: repository.require_model("tiny")):
        with pytest.raises(RepositoryError) as error:
            read()
        assert f"{URL} can't be read: {shown}; check the address" in str(error.value)
    assert storage.url == repository.location == URL
    assert repository.place("tiny", 1) == f"{URL}/tiny/1"


def test_secret_is_in_no_message_without_its_percent_signs_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("me has no password se/cret")

    monkeypatch.setattr(MemoryFileSystem, "find", fail)
    with pytest.raises(RepositoryError, match="can't be read: me has no password …;"):
        Storage("memory://me:se%2Fcret@storage/models").files()


def test_place_that_is_not_a_bundle_shows_no_secrets() -> None:
    with pytest.raises(AddressError, match="'memory://storage/models' is not a bundle") as error:
        find_bundle(SECRET_URL)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "url",
    [
        "zip://models::https://me:secret@host/a.zip",
        "simplecache::memory://me:secret@storage/models",
        "file://models::https://me:secret@host/a.zip",
    ],
)
def test_chain_of_urls_is_rejected_without_its_secrets(url: str) -> None:
    assert local_path(url) is None
    with pytest.raises(AddressError, match="only a single URL is allowed") as error:
        open_repository(url)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "package"),
    [("s3://b/models", "s3fs"), ("gs://b/models", "gcsfs"), ("hf://u/m", "huggingface_hub")],
)
def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, url: str, package: str) -> None:
    # As if it weren't installed, and no other test had used it.
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(_registry, url.partition(":")[0], raising=False)
    with pytest.raises(AddressError, match=f"isn't installed: pip install {package}"):
        Storage(url)


def test_unknown_protocol_is_named() -> None:
    with pytest.raises(AddressError, match="no file system is known for nowhere://"):
        Storage("nowhere://b/models")


def test_files_are_read_written_and_removed(storage: Storage) -> None:
    assert storage.names("tiny/1") == ["golden.npz", "manifest.json", "model.onnx"]
    assert storage.names("tiny/2") == []
    assert storage.read("tiny/aliases.json", 10) is None
    assert storage.size("tiny/aliases.json") is None
    storage.write("tiny/aliases.json", b"{}")
    assert storage.read("tiny/aliases.json", 10) == b"{}"
    with pytest.raises(InvalidValueError, match=r"aliases\.json has more than the 1 bytes"):
        storage.read("tiny/aliases.json", 1)
    with pytest.raises(FileExistsError):
        storage.write("tiny/aliases.json", b"[]", exclusive=True)
    storage.remove("tiny/aliases.json")
    assert sorted(storage.files()) == [
        f"tiny/1/{name}" for name in ("golden.npz", "manifest.json", "model.onnx")
    ]


def test_listing_is_sorted_into_models_versions_and_documents() -> None:
    one = StoredFile(1, "a")
    paths = (
        *("tiny/1/manifest.json", "tiny/1/model.onnx", "tiny/aliases.json"),
        *("tiny/2/model.onnx", "tiny/01/manifest.json", "Upper/1/manifest.json", "readme.md"),
    )
    models = sort_listing(dict.fromkeys(paths, one))
    assert list(models["tiny"].versions) == [1]  # 2 isn't complete, 01 isn't a version
    assert list(models["tiny"].documents) == ["aliases.json"]
    assert "Upper" not in models


def test_content_has_an_id_that_changes_with_it() -> None:
    files = {"a": StoredFile(1, "x"), "b": StoredFile(2, "y")}
    assert content_id(files) == content_id(dict(reversed(files.items())))
    assert content_id(files) != content_id(files | {"b": StoredFile(2, "z")})


def test_version_is_downloaded_whole(storage: Storage, tmp_path: Path) -> None:
    files = sort_listing(storage.files())["tiny"].versions[1]
    target = tmp_path / "cache" / "tiny" / "1"
    fetch_version(storage, "tiny/1", files, target)
    assert read_bundle(target).manifest == read_bundle(tmp_path / "tiny" / "1").manifest


@pytest.mark.parametrize("reason", ["hash", "files", "cancelled"])
def test_version_that_fails_leaves_nothing(storage: Storage, tmp_path: Path, reason: str) -> None:
    if reason == "hash":
        data = bytearray((tmp_path / "tiny/1/model.onnx").read_bytes())
        data[50] ^= 1
        storage.write("tiny/1/model.onnx", bytes(data))
    elif reason == "files":
        storage.write("tiny/1/notes.txt", b"")
    files = sort_listing(storage.files())["tiny"].versions[1]
    target = tmp_path / "cache" / "tiny" / "1"
    with pytest.raises((BundleRejectedError, RepositoryError)) as error:
        fetch_version(storage, "tiny/1", files, target, lambda: reason == "cancelled")
    assert getattr(error.value, "reason", "cancelled") == reason
    assert not target.parent.exists() or not list(target.parent.iterdir())


def test_web_server_that_sends_no_parts_can_be_read(tmp_path: Path) -> None:
    data = np.random.default_rng(0).bytes(REQUEST_BYTES + 5)
    (tmp_path / "large").write_bytes(data)
    with over_http(tmp_path) as url:
        storage = Storage(url)
        assert list(storage.files()) == ["large"]
        assert b"".join(storage.blocks("large")) == data
        assert storage.read("absent", 10) is None


def test_web_server_that_is_down_differs_from_one_that_is_empty(tmp_path: Path) -> None:
    with over_http(tmp_path) as url:
        storage = Storage(url)
        assert storage.files() == {}
    with pytest.raises(RepositoryError, match="Connect call failed"):
        storage.files()
